"""What a container uses: peak memory and processor time, out of its control groups.

Where the engine's containers are processes of our own kernel, their control groups are read
directly: two small files, no call of the engine. Version 1 (`memory.max_usage_in_bytes`,
`cpuacct.usage`), version 2 (`memory.peak` since Linux 5.19, else `memory.current` as often as we
look; `cpu.stat`), and hosts that mount both. See the kernel's
`cgroup-v1 <https://docs.kernel.org/admin-guide/cgroup-v1/>`_ and
`cgroup-v2 <https://docs.kernel.org/admin-guide/cgroup-v2.html>`_.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from lading.engine.base import Container
from lading.errors import LadingError

__all__ = ["ControlGroups", "Kept", "Meter", "Usage", "hierarchies"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container uses, or has used.

    Parameters
    ----------
    memory : int
        Bytes now, page cache included.
    memory_peak : int
        Bytes at the most that was seen.
    cpu_seconds : float
        Processor time so far.
    """

    memory: int = 0
    memory_peak: int = 0
    cpu_seconds: float = 0.0

    def grown(self, newer: Usage) -> Usage:
        """Return `newer`, which forgets no peak and takes back no time."""
        return Usage(
            newer.memory,
            max(self.memory_peak, newer.memory_peak, newer.memory),
            max(self.cpu_seconds, newer.cpu_seconds),
        )


@dataclass(frozen=True, slots=True)
class ControlGroups:
    """Where the counters of one control group are; None where there is none.

    Parameters
    ----------
    memory, memory_peak : Path or None
        Files that hold bytes.
    cpu : Path or None
        ``cpuacct.usage`` (nanoseconds) or ``cpu.stat`` (``usage_usec``).
    """

    memory: Path | None = None
    memory_peak: Path | None = None
    cpu: Path | None = None

    @classmethod
    def of(cls, pid: int, *, naming: str = "", root: Path = Path("/")) -> ControlGroups | None:
        """Find those of a process.

        Parameters
        ----------
        pid : int
            As we see it.
        naming : str
            Must occur in the name of a group (a container's id does): or it is another process
            that has the same number here.
        root : Path
            Of the file system, for tests.

        Returns
        -------
        ControlGroups or None
            None if there is no such process, or it is another.
        """
        try:
            groups = _groups((root / f"proc/{pid}/cgroup").read_text())
            mounts = hierarchies(root)
        except (OSError, ValueError):
            return None
        if not any(naming in group for group in groups.values()):
            return None

        def folder(controller: str) -> Path | None:
            group, mount = groups.get(controller), mounts.get(controller)
            # A process that has just ended is in version 1's root groups, and still in its own of
            # version 2: each group must be the container's, or these would be the host's figures.
            if group is None or mount is None or naming not in group:
                return None
            inside, at = mount
            try:  # what is mounted may be a part of the hierarchy only, as in a container
                below = PurePosixPath(group).relative_to(inside)
            except ValueError:
                return None
            return root / at.lstrip("/") / below

        return cls.at(folder("memory"), folder("cpuacct"), folder(""))

    @classmethod
    def at(cls, memory: Path | None, cpu: Path | None, unified: Path | None) -> ControlGroups:
        """Find those of a group by its directories.

        Parameters
        ----------
        memory, cpu : Path or None
            In the hierarchies of version 1; None where it has no such one.
        unified : Path or None
            In that of version 2.
        """
        # A controller is in one version only, whatever else is mounted.
        found: dict[str, Path | None] = {}
        if memory is not None:
            found["memory"] = memory / "memory.usage_in_bytes"
            found["memory_peak"] = memory / "memory.max_usage_in_bytes"
        elif unified is not None:
            found["memory"] = unified / "memory.current"
            found["memory_peak"] = unified / "memory.peak"
        if cpu is not None:
            found["cpu"] = cpu / "cpuacct.usage"
        elif unified is not None:
            found["cpu"] = unified / "cpu.stat"
        return cls(**{name: path for name, path in found.items() if path and path.exists()})

    def read(self) -> Usage | None:
        """Read the counters; None once the group is gone."""
        try:
            memory = int(self.memory.read_text()) if self.memory else 0
            peak = int(self.memory_peak.read_text()) if self.memory_peak else memory
            cpu = _cpu_seconds(self.cpu.read_text()) if self.cpu else 0.0
        except (OSError, ValueError):
            return None
        return Usage(memory, max(peak, memory), cpu)


def _groups(text: str) -> dict[str, str]:
    """Read ``/proc/PID/cgroup``: controller to group, that of version 2 under an empty name."""
    groups = {}
    for line in text.splitlines():
        _, controllers, group = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = group
    return groups


