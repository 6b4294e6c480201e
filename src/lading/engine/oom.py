"""Out-of-memory kills that the engine did not notice.

Docker counts the kills in a container's group, but learns of the last one on another way than of
the end, and at times too late (seen with 20.10 on cgroup v1). Podman 4.3 on cgroup v1 reports none
at all. The kernel's log has them, with the group's path, in which both write the container's id;
where it can't be read, Docker's own events still tell it a moment later. Where neither does,
nothing is claimed: exit code 137 alone is a kill by anybody.

The kernel names the group of ten kills in five seconds, and of any more tells the victims only. A
container that was killed when such a victim was, and that can have been its size, is taken for it.

Source: ``mm/oom_kill.c``, ``dump_oom_victim`` and ``__oom_kill_process``;
Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lading.engine.docker_errors import Call, Thing
from lading.engine.docker_streams import json_values
from lading.engine.docker_wire import query
from lading.engine.spec import ContainerInfo

if TYPE_CHECKING:
    from lading.engine.docker_api import Api

__all__ = ["OomJudge", "tells"]

_KILLED = 137
_LATE_SECONDS = 1
_LOG = "/dev/kmsg"
_RECORD = 8192
_GROUP = b"oom_memcg="
_EXPLAINED = re.compile(rb"oom_memcg=.*,pid=(\d+),")
_VICTIM = re.compile(
    rb"^\d+,\d+,(\d+),[^;]*;Memory cgroup out of memory: Killed process (\d+) .*"
    rb"anon-rss:(\d+)kB"
)
_CLOCKS = 2.0
"""Seconds by which the kernel log's clock may differ from the engine's."""


class OomJudge:
    """Looks up whether the kernel killed something in a container for memory.

    Parameters
    ----------
    api : Api
    counts : bool
        Whether the engine counts kills itself, so that only the last can be missing.
    local : bool
        Whether it runs on this kernel.
    """

    def __init__(self, api: Api, *, counts: bool, local: bool) -> None:
        self._api = api
        self._counts = counts
        self._local = local

    async def killed(self, info: ContainerInfo) -> bool:
        """Whether it did, as far as can be seen; asked only of what has ended."""
        if info.limits.memory is None or info.exit is None:
            return False
        if self._counts and info.exit.code == 0:
            return False
        if self._local:
            records = await asyncio.to_thread(_kernel_log)
            if records is not None:
                booted = time.time() - time.monotonic()
                return tells(records, info, booted)
        if self._counts and info.exit.code == _KILLED:
            return await self._in_events(info)
        return False

    async def _in_events(self, info: ContainerInfo) -> bool:
        assert info.exit is not None
        end = info.exit.finished.timestamp() + _LATE_SECONDS
        filters = json.dumps({"container": [info.id], "event": ["oom"]})
        wanted = query(
            since=int(info.exit.started.timestamp()), until=f"{end:.9f}", filters=filters
        )
        call = Call(f"looking for what ended container {info.name}", Thing.CONTAINER)
        async with self._api.stream("GET", f"/events{wanted}", call) as response:
            async for _ in json_values(response.chunks()):
                return True
        return False


def tells(records: Sequence[bytes], info: ContainerInfo, booted: float) -> bool:
    """Whether the kernel's log tells that it killed something in a container for memory.

    Parameters
    ----------
    records : sequence of bytes
        As ``/dev/kmsg`` gives them.
    info : ContainerInfo
        Of a container that has ended.
    booted : float
        When the clock of the records was zero, in seconds since 1970.
    """
    wanted = info.id.encode()
    groups = [record for record in records if _GROUP in record]
    if any(wanted in record.split(_GROUP)[1] for record in groups):
        return True
    if info.exit is None or info.exit.code != _KILLED or info.limits.memory is None:
        return False
    explained = {match[1] for record in groups if (match := _EXPLAINED.search(record))}
    end = info.exit.finished.timestamp() - booted
    for record in records:
        match = _VICTIM.match(record)
        if match is None or match[2] in explained:
            continue
        # Files that it has mapped may be another group's.
        own = int(match[3]) * 1024
        if abs(int(match[1]) / 1e6 - end) <= _CLOCKS and own <= info.limits.memory:
            return True
    return False


def _kernel_log() -> list[bytes] | None:
    """Read what the kernel tells of kills for memory; None where we may not."""
    try:
        fd = os.open(_LOG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    found = []
    try:
        while True:
            try:
                record = os.read(fd, _RECORD)
            except BrokenPipeError:  # overwritten while we read: go on with the next
                continue
            if _GROUP in record or _VICTIM.match(record):
                found.append(record)
    except OSError:  # EAGAIN: that was the last
        return found
    finally:
        os.close(fd)
