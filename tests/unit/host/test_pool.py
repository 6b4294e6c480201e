"""Every line of the pool's policy."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.host.parts import MIB, Kind, User, host, turns

from lading.errors import QueueFull, TimedOut, TooLarge
from lading.host.capacity import Capacity, Resources
from lading.host.pool import KeyStatus


def served(users: list[User]) -> list[bool]:
    return [user.has() for user in users]


# 1. An idle container of the key.


async def test_a_container_is_started_once_and_used_again() -> None:
    async with host() as h:
        kind = Kind("a")
        async with h.pool.lease(kind.want) as lease:
            assert lease.cold
            first = lease.warm
            assert lease.reservation is first.reservation
        async with h.pool.lease(kind.want) as lease:
            assert not lease.cold
            assert lease.warm is first
        assert kind.started == 1


async def test_the_most_recently_used_is_taken() -> None:
    async with host() as h:
        kind = Kind("a")
        one, two = await h.user(kind), await h.user(kind)
        await two.end()
        await one.end()
        third = await h.user(kind)
        assert third.box is one.box


async def test_an_exception_in_the_request_gives_the_container_back() -> None:
    async with host() as h:
        kind = Kind("a")
        with pytest.raises(ValueError, match="mine"):
            async with h.pool.lease(kind.want):
                raise ValueError("mine")
        assert h.pool.snapshot().keys["a"] == KeyStatus(idle=1, busy=0, starting=0, waiting=0)


# 2. Another one, with eviction.


async def test_different_keys_start_in_parallel_and_one_key_once() -> None:
    async with host(cpus=8) as h:
        kinds = [Kind(key, by_hand=True) for key in "abc"]
        users = [await h.user(kind) for kind in kinds for _ in range(5)]
        assert [len(kind.starting) for kind in kinds] == [1, 1, 1]
        assert h.pool.snapshot().keys["a"] == KeyStatus(idle=0, busy=0, starting=1, waiting=5)
        assert users[0].lease.waiting_for == "waits for its container to start; 1st in line"
        kinds[1].starting[0].succeed()
        await turns()
        assert users[5].has()
        assert users[5].cold
        assert len(kinds[1].starting) == 1, "the next start of that key, for the next that waits"
        assert h.capacity.used.cpus == 4


async def test_who_waits_takes_what_is_free_first() -> None:
    async with host() as h:
        kind = Kind("a", by_hand=True)
        first = await h.user(kind)
        kind.starting[0].succeed()
        await turns()
        second = await h.user(kind)
        assert len(kind.starting) == 1
        await first.end()
        assert second.has()
        assert not second.cold
        kind.starting[0].succeed()
        await turns()
        assert h.pool.snapshot().keys["a"] == KeyStatus(idle=1, busy=1, starting=0, waiting=0)


async def test_the_least_recently_used_are_evicted_and_no_more_than_needed() -> None:
    async with host(cpus=4) as h:
        kinds = [Kind(key) for key in "abcd"]
        boxes = [await h.use_once(kind) for kind in kinds]
        big = await h.user(Kind("big", cpus=2))
        assert big.has()
        assert [box.closed for box in boxes] == [True, True, False, False]


async def test_a_bigger_victim_saves_smaller_ones() -> None:
    async with host(cpus=4) as h:
        small = await h.use_once(Kind("small", cpus=1))
        large = await h.use_once(Kind("large", cpus=3))
        user = await h.user(Kind("new", cpus=3))
        assert user.has()
        assert (small.closed, large.closed) == (False, True)


async def test_nothing_is_evicted_where_it_would_not_be_enough() -> None:
    async with host(cpus=4) as h:
        await h.user(Kind("busy", cpus=3))
        idle = await h.use_once(Kind("idle", cpus=1))
        waits = await h.user(Kind("new", cpus=2))
        assert not waits.has()
        assert not idle.closing


async def test_room_is_free_only_when_the_evicted_one_is_gone() -> None:
    async with host(cpus=2) as h:
        old = await h.use_once(Kind("old", cpus=2))
        old.gate = asyncio.Event()
        kind = Kind("new", cpus=1)
        user, other = await h.user(kind), await h.user(Kind("other", cpus=1))
        assert old.closing == 1
        assert not kind.started
        assert h.capacity.used.cpus == 2
        assert h.pool.admission.waiting == 1, "the one that evicts has its room for certain"
        old.gate.set()
        await turns()
        assert user.has()
        assert other.has()
        assert h.capacity.used.cpus == 2


async def test_nobody_snatches_the_room_that_was_evicted_for_another() -> None:
    async with host(cpus=2) as h:
        old = await h.use_once(Kind("old", cpus=2))
        old.gate = asyncio.Event()
        user = await h.user(Kind("new", cpus=2))
        thief = await h.user(Kind("thief", cpus=1))
        old.gate.set()
        await turns()
        assert served([user, thief]) == [True, False]


async def test_who_evicts_and_is_cancelled_leaves_the_room_to_others() -> None:
    async with host(cpus=2) as h:
        old = await h.use_once(Kind("old", cpus=2))
        old.gate = asyncio.Event()
        kind = Kind("new", cpus=2)
        user, behind = await h.user(kind), await h.user(Kind("behind", cpus=2))
        await user.cancel()
        assert h.capacity.used.cpus == 2, "it is still there"
        old.gate.set()
        await turns()
        assert behind.has()
        assert not kind.started


async def test_a_room_for_one_run_evicts_too() -> None:
    async with host(cpus=2) as h:
        old = await h.use_once(Kind("old", cpus=1))
        async with h.admission.room(Resources(cpus=2)):
            assert old.closed
            assert h.capacity.used.cpus == 2
        old = await h.use_once(Kind("old", cpus=2))
        old.gate = asyncio.Event()
        task = asyncio.get_running_loop().create_task(
            h.admission.room(Resources(cpus=2)).__aenter__()
        )
        await turns()
        task.cancel()
        old.gate.set()
        await asyncio.wait({task})
        await turns()
        assert task.cancelled()


# 3. Sharing.


async def test_a_running_one_is_shared_when_no_other_can_be_started() -> None:
    async with host(cpus=2, concurrency=2) as h:
        kind = Kind("a")
        users = [await h.user(kind) for _ in range(5)]
        assert kind.started == 2, "scaled out first"
        assert served(users) == [True] * 4 + [False]
        loads = [sum(user.box is box for user in users[:4]) for box in kind.boxes]
        assert loads == [2, 2], "the least loaded was taken"
        await users[0].end()
        assert users[4].has()


async def test_who_waits_for_a_start_does_not_share_meanwhile() -> None:
    async with host(cpus=2, concurrency=9) as h:
        kind = Kind("a", by_hand=True)
        first = await h.user(kind)
        kind.starting[0].succeed()
        await turns()
        second = await h.user(kind)
        assert served([first, second]) == [True, False]
        kind.starting[0].succeed()
        await turns()
        assert second.box is not first.box


# 4. Waiting.


async def test_as_many_wait_as_may_and_the_next_is_refused() -> None:
    async with host(cpus=1, limit=2) as h:
        kind = Kind("a")
        users = [await h.user(kind) for _ in range(4)]
        assert served(users) == [True, False, False, False]
        assert isinstance(users[3].error, QueueFull)
        assert users[1].lease.waiting_for == (
            "waits for 1 core; 0 of 1 are free, and its container is busy; 1st in line"
        )
        await users[0].end()
        assert users[1].has()


async def test_starts_are_no_queue() -> None:
    async with host(cpus=4, limit=0) as h:
        users = [await h.user(Kind(key, by_hand=True)) for key in "abcd"]
        assert not any(user.error for user in users)
        assert isinstance((await h.user(Kind("e"))).error, QueueFull)


async def test_what_never_fits_is_refused() -> None:
    async with host(cpus=1) as h:
        assert isinstance((await h.user(Kind("a", cpus=2))).error, TooLarge)


async def test_a_deadline_for_waiting_does_not_count_the_start() -> None:
    async with host(cpus=1) as h:
        kind = Kind("a", by_hand=True)
        users = [await h.user(kind, timeout=3) for _ in range(2)]
        h.clock.advance(5)
        await turns()
        assert not any(user.error for user in users)
        kind.starting[0].succeed()
        await turns()
        assert served(users) == [True, False]
        h.clock.advance(3)
        await turns()
        assert isinstance(users[1].error, TimedOut)
        assert str(users[1].error).startswith("no room for a within 3.0 s: still waited for 1 core")
        assert "its container is busy" in str(users[1].error)


async def test_a_container_given_back_goes_to_its_own_key_until_somebody_starves() -> None:
    async with host(cpus=1) as h:
        a, b = Kind("a"), Kind("b")
        running = await h.user(a)
        other = await h.user(b)
        for _ in range(5):
            following = await h.user(a)
            await running.end()
            assert following.has(), "no container is replaced while its own key has work"
            running = following
            h.clock.advance(0.5)
        following = await h.user(a)
        await running.end()
        assert served([following, other]) == [False, True]
        await other.end()
        assert following.has()


async def test_idle_containers_are_kept_from_newcomers_while_somebody_starves() -> None:
    async with host(cpus=2) as h:
        a, b = Kind("a"), Kind("b")
        busy = await h.user(b)
        big = await h.user(Kind("big", cpus=2))
        await h.use_once(a)
        h.clock.advance(2.1)
        late = await h.user(a)
        assert not late.has(), "an idle one is there, but it is for the big one now"
        await busy.end()
        assert big.has()
        await big.end()
        assert late.has()


async def test_sharing_does_not_starve_others_either() -> None:
    async with host(cpus=1, concurrency=2) as h:
        a = Kind("a")
        first = await h.user(a)
        other = await h.user(Kind("b"))
        second = await h.user(a)
        assert second.has()
        await first.end()
        h.clock.advance(2.1)
        third = await h.user(a)
        assert not third.has()
        await second.end()
        assert other.has()


async def test_who_is_being_provided_for_blocks_nobody() -> None:
    async with host(cpus=3) as h:
        slow, quick = Kind("slow", by_hand=True), Kind("quick")
        starting = [await h.user(slow), await h.user(slow)]
        await h.use_once(quick)
        h.clock.advance(5)
        assert (await h.user(quick)).has()
        assert served(starting) == [False, False]


async def test_serving_who_starved_lets_the_others_go_on() -> None:
    async with host(cpus=2, concurrency=2) as h:
        a, b = Kind("a"), Kind("b")
        users = [await h.user(a), await h.user(b)]
        users += [await h.user(a), await h.user(a), await h.user(b)]
        assert served(users) == [True, True, True, False, True]
        h.clock.advance(2.1)
        await users[4].end()
        late = await h.user(b)
        assert not late.has(), "somebody starves"
        await users[0].end()
        assert users[3].has()
        assert late.has()


async def test_a_gpu_goes_from_an_idle_container_to_another_key() -> None:
    capacity = Capacity(Resources(4, 4096 * MIB, 2), lambda: ("x", "y"))
    async with host(capacity=capacity) as h:
        held = await h.user(Kind("a", gpus=1))
        idle = await h.use_once(Kind("b", gpus=1))
        assert (held.box.reservation.gpus, idle.reservation.gpus) == (("x",), ("y",))
        plain = await h.use_once(Kind("plain"))
        user = await h.user(Kind("c", gpus=1))
        assert user.box.reservation.gpus == ("y",)
        assert (idle.closed, plain.closed) == (True, False)
        waits = await h.user(Kind("d", gpus=2))
        assert waits.lease.waiting_for == "waits for 2 GPUs; 0 of 2 are free; 1st in line"
