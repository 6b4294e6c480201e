"""The pool of warm containers: reuse, scale out, share, evict.

::

    lease(want) ── an idle container of the key? ── yes ──> take the most recently used
                        │ no
                   room for another one, and none of the key is being started?
                        │ no               └─ yes ──> evict no more idle ones of other keys than
                        │                              needed, start it; whoever waits takes what
                        │                              is there first: it, or one that became idle
                   none is being started, and a running one has less than `concurrency` leases?
                        │ no               └─ yes ──> share the least loaded
                   wait in the admission queue (bounded: QueueFull at once)

At most one start per key is in flight; different keys start in parallel. Nobody takes anything
while somebody who came earlier starves (see :mod:`lading.host.admission`).

A container given back goes to the next of its own key, otherwise it is idle: it may be evicted for
another key, and is closed after `idle_timeout`. One that died, or was discarded, is leased to
nobody any more; it is closed when its leases are over (those who hold them may want to see why it
died) and its room is free once it is gone. With `spares`, that many idle ones of each recently
used key are kept ready, as long as that takes room from nobody.

A failed start fails the request that caused it. Of the others that wait for the key, a second
failure in a row fails all if it has no container, otherwise they wait for those it has and another
is tried later. A start that nobody waits for any more is cancelled.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable
from typing import Self

from lading.errors import ContainerLost, NotAccepting
from lading.host.admission import Admission
from lading.host.capacity import Claim, Resources
from lading.host.removal import Closer, Idle, Tasks, claim_from
from lading.host.starts import Starter
from lading.host.status import KeyStatus, PoolOptions, PoolStatus
from lading.host.waiters import Clock, Tally, Waiter
from lading.host.warm import Grant, Lease, Shelf, Slot, Start, Want, Warm

__all__ = ["KeyStatus", "Lease", "Pool", "PoolOptions", "PoolStatus", "Want", "Warm"]


class Pool:
    """Warm containers, shared by all requests of this host.

    Parameters
    ----------
    admission : Admission
        The queue, and the ledger behind it; one pool per queue.
    options : PoolOptions
    """

    def __init__(self, admission: Admission, options: PoolOptions | None = None) -> None:
        self.admission = admission
        self._capacity = admission.capacity
        self._options = options or PoolOptions()
        self._clock: Clock = admission.clock
        self._shelves: dict[Hashable, Shelf] = {}
        self._idle = Idle(self._clock, self._expire)
        self._unfit: dict[Slot, None] = {}
        self._leases = Tally()
        self._tasks = Tasks()
        self._closer = Closer(self._tasks, self._clock)
        self._starter = Starter(admission, self._tasks, self._started)
        self._open = True
        self._closing: asyncio.Task[None] | None = None
        self._shrinking = False
        admission.evict = self._evict
        admission.when_nobody_waits = self._top_up_all

    # ---------------------------------------------------------------- for requests

    def lease(self, want: Want, *, timeout: float | None = None) -> Lease:
        """Use a container: ``async with pool.lease(want) as lease:``.

        Parameters
        ----------
        want : Want
            Which kind.
        timeout : float or None
            Seconds that it may wait for room. While a container of its key is being started, it
            waits for that, and the time begins anew if it comes to nothing.

        Raises
        ------
        TooLarge, GpuUnavailable, QueueFull, NotAccepting, TimedOut
            When entered; and whatever :attr:`Want.start` raises.
        """
        return Lease(self, want, timeout)

    # ---------------------------------------------------------------- for the operator

    def snapshot(self) -> PoolStatus:
        """Count what there is."""
        keys = {
            key: KeyStatus(
                idle=len(shelf.idle),
                busy=len(shelf.slots) - len(shelf.idle),
                starting=int(shelf.start is not None),
                waiting=len(shelf.waiters),
            )
            for key, shelf in self._shelves.items()
        }
        return PoolStatus(
            keys=keys,
            leases=self._leases.count,
            closing=len(self._closer) + len(self._unfit),
            waiting=self.admission.waiting,
            reserved=self._capacity.used,
            total=self._capacity.total,
        )

    async def clear(self) -> None:
        """Close the idle containers now and the busy ones when their leases end.

        Returns when those that were idle, and those that were being started for nobody, are gone.
        """
        starts = []
        for shelf in list(self._shelves.values()):
            for slot in list(shelf.slots):
                self._retire(slot, serve_others=False)
            if shelf.start is not None and not shelf.waiters:
                starts.append(shelf.start)
        for start in starts:
            start.cancel()
        self.admission.dispatch()
        wanted = {
            shelf.start.task
            for shelf in self._shelves.values()
            if shelf.start is not None and not shelf.start.cancelled
        }
        await self._tasks.done(but=wanted)

    def reconfigure(
        self, *, total: Resources | None = None, options: PoolOptions | None = None
    ) -> None:
        """Change what there is to lend, or how containers are kept.

        Idle containers that the new total has no room for are closed; busy ones when they are done.
        """
        if options is not None:
            self._options = options
            self._expire()
        if total is not None:
            self.admission.resize(total)
            self._shrink()

    async def close(self, deadline: float = 0.0) -> None:
        """Stop: refuse new work and who waits, wait for the leases, close everything.

        Parameters
        ----------
        deadline : float
            Seconds for which leases may go on; then their containers are closed under them.

        A cancellation cuts the waiting short, never the closing.
        """
        if self._closing is None:
            self._open = False
            self._closing = asyncio.get_running_loop().create_task(self._close(deadline))
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            self._leases.give_up()
            while not self._closing.done():
                try:
                    await asyncio.shield(self._closing)
                except asyncio.CancelledError:
                    continue
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ---------------------------------------------------------------- leases

    def _take_idle(self, key: Hashable) -> Slot | None:
        # Every request to a warm container comes through here, so it does no more than it must.
        shelf = self._shelves.get(key)
        admission = self.admission
        if shelf is None or not shelf.idle or not (self._open and admission.accepting):
            return None
        if admission.anybody:
            if shelf.waiters or admission.blocked():
                return None
            admission.passed_by()
        slot = self._take_newest(shelf)
        if slot is not None and len(shelf.idle) < self._options.spares:
            self._top_up(shelf)
        return slot

    def _take_newest(self, shelf: Shelf) -> Slot | None:
        while shelf.idle:
            slot = self._idle.take_newest(shelf.idle)
            if slot.warm.alive:
                slot.load = 1
                self._leases.count += 1
                return slot
            self._retire(slot, serve_others=False)  # its on_exit is only on its way
        return None

    async def _check_gpus(self, want: Want) -> None:
        shelf = self._shelves.get(want.key)
        if shelf is None or not (shelf.slots or shelf.start):
            await self.admission.check_gpus(want.resources)

    def _queue_up(self, want: Want, timeout: float | None) -> Waiter[Grant]:
        self.admission.check()
        if not self._open:
            raise _closed()
        self._capacity.fits_ever(want.resources)
        shelf = self._shelves.get(want.key)
        if shelf is None:
            shelf = self._shelves[want.key] = Shelf(self, want)
        if not shelf.waiters:
            shelf.failures.starts = 0
        shelf.want = want
        shelf.used_at = self._clock.time()
        try:
            return self.admission.join(shelf, timeout)
        finally:
            self._forget(shelf)

    def _put_back(self, slot: Slot) -> None:
        slot.load -= 1
        self._leases.leave()
        shelf = slot.shelf
        if slot.load:
            if shelf.waiters and not slot.unfit:
                self.admission.serve_first(shelf)
            return
        if slot.unfit:
            if slot in self._unfit:
                del self._unfit[slot]
                self._closer.close(slot)
            return
        now = slot.idle_since = shelf.used_at = self._clock.time()
        self._idle.add(slot)
        self.admission.may_evict_more()
        if not self._idle.timed:
            self._idle.wake_at(now + self._options.idle_timeout)
        if self._shrinking:
            self._shrink()
        if self.admission.anybody:
            if shelf.waiters:
                self.admission.serve_first(shelf)
            if self._idle:
                self.admission.dispatch()

    # ---------------------------------------------------------------- the policy

    def _serve(self, shelf: Shelf, waiter: Waiter[Grant]) -> bool:
        slot = self._take_newest(shelf)
        if slot is not None:
            cold, slot.fresh = slot.fresh, False
            self.admission.grant(waiter, (slot, cold))
            self._top_up(shelf)
            return True
        if shelf.start is not None:
            return False
        if self._may_start(shelf) and (claim := self.admission.claim(shelf.resources)) is not None:
            self._starter.begin(shelf, claim, waiter)
            return False
        return self._options.concurrency > 1 and self._share(shelf, waiter)

    def _may_start(self, shelf: Shelf) -> bool:
        # After a failure, those who still wait for the key wait for the containers it has.
        failures = shelf.failures
        pausing = failures.starts and shelf.slots and self._clock.time() < failures.again_at
        return self._open and self.admission.accepting and not pausing

    def _share(self, shelf: Shelf, waiter: Waiter[Grant]) -> bool:
        slot = min(shelf.slots, key=lambda slot: slot.load, default=None)
        if slot is None or slot.load >= self._options.concurrency or not slot.warm.alive:
            return False
        slot.load += 1
        self._leases.count += 1
        self.admission.grant(waiter, (slot, False))
        return True

    def _evict(self, resources: Resources) -> Claim | None:
        lack = self._capacity.lacking(resources)
        if not self._idle or lack.fits(self._closer.soon_free()):
            return None  # nothing to evict, or enough is on its way out already
        leaving = {}
        for slot in self._idle.victims(lack):
            self._take_out(slot)
            leaving[self._closer.close_for_claim(slot)] = slot.reservation
        return claim_from(self._capacity, resources, leaving) if leaving else None

    def _top_up(self, shelf: Shelf) -> None:
        spares, now = self._options.spares, self._clock.time()
        if (
            len(shelf.idle) < spares
            and shelf.start is None
            and not self.admission.anybody
            and self._may_start(shelf)
            and now >= shelf.failures.again_at
            and self._recent(shelf, now)
            and (room := self._capacity.try_reserve(shelf.resources)) is not None
        ):
            self._starter.begin(shelf, Claim(self._capacity, shelf.resources, room), None)

    def _top_up_all(self) -> None:
        if self._options.spares:
            for shelf in list(self._shelves.values()):
                self._top_up(shelf)

    def _recent(self, shelf: Shelf, now: float) -> bool:
        busy = len(shelf.slots) > len(shelf.idle)
        return busy or now - shelf.used_at < self._options.idle_timeout

    # ---------------------------------------------------------------- starts

    def _started(self, shelf: Shelf, start: Start, slot: Slot) -> None:
        shelf.start = None
        if not slot.warm.alive:
            self._closer.close(slot)
            error = ContainerLost(f"the container of {shelf.name} ended as soon as it was ready")
            self._starter.failed(shelf, start, None, error)
            return
        shelf.failures.starts = 0
        shelf.slots[slot] = None
        slot.warm.on_exit(lambda: self._retire(slot))
        if not self._open:
            self._retire(slot)
            return
        slot.fresh = bool(shelf.waiters)
        slot.idle_since = self._clock.time()
        self._idle.add(slot)
        self.admission.may_evict_more()
        self._idle.wake_at(slot.idle_since + self._options.idle_timeout)
        # Its room was taken for this key, so even one who starves elsewhere has no claim to it.
        self.admission.serve_first(shelf, even_if_blocked=True)
        slot.fresh = False
        self.admission.dispatch()

    # ---------------------------------------------------------------- the end of containers

    def _retire(self, slot: Slot, *, serve_others: bool = True) -> None:
        """Lease it to nobody any more, and close it once its leases are over."""
        if slot.unfit:
            return
        self._take_out(slot)
        if slot.load:
            self._unfit[slot] = None
        else:
            self._closer.close(slot)
        if serve_others:
            self.admission.dispatch()

    def _take_out(self, slot: Slot) -> None:
        slot.unfit = True
        self._idle.remove(slot)
        slot.shelf.slots.pop(slot, None)
        self._forget(slot.shelf)

    def _forget(self, shelf: Shelf) -> None:
        empty = not (shelf.slots or shelf.waiters or shelf.start)
        if empty and self._shelves.get(shelf.want.key) is shelf:
            del self._shelves[shelf.want.key]

    def _shrink(self) -> None:
        """After the host lends less: close idle ones until what is left fits."""
        over = self._capacity.overdrawn()
        self._shrinking = any(over)
        lack = over.minus(self._closer.soon_free()).at_least_nothing()
        if any(lack):
            for slot in self._idle.victims(lack) or list(self._idle):
                self._retire(slot, serve_others=False)

    def _expire(self) -> None:
        now, timeout = self._clock.time(), self._options.idle_timeout
        again: list[float] = []
        kept: Counter[Shelf] = Counter()
        for slot in list(self._idle):
            shelf = slot.shelf
            end = slot.idle_since + timeout
            # Beyond those that were used within the time, a key in use keeps some as spares.
            if end <= now and kept[shelf] < self._options.spares and self._recent(shelf, now):
                kept[shelf] += 1
                busy = len(shelf.slots) > len(shelf.idle)
                end = (now if busy else shelf.used_at) + timeout
            if end <= now:
                self._retire(slot, serve_others=False)
            else:
                again.append(end)
        if again:
            self._idle.wake_at(min(again))

    async def _close(self, deadline: float) -> None:
        error = _closed()
        for shelf in list(self._shelves.values()):
            self.admission.refuse(shelf, error)
            if shelf.start is not None:
                shelf.start.cancel()
        await self._leases.empty(deadline, self._clock)
        self._closer.hurry()
        self._idle.stop()
        for shelf in list(self._shelves.values()):
            for slot in list(shelf.slots):
                self._retire(slot, serve_others=False)
        for slot in list(self._unfit):  # their leases had their time
            del self._unfit[slot]
            self._closer.close(slot)
        await self._tasks.all_done()


def _closed() -> NotAccepting:
    return NotAccepting("no new work is taken: the pool is closed", fix="start it again")
