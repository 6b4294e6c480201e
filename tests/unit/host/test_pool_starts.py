"""Starts that fail, are cancelled, or end in a dead container."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.host.parts import Kind, User, host, turns

from lading.errors import ContainerLost, NotReady, RunError
from lading.host.capacity import Resources
from lading.host.pool import KeyStatus


async def test_a_failed_start_fails_who_caused_it_and_others_get_a_fresh_one() -> None:
    async with host(cpus=4) as h:
        kind = Kind("a", by_hand=True)
        users = [await h.user(kind) for _ in range(3)]
        error = NotReady("no mark")
        kind.starting[0].fail(error)
        await turns()
        assert [user.error for user in users] == [error, None, None]
        assert h.capacity.used.cpus == 1
        kind.starting[0].succeed()
        await turns()
        assert users[1].has()


async def test_a_second_failure_in_a_row_fails_all_who_wait() -> None:
    async with host() as h:
        kind = Kind("a")
        kind.failures = [NotReady(f"attempt {number}") for number in range(9)]
        users = [await h.user(kind) for _ in range(1)]
        users += [User(h.pool, kind) for _ in range(10)]
        h.users += users[1:]
        await turns(60)
        assert [str(user.error) for user in users] == ["attempt 0", "attempt 1"] + ["attempt 2"] * 9
        assert kind.started == 3, "bounded, whatever the number of those who wait"
        assert h.capacity.used == Resources()
        kind.failures.clear()
        assert (await h.user(kind)).has()


async def test_who_waits_for_a_key_with_containers_outlives_failing_starts() -> None:
    async with host(cpus=4) as h:
        kind = Kind("a", by_hand=True)
        running = await h.user(kind)
        kind.starting[0].succeed()
        await turns()
        users = [await h.user(kind) for _ in range(3)]
        kind.starting[0].fail(OSError("no"))
        await turns()
        assert isinstance(users[0].error, OSError)
        assert kind.starting == [], "no other is tried for a while"
        await running.end()
        assert users[1].has()
        h.clock.advance(11)
        await users[1].end()
        assert users[2].has()


async def test_when_its_containers_die_who_waits_gets_a_start() -> None:
    async with host(cpus=4) as h:
        kind = Kind("a", by_hand=True)
        running = await h.user(kind)
        box = kind.starting[0].succeed()
        await turns()
        users = [await h.user(kind) for _ in range(2)]
        kind.starting[0].fail(OSError("no"))
        await turns()
        box.die()
        await turns()
        kind.starting[0].succeed()
        await turns()
        assert users[1].has()
        assert running.has()


async def test_a_container_that_is_dead_on_arrival_is_a_failed_start() -> None:
    async with host() as h:
        kind = Kind("a", by_hand=True)
        user = await h.user(kind)
        kind.starting[0].succeed().alive = False
        await turns()
        assert isinstance(user.error, ContainerLost)
        assert kind.boxes[0].closed
        assert h.capacity.used == Resources()


async def test_the_start_of_a_cancelled_sole_waiter_is_cancelled() -> None:
    async with host() as h:
        kind = Kind("a", by_hand=True)
        user = await h.user(kind)
        start = kind.starting[0]
        await user.cancel()
        assert start.cancelled
        assert h.capacity.used == Resources()
        assert h.pool.snapshot().keys == {}


async def test_it_goes_on_while_others_wait_for_the_key() -> None:
    async with host() as h:
        kind = Kind("a", by_hand=True)
        user, other = await h.user(kind), await h.user(kind)
        await user.cancel()
        kind.starting[0].succeed()
        await turns()
        assert other.has()
        assert kind.started == 1


async def test_who_comes_while_a_start_is_being_cancelled_gets_a_fresh_one() -> None:
    async with host() as h:
        kind = Kind("a", by_hand=True)
        user = await h.user(kind)
        user.task.cancel()
        await turns(1)
        other = await h.user(kind)
        kind.starting[0].succeed()
        await turns()
        assert other.has()
        assert kind.started == 2


async def test_a_start_that_cancels_itself_is_a_failure() -> None:
    async with host() as h:
        kind = Kind("a", by_hand=True)
        user = await h.user(kind)
        kind.starting[0].outcome.cancel()
        await turns()
        assert isinstance(user.error, RunError)
        assert h.capacity.used == Resources()


@pytest.mark.parametrize("full", [False, True])
async def test_cancellation_at_every_await_point(full: bool) -> None:
    """Whenever it comes, nothing is lost: not the room, not the container, not who waits behind."""
    for turn in range(25):
        async with host(cpus=1) as h:
            evicted = await h.use_once(Kind("old")) if full else None
            kind = Kind("a")
            user, behind = User(h.pool, kind), User(h.pool, kind)
            h.users += [user, behind]
            await turns(turn)
            user.task.cancel()
            await asyncio.wait({user.task})
            await turns(40)
            assert behind.has(), f"cancelled after {turn} turns"
            assert h.capacity.used.cpus == 1
            assert evicted is None or evicted.closed
            await behind.end()
            assert h.pool.snapshot().keys["a"] == KeyStatus(1, 0, 0, 0)


async def test_cancellation_of_everybody_at_every_await_point() -> None:
    for turn in range(25):
        async with host(cpus=1) as h:
            await h.use_once(Kind("old"))
            users = [User(h.pool, Kind(key)) for key in "aab"]
            h.users += users
            await turns(turn)
            for user in users:
                user.task.cancel()
            await asyncio.wait({user.task for user in users})
            await turns(40)
            assert h.admission.waiting == 0
            assert h.pool.snapshot().leases == 0
            assert h.capacity.used.cpus <= 1