def hierarchies(root: Path = Path("/")) -> dict[str, tuple[str, str]]:
    """Read where control groups are mounted, see mountinfo in proc(5).

    Returns
    -------
    dict
        Controller to (root of what is mounted, where); that of version 2 under an empty name. Mount
        options are among the controllers.

    Raises
    ------
    OSError, ValueError
        It can't be read.
    """
    mounts: dict[str, tuple[str, str]] = {}
    for line in (root / "proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind not in ("cgroup", "cgroup2"):
            continue
        inside, at = (_unescape(word) for word in left.split(" ")[3:5])
        if kind == "cgroup2":
            mounts[""] = inside, at
        else:
            for option in options.split(","):
                mounts[option] = inside, at
    return mounts


def _unescape(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)


def _cpu_seconds(text: str) -> float:
    if text.strip().isdigit():
        return int(text) / 1e9
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "usage_usec":
            return int(value) / 1e6
    raise ValueError("no usage_usec")


_OFTEN = 0.005
_YOUNG = 1.0
_FIRST_LOOK = 0.02
_GROWTH = 1.25
_LONGEST = 5.0


class Kept(Protocol):
    """Counters that outlive the container: a :class:`~lading.run.accounting.Accounting`."""

    @property
    def exact(self) -> bool:
        """Whether they keep the peak themselves."""
        ...

    def read(self) -> Usage | None:
        """Read them; None once they are gone."""
        ...


class Meter:
    """Looks at what a container uses, now and then until it ends, for its counters die with it.

    The counters only grow, so looking at times that grow with its age misses a fifth of its last
    life at the most; in its first second, where that is cheap, it looks every 5 ms. Where a look
    costs a call to a cluster, there is none in the first seconds, and few afterwards
    (:attr:`~lading.engine.base.Container.stats_interval`).

    Parameters
    ----------
    container : Container
        A running one.
    kept : Kept or None
        Counters that don't die with it: then nobody has to look until its end.
    """

    def __init__(self, container: Container, kept: Kept | None = None) -> None:
        self._container = container
        self._kept = kept
        self._groups: ControlGroups | None = None
        self._found = False
        self._last = Usage()
        self._task: asyncio.Task[None] | None = None
        self._interval = container.stats_interval
        self._next = 0.0

    @property
    def last(self) -> Usage:
        """What was seen last, with the highest peak."""
        return self._last

    def start(self, delay: float = 0.0) -> None:
        """Begin to look, in so many seconds; often at first if in none."""
        if self._task is None and not (self._kept and self._kept.exact):
            self._next = asyncio.get_running_loop().time() + self._interval
            name = f"meter {self._container.name}"
            self._task = asyncio.create_task(self._watch(delay), name=name)

    def read(self) -> Usage:
        """Read what outlives the container, if anything does; return what was seen last."""
        if self._kept is not None and (seen := self._kept.read()) is not None:
            self._last = self._last.grown(seen)
        return self._last

    async def look(self) -> Usage:
        """Look now; once the container has ended, return what was seen last.

        Raises
        ------
        EngineUnreachable
            The engine had to be asked, and does not answer.
        """
        if self._kept is not None:
            return self.read()
        if self._interval:
            now = asyncio.get_running_loop().time()
            if now < self._next:
                return self._last
            self._next = now + self._interval
        if not self._found and not self._interval:
            pid = (await self._container.inspect()).pid
            if pid is not None:
                self._groups = await asyncio.to_thread(
                    ControlGroups.of, pid, naming=self._container.id
                )
                self._found = True
        # Read here: the kernel answers from its memory sooner than a thread would begin.
        seen = self._groups.read() if self._groups else await self._ask()
        if seen is not None:
            self._last = self._last.grown(seen)
        return self._last

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _ask(self) -> Usage:
        stats = await self._container.stats()
        peak = max(stats.memory_peak or 0, stats.memory)
        return Usage(stats.memory, peak, stats.cpu_seconds)

    async def _watch(self, delay: float) -> None:
        await asyncio.sleep(delay)
        loop = asyncio.get_running_loop()
        if self._interval:
            while True:
                await asyncio.sleep(max(self._next - loop.time(), 0))
                with contextlib.suppress(LadingError, OSError):
                    await self.look()
        young = loop.time() + (0.0 if delay else _YOUNG)
        wait = _FIRST_LOOK
        while True:
            try:
                await self.look()
            except (LadingError, OSError):
                wait = _LONGEST  # gone, or the engine is: nothing that has to be known now
            if wait < _LONGEST and (self._groups or self._kept) and loop.time() < young:
                await asyncio.sleep(_OFTEN)
                continue
            await asyncio.sleep(wait)
            wait = min(wait * _GROWTH, _LONGEST)
