"""What a container used, exactly, however short it lived."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support import cgroups

from lading.engine import ContainerSpec, Engine, Limits
from lading.errors import ExitedEarly, ImageNotFound
from lading.run.lifecycle import Running, running, start
from lading.run.readiness import Readiness
from lading.run.records import Kind, Records, Run, new_id

MIB = 1 << 20
RUNTIME = 12 * MIB
"""More than what an engine's runtime takes in the group to start a program."""


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(tmp_path / "records.db")
    yield records
    records.close()


@dataclass
class Runs:
    """Starts the probe with accounting, and finds what was written down."""

    engine: Engine
    image: str
    labels: dict[str, str]
    records: Records
    run: Run | None = None

    async def start(self, *args: str, **values: Any) -> Running:
        readiness = values.pop("readiness", None)
        values = {"image": self.image, "labels": self.labels, "args": args, **values}
        self.run = Run(new_id(), Kind.CONTAINER, "test", owner="o", name="t", image=self.image)
        return await start(
            self.engine,
            ContainerSpec(**values),
            readiness=readiness,
            records=self.records,
            run=self.run,
            accounting=True,
        )

    def record(self) -> Run:
        assert self.run is not None
        return self.records.get(self.run.id)

    async def groups(self) -> list[str]:
        """The control groups of the run that was started last."""
        assert self.run is not None
        return await asyncio.to_thread(cgroups.of_runs, self.run.id)


@pytest.fixture
async def runs(
    engine: Engine, image: str, test_labels: dict[str, str], records: Records
) -> AsyncIterator[Runs]:
    runs = Runs(engine, image, test_labels, records)
    yield runs
    assert await engine.containers(test_labels) == []
    if runs.run is not None:
        assert await runs.groups() == []


@pytest.fixture
async def exact(engine: Engine) -> None:
    """Skip where nobody can choose a container's group."""
    info = await engine.info()
    if not info.local or info.rootless or info.cgroup_driver != "cgroupfs":
        pytest.skip(f"no control groups of ours on {info.kind} here")


async def test_it_works_where_there_can_be_none(runs: Runs) -> None:
    """On the fake always, and elsewhere wherever it can't be had."""
    it = await runs.start("exit", "0")
    assert (await it.wait()).code == 0
    await it.close()
    assert runs.record().exit_code == 0


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_the_peak_of_a_container_that_ends_at_once(runs: Runs) -> None:
    it = await runs.start("hog", str(24 * MIB), "0")
    assert await runs.groups() != []
    await it.wait()
    used = await it.usage()
    assert 24 * MIB <= used.memory_peak < 24 * MIB + RUNTIME
    assert used.cpu_seconds > 0
    await it.close()
    assert (runs.record().memory_peak, runs.record().cpu_seconds) == (
        used.memory_peak,
        used.cpu_seconds,
    )


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_the_processor_time_of_a_container_that_lives_40_ms(runs: Runs) -> None:
    """It is busy for so long on a clock: on a machine that is busy, too, it gets less."""
    it = await runs.start("spin", "0.04")
    end = await it.wait()
    await it.close()
    used = runs.record().cpu_seconds
    assert used
    assert used < end.seconds + 1  # the engine's runtime took some of it before


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_what_is_killed_by_its_removal(runs: Runs) -> None:
    it = await runs.start("hog", str(16 * MIB))
    while (await it.usage()).memory < 16 * MIB:
        await asyncio.sleep(0)
    await it.close()
    assert (runs.record().memory_peak or 0) >= 16 * MIB


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_out_of_memory_within_milliseconds(runs: Runs) -> None:
    for _ in range(4):
        it = await runs.start("hog", str(64 * MIB), limits=Limits(memory=8 * MIB))
        end = await it.wait()
        assert end.out_of_memory
        assert end.code == 137
        await it.close()
        assert runs.record().out_of_memory
        assert runs.record().memory_peak == 8 * MIB


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_shares_count_among_runs(runs: Runs) -> None:
    it = await runs.start("sleep", "60", requests=Limits(cpus=2.0))
    shares = [Path(group) / "cpu.shares" for group in await runs.groups()]
    weights = [Path(group) / "cpu.weight" for group in await runs.groups()]
    texts = [path.read_text().strip() for path in (*shares, *weights) if path.exists()]
    assert texts in (["2048"], ["200"])
    await it.close()


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_a_start_that_fails_leaves_no_group(runs: Runs) -> None:
    with pytest.raises(ImageNotFound):
        await runs.start(image="lading-test/never-made:1")
    assert await runs.groups() == []
    with pytest.raises(ExitedEarly):
        await runs.start("exit", "3", readiness=Readiness(mark=b"never"))
    assert await runs.groups() == []
    assert runs.record().memory_peak


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_a_cancelled_start_leaves_no_group(runs: Runs) -> None:
    for step in range(7):
        starting = asyncio.create_task(runs.start("exit", "0"))
        await asyncio.sleep(0.02 * step**1.5)  # a moment somewhere in it
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await starting).close()
        assert await runs.groups() == []


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_groups_of_runs_at_once(runs: Runs) -> None:
    async def one(size: int) -> int:
        spec = ContainerSpec(runs.image, args=("hog", str(size * MIB), "0"), labels=runs.labels)
        async with running(runs.engine, spec, accounting=True) as it:
            await it.wait()
            return (await it.usage()).memory_peak // MIB

    sizes = [16, 32, 48, 64]
    peaks = await asyncio.gather(*(one(size) for size in sizes))
    assert all(size <= peak < size + 12 for size, peak in zip(sizes, peaks, strict=True))
    assert await asyncio.to_thread(cgroups.of_runs, f".{os.getpid()}@") == []
