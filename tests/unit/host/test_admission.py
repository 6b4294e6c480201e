from __future__ import annotations

import asyncio

import pytest
from tests.unit.host.parts import MIB, ManualClock, turns

from lading.errors import GpuUnavailable, NotAccepting, QueueFull, TimedOut, TooLarge
from lading.host.admission import Admission
from lading.host.capacity import Capacity, Reservation, Resources
from lading.host.gpus import Gpu, GpuMonitor


class Job:
    """Keeps room in a task of its own until told to end."""

    def __init__(self, admission: Admission, resources: Resources, timeout: float | None) -> None:
        self.room = admission.room(resources, timeout=timeout)
        self.reservation: Reservation | None = None
        self._done = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        async with self.room as self.reservation:
            await self._done.wait()
        self.reservation = None

    def runs(self) -> bool:
        return self.reservation is not None

    async def end(self) -> None:
        self._done.set()
        await asyncio.wait({self.task})
        await turns()


class Bench:
    def __init__(self, cpus: float = 4, limit: int = 100) -> None:
        self.clock = ManualClock()
        self.capacity = Capacity(Resources(cpus, 4096 * MIB), clock=self.clock.time)
        self.admission = Admission(self.capacity, limit=limit, clock=self.clock)
        self.jobs: list[Job] = []

    async def job(self, cpus: float, memory: int = 0, timeout: float | None = None) -> Job:
        job = Job(self.admission, Resources(cpus, memory), timeout)
        self.jobs.append(job)
        await turns()
        return job

    async def end_all(self) -> None:
        for job in self.jobs:
            if not job.runs():
                job.task.cancel()
            await job.end()
        assert self.capacity.used == Resources()
        assert self.admission.waiting == 0
        assert not self.admission.anybody
        assert self.clock.set_timers == 0


async def test_first_come_first_served() -> None:
    bench = Bench()
    big = await bench.job(4)
    waiting = [await bench.job(4) for _ in range(3)]
    assert [job.runs() for job in waiting] == [False] * 3
    await big.end()
    assert [job.runs() for job in waiting] == [True, False, False]
    await waiting[0].end()
    assert [job.runs() for job in waiting] == [False, True, False]
    await bench.end_all()


async def test_a_small_one_passes_a_big_one_that_does_not_fit() -> None:
    bench = Bench()
    await bench.job(3)
    big = await bench.job(4)
    small = await bench.job(1)
    assert small.runs()
    assert not big.runs()
    await bench.end_all()


async def test_a_big_one_is_served_under_a_stream_of_small_ones() -> None:
    bench = Bench()
    running = [await bench.job(1) for _ in range(4)]
    big = await bench.job(4)
    passed = 0
    for _ in range(100):
        newcomer = await bench.job(1)
        await running.pop(0).end()
        bench.clock.advance(0.25)
        if newcomer.runs():
            passed += 1
            running.append(newcomer)
        if big.runs():
            break
    assert big.runs()
    # 2 s of patience at four a second; then the four that ran had to end, and nobody came in.
    assert 8 <= passed <= 10
    await big.end()
    assert sum(job.runs() for job in bench.jobs) == 4, "those that were held back run now"
    await bench.end_all()


async def test_who_starves_blocks_only_those_who_came_later() -> None:
    bench = Bench()
    first = await bench.job(4)
    older = await bench.job(2)
    big = await bench.job(3)
    bench.clock.advance(10)
    assert not older.runs()
    await first.end()
    assert older.runs(), "it came before the big one"
    assert not big.runs()
    await bench.job(1)
    bench.clock.advance(2.1)
    late = await bench.job(1)
    assert not late.runs(), "one core is free, but the big one starves"
    big.task.cancel()
    await turns()
    assert late.runs(), "the one that starved has gone"
    await bench.end_all()


async def test_the_second_big_one_has_waited_since_it_was_first_passed() -> None:
    bench = Bench()
    running = await bench.job(3)
    first, second = await bench.job(4), await bench.job(4)
    await bench.job(0.5)
    bench.clock.advance(1.9)
    first.task.cancel()
    await turns()
    bench.clock.advance(0.2)
    late = await bench.job(0.5)
    assert not late.runs()
    assert not second.runs()
    await running.end()
    await bench.end_all()


async def test_2000_arrivals_against_a_queue_of_100() -> None:
    bench = Bench(cpus=4, limit=100)
    jobs = [Job(bench.admission, Resources(1), None) for _ in range(2000)]
    await turns(3)
    refused = [job for job in jobs if job.task.done()]
    assert len(refused) == 2000 - 4 - 100
    error = refused[0].task.exception()
    assert isinstance(error, QueueFull)
    assert "100 tasks wait for room already" in str(error)
    assert "try again later" in error.fix
    assert all(isinstance(job.task.exception(), QueueFull) for job in refused)
    bench.jobs = [job for job in jobs if not job.task.done()]
    for _ in range(26):
        for job in [job for job in bench.jobs if job.runs()]:
            await job.end()
    assert all(job.task.done() for job in bench.jobs)
    await bench.end_all()


