"""Any sequence of arrivals, ends, deaths, cancellations and failures keeps the pool's promises."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.host.parts import Box, Host, Kind, Starting, User, turns

from lading.host.capacity import Resources
from lading.host.pool import PoolOptions

CORES = 4
LIMIT = 6


class PoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.resized = False

    def run(self, work: Coroutine[Any, Any, object]) -> None:
        self.loop.run_until_complete(work)

    @initialize(concurrency=st.integers(1, 3), spares=st.integers(0, 1))
    def open(self, concurrency: int, spares: int) -> None:
        async def make() -> None:
            options = PoolOptions(idle_timeout=20, concurrency=concurrency, spares=spares)
            self.host = Host(CORES, limit=LIMIT, options=options)
            self.kinds = [
                Kind(key, cpus, by_hand=True) for key, cpus in zip("abc", (1, 1.5, 3), strict=True)
            ]

        self.run(make())
        self.concurrency = concurrency

    # What can be done to it.

    @property
    def users(self) -> list[User]:
        return [user for user in self.host.users if not user.task.done()]

    @property
    def starting(self) -> list[Starting]:
        return [start for kind in self.kinds for start in kind.starting]

    @property
    def boxes(self) -> list[Box]:
        return [box for kind in self.kinds for box in kind.boxes if not box.closed]

    @rule(number=st.integers(0, 2))
    def arrive(self, number: int) -> None:
        self.run(self.host.user(self.kinds[number]))

    @rule(numbers=st.lists(st.integers(0, 2), min_size=2, max_size=12))
    def arrive_together(self, numbers: list[int]) -> None:
        async def arrive() -> None:
            self.host.users += [User(self.host.pool, self.kinds[number]) for number in numbers]
            await turns()

        self.run(arrive())

    @precondition(lambda self: any(user.has() for user in self.users))
    @rule(data=st.data(), discard=st.booleans())
    def end(self, data: st.DataObject, discard: bool) -> None:
        user = data.draw(st.sampled_from([user for user in self.users if user.has()]))

        async def end() -> None:
            if discard:
                user.lease.discard()
            await user.end()

        self.run(end())

    @precondition(lambda self: self.users)
    @rule(data=st.data(), later=st.integers(0, 3))
    def cancel(self, data: st.DataObject, later: int) -> None:
        user = data.draw(st.sampled_from(self.users))

        async def cancel() -> None:
            for start in self.starting[:1]:
                start.succeed()
            await turns(later)
            await user.cancel()

        self.run(cancel())

    @precondition(lambda self: self.starting)
    @rule(data=st.data(), fails=st.booleans())
    def finish_start(self, data: st.DataObject, fails: bool) -> None:
        start = data.draw(st.sampled_from(self.starting))

        async def finish() -> None:
            if fails:
                start.fail(OSError("no"))
            else:
                start.succeed()
            await turns()

        self.run(finish())

    @precondition(lambda self: self.boxes)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        box = data.draw(st.sampled_from(self.boxes))

        async def die() -> None:
            box.die()
            await turns()

        self.run(die())

    @precondition(lambda self: any(box.gate is None for box in self.boxes))
    @rule(data=st.data())
    def make_slow_to_close(self, data: st.DataObject) -> None:
        box = data.draw(st.sampled_from([box for box in self.boxes if box.gate is None]))
        box.gate = asyncio.Event()

    @precondition(lambda self: any(box.gate and box.closing for box in self.boxes))
    @rule(data=st.data())
    def let_close(self, data: st.DataObject) -> None:
        gates = [box.gate for box in self.boxes if box.gate and box.closing]
        gate = data.draw(st.sampled_from(gates))

        async def let_close() -> None:
            gate.set()
            await turns()

        self.run(let_close())

    @rule(seconds=st.sampled_from([0.5, 1.5, 3.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        async def advance() -> None:
            self.host.clock.advance(seconds)
            # Time alone changes who may go first, which the next event would find out.
            self.host.admission.dispatch()
            await turns()

        self.run(advance())

    @rule(cores=st.sampled_from([3, 4, 6]))
    def resize(self, cores: int) -> None:
        self.resized = True

        async def resize() -> None:
            self.host.pool.reconfigure(total=Resources(cores, 1 << 40))
            await turns()

        self.run(resize())

    # What must hold.

    @invariant()
    def the_ledger_adds_up(self) -> None:
        if not hasattr(self, "host"):
            return
        capacity = self.host.capacity
        real = [start.reservation for start in self.starting]
        real += [box.reservation for box in self.boxes if box.reservation.held]
        taken = sum(item.resources.amount.millicores for item in real)
        # Besides what exists, only what is held for somebody until evicted ones are gone.
        assert taken <= capacity.used.amount.millicores
        if not any(box.closing for box in self.boxes):
            assert taken == capacity.used.amount.millicores
        assert all(box.reservation.held for box in self.boxes if box.alive)

    @invariant()
    def never_more_than_there_is(self) -> None:
        if hasattr(self, "host"):
            # Only a smaller total may leave more lent than there is, and then nothing is added.
            used = self.host.capacity.used.amount
            if not self.host.capacity.overdrawn().millicores:
                self.top = used
            else:
                assert used.fits(getattr(self, "top", used))

    @invariant()
    def one_start_per_key(self) -> None:
        if hasattr(self, "host"):
            assert all(len(kind.starting) <= 1 for kind in self.kinds)

    @invariant()
    def no_container_has_too_many_leases(self) -> None:
        if hasattr(self, "host"):
            loads = Counter(user.box for user in self.users if user.has())
            assert all(load <= self.concurrency for load in loads.values())
            assert self.host.pool.snapshot().leases == loads.total()

    @invariant()
    def the_queue_is_bounded_and_counted(self) -> None:
        if hasattr(self, "host"):
            waiting = sum(user.waits() for user in self.users)
            # Who loses the room for its start, as the host is made smaller, waits again.
            limit = LIMIT + (len(self.kinds) if self.resized else 0)
            assert self.host.admission.waiting <= min(limit, waiting)
            assert sum(key.waiting for key in self.host.pool.snapshot().keys.values()) == waiting

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Whatever could be given to somebody has been given: another look changes nothing."""
        if hasattr(self, "host"):
            before = self.host.pool.snapshot()

            async def look_again() -> None:
                self.host.admission.dispatch()
                await turns()

            self.run(look_again())
            assert self.host.pool.snapshot() == before

    def teardown(self) -> None:
        if hasattr(self, "host"):
            self.run(self._everybody_is_served_in_the_end())
        self.loop.close()

    async def _everybody_is_served_in_the_end(self) -> None:
        self.host.pool.reconfigure(total=Resources(CORES, 1 << 40))
        for _ in range(200):
            for box in self.boxes:
                if box.gate is not None:
                    box.gate.set()
            for start in self.starting:
                start.succeed()
            for user in [user for user in self.users if user.has()]:
                await user.end()
            await turns()
            if not self.users:
                break
            self.host.clock.advance(1)
        assert not self.users, "somebody waits for ever"
        for start in self.starting:
            start.succeed()
        await self.host.pool.close()
        await turns()
        assert self.boxes == []
        assert self.host.capacity.used == Resources()
        assert self.host.pool.snapshot().keys == {}
        assert self.host.clock.set_timers == 0
        for user in self.host.users:
            if not user.task.cancelled():
                user.task.exception()


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
