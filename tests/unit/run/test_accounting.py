"""Control groups of our own, in trees as they are mounted on real machines."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lading.engine import ContainerSpec
from lading.run.accounting import Accounting, remove_dead_groups
from lading.run.processes import process_name
from lading.run.usage import Meter, Usage
from lading.testing import FakeEngine, FakeImage, FakeProcess

HYBRID = """\
23 1 254:0 / / rw,relatime - ext4 /dev/vda rw
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V1 = "".join(line for line in HYBRID.splitlines(True) if "cgroup2" not in line)
V2 = "28 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
MIXED = HYBRID.replace("rw,memory\n", "rw,blkio\n")
"""Memory in version 2, processor time in version 1."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


def mounted(root: Path, mounts: str) -> None:
    (root / "proc/self/mountinfo").write_text(mounts)
    for line in mounts.splitlines():
        (root / line.split()[4].lstrip("/")).mkdir(parents=True, exist_ok=True)


def groups(root: Path) -> list[str]:
    """Directories below the hierarchies, by their paths below the file system's root."""
    found = [path for path in root.rglob("lading/*") if path.is_dir()]
    return sorted(str(path.relative_to(root)) for path in found)


def fill(root: Path, files: dict[str, str]) -> None:
    """Let the kernel count something."""
    for name, text in files.items():
        (root / name).write_text(text)


def empty(root: Path, files: dict[str, str]) -> None:
    """Files of a real group are no obstacle to its removal."""
    for name in files:
        (root / name).unlink()


def counters(mounts: str, name: str) -> dict[str, str]:
    v1 = {
        f"sys/fs/cgroup/memory/{name}/memory.usage_in_bytes": "1000\n",
        f"sys/fs/cgroup/memory/{name}/memory.max_usage_in_bytes": "3000\n",
        f"sys/fs/cgroup/cpu,cpuacct/{name}/cpuacct.usage": "40000000\n",
    }
    v2 = {
        f"{name}/memory.current": "1000\n",
        f"{name}/memory.peak": "3000\n",
        f"{name}/cpu.stat": "usage_usec 40000\nuser_usec 1\n",
    }
    if mounts == V2:
        return {f"sys/fs/cgroup/{file}": text for file, text in v2.items()}
    if mounts == MIXED:
        unified = {f"sys/fs/cgroup/unified/{f}": t for f, t in v2.items() if "memory" in f}
        return unified | {file: text for file, text in v1.items() if "cpuacct" in file}
    return v1


@pytest.mark.parametrize("mounts", [HYBRID, V1, V2, MIXED])
def test_it_counts_until_it_is_removed(root: Path, mounts: str) -> None:
    mounted(root, mounts)
    it = Accounting.make("run1", root=root)
    assert it is not None
    name = it.path.removeprefix("/")
    assert re.fullmatch(rf"/lading/\d+\.{os.getpid()}@\d+\.run1", it.path)
    places = {line.split()[4].lstrip("/") for line in mounts.splitlines() if "cgroup" in line}
    assert groups(root) == sorted(f"{place}/{name}" for place in places)
    assert it.read() == Usage()
    files = counters(mounts, name)
    fill(root, files)
    assert it.read() == Usage(1000, 3000, 0.04)
    assert it.exact
    assert not it.remove()  # something is in it
    empty(root, files)
    assert it.remove()
    assert groups(root) == []
    assert list(root.rglob("lading")) == []
    assert it.read() is None
    assert it.remove()


def test_a_kernel_before_5_19_keeps_no_peak(root: Path) -> None:
    mounted(root, V2)
    it = Accounting.make("run1", root=root)
    assert it is not None
    fill(root, {f"sys/fs/cgroup{it.path}/memory.current": "1000\n"})
    assert not it.exact
    assert it.read() == Usage(1000, 1000, 0.0)


def test_what_the_kernel_needs_for_the_group_itself_is_not_told(root: Path) -> None:
    mounted(root, V2)
    it = Accounting.make("run1", limit=2000, root=root)
    assert it is not None
    fill(root, counters(V2, it.path.removeprefix("/")))
    assert it.read() == Usage(1000, 2000, 0.04)


