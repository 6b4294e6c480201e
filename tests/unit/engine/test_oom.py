"""What the kernel's log tells of kills for memory, as recorded on Linux 6.18."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lading.engine import ContainerInfo, Exit, Limits, State
from lading.engine.oom import tells

ID = "c47cd9c182224d68a83ead46022c83512a5b4a8953fd417b19a8cf442e6af115"
OTHER = "0" + ID[1:]
BOOTED = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


def named(container: str, pid: int) -> bytes:
    return (
        f"6,81010,15222021012,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={ID},"
        f"mems_allowed=0,oom_memcg=/docker/{container},task_memcg=/docker/{container},"
        f"task=probe,pid={pid},uid=0\n"
    ).encode()


def victim(pid: int, *, micros: int = 15222021050, size: int = 7680) -> bytes:
    return (
        f"3,81011,{micros},-;Memory cgroup out of memory: Killed process {pid} (probe) "
        f"total-vm:66832kB, anon-rss:{size}kB, file-rss:328kB, shmem-rss:0kB, UID:0 "
        "pgtables:60kB oom_score_adj:0\n"
    ).encode()


def ended(*, code: int = 137, memory: int | None = 8 << 20) -> ContainerInfo:
    moment = BOOTED + timedelta(seconds=15222.05)
    end = Exit(code, False, moment - timedelta(milliseconds=40), moment)
    return ContainerInfo(
        ID, "x", "i", "i", State.EXITED, {}, moment, exit=end, limits=Limits(memory=memory)
    )


def test_the_group_is_named() -> None:
    records = [named(OTHER, 1), victim(1), named(ID, 23312), victim(23312)]
    assert tells(records, ended(), BOOTED.timestamp())
    assert tells(records, ended(code=1), BOOTED.timestamp())  # a child was killed


def test_another_group_is_named() -> None:
    """The container was killed by somebody at the moment at which another ran out of memory."""
    assert not tells([named(OTHER, 23312), victim(23312)], ended(), BOOTED.timestamp())


def test_no_group_is_named_any_more() -> None:
    records = [named(OTHER, 1), victim(1), victim(2)]
    assert tells(records, ended(), BOOTED.timestamp())


@pytest.mark.parametrize(
    ("record", "info"),
    [
        (victim(2), ended(code=1)),
        (victim(2), ended(memory=None)),
        (victim(2, size=9000), ended()),
        (victim(2, micros=15219000000), ended()),
        (victim(2, micros=15226000000), ended()),
        (b"6,1,15222021050,-;Killed process 2\n", ended()),
    ],
)
def test_a_victim_that_it_can_not_have_been(record: bytes, info: ContainerInfo) -> None:
    assert not tells([record], info, BOOTED.timestamp())
