"""Containers on their way out: the idle ones that may go, and the closing of those that do."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any

from lading.host.capacity import Amount, Capacity, Claim, Reservation, Resources
from lading.host.waiters import Clock
from lading.host.warm import Slot

__all__ = ["Closer", "Idle", "Tasks", "claim_from"]

_log = logging.getLogger(__name__)

_RETRY_AFTER = (1.0, 4.0)
"""Seconds before a failed removal is tried again. After the last the room is given back all the
same: otherwise an engine's hiccup would cost the host that room until its restart. What is left
of the container is found by its label at the next start."""


class Tasks:
    """Background tasks that somebody will wait for."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run something in the background."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def done(self, but: Collection[asyncio.Task[None] | None] = ()) -> None:
        """Wait until those that run now are done, except for some."""
        if waiting := self._tasks.difference(but):
            await asyncio.wait(waiting)

    async def all_done(self) -> None:
        """Wait until none is left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s failed", task.get_name(), exc_info=error)


class Closer:
    """Closes containers in the background; their room is free only when they are gone.

    Parameters
    ----------
    tasks : Tasks
    clock : Clock
    """

    def __init__(self, tasks: Tasks, clock: Clock) -> None:
        self._tasks = tasks
        self._clock = clock
        self._rooms: dict[Slot, Reservation] = {}
        self._pauses: set[asyncio.Future[None]] = set()
        self._hurried = False

    def __len__(self) -> int:
        return len(self._rooms)

    def close(self, slot: Slot) -> None:
        """Close it and free its room."""
        self._rooms[slot] = slot.reservation
        self._spawn(slot, slot.reservation.release)

    def close_for_claim(self, slot: Slot) -> asyncio.Task[None]:
        """Close it; its room belongs to the claim that waits for this task."""
        return self._spawn(slot, lambda: None)

    def soon_free(self) -> Amount:
        """The room that will be free when what is being closed is gone, and that nobody claims."""
        total = Amount(0, 0, 0)
        for reservation in self._rooms.values():
            total = total.plus(reservation.resources.amount)
        return total

    def hurry(self) -> None:
        """Wait no longer between attempts: the process is about to end."""
        self._hurried = True
        for pause in self._pauses:
            _set(pause)

    def _spawn(self, slot: Slot, done: Callable[[], None]) -> asyncio.Task[None]:
        return self._tasks.spawn(self._close(slot, done), f"removal of {slot.shelf.name}")

    async def _close(self, slot: Slot, done: Callable[[], None]) -> None:
        for pause in (*_RETRY_AFTER, None):
            try:
                await slot.warm.close()
                break
            except Exception as error:
                name = slot.shelf.name
                if pause is None:
                    _log.error("container of %s could not be removed: %s", name, error)
                else:
                    _log.warning("container of %s not removed yet: %s", name, error)
                    await self._wait(pause)
        self._rooms.pop(slot, None)
        done()

    async def _wait(self, seconds: float) -> None:
        if self._hurried:
            return
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_at(self._clock.time() + seconds, lambda: _set(over))
        self._pauses.add(over)
        try:
            await over
        finally:
            timer.cancel()
            self._pauses.discard(over)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Idle:
    """The idle containers of all keys, least recently used first, and one timer for them all.

    Parameters
    ----------
    clock : Clock
    expired : callable
        Called when the oldest may have been idle for too long.
    """

    def __init__(self, clock: Clock, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._slots: OrderedDict[Slot, None] = OrderedDict()
        self._timer_at: float | None = None
        self._timer: Any = None

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def add(self, slot: Slot) -> None:
        """Put one in: it is the most recently used now."""
        self._slots[slot] = None
        slot.shelf.idle.append(slot)

    def remove(self, slot: Slot) -> None:
        """Take one out, if it is in."""
        if slot in self._slots:
            del self._slots[slot]
            slot.shelf.idle.remove(slot)

    def take_newest(self, idle: list[Slot]) -> Slot:
        """Take out the most recently used of one key."""
        slot = idle.pop()
        del self._slots[slot]
        return slot

    def wake_at(self, when: float) -> None:
        """Have the timer ring then, unless it rings earlier anyway."""
        if self._timer_at is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._clock.call_at(when, self._ring)

    @property
    def timed(self) -> bool:
        """Whether the timer is set."""
        return self._timer_at is not None

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer_at is not None:
            self._timer.cancel()
            self._timer_at = None

    def victims(self, lack: Amount) -> list[Slot]:
        """Choose whom to evict: the least recently used, and no more than needed.

        Returns
        -------
        list of Slot
            Empty where even all of them would not do.
        """
        chosen: list[Slot] = []
        given = Amount(0, 0, 0)
        for slot in self._slots:
            room = slot.reservation.resources.amount
            gap = lack.minus(given)
            if any(need > 0 and has > 0 for need, has in zip(gap, room, strict=True)):
                chosen.append(slot)
                given = given.plus(room)
            if lack.fits(given):
                break
        else:
            return []
        for slot in reversed(chosen[:-1]):  # a later, bigger one may have made it unnecessary
            less = given.minus(slot.reservation.resources.amount)
            if lack.fits(less):
                chosen.remove(slot)
                given = less
        return chosen

    def _ring(self) -> None:
        self._timer_at = None
        self._expired()


def claim_from(
    capacity: Capacity, resources: Resources, leaving: dict[asyncio.Task[None], Reservation]
) -> Claim:
    """Claim the room of what leaves, and take the rest from what is free now."""
    given = Amount(0, 0, 0)
    for reservation in leaving.values():
        given = given.plus(reservation.resources.amount)
    hold = capacity.try_reserve(Resources.of(resources.amount.minus(given)))
    assert hold is not None, "the victims were chosen so that the rest is free"
    return Claim(capacity, resources, hold, leaving)
