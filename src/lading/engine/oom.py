"""Out-of-memory kills that the engine did not notice.

Docker counts every kill in the container's group (seen with 20.10 on cgroup v1: the first process
and any other). Podman 4.3 on cgroup v1 reports none at all. The kernel's log has them all, with
the group's path, in which Podman writes the container's id; so where it can be read it is asked,
and where it can't, nothing is claimed: exit code 137 alone is a kill by anybody.

Source: ``mm/oom_kill.c``, ``dump_oom_victim``; Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import asyncio
import os

from lading.engine.spec import ContainerInfo

__all__ = ["OomJudge"]

_LOG = "/dev/kmsg"
_RECORD = 8192


class OomJudge:
    """Looks up whether the kernel killed something in a container for memory.

    Parameters
    ----------
    needed : bool
        Whether the engine misses some, and runs on this kernel.
    """

    def __init__(self, *, needed: bool) -> None:
        self._needed = needed

    async def killed(self, info: ContainerInfo) -> bool:
        """Whether it did, as far as can be seen."""
        if not self._needed or info.limits.memory is None:
            return False
        return await asyncio.to_thread(_in_kernel_log, info.id)


def _in_kernel_log(container: str) -> bool:
    wanted = container.encode()
    try:
        fd = os.open(_LOG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
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
