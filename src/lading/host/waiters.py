"""Those who wait in the queue, and what they wait by: the parts of :mod:`lading.host.admission`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from lading.host.capacity import Capacity, Resources
from lading.units import format_bytes, format_cores

__all__ = ["Clock", "Group", "Tally", "Timer", "Waiter", "describe_lack", "ordinal"]

T = TypeVar("T")


class Timer(Protocol):
    """What :meth:`Clock.call_at` returns."""

    def cancel(self) -> None:
        """Don't call."""
        ...


class Clock(Protocol):
    """Time, as the event loop keeps it; a test brings its own."""

    def time(self) -> float:
        """Seconds, monotonic."""
        ...

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call back at that time."""
        ...


class Waiter(Generic[T]):
    """Somebody who waits; made and used by :class:`Admission` only."""

    __slots__ = ("counted", "future", "group", "passed_since", "seq", "timer")

    def __init__(self, group: Group[T], seq: int) -> None:
        self.group = group
        self.seq = seq
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.counted = True
        """Whether it counts as waiting for room; not once its container is being started."""
        self.passed_since: float | None = None
        self.timer: Timer | None = None


class Group(ABC, Generic[T]):
    """Those who wait for the same thing, oldest first.

    Parameters
    ----------
    resources : Resources
        What each of them needs.
    """

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.waiters: OrderedDict[Waiter[T], None] = OrderedDict()

    def first(self) -> Waiter[T] | None:
        """The oldest waiter."""
        return next(iter(self.waiters), None)

    @abstractmethod
    def offer(self, waiter: Waiter[T]) -> bool:
        """Serve it (:meth:`Admission.grant`) if that can be done now; say whether."""

    @abstractmethod
    def take_back(self, value: T) -> None:
        """What was granted is not wanted any more: its waiter was cancelled in that moment."""

    @property
    def name(self) -> str:
        """What they want it for, for a person; empty where nobody said."""
        return ""

    def provided(self) -> bool:
        """Whether something is being prepared for the first, so that it need not block others."""
        return False

    def left(self) -> None:
        """Take note that a waiter went away without being served."""

    def lacks(self, capacity: Capacity) -> str:
        """What they wait for, for a person."""
        return describe_lack(self.resources, capacity)


def describe_lack(resources: Resources, capacity: Capacity) -> str:
    """Say which resource is short: ``waits for 2 cores; 1.5 of 4 are free``."""
    lack, free, total = capacity.lacking(resources), capacity.free, capacity.total
    if lack.millicores:
        count = format_cores(resources.cpus)
        have = f"{format_cores(free.cpus)} of {format_cores(total.cpus)} are free"
        return f"waits for {count} core{'' if count == '1' else 's'}; {have}"
    if lack.memory:
        have = f"{format_bytes(free.memory)} of {format_bytes(total.memory)} are free"
        return f"waits for {format_bytes(resources.memory)} of memory; {have}"
    if lack.gpus:
        plural = "" if resources.gpus == 1 else "s"
        idle = resources.gpus - lack.gpus
        return f"waits for {resources.gpus} GPU{plural}; {idle} of {total.gpus} are free"
    return "waits for its turn"


class Tally:
    """Counts what is in use, and tells when nothing is."""

    __slots__ = ("_empty", "_given_up", "count")

    def __init__(self) -> None:
        self.count = 0
        self._given_up = False
        self._empty: list[asyncio.Future[bool]] = []

    def leave(self) -> None:
        """One less."""
        self.count -= 1
        if not self.count and self._empty:
            for future in self._empty:
                if not future.done():
                    future.set_result(True)

    def give_up(self) -> None:
        """Let nobody wait for it any longer."""
        self._given_up = True
        for future in self._empty:
            if not future.done():
                future.set_result(False)

    async def empty(self, seconds: float, clock: Clock) -> bool:
        """Wait until nothing is in use any more, or the time is over; say which."""
        if not self.count or seconds <= 0 or self._given_up:
            return not self.count
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        timer = clock.call_at(
            clock.time() + seconds, lambda: None if future.done() else future.set_result(False)
        )
        self._empty.append(future)
        try:
            return await future
        finally:
            timer.cancel()
            self._empty.remove(future)


def ordinal(number: int) -> str:
    """Write a place in line: ``3rd``."""
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 <= number % 100 <= 20 else suffix}"
