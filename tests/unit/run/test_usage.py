"""Control groups of both versions, as recorded on real machines."""

from __future__ import annotations

import asyncio
import os
from itertools import pairwise
from pathlib import Path

import pytest

from lading.engine.spec import Stats
from lading.run.usage import ControlGroups, Meter, Usage

ID = "c0ffee" + "0" * 58


def tree(root: Path, *, cgroup: str, mounts: str, files: dict[str, str]) -> None:
    (root / "proc/7").mkdir(parents=True)
    (root / "proc/self").mkdir()
    (root / "proc/7/cgroup").write_text(cgroup)
    (root / "proc/self/mountinfo").write_text(mounts)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


V1_MOUNTS = """\
23 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V1_GROUPS = f"""\
9:name=systemd:/docker/{ID}
4:memory:/docker/{ID}
2:cpu,cpuacct:/docker/{ID}
0::/docker/{ID}
"""
V1_FILES = {
    f"sys/fs/cgroup/memory/docker/{ID}/memory.usage_in_bytes": "2097152\n",
    f"sys/fs/cgroup/memory/docker/{ID}/memory.max_usage_in_bytes": "4194304\n",
    f"sys/fs/cgroup/cpu,cpuacct/docker/{ID}/cpuacct.usage": "1500000000\n",
}
V2_MOUNTS = "28 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V2_GROUP = f"/system.slice/docker-{ID}.scope"
V2_FILES = {
    f"sys/fs/cgroup{V2_GROUP}/memory.current": "1000\n",
    f"sys/fs/cgroup{V2_GROUP}/memory.peak": "3000\n",
    f"sys/fs/cgroup{V2_GROUP}/cpu.stat": "usage_usec 250000\nuser_usec 1\nsystem_usec 2\n",
}


def read(root: Path) -> Usage | None:
    groups = ControlGroups.of(7, naming=ID, root=root)
    return None if groups is None else groups.read()


def test_version_1_beside_an_empty_version_2(tmp_path: Path) -> None:
    tree(tmp_path, cgroup=V1_GROUPS, mounts=V1_MOUNTS, files=V1_FILES)
    assert read(tmp_path) == Usage(2 << 20, 4 << 20, 1.5)


def test_version_2(tmp_path: Path) -> None:
    tree(tmp_path, cgroup=f"0::{V2_GROUP}\n", mounts=V2_MOUNTS, files=V2_FILES)
    assert read(tmp_path) == Usage(1000, 3000, 0.25)


def test_version_2_before_the_kernel_kept_the_peak(tmp_path: Path) -> None:
    files = {name: text for name, text in V2_FILES.items() if "peak" not in name}
    tree(tmp_path, cgroup=f"0::{V2_GROUP}\n", mounts=V2_MOUNTS, files=files)
    assert read(tmp_path) == Usage(1000, 1000, 0.25)


def test_hybrid_with_memory_in_version_2(tmp_path: Path) -> None:
    mounts = V1_MOUNTS.replace("rw,memory\n", "rw,blkio\n")
    files = {
        name: text for name, text in V1_FILES.items() if "memory." not in name
    } | {f"sys/fs/cgroup/unified/docker/{ID}/memory.current": "77\n"}  # fmt: skip
    groups = "".join(line for line in V1_GROUPS.splitlines(True) if "memory" not in line)
    tree(tmp_path, cgroup=groups, mounts=mounts, files=files)
    assert read(tmp_path) == Usage(77, 77, 1.5)


def test_a_part_of_the_hierarchy_mounted_elsewhere(tmp_path: Path) -> None:
    mounts = r"28 23 0:26 /system.slice /mnt/c\040groups rw - cgroup2 cgroup2 rw" + "\n"
    files = {
        name.replace("sys/fs/cgroup/system.slice", "mnt/c groups"): text
        for name, text in V2_FILES.items()
    }
    tree(tmp_path, cgroup=f"0::{V2_GROUP}\n", mounts=mounts, files=files)
    assert read(tmp_path) == Usage(1000, 3000, 0.25)


def test_another_process_of_that_number_is_not_taken_for_it(tmp_path: Path) -> None:
    tree(tmp_path, cgroup="0::/user.slice\n", mounts=V2_MOUNTS, files={})
    assert ControlGroups.of(7, naming=ID, root=tmp_path) is None
    assert ControlGroups.of(8, naming=ID, root=tmp_path) is None


def test_a_process_that_just_ended_shows_no_figures_of_the_host(tmp_path: Path) -> None:
    """It is in version 1's root groups by then, and still in its own of version 2."""
    groups = f"4:memory:/\n2:cpu,cpuacct:/\n0::/docker/{ID}\n"
    files = {
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "99999999\n",
        "sys/fs/cgroup/memory/memory.max_usage_in_bytes": "99999999\n",
        "sys/fs/cgroup/cpu,cpuacct/cpuacct.usage": "99999999\n",
    }
    tree(tmp_path, cgroup=groups, mounts=V1_MOUNTS, files=files)
    assert read(tmp_path) == Usage()


@pytest.mark.parametrize("text", ["", "no colons\n", "1:memory\n"])
def test_what_cannot_be_parsed_is_nothing(tmp_path: Path, text: str) -> None:
    tree(tmp_path, cgroup=text, mounts=V1_MOUNTS, files={})
    assert ControlGroups.of(7, naming=ID, root=tmp_path) is None


def test_a_group_that_went_away(tmp_path: Path) -> None:
    tree(tmp_path, cgroup=f"0::{V2_GROUP}\n", mounts=V2_MOUNTS, files=V2_FILES)
    groups = ControlGroups.of(7, naming=ID, root=tmp_path)
    assert groups is not None
    (tmp_path / f"sys/fs/cgroup{V2_GROUP}/memory.current").unlink()
    assert groups.read() is None


def test_this_process_on_this_machine() -> None:
    groups = ControlGroups.of(os.getpid())
    assert groups is not None
    usage = groups.read()
    assert usage is not None
    assert usage.cpu_seconds > 0 or groups.cpu is None


def test_peaks_are_kept() -> None:
    assert Usage(5, 9, 2.0).grown(Usage(1, 1, 1.0)) == Usage(1, 9, 2.0)


class _OfCluster:
    """A container of which every look costs a call."""

    name, id, stats_interval = "x", "x", 0.2

    def __init__(self) -> None:
        self.looks: list[float] = []

    async def stats(self) -> Stats:
        self.looks.append(asyncio.get_running_loop().time())
        return Stats(memory=len(self.looks), memory_peak=None, cpu_seconds=0.0)


async def test_a_cluster_is_asked_rarely_and_about_short_ones_never() -> None:
    container = _OfCluster()
    meter = Meter(container)  # type: ignore[arg-type]
    began = asyncio.get_running_loop().time()
    meter.start()
    assert (await meter.look()).memory == 0
    while len(container.looks) < 3:
        await asyncio.sleep(0.01)
        await meter.look()
    await meter.close()
    gaps = [later - earlier for earlier, later in pairwise([began, *container.looks])]
    assert min(gaps) >= container.stats_interval
    assert meter.last.memory_peak == 3


async def test_who_asks_once_is_told_at_once() -> None:
    assert (await Meter(_OfCluster()).look()).memory == 1  # type: ignore[arg-type]
