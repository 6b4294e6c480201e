"""What a container used, to the byte, also if it lived only 50 ms.

The counters of a control group die with it, and engines remove a container's group as soon as it
has ended: who looks now and then sees little of a short life. So a run gets a group of its own,
made before its container, which the engine puts below it (:attr:`ContainerSpec.group`). Its
counters are those of all below it, and stay until we have read and removed it. Like all figures of
control groups (:mod:`lading.run.usage`), they include the page cache, and what the engine's runtime
needed in the group to start the program.

This takes an engine on this machine that makes its groups itself (not systemd), and the right to
make groups (root). Elsewhere there is no :class:`Accounting`, and a
:class:`~lading.run.usage.Meter` looks now and then.

A group's name is that of the process that made it: ``/lading/NAMESPACE.PID@START.RUN``. So whoever
sweeps knows whether its maker lives. All are at one level, as the share of processor time that a
container requested counts among siblings only.

Source: the kernel's Documentation/admin-guide, cgroup-v1/memory.rst and cgroup-v2.rst.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from lading.engine.base import Engine
from lading.engine.shield import to_the_end
from lading.engine.spec import ContainerSpec
from lading.run.processes import process_name
from lading.run.usage import ControlGroups, Usage, hierarchies

__all__ = ["Accounting", "remove_dead_groups"]

_log = logging.getLogger(__name__)

_PARENT = "lading"
_NAME = re.compile(r"(\d+)\.(\d+@\d+)\.[^/]+")
_TRIES = 5
_FIRST_WAIT = 0.002
_RACES = 100
_WEIGHT, _WEIGHT_MAX = 100, 10_000
"""Version 2's share of processor time: of one core, and the most there is."""


