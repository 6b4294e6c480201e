"""Warm containers, those of one key together, and the lease that somebody has on one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from lading.host.capacity import Capacity, Reservation, Resources
from lading.host.waiters import Group, Waiter

if TYPE_CHECKING:
    from lading.host.pool import Pool

__all__ = ["Grant", "Lease", "Shelf", "Slot", "Start", "Want", "Warm"]


class Warm(Protocol):
    """A started container, as far as the pool has to know it."""

    @property
    def alive(self) -> bool:
        """Whether it still runs, as far as is known."""
        ...

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Call back, once and in the event loop, when it ends by itself."""
        ...

    async def close(self) -> None:
        """Remove it; returns when it uses nothing any more, in bounded time. May be repeated."""
        ...


@dataclass(frozen=True, slots=True)
class Want:
    """What a request needs: a container of this kind.

    Parameters
    ----------
    key : hashable
        Containers of equal keys are interchangeable.
    resources : Resources
        What one takes; the same for all of a key.
    start : callable
        Starts one in the room given to it and returns when it is ready. If it fails or is
        cancelled, it leaves nothing behind.
    """

    key: Hashable
    resources: Resources
    start: Callable[[Reservation], Awaitable[Warm]]


class Slot:
    """A container in the pool, and the room it takes."""

    __slots__ = ("fresh", "idle_since", "load", "reservation", "shelf", "unfit", "warm")

    def __init__(self, shelf: Shelf, warm: Warm, reservation: Reservation) -> None:
        self.shelf = shelf
        self.warm = warm
        self.reservation = reservation
        self.load = 0
        """Leases on it."""
        self.fresh = False
        """Just started for somebody who waited for it."""
        self.unfit = False
        """Not to be leased again: dead, discarded, or the pool is being emptied."""
        self.idle_since = 0.0


Grant = tuple[Slot, bool]
"""A container, and whether it was started for this lease."""


@dataclass(eq=False, slots=True)
class Start:
    """A container that is being started."""

    cause: Waiter[Grant] | None
    """For whom; None for a spare."""
    task: asyncio.Task[None] | None = None
    begun: bool = False
    cancelled: bool = False

    def cancel(self) -> None:
        """Stop it; what it has done so far is undone by its own task."""
        if not self.cancelled:
            self.cancelled = True
            # A task that is cancelled before its first step would never run its clean-up.
            if self.begun and self.task is not None:
                self.task.cancel()


@dataclass(slots=True)
class _Failures:
    starts: int = 0
    again_at: float = field(default=float("-inf"))


class Shelf(Group[Grant]):
    """All there is of one key: its containers, the one being started, and who waits for one."""

    def __init__(self, pool: Pool, want: Want) -> None:
        super().__init__(want.resources)
        self._pool = pool
        self.want = want
        self.slots: dict[Slot, None] = {}
        """Those fit for use, busy or idle, in the order in which they were started."""
        self.idle: list[Slot] = []
        """Of these, the idle ones; the most recently used last."""
        self.start: Start | None = None
        self.used_at = float("-inf")
        self.failures = _Failures()

    def offer(self, waiter: Waiter[Grant]) -> bool:
        """Serve it by the pool's policy."""
        return self._pool._serve(self, waiter)  # noqa: SLF001 - the pool's own half

    def take_back(self, value: Grant) -> None:
        """Put the container back."""
        self._pool._put_back(value[0])  # noqa: SLF001

    def provided(self) -> bool:
        """Whether one is being started."""
        return self.start is not None

    def left(self) -> None:
        """Stop a start that nobody waits for any more; let go of an empty shelf."""
        if self.start is not None and self.start.cause is not None and not self.waiters:
            self.start.cancel()
        self.forget()

    @property
    def name(self) -> str:
        """The key, for a person."""
        return str(self.want.key)

    def forget(self) -> None:
        """Leave the pool if there is nothing left of this key."""
        self._pool._forget(self)  # noqa: SLF001

    def lacks(self, capacity: Capacity) -> str:
        """What they wait for, for a person."""
        if self.start is not None:
            return "waits for its container to start"
        text = super().lacks(capacity)
        if not self.slots:
            return text
        return f"{text}, and {_busy(len(self.slots))}"


def _busy(count: int) -> str:
    return "its container is busy" if count == 1 else f"its {count} containers are busy"


class Lease:
    """The use of a warm container by one request: ``async with pool.lease(want) as lease:``.

    Attributes
    ----------
    cold : bool
        Whether the request had to wait for this container's start.
    """

    __slots__ = ("_pool", "_slot", "_timeout", "_waiter", "_want", "cold")

    def __init__(self, pool: Pool, want: Want, timeout: float | None) -> None:
        self._pool = pool
        self._want = want
        self._timeout = timeout
        self._slot: Slot | None = None
        self._waiter: Waiter[Grant] | None = None
        self.cold = False

    @property
    def warm(self) -> Any:
        """The container, as :attr:`Want.start` returned it."""
        assert self._slot is not None, "the lease is not entered, or over"
        return self._slot.warm

    @property
    def reservation(self) -> Reservation:
        """The room that the container has."""
        assert self._slot is not None, "the lease is not entered, or over"
        return self._slot.reservation

    @property
    def waiting_for(self) -> str:
        """What it waits for, for a person; empty while it doesn't."""
        waiter = self._waiter
        return self._pool.admission.waiting_for(waiter) if waiter is not None else ""

    def discard(self) -> None:
        """Mark the container as unfit: nobody gets it again, and it goes when its leases end."""
        if self._slot is not None:
            self._pool._retire(self._slot)  # noqa: SLF001

    async def __aenter__(self) -> Lease:
        pool = self._pool
        slot = pool._take_idle(self._want.key)  # noqa: SLF001
        if slot is not None:
            self._slot = slot
            return self
        if self._want.resources.gpus:
            await pool._check_gpus(self._want)  # noqa: SLF001
        waiter = self._waiter = pool._queue_up(self._want, self._timeout)  # noqa: SLF001
        try:
            granted: Grant = await pool.admission.wait(waiter)
        finally:
            self._waiter = None
        self._slot, self.cold = granted
        return self

    async def __aexit__(self, *_: object) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            self._pool._put_back(slot)  # noqa: SLF001
