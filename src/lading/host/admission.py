"""The bounded, fair queue in front of the ledger.

::

    arrives ──> can have it now? ──yes──> has it
                   │ no
                   ├── as many wait already as may ──> QueueFull, at once
                   └── waits ──> served │ TimedOut │ cancelled │ NotAccepting

Those who want the same form a :class:`Group`, first come first served: what its first can't have,
the others can't have either, so one look at each group's first is enough. Groups are looked at in
the order of their firsts' arrival, and one that can't be served yet is passed over: a small task
does not wait behind a big one that needs more than is free.

A big one is not starved by that. Once somebody has been passed over for longer than `patience`,
nobody who came later takes anything, be it free room, an idle container or a share of a busy one,
until the starved one is served or what it needs is being prepared for it. So room gathers for it.

Everything here happens in one event loop, driven by events: :meth:`Admission.dispatch` runs after
each change and looks only at who waits.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from lading.errors import GpuUnavailable, NotAccepting, QueueFull, TimedOut, TooLarge
from lading.host.capacity import Capacity, Claim, Resources
from lading.host.gpus import GpuMonitor
from lading.host.room import Room, RoomGroup
from lading.host.waiters import Clock, Group, Tally, Waiter, ordinal
from lading.units import format_seconds

__all__ = ["Admission"]

T = TypeVar("T")

_GPU_INTERVAL = 1.0
"""Seconds between looks at the GPUs while somebody waits for one: the only thing that has to be
looked at again, because nobody tells us when another program lets go of it."""


class Admission:
    """The queue.

    Parameters
    ----------
    capacity : Capacity
        The ledger.
    limit : int
        How many may wait for room at most.
    patience : float
        Seconds for which a waiter lets others pass.
    gpus : GpuMonitor or None
        Read before a task with GPUs is admitted, and while one waits.
    clock : Clock or None
        By default the running event loop.

    Attributes
    ----------
    evict : callable
        Set by a pool that can make room by removing idle containers: returns a claim or None.
    when_nobody_waits : callable
        Called when room was freed and nobody is there to take it.
    """

    def __init__(
        self,
        capacity: Capacity,
        *,
        limit: int = 100,
        patience: float = 2.0,
        gpus: GpuMonitor | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.capacity = capacity
        self.limit = limit
        self.patience = patience
        self.accepting = True
        self.clock: Clock = clock or asyncio.get_running_loop()
        self.evict: Callable[[Resources], Claim | None] = lambda _: None
        self.when_nobody_waits: Callable[[], None] = lambda: None
        self.rooms = Tally()
        self._gpus = gpus
        self._waiting = 0
        self._groups: dict[Group[Any], None] = {}
        self._room_groups: dict[Resources, RoomGroup] = {}
        self._unpassed: OrderedDict[Waiter[Any], None] = OrderedDict()
        self._passed = 0
        self._numbers = itertools.count()
        self._dispatching = self._again = False
        # What found no room; until something is given back or becomes idle, it would find none.
        self._no_room: set[Resources] = set()
        capacity.on_release = self.dispatch

    # ---------------------------------------------------------------- for those who want room

    def room(self, resources: Resources, *, timeout: float | None = None) -> Room:
        """Reserve room for one container that runs once: ``async with admission.room(r) as r:``.

        Parameters
        ----------
        resources : Resources
            How much.
        timeout : float or None
            Seconds that it may wait.

        Raises
        ------
        TooLarge, GpuUnavailable, QueueFull, NotAccepting, TimedOut
            When entered.
        """
        return Room(self, resources, timeout)

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return self._waiting

    @property
    def anybody(self) -> bool:
        """Whether anybody is in line, for room or for a container that is being started."""
        return bool(self._groups)

    # ---------------------------------------------------------------- for the operator

    def pause(self) -> None:
        """Take no new work, and refuse those who wait; those who have room keep it."""
        self.accepting = False
        for group in list(self._groups):
            self.refuse(group, self._not_accepting())

    def resume(self) -> None:
        """Take work again."""
        self.accepting = True

    async def drain(self, deadline: float) -> bool:
        """Pause, and wait until the rooms are given back.

        Parameters
        ----------
        deadline : float
            Seconds to wait at most.

        Returns
        -------
        bool
            Whether all are.
        """
        self.pause()
        return await self.rooms.empty(deadline, self.clock)

    def resize(self, total: Resources) -> None:
        """Change what there is to lend; who waits for more than that is refused."""
        self.capacity.resize(total)
        for group in list(self._groups):
            try:
                self.capacity.fits_ever(group.resources)
            except (TooLarge, GpuUnavailable) as error:
                self.refuse(group, error)

    # ---------------------------------------------------------------- for groups and the pool

    def check(self) -> None:
        """Refuse new work while paused.

        Raises
        ------
        NotAccepting
            Paused, or stopping.
        """
        if not self.accepting:
            raise self._not_accepting()

    async def check_gpus(self, resources: Resources) -> None:
        """Refuse what needs GPUs that others use; waiting would help only if they were ours.

        Raises
        ------
        GpuUnavailable
            Fewer are idle or lent by us than it asks for.
        """
        if self._gpus is None or not resources.gpus:
            return
        await self._gpus.refresh()
        lendable = self.capacity.lendable_gpus()
        if resources.gpus > lendable:
            raise GpuUnavailable(
                f"asks for {resources.gpus} GPUs, and of {self.capacity.total.gpus} here "
                f"{lendable or 'none'} can be lent now: other programs use the rest",
                fix="try again when they are idle",
            )

    def claim(self, resources: Resources) -> Claim | None:
        """Take room: what is free, or, if a pool is there, what idle containers leave."""
        if resources in self._no_room:
            return None
        reservation = self.capacity.try_reserve(resources)
        if reservation is not None:
            return Claim(self.capacity, resources, reservation)
        claim = self.evict(resources)
        if claim is None and not resources.gpus:  # whether a GPU may be lent changes by itself
            self._no_room.add(resources)
        return claim

    def may_evict_more(self) -> None:
        """Take note that something has become idle: where there was no room, there may be some."""
        self._no_room.clear()

    def join(self, group: Group[T], timeout: float | None = None) -> Waiter[T]:
        """Serve a newcomer at once or let it wait; follow with :meth:`wait`, without a pause.

        Raises
        ------
        QueueFull
            It would have to wait, and as many as may wait already.
        """
        waiter = Waiter(group, next(self._numbers))
        first = not group.waiters
        self._enter(waiter)
        if first and not self.blocked(waiter.seq) and group.offer(waiter):
            return waiter
        if waiter.counted and self._waiting > self.limit:
            self._remove(waiter)
            raise QueueFull(
                f"{self._waiting} tasks wait for room already, and no more may",
                fix="try again later, or let more wait (queue limit) or run (cores, memory)",
            )
        if timeout is not None:
            self._set_timer(waiter, timeout)
        return waiter

    async def wait(self, waiter: Waiter[T]) -> T:
        """Wait until it is served; a cancelled one leaves its place, and gives back what it got."""
        future = waiter.future
        try:
            if waiter.group.resources.gpus and self._gpus is not None:
                await self._watch_gpus(self._gpus, future)
            return await future
        except BaseException:
            if future.done() and not future.cancelled() and future.exception() is None:
                waiter.group.take_back(future.result())
            self.leave(waiter)
            raise

    def grant(self, waiter: Waiter[T], value: T) -> None:
        """Give a waiter what it waited for."""
        self._remove(waiter)
        self.passed_by(waiter.seq)
        waiter.future.set_result(value)

    def fail(self, waiter: Waiter[Any], error: Exception) -> None:
        """Tell a waiter that it won't get it."""
        if self._remove(waiter) and not waiter.future.done():
            waiter.future.set_exception(error)

    def refuse(self, group: Group[Any], error: Exception) -> None:
        """Tell all of a group that they won't get it."""
        while (waiter := group.first()) is not None:
            self.fail(waiter, error)
        group.left()

    def leave(self, waiter: Waiter[Any]) -> None:
        """Take a waiter out of the line, if it is there; others may have waited behind it."""
        if self._remove(waiter):
            waiter.future.cancel()
            waiter.group.left()
        self.dispatch()

    def provide(self, waiter: Waiter[Any]) -> None:
        """Something is being prepared for it: it does not count as waiting for room any more."""
        if waiter.counted:
            waiter.counted = False
            self._waiting -= 1
        self.passed_by(waiter.seq)

    def unprovide(self, waiter: Waiter[Any]) -> None:
        """It came to nothing: it waits for room again."""
        if not waiter.counted and waiter in waiter.group.waiters:
            waiter.counted = True
            self._waiting += 1

    def blocked(self, seq: int | None = None) -> bool:
        """Whether somebody starves who came before this number (None: before a newcomer)."""
        if not self._passed:
            return False
        return any(
            (seq is None or head.seq < seq) and self._starves(head)
            for group in self._groups
            if (head := group.first()) is not None
        )

    def passed_by(self, seq: int | None = None) -> None:
        """Note that this number (None: a newcomer) was served before those who came earlier."""
        # Whoever has been passed stays so; as older ones are passed first, the rest is a queue.
        while self._unpassed:
            waiter = next(iter(self._unpassed))
            if seq is not None and waiter.seq >= seq:
                return
            del self._unpassed[waiter]
            waiter.passed_since = self.clock.time()
            self._passed += 1

    def serve_first(self, group: Group[Any], *, even_if_blocked: bool = False) -> None:
        """Offer to one group only, which has just got something of its own."""
        unblocked = False
        while (waiter := self._first(group)) is not None:
            if not even_if_blocked and self.blocked(waiter.seq):
                break
            unblocked |= waiter.passed_since is not None
            if not group.offer(waiter):
                break
            even_if_blocked = False
        if unblocked:  # it may have been the one whom others had to wait for
            self.dispatch()

    def dispatch(self) -> None:
        """Serve whoever can be served: after every change, in the order of arrival."""
        self._no_room.clear()
        if self._dispatching:
            self._again = True
            return
        self._dispatching = True
        try:
            self._again = True
            while self._again and self._groups:
                self._again = False
                self._no_room.clear()
                self._serve_all()
        finally:
            self._dispatching = False
        if not self._groups:
            self.when_nobody_waits()

    def waiting_for(self, waiter: Waiter[Any]) -> str:
        """Say what somebody waits for: ``waits for 2 cores; 1.5 of 4 are free; 3rd in line``."""
        ahead = sum(other.seq < waiter.seq for group in self._groups for other in group.waiters)
        return f"{waiter.group.lacks(self.capacity)}; {ordinal(ahead + 1)} in line"

    def room_group(self, resources: Resources) -> Group[Claim]:
        """The group of those who want this much room for one run."""
        group = self._room_groups.get(resources)
        if group is None:
            group = self._room_groups[resources] = RoomGroup(self, resources)
        return group

    # ---------------------------------------------------------------- inside

    def _serve_all(self) -> None:
        heads = [
            (head.seq, group)
            for group in list(self._groups)
            if (head := self._first(group)) is not None
        ]
        heapq.heapify(heads)
        while heads:
            _, group = heapq.heappop(heads)
            waiter = self._first(group)
            if waiter is None:
                continue
            if group.offer(waiter):
                if (following := self._first(group)) is not None:
                    heapq.heappush(heads, (following.seq, group))
            elif self._starves(waiter):
                return

    def _first(self, group: Group[T]) -> Waiter[T] | None:
        # Between the cancellation of a waiter and its own turn in the loop, it still stands here.
        while (waiter := group.first()) is not None and waiter.future.done():
            self._remove(waiter)
            group.left()
        return waiter

    def _starves(self, waiter: Waiter[Any]) -> bool:
        since = waiter.passed_since
        return (
            since is not None
            and self.clock.time() - since > self.patience
            and not waiter.group.provided()
        )

    def _enter(self, waiter: Waiter[Any]) -> None:
        waiter.group.waiters[waiter] = None
        self._groups[waiter.group] = None
        self._unpassed[waiter] = None
        self._waiting += 1

    def _remove(self, waiter: Waiter[Any]) -> bool:
        group = waiter.group
        if waiter not in group.waiters:
            return False
        del group.waiters[waiter]
        if not group.waiters:
            del self._groups[group]
            if isinstance(group, RoomGroup):
                del self._room_groups[group.resources]
        if waiter.passed_since is None:
            self._unpassed.pop(waiter, None)
        else:
            self._passed -= 1
        self._waiting -= waiter.counted
        if waiter.timer is not None:
            waiter.timer.cancel()
        return True

    def _set_timer(self, waiter: Waiter[Any], seconds: float) -> None:
        when = self.clock.time() + seconds
        waiter.timer = self.clock.call_at(when, lambda: self._time_out(waiter, seconds))

    def _time_out(self, waiter: Waiter[Any], seconds: float) -> None:
        if waiter.group.provided():  # there is room; what is being prepared has its own deadline
            self._set_timer(waiter, seconds)
            return
        text = waiter.group.lacks(self.capacity).removeprefix("waits for")
        whose = f" for {name}" if (name := waiter.group.name) else ""
        message = f"no room{whose} within {format_seconds(seconds)}: still waited for{text}"
        self.fail(waiter, TimedOut(message, seconds=seconds, fix="try again later"))
        waiter.group.left()
        self.dispatch()

    async def _watch_gpus(self, gpus: GpuMonitor, future: asyncio.Future[Any]) -> None:
        while not future.done():
            await asyncio.wait({future}, timeout=_GPU_INTERVAL)
            if not future.done():
                await gpus.refresh()
                self.dispatch()

    @staticmethod
    def _not_accepting() -> NotAccepting:
        return NotAccepting("no new work is taken: paused, or stopping", fix="resume it")