class Accounting:
    """A control group of ours around one container's; made by :meth:`open`.

    Attributes
    ----------
    path : str
        What the container's :attr:`~lading.engine.spec.ContainerSpec.group` has to be.
    """

    def __init__(self, name: str, mounts: dict[str, Path], limit: int | None) -> None:
        self.path = f"/{_PARENT}/{name}"
        self._folders = {kind: mount / _PARENT / name for kind, mount in mounts.items()}
        self._files = ControlGroups()
        self._limit = limit

    @classmethod
    async def open(cls, engine: Engine, spec: ContainerSpec, run_id: str) -> Self | None:
        """Make the group for a container that is to be created.

        Returns
        -------
        Accounting or None
            None where it can't be had.

        Raises
        ------
        EngineError
            The engine does not say what it is.
        asyncio.CancelledError
            This task was cancelled; nothing is left.
        """
        info = await engine.info()
        if not info.local or info.rootless or info.cgroup_driver != "cgroupfs":
            return None
        made: list[Self] = []

        def make() -> None:
            if (
                one := cls.make(run_id, shares=spec.cpu_shares, limit=spec.limits.memory)
            ) is not None:
                made.append(one)

        try:
            await to_the_end(asyncio.to_thread(make))
        except BaseException:
            if made:
                await to_the_end(made[0].close())
            raise
        return made[0] if made else None

    @classmethod
    def make(
        cls,
        run_id: str,
        *,
        shares: int | None = None,
        limit: int | None = None,
        root: Path = Path("/"),
    ) -> Self | None:
        """Make a group in every hierarchy that is mounted; takes 0.3 ms.

        In all of them, as the engine does: so none of them loses the parent while we are below it.

        Parameters
        ----------
        run_id : str
        shares : int or None
            Of processor time, as the container has: what counts among its siblings is this one's.
        limit : int or None
            Bytes that the container may use at the most.
        root : Path
            Of the file system, for tests.

        Returns
        -------
        Accounting or None
            None where we may not, or where the counters would not be those of the container.
        """
        try:
            mounts = _whole(root)
        except (OSError, ValueError):
            return None
        if not mounts:
            return None
        it = cls(f"{_own_name()}.{run_id}", mounts, limit)
        try:
            it._make(shares)
        except OSError:
            it.remove()
            return None
        return it

    def _make(self, shares: int | None) -> None:
        for folder in set(self._folders.values()):
            _make(folder)
        memory, cpu, unified = (self._folders.get(kind) for kind in ("memory", "cpu", ""))
        if memory is not None:
            _count_below(memory)
        if unified is not None:
            for above in (unified.parent.parent, unified.parent):
                for controller in ("+memory", "+cpu"):
                    _tell(above / "cgroup.subtree_control", controller)
        if shares is not None and cpu is not None:
            _tell(cpu / "cpu.shares", str(shares))
        elif shares is not None and unified is not None:
            weight = min(max(shares * _WEIGHT // 1024, 1), _WEIGHT_MAX)
            _tell(unified / "cpu.weight", str(weight))

    @property
    def exact(self) -> bool:
        """Whether the kernel keeps the peak (version 2: since Linux 5.19): nobody has to look."""
        return self._found().memory_peak is not None

    def read(self) -> Usage | None:
        """Read the counters, also after the container has ended; None once it is removed."""
        seen = self._found().read()
        if seen is None or self._limit is None:
            return seen
        # The container's own group is memory as well, and charged to this one: 0.3 MiB.
        peak = min(seen.memory_peak, self._limit)
        return Usage(min(seen.memory, self._limit), peak, seen.cpu_seconds)

    def _found(self) -> ControlGroups:
        # Those of version 2 may appear with the container's own group.
        if self._files.memory is None or self._files.cpu is None:
            memory, cpu, unified = (self._folders.get(kind) for kind in ("memory", "cpuacct", ""))
            self._files = ControlGroups.at(memory, cpu, unified)
        return self._files

    async def close(self) -> None:
        """Remove the group; may be called again.

        What still is in it is waited for, shortly. If it stays, the next sweep after the end of
        this process removes it.
        """
        wait = _FIRST_WAIT
        for _ in range(_TRIES):
            if await asyncio.to_thread(self.remove):
                return
            await asyncio.sleep(wait)
            wait *= 4
        _log.warning("the control group %s could not be removed: it is still in use", self.path)

    def remove(self) -> bool:
        """Remove the group where nothing is in it; says whether all of it is gone."""
        return _remove(self._folders.values())


def remove_dead_groups(root: Path = Path("/")) -> list[str]:
    """Remove the groups of dead processes; blocks shortly.

    One in which a container still is stays, for whoever removes that: the kernel lets nobody remove
    it. So do those of another PID namespace, of which nobody here knows whether they live.

    Returns
    -------
    list of str
        Those that are gone.
    """
    try:
        parents = [mount / _PARENT for mount in set(_whole(root).values())]
    except (OSError, ValueError):
        return []
    names: set[str] = set()
    for parent in parents:
        with contextlib.suppress(OSError):
            names.update(found.name for found in parent.iterdir() if found.is_dir())
    dead = sorted(name for name in names if _is_dead(name))
    return [f"/{_PARENT}/{name}" for name in dead if _remove([parent / name for parent in parents])]


def _own_name() -> str:
    return f"{Path('/proc/self/ns/pid').stat().st_ino}.{process_name(str(os.getpid()))}"


def _is_dead(name: str) -> bool:
    match = _NAME.fullmatch(name)
    if match is None or int(match[1]) != Path("/proc/self/ns/pid").stat().st_ino:
        return False
    return process_name(match[2]) != match[2]


def _whole(root: Path) -> dict[str, Path]:
    """Where the hierarchies are mounted, by what they control; empty if only a part of one is."""
    mounts = hierarchies(root)
    if any(inside != "/" for inside, _ in mounts.values()):
        return {}
    return {kind: root / at.lstrip("/") for kind, (_, at) in mounts.items()}


def _make(folder: Path) -> None:
    tries = 0
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileNotFoundError, FileExistsError):
            tries += 1  # another process has just removed the parent
            if tries == _RACES:
                raise
        else:
            return


def _count_below(memory: Path) -> None:
    """See to it that a new group of version 1 counts what those below it use (memory.rst, 6).

    Raises
    ------
    OSError
        It does not, and won't.
    """
    switch = memory / "memory.use_hierarchy"
    with contextlib.suppress(FileNotFoundError):  # newer kernels know no other way
        if switch.read_text().strip() == "0":
            switch.write_text("1")


def _tell(file: Path, text: str) -> None:
    """Write what may be refused: the controller is not in this hierarchy, or the engine's to do."""
    with contextlib.suppress(OSError), file.open("r+") as opened:
        opened.write(text)


def _remove(folders: Iterable[Path]) -> bool:
    gone = True
    for folder in set(folders):
        for inside, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):
                Path(inside).rmdir()
        gone = gone and not folder.exists()
        with contextlib.suppress(OSError):  # in use by others
            folder.parent.rmdir()
    return gone
