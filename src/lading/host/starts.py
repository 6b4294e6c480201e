"""Starts of containers: each in a task of its own, and what a failed one means for who waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from lading.errors import RunError
from lading.host.admission import Admission
from lading.host.capacity import Claim, Reservation
from lading.host.removal import Tasks
from lading.host.waiters import Waiter
from lading.host.warm import Grant, Shelf, Slot, Start, Want

__all__ = ["Starter"]

_log = logging.getLogger(__name__)

_PAUSE = 10.0
"""Seconds after a failed start in which no spare of the key is tried, nor another container where
it has one."""


class Starter:
    """Runs the starts.

    Parameters
    ----------
    admission : Admission
    tasks : Tasks
    started : callable
        Takes over what was started.
    """

    def __init__(
        self,
        admission: Admission,
        tasks: Tasks,
        started: Callable[[Shelf, Start, Slot], None],
    ) -> None:
        self._admission = admission
        self._clock = admission.clock
        self._tasks = tasks
        self._started = started

    def begin(self, shelf: Shelf, claim: Claim, cause: Waiter[Grant] | None) -> None:
        """Start one in that room, for this waiter or as a spare (None)."""
        start = shelf.start = Start(cause)
        if cause is not None:
            self._admission.provide(cause)
        work = self._run_start(shelf, start, claim, shelf.want)
        start.task = self._tasks.spawn(work, f"start of {shelf.name}")

    async def _run_start(self, shelf: Shelf, start: Start, claim: Claim, want: Want) -> None:
        start.begun = True
        room: Reservation | None = None
        try:
            if start.cancelled:
                claim.abandon()
                raise asyncio.CancelledError
            room = await claim.settle()
            if room is not None:
                warm = await want.start(room)
        except asyncio.CancelledError:
            self.failed(shelf, start, room, None if start.cancelled else _interrupted(want))
        except Exception as error:
            self.failed(shelf, start, room, error)
        else:
            if room is None:
                self.failed(shelf, start, None, None)
            else:
                self._started(shelf, start, Slot(shelf, warm, room))

    def failed(
        self, shelf: Shelf, start: Start, room: Reservation | None, error: Exception | None
    ) -> None:
        """Tell those whom it concerns, and free the room; None is no failure but the end of it."""
        shelf.start = None
        cause = start.cause
        if error is None:  # cancelled, or its room was lost: whoever still waits gets another start
            if cause is not None:
                self._admission.unprovide(cause)
        elif cause is None:
            _log.warning("no spare of %s: %s", shelf.name, error)
            shelf.failures.again_at = self._clock.time() + _PAUSE
        else:
            shelf.failures.starts += 1
            shelf.failures.again_at = self._clock.time() + _PAUSE
            if cause.future.done():
                _log.warning("container of %s did not start: %s", shelf.name, error)
            self._admission.fail(cause, error)
            if shelf.failures.starts > 1 and not shelf.slots:
                self._admission.refuse(shelf, error)
        if room is not None:
            room.release()
        self._admission.dispatch()
        shelf.forget()


def _interrupted(want: Want) -> RunError:
    return RunError(f"the start of {want.key} was interrupted")
