"""Out-of-memory kills that the engine did not notice.

Docker counts the kills in a container's group, but learns of the last one on another way than of
the end, and at times too late (seen with 20.10 on cgroup v1). Podman 4.3 on cgroup v1 reports none
at all. The kernel's log has them, with the group's path, in which both write the container's id;
where it can't be read, Docker's own events still tell it a moment later. Where neither does,
nothing is claimed: exit code 137 alone is a kill by anybody.

Source: ``mm/oom_kill.c``, ``dump_oom_victim``; Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

from lading.engine.docker_errors import Call, Thing
from lading.engine.docker_streams import json_values
from lading.engine.docker_wire import query
from lading.engine.spec import ContainerInfo

if TYPE_CHECKING:
    from lading.engine.docker_api import Api

__all__ = ["OomJudge"]

_KILLED = 137
_LATE_SECONDS = 1
_LOG = "/dev/kmsg"
_RECORD = 8192


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
            found = await asyncio.to_thread(_in_kernel_log, info.id)
            if found is not None:
                return found
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


def _in_kernel_log(container: str) -> bool | None:
    """Whether the kernel tells of it; None where we may not read what it tells."""
    wanted = container.encode()
    try:
        fd = os.open(_LOG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        while True:
            try:
                record = os.read(fd, _RECORD)
            except BrokenPipeError:  # overwritten while we read: go on with the next
                continue
            if b"oom_memcg=" in record and wanted in record.split(b"oom_memcg=")[1]:
                return True
    except OSError:  # EAGAIN: that was the last
        return False
    finally:
        os.close(fd)