async def test_a_cancelled_waiter_frees_its_place() -> None:
    bench = Bench(limit=1)
    await bench.job(4)
    waits = await bench.job(1)
    refused = await bench.job(1)
    assert isinstance(refused.task.exception(), QueueFull)
    waits.task.cancel()
    await turns()
    assert bench.admission.waiting == 0
    again = await bench.job(1)
    assert not again.task.done()
    await bench.end_all()


async def test_room_granted_in_the_moment_of_cancellation_is_given_back() -> None:
    bench = Bench()
    running = await bench.job(4)
    waits, behind = await bench.job(4), await bench.job(4)
    running._done.set()
    while not waits.room._waiter or not waits.room._waiter.future.done():
        await asyncio.sleep(0)
    waits.task.cancel()
    await turns()
    assert waits.task.cancelled()
    assert behind.runs()
    await bench.end_all()


async def test_paused_it_refuses_newcomers_and_those_who_wait() -> None:
    bench = Bench()
    running = await bench.job(4)
    waits = await bench.job(1)
    bench.admission.pause()
    await turns()
    assert isinstance(waits.task.exception(), NotAccepting)
    assert running.runs()
    refused = await bench.job(0.1)
    assert isinstance(refused.task.exception(), NotAccepting)
    bench.admission.resume()
    await running.end()
    assert (await bench.job(1)).runs()
    await bench.end_all()


async def test_drain_waits_for_rooms_until_its_deadline() -> None:
    bench = Bench()
    running = await bench.job(4)
    drain = asyncio.get_running_loop().create_task(bench.admission.drain(5))
    await turns()
    bench.clock.advance(4.9)
    await turns()
    assert not drain.done()
    bench.clock.advance(0.2)
    assert await drain is False
    drain = asyncio.get_running_loop().create_task(bench.admission.drain(5))
    await turns()
    await running.end()
    assert await drain is True
    assert await bench.admission.drain(0) is True
    await bench.end_all()


async def test_a_waiter_has_a_deadline_and_learns_what_it_waited_for() -> None:
    bench = Bench()
    await bench.job(2.5)
    waits = await bench.job(2, timeout=5)
    bench.clock.advance(4.9)
    await turns()
    assert not waits.task.done()
    bench.clock.advance(0.1)
    await turns()
    error = waits.task.exception()
    assert isinstance(error, TimedOut)
    assert error.message == ("no room within 5.0 s: still waited for 2 cores; 1.5 of 4 are free")
    served = await bench.job(1, timeout=5)
    bench.clock.advance(50)
    await turns()
    assert served.runs(), "the deadline is for waiting only"
    await bench.end_all()


async def test_it_says_what_somebody_waits_for() -> None:
    bench = Bench()
    await bench.job(2.5, memory=4000 * MIB)
    first = await bench.job(2)
    second = await bench.job(0.5, memory=512 * MIB)
    third = await bench.job(2)
    assert first.room.waiting_for == "waits for 2 cores; 1.5 of 4 are free; 1st in line"
    assert second.room.waiting_for == (
        "waits for 512 MiB of memory; 96 MiB of 4 GiB are free; 2nd in line"
    )
    assert third.room.waiting_for.endswith("; 3rd in line")
    await bench.job(0.1)
    bench.clock.advance(3)
    held_back = await bench.job(0.1)
    assert held_back.room.waiting_for == "waits for its turn; 4th in line"
    assert bench.jobs[0].room.waiting_for == ""
    await bench.end_all()


async def test_what_never_fits_is_refused_at_once_also_after_a_resize() -> None:
    bench = Bench()
    with pytest.raises(TooLarge):
        async with bench.admission.room(Resources(5)):
            pass
    await bench.job(1)
    waits = await bench.job(4)
    bench.admission.resize(Resources(3, 4096 * MIB))
    await turns()
    assert isinstance(waits.task.exception(), TooLarge)
    later = await bench.job(3)
    assert not later.runs()
    bench.admission.resize(Resources(4, 4096 * MIB))
    await turns()
    assert later.runs()
    await bench.end_all()


async def test_gpus_that_others_use_are_refused_and_our_own_waited_for() -> None:
    clock = ManualClock()
    idle = ["a", "b"]
    monitor = GpuMonitor(
        [Gpu(index, uuid, "model", MIB) for index, uuid in enumerate("abc")],
        lambda _: list(idle),
        clock=clock.time,
    )
    capacity = Capacity(Resources(4, MIB, 3), monitor.idle, clock=clock.time)
    admission = Admission(capacity, gpus=monitor, clock=clock)
    with pytest.raises(GpuUnavailable, match="asks for 3 GPUs, and of 3 here 2 can be lent now"):
        async with admission.room(Resources(gpus=3)):
            pass
    async with admission.room(Resources(gpus=2)) as held:
        assert held.gpus == ("a", "b")
        job = Job(admission, Resources(gpus=1), None)
        while not job.room.waiting_for:
            await asyncio.sleep(0.001)
        assert job.room.waiting_for == "waits for 1 GPU; 0 of 3 are free; 1st in line"
    await turns()
    assert job.runs()
    await job.end()
    assert capacity.used == Resources()
