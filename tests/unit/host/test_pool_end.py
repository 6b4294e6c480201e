"""How containers leave the pool, how spares stay in it, and what the operator does."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.host.parts import MIB, Host, Kind, host, turns

from lading.errors import NotAccepting
from lading.host.capacity import Resources
from lading.host.pool import KeyStatus, PoolOptions

# The end of containers.


async def test_an_idle_container_that_dies_frees_its_room_once_it_is_gone() -> None:
    async with host() as h:
        box = await h.use_once(Kind("a"))
        box.gate = asyncio.Event()
        box.die()
        await turns()
        assert h.pool.snapshot().keys == {}
        assert h.capacity.used.cpus == 1
        box.gate.set()
        await turns()
        assert h.capacity.used.cpus == 0
        assert box.closing == 1


async def test_a_busy_container_that_dies_is_replaced_for_who_waits() -> None:
    async with host(cpus=2, concurrency=2) as h:
        kind = Kind("a")
        other = await h.user(Kind("other"))
        one, two = await h.user(kind), await h.user(kind)
        assert one.box is two.box
        third = await h.user(kind)
        assert not third.has()
        await other.end()
        one.box.die()
        await turns()
        assert third.has()
        assert third.box is not one.box
        await one.end()
        assert not one.box.closed, "who still uses it may want to see why it died"
        await two.end()
        assert one.box.closed


async def test_a_discarded_container_is_leased_to_nobody_any_more() -> None:
    async with host(cpus=1) as h:
        kind = Kind("a")
        user, waits = await h.user(kind), await h.user(kind)
        user.lease.discard()
        user.lease.discard()
        await turns()
        assert not waits.has(), "its room is not free yet"
        await user.end()
        assert user.box.closed
        assert waits.has()
        assert waits.cold
        assert waits.box is not user.box


async def test_a_dead_container_whose_exit_was_not_told_is_not_given_out() -> None:
    async with host() as h:
        kind = Kind("a")
        box = await h.use_once(kind)
        box.alive = False
        assert await h.use_once(kind) is not box
        assert box.closed


async def test_idle_containers_are_closed_after_their_time() -> None:
    async with host(idle_timeout=60) as h:
        a, b = await h.use_once(Kind("a")), await h.use_once(kind := Kind("b"))
        h.clock.advance(40)
        await h.use_once(kind)
        h.clock.advance(20)
        await turns()
        assert (a.closed, b.closed) == (True, False)
        assert h.clock.set_timers == 1
        h.clock.advance(40)
        await turns()
        assert b.closed
        assert h.clock.set_timers == 0


async def test_a_busy_container_does_not_time_out() -> None:
    async with host(idle_timeout=60) as h:
        user = await h.user(Kind("a"))
        h.clock.advance(600)
        await turns()
        assert not user.box.closing


async def test_a_failed_removal_is_tried_again() -> None:
    async with host() as h:
        box = await h.use_once(Kind("a"))
        box.errors = [OSError("engine away"), OSError("engine away")]
        box.die()
        await turns()
        assert h.capacity.used.cpus == 1
        h.clock.advance(1)
        await turns()
        h.clock.advance(4)
        await turns()
        assert box.closed
        assert h.capacity.used.cpus == 0


async def test_a_removal_that_fails_for_good_gives_its_room_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with host() as h:
        box = await h.use_once(Kind("a"))
        box.errors = [OSError("engine away")] * 3
        closing = asyncio.get_running_loop().create_task(h.pool.close())
        await asyncio.wait({closing})  # it does not wait between attempts at the end
        assert box.closing == 3
        assert "container of a could not be removed: engine away" in caplog.text


# Spares.


async def test_a_spare_is_ready_and_another_starts_behind_it() -> None:
    async with host(spares=1) as h:
        kind = Kind("a", by_hand=True)
        first = await h.user(kind)
        kind.starting[0].succeed()
        await turns()
        assert first.has()
        assert len(kind.starting) == 1, "the spare"
        kind.starting[0].succeed()
        await turns()
        second = await h.user(kind)
        assert second.has()
        assert not second.cold
        assert len(kind.starting) == 1, "the next spare"
        await first.end()
        assert h.pool.snapshot().keys["a"] == KeyStatus(idle=1, busy=1, starting=1, waiting=0)


async def test_spares_evict_nobody_and_pass_nobody() -> None:
    async with host(cpus=3, spares=1) as h:
        idle = await h.use_once(Kind("other"))
        kind = Kind("a")
        user = await h.user(kind)
        assert kind.started == 1
        assert not idle.closing
        waits = await h.user(Kind("big", cpus=3))
        idle.die()
        await turns()
        assert kind.started == 1, "somebody waits for that room"
        await waits.cancel()
        assert kind.started == 2
        assert user.has()


async def test_spares_go_when_their_key_is_not_used_any_more() -> None:
    async with host(idle_timeout=60, spares=1) as h:
        kind = Kind("a")
        for _ in range(4):
            await h.use_once(kind)
            h.clock.advance(40)
            await turns()
        assert kind.started == 2
        assert not any(box.closing for box in kind.boxes), "one is used, the other its spare"
        h.clock.advance(60)
        await turns()
        assert all(box.closed for box in kind.boxes)
        assert kind.started == 2


async def test_a_dead_spare_is_replaced_and_a_failing_one_left_alone() -> None:
    async with host(spares=1) as h:
        kind = Kind("a")
        user = await h.user(kind)
        kind.failures = [OSError("no")] * 9
        kind.boxes[1].die()
        await turns()
        assert kind.started == 3
        assert user.has()
        await h.user(Kind("b", by_hand=True))
        assert kind.started == 3


async def test_a_spare_gives_way_to_another_key() -> None:
    async with host(cpus=2, spares=1) as h:
        kind = Kind("a")
        user = await h.user(kind)
        assert kind.started == 2
        assert (await h.user(Kind("b"))).has()
        assert kind.boxes[1].closed
        assert user.has()


# The operator.


async def test_close_waits_for_leases_then_closes_under_them() -> None:
    h = Host()
    kind = Kind("a")
    one, two = await h.user(kind), await h.user(kind)
    idle = await h.use_once(Kind("idle"))
    starting = await h.user(slow := Kind("slow", by_hand=True))
    closing = asyncio.get_running_loop().create_task(h.pool.close(10))
    await turns()
    assert isinstance(starting.error, NotAccepting)
    assert slow.starting == []
    assert isinstance((await h.user(kind)).error, NotAccepting)
    await one.end()
    assert not closing.done()
    h.clock.advance(10)
    await asyncio.wait({closing})
    assert one.box.closed
    assert two.box.closed
    assert idle.closed
    assert h.capacity.used == Resources()
    await two.end()
    assert two.box.closing == 1
    await h.pool.close()


async def test_close_returns_early_when_the_leases_are_over() -> None:
    h = Host()
    user = await h.user(Kind("a"))
    closing = asyncio.get_running_loop().create_task(h.pool.close(1000))
    await turns()
    await user.end()
    await asyncio.wait({closing})
    assert user.box.closed


async def test_a_cancelled_close_waits_no_longer_but_closes() -> None:
    for turn in range(4):
        h = Host()
        user = await h.user(Kind("a"))
        user.box.gate = asyncio.Event()
        closing = asyncio.get_running_loop().create_task(h.pool.close(1000))
        await turns(turn + 1)
        closing.cancel()
        await turns()
        assert user.box.closing == 1
        closing.cancel()
        await turns()
        assert not closing.done()
        user.box.gate.set()
        await asyncio.wait({closing})
        assert closing.cancelled()
        assert user.box.closed
        await user.end()


async def test_clear_closes_idle_ones_now_and_busy_ones_when_they_are_done() -> None:
    async with host() as h:
        kind = Kind("a")
        busy, idle = await h.user(kind), await h.use_once(Kind("idle"))
        waits = await h.user(slow := Kind("slow", by_hand=True))
        h.admission.pause()
        await h.pool.clear()
        await turns()
        assert idle.closed
        assert not busy.box.closing
        assert isinstance(waits.error, NotAccepting)
        assert slow.starting == []
        await busy.end()
        assert busy.box.closed
        h.admission.resume()
        assert (await h.user(kind)).has()


async def test_nothing_is_started_in_advance_while_paused() -> None:
    async with host(cpus=4, spares=2) as h:
        kind = Kind("a", by_hand=True)
        user = await h.user(kind)
        kind.starting[0].succeed()
        await turns()
        assert user.has()
        assert len(kind.starting) == 1, "a spare is on its way"
        h.admission.pause()
        await h.pool.clear()
        await turns()
        assert kind.starting == []
        await user.end()
        assert h.pool.snapshot().keys == {}
        assert h.capacity.used == Resources()


async def test_a_smaller_host_keeps_what_is_busy_and_closes_what_is_idle() -> None:
    async with host(cpus=4) as h:
        users = [await h.user(Kind(key)) for key in "ab"]
        idle = [await h.use_once(Kind(key)) for key in "cd"]
        h.pool.reconfigure(total=Resources(3, 4096 * MIB))
        await turns()
        assert [box.closed for box in idle] == [True, False]
        h.pool.reconfigure(total=Resources(1, 4096 * MIB))
        await turns()
        assert idle[1].closed
        assert h.capacity.used.cpus == 2
        await users[0].end()
        assert users[0].box.closed, "there is no room for it any more"
        await users[1].end()
        assert not users[1].box.closing
        h.pool.reconfigure(options=PoolOptions(idle_timeout=1))
        h.clock.advance(1)
        await turns()
        assert users[1].box.closed


async def test_the_snapshot_adds_up() -> None:
    async with host(cpus=2) as h:
        kind = Kind("a")
        await h.user(kind)
        await h.use_once(Kind("b"))
        await h.user(Kind("big", cpus=2))
        status = h.pool.snapshot()
        assert status.keys["a"] == KeyStatus(idle=0, busy=1, starting=0, waiting=0)
        assert status.keys["b"] == KeyStatus(idle=1, busy=0, starting=0, waiting=0)
        assert status.keys["big"] == KeyStatus(idle=0, busy=0, starting=0, waiting=1)
        assert (status.leases, status.waiting, status.closing) == (1, 1, 0)
        assert status.reserved == Resources(2, 2 * MIB)
        assert status.total.cpus == 2