def test_version_2_is_told_to_count(root: Path) -> None:
    mounted(root, V2)
    switch = root / "sys/fs/cgroup/cgroup.subtree_control"
    switch.write_text("")
    assert Accounting.make("run1", root=root)
    assert "+memory" in switch.read_text() or "+cpu" in switch.read_text()


@pytest.mark.parametrize(
    "mounts",
    [
        "",
        "23 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n",
        V2.replace("0:26 / ", "0:26 /docker/c0ffee "),
        HYBRID.replace("0:32 / ", "0:32 /docker/c0ffee "),
        "no mountinfo\n",
    ],
)
def test_where_only_a_part_is_seen_there_is_none(root: Path, mounts: str) -> None:
    """In a container, for one: what the engine calls /lading is not below what we see."""
    (root / "sys/fs/cgroup/memory").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(mounts)
    assert Accounting.make("run1", root=root) is None
    assert remove_dead_groups(root) == []
    assert groups(root) == []


def test_where_one_can_not_be_made_nothing_is_left(root: Path) -> None:
    mounted(root, HYBRID)
    (root / "sys/fs/cgroup/memory/lading").write_text("in the way")
    assert Accounting.make("run1", root=root) is None
    assert groups(root) == []


def test_runs_come_and_go_at_the_same_time(root: Path) -> None:
    """Who removes the last group removes what is above it, under the feet of the next."""
    mounted(root, V1)
    made: list[bool] = []

    def work(thread: int) -> None:
        for number in range(60):
            it = Accounting.make(f"run{thread}-{number}", root=root)
            made.append(it is not None and it.remove())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [True] * 240
    assert list(root.rglob("lading")) == []


@pytest.fixture
def dead() -> str:
    """The name of a process that is gone."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        name = process_name(str(process.pid))
        process.kill()
    return name


@pytest.fixture
def space() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def test_the_groups_of_the_dead_are_removed(root: Path, dead: str, space: int) -> None:
    mounted(root, HYBRID)
    mine = Accounting.make("run1", root=root)
    assert mine is not None
    gone = [f"{space}.{dead}.run2", f"{space}.{dead}.run3"]
    others = [f"{space + 1}.{dead}.run4", "made-by-hand", dead, f"{space}.{dead}"]
    for name in (*gone, *others):
        for mount in ("memory", "unified"):
            (root / f"sys/fs/cgroup/{mount}/lading/{name}/below").mkdir(parents=True)
    used = root / f"sys/fs/cgroup/memory/lading/{gone[1]}/below/cgroup.procs"
    used.write_text("1")  # as a process in it, it can't be removed
    assert remove_dead_groups(root) == [f"/lading/{gone[0]}"]
    left = {path.rpartition("/")[2] for path in groups(root)}
    assert left == {mine.path.removeprefix("/lading/"), gone[1], *others}
    used.unlink()
    assert remove_dead_groups(root) == [f"/lading/{gone[1]}"]
    assert remove_dead_groups(root) == []


async def test_what_keeps_no_peak_is_looked_at_until_the_end() -> None:
    class Counters:
        exact = False
        peaks = iter((5, 9, 7))

        def __init__(self) -> None:
            self.done = asyncio.Event()

        def read(self) -> Usage | None:
            memory = next(self.peaks, None)
            if memory is None:
                self.done.set()
                return None
            return Usage(memory, memory, memory / 10)

    async def idle(process: FakeProcess) -> None:
        await asyncio.Event().wait()

    async with FakeEngine([FakeImage("idle:1", idle)]) as engine:
        container = await engine.create(ContainerSpec("idle:1"))
        kept = Counters()
        meter = Meter(container, kept)
        meter.start()
        await kept.done.wait()
        assert meter.last == Usage(7, 9, 0.9)
        assert await meter.look() == meter.last
        assert engine.calls["inspect"] == engine.calls["stats"] == 0
        await meter.close()
        await container.remove()
