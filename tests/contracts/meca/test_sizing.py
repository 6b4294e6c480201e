"""The search for the smallest limits, on tasks that are made up: any need, and any mood."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.contracts.meca.request import MIN_MEMORY, TaskLimits
from lading.contracts.meca.sizing import Allowed, Probe, Sizing, Wish, find_limits
from lading.errors import OutOfMemory, OutputDiffers, RunError, TaskFailed
from lading.units import MIB

MOST = TaskLimits(cpus=4.0, memory=16 << 30)
GIB = 1 << 30


@dataclass
class Made:
    """A task that needs so many MiB, and uses so many seconds of processor in a call."""

    needs: Callable[[], float]
    work: float = 0.001
    boot: float = 0.05
    threads: float = 1.0
    fails: RunError | None = None
    runs: list[TaskLimits] = field(default_factory=list)

    async def __call__(self, limits: TaskLimits, allowed: Allowed) -> Probe:
        self.runs.append(limits)
        needs = self.needs() * MIB
        cores = min(limits.cpus, self.threads)
        start, call = 0.2 + self.boot / cores, self.work / cores
        if self.fails is not None:
            return Probe(limits, start, call, error=self.fails)
        if limits.memory < needs:
            error = OutOfMemory("it", limit=limits.memory, peak=limits.memory)
            return Probe(limits, start, call, limits.memory, error=error)
        return Probe(limits, start, call, int(needs))


def find(task: Made, declared: TaskLimits | None = None, **wish: float) -> Sizing:
    return asyncio.run(
        find_limits(task, declared or TaskLimits(), Wish(MOST, **wish))  # type: ignore[arg-type]
    )


@settings(deadline=None)
@given(st.floats(1, 12_000), st.integers(6, 16_000), st.floats(0.01, 4))
def test_what_is_found_passes_and_little_less_does_not(
    needs: float, declared: int, cpus: float
) -> None:
    task = Made(lambda: needs)
    limits = TaskLimits(cpus=round(cpus, 3), memory=declared * MIB)
    if needs > declared * 4**3:
        with pytest.raises(OutOfMemory, match="fails under all limits up to"):
            find(task, limits)
        return
    found = find(task, limits)
    least = max(needs, MIN_MEMORY / MIB)
    assert least * MIB <= found.smallest_memory
    assert found.smallest_memory <= max(least * 1.06 + 1, least + 2) * MIB
    assert found.memory % MIB == 0
    assert found.memory >= 1.2 * found.smallest_memory
    assert found.memory <= 1.2 * found.smallest_memory + MIB
    assert len(task.runs) == len(found.probes)
    assert len(task.runs) <= 5 + 10 + 6 + 3, "bounded"
    assert all(one.memory >= MIN_MEMORY for one in task.runs)
    assert found.cpus <= max(limits.cpus, 0.1)
    more = needs > declared
    assert bool(found.notes) is more


def test_cores_that_work_alone_for_long_are_needed() -> None:
    found = find(Made(lambda: 50, work=3.0), TaskLimits(cpus=1.0))
    assert found.cpus == 0.5, "half as many are twice as slow"
    assert find(Made(lambda: 50, work=3.0), TaskLimits(cpus=1.0), slower=1.0).cpus == 1.0
    assert find(Made(lambda: 50, work=3.0, threads=1.0), TaskLimits(cpus=4.0)).cpus == 0.5
    assert find(Made(lambda: 50, work=3.0, threads=4.0), TaskLimits(cpus=4.0)).cpus == 1.9
    assert find(Made(lambda: 50, work=0.001), TaskLimits(cpus=4.0)).cpus <= 0.3


def test_less_than_a_tenth_of_a_core_is_left_as_it_is() -> None:
    assert find(Made(lambda: 10), TaskLimits(cpus=0.05)).cpus == 0.05


def test_a_margin_is_what_was_asked_for() -> None:
    found = find(Made(lambda: 100), margin=1.0)
    assert found.memory == 2 * found.smallest_memory
    assert find(Made(lambda: 100), margin=0.0).memory == found.smallest_memory


def test_more_than_is_declared_is_tried_and_told() -> None:
    task = Made(lambda: 900)
    found = find(task)
    assert found.memory >= 900 * 1.2 * MIB
    assert [one.memory // MIB for one in task.runs[:3]] == [128, 512, 2048]
    assert any("it declares now" in note for note in found.notes)


def test_a_task_that_fails_under_all_limits() -> None:
    error = TaskFailed("task it replied 500", status=500, body=b"")
    task = Made(lambda: 1, fails=error)
    with pytest.raises(TaskFailed, match="fails under all limits up to 8 GiB and 4 cores"):
        find(task)
    assert len(task.runs) == 5, "and is not tried for ever"
    alone = Made(lambda: 1, fails=TaskFailed("task it replied 500", status=500, body=b""))
    with pytest.raises(TaskFailed, match=r"^task it replied 500"):
        find(alone, MOST)
    assert len(alone.runs) == 1


def test_an_example_that_is_wrong_is_no_matter_of_limits() -> None:
    task = Made(lambda: 1, fails=OutputDiffers("the reply is not what the example says"))
    with pytest.raises(OutputDiffers, match=r"^the reply is not"):
        find(task)
    assert len(task.runs) == 1


@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(10, 100), st.floats(1, 3))
def test_a_task_whose_memory_varies_ends_with_what_passed_several_times(
    seed: int, low: float, factor: float
) -> None:
    chance = random.Random(seed)
    task = Made(lambda: low * chance.uniform(1, factor))
    try:
        found = find(task)
    except OutOfMemory as error:
        assert "now and then" in error.message  # only now and then
        return
    assert [probe.passed for probe in found.probes[-3:]] == [True] * 3
    assert {probe.limits.memory for probe in found.probes[-3:]} == {found.memory}
    assert len(task.runs) < 70
    assert found.memory >= low * MIB


def test_a_task_that_needs_more_once_it_is_confirmed() -> None:
    calm = Made(lambda: 20.0)
    find(calm)
    needs = iter([*[20.0] * (len(calm.runs) - 3), *[60.0] * 100])
    found = find(Made(lambda: next(needs)))
    assert found.memory >= 60 * MIB
    assert any("not the same each time" in note for note in found.notes)


def test_a_machine_that_is_busy_for_once_is_forgiven() -> None:
    task = Made(lambda: 50, work=1.0)
    calls = 0

    async def run(limits: TaskLimits, allowed: Allowed) -> Probe:
        nonlocal calls
        calls += 1
        probe = await task(limits, allowed)
        slow = calls % 4 == 3  # every now and then, never twice
        return Probe(limits, probe.start_seconds, probe.call_seconds * (9 if slow else 1),
                     probe.memory_peak, probe.error)  # fmt: skip

    told: list[Probe] = []
    found = asyncio.run(find_limits(run, TaskLimits(), Wish(MOST), told=told.append))
    assert found.probes == told
    assert any(probe.slow for probe in told)
    assert found.smallest_memory <= 52 * MIB
    assert found.cpus == 0.5


def test_limits_that_are_only_slow_raise_the_cores() -> None:
    task = Made(lambda: 50, work=1.0)

    async def run(limits: TaskLimits, allowed: Allowed) -> Probe:
        probe = await task(limits, allowed)
        # Slow where both are small: what was found apart does not hold together.
        both = limits.cpus <= 0.5 and limits.memory <= 64 * MIB and len(task.runs) > 20
        return Probe(limits, probe.start_seconds, probe.call_seconds * (9 if both else 1),
                     probe.memory_peak, probe.error)  # fmt: skip

    found = asyncio.run(find_limits(run, TaskLimits(), Wish(MOST, repeat=10)))
    assert found.cpus == 0.6


def test_a_run_is_told_in_a_line() -> None:
    limits = TaskLimits(cpus=0.5, memory=64 * MIB)
    assert str(Probe(limits, 0.2, 1.5, GIB)) == (
        "64 MiB, 0.5 cores: passed, 200 ms + 1.5 s, memory 1 GiB at the most"
    )
    assert str(Probe(limits, 9.0, slow=True)) == "64 MiB, 0.5 cores: too slow, 9.0 s + 0 ms"
    failed = Probe(TaskLimits(), error=RunError("it ended"))
    assert str(failed) == "128 MiB, 1 core: failed, it ended"
