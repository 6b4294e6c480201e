"""Who made a container, decidable after a crash; and the removal of what the dead left behind.

A process that makes containers holds a lock file for as long as it lives, and labels what it makes
with the file's path. The kernel lets go of the lock however the process ends, so who gets the lock
knows that the owner is dead. Where the file can't be seen (the owner ran in a container that is
gone), the engine knows whether that container runs. Whoever can't be judged is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from lading.engine.base import Engine
from lading.engine.spec import State
from lading.errors import ContainerNotFound, EngineError, RecordError
from lading.run.accounting import remove_dead_groups
from lading.run.processes import process_name
from lading.run.records import Records, RunState

__all__ = [
    "LOCK_LABEL",
    "MACHINE_LABEL",
    "OWNER_LABEL",
    "PROCESS_LABEL",
    "Owner",
    "SweepReport",
    "is_alive",
    "sweep",
]

OWNER_LABEL = "lading.owner"
LOCK_LABEL = "lading.lock"
MACHINE_LABEL = "lading.machine"
PROCESS_LABEL = "lading.process"

_FOLDER = "owners"
_OWNER = re.compile(r"[0-9a-f]{32}")
_UNFINISHED = 60.0
"""Seconds after which a lock file that never got its name is a dead process's."""
_AT_ONCE = 8
"""Containers to remove at the same time."""
_MANY = 1000
"""Open runs to look at, of which a cluster may have pods in any namespace."""


class Owner:
    """The process that we are, as the owner of what it makes.

    Attributes
    ----------
    id : str
        Unique, 32 hexadecimal digits.
    lock : Path
        The file that is locked while the owner lives.
    """

    def __init__(self, owner_id: str, lock: Path, descriptor: int) -> None:
        self.id = owner_id
        self.lock = lock
        self._descriptor = descriptor

    @classmethod
    def claim(cls, state_directory: Path) -> Self:
        """Make an owner, alive until :meth:`release` or the end of the process; blocks shortly.

        Raises
        ------
        RecordError
            The lock file can't be made.
        """
        owner_id = uuid.uuid4().hex
        lock = state_directory.absolute() / _FOLDER / f"{owner_id}.lock"
        unnamed = lock.with_suffix(".new")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                # Locked before it has its name: nobody ever sees it unlocked.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                unnamed.rename(lock)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise RecordError(
                f"the lock file {lock} can't be made: {error.strerror}",
                fix="set LADING_STATE to a writable directory on a local disk",
            ) from error
        return cls(owner_id, lock, descriptor)

    def labels(self) -> dict[str, str]:
        """Return what every container and network of this owner carries."""
        return {
            OWNER_LABEL: self.id,
            LOCK_LABEL: str(self.lock),
            MACHINE_LABEL: str(_Machine.here()),
            PROCESS_LABEL: process_name(str(os.getpid())),
        }

    def release(self) -> None:
        """Stop owning; whatever is left is swept by the next who looks. May be called again."""
        if self._descriptor >= 0:
            self.lock.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep did.

    Parameters
    ----------
    containers, networks, groups : tuple of str
        Names of those removed; groups are control groups, see :mod:`lading.run.accounting`.
    lost : int
        Runs that nobody would have ended.
    failed : tuple of str
        What could not be removed, and why; the next sweep tries again.
    """

    containers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    lost: int = 0
    failed: tuple[str, ...] = ()


def is_alive(state_directory: Path, owner_id: str) -> bool:
    """Say whether an owner that keeps its state there lives; blocks shortly."""
    try:
        descriptor = os.open(
            state_directory / _FOLDER / f"{owner_id}.lock", os.O_RDWR | os.O_CLOEXEC
        )
    except FileNotFoundError:
        return False
    except OSError:
        return True  # another user's: nobody can say that it is dead
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


async def sweep(engine: Engine, state_directory: Path, records: Records | None) -> SweepReport:
    """Remove what dead owners left on an engine, and end their runs as lost.

    What belongs to a live owner, or to one that can't be judged from here, is not touched.

    Raises
    ------
    EngineError
        The engine can't list what it has.
    RecordError
        The records can't be read or written.
    """
    work = _Sweep(engine, state_directory / _FOLDER)
    try:
        await work.remove()
        if records is not None:
            await work.remove_elsewhere(records)
        groups = await asyncio.to_thread(remove_dead_groups)
        lost = 0
        if records is not None:
            lost = await work.end_runs(records)
        await asyncio.to_thread(work.forget)
    finally:
        work.close()
    return SweepReport(
        containers=tuple(work.containers),
        networks=tuple(work.networks),
        groups=tuple(groups),
        lost=lost,
        failed=tuple(sorted(work.failed)),
    )


@dataclass(frozen=True, slots=True)
class _Machine:
    """Where a process runs: another boot or another container is another machine."""

    host: str
    boot: str
    container: str

    @classmethod
    def here(cls) -> _Machine:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return cls(socket.gethostname(), boot, _own_container() or "-")

    @classmethod
    def parse(cls, text: str) -> _Machine | None:
        words = text.split(" ")
        return cls(*words) if len(words) == 3 else None

    def __str__(self) -> str:
        return f"{self.host} {self.boot} {self.container}"


def _own_container() -> str | None:
    """Find the id of the container that we run in: an engine mounts its files from there."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            words = line.split(" ")
            if words[4] in ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf") and (
                match := re.search(r"containers/([0-9a-f]{64})/", words[3])
            ):
                return match[1]
    return None


@dataclass
class _Sweep:
    engine: Engine
    folder: Path
    containers: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _dead: dict[str, bool] = field(default_factory=dict)
    _held: dict[str, tuple[int, Path]] = field(default_factory=dict)
    _kept: set[str] = field(default_factory=set)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def remove(self) -> None:
        """Remove containers, then networks, of all whose owner is dead."""
        found = await self.engine.containers({OWNER_LABEL: ""})
        async with asyncio.TaskGroup() as group:
            for info in found:
                if await self._is_dead(info.labels):
                    group.create_task(self._remove(info.id, info.name, info.labels[OWNER_LABEL]))
        for network in await self.engine.networks({OWNER_LABEL: ""}):
            if await self._is_dead(network.labels):
                try:
                    await self.engine.remove_network(network.name)
                    self.networks.append(network.name)
                except EngineError as error:
                    self._failed(network.labels[OWNER_LABEL], f"network {network.name}: {error}")

    async def remove_elsewhere(self, records: Records) -> None:
        """Remove what dead owners of ours left in other namespaces than the engine's."""
        if not (await self.engine.info()).cluster:
            return
        for state in (RunState.STARTING, RunState.RUNNING, RunState.STOPPING):
            for run in records.list(state=state, limit=_MANY):
                place = run.container_id or ""
                if "/" not in place:
                    continue
                if await asyncio.to_thread(is_alive, self.folder.parent, run.owner):
                    continue
                await self._remove(place, run.container_name or place, run.owner)

    async def _remove(self, container_id: str, name: str, owner: str) -> None:
        async with self._turns:
            try:
                container = await self.engine.container(container_id)
                await container.remove()
            except ContainerNotFound:
                return
            except EngineError as error:
                self._failed(owner, f"container {name}: {error}")
            else:
                self.containers.append(name)

    async def end_runs(self, records: Records) -> int:
        """End the runs of the dead, also of those who left nothing else."""
        dead = {owner for owner, is_dead in self._dead.items() if is_dead}
        dead |= await asyncio.to_thread(self._dead_files)
        # Who has open runs has a file, unless a release or a sweep deleted it: looked at in this
        # order, or whoever begins meanwhile would be taken for dead.
        with_runs = records.open_owners()
        with_files = await asyncio.to_thread(self._files)
        dead |= with_runs - with_files - set(self._dead)
        return sum([await asyncio.to_thread(records.mark_lost, owner) for owner in sorted(dead)])

    def forget(self) -> None:
        """Delete the lock files of the dead of whom nothing is left."""
        for owner, (_, path) in self._held.items():
            if owner not in self._kept:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for path in self.folder.glob("*.new"):
                if time.time() - path.stat().st_mtime > _UNFINISHED:
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the locks."""
        for descriptor, _ in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _failed(self, owner: str, what: str) -> None:
        self._kept.add(owner)
        self.failed.append(what)

    async def _is_dead(self, labels: Mapping[str, str]) -> bool:
        owner = labels[OWNER_LABEL]
        if owner not in self._dead:
            self._dead[owner] = await self._judge(owner, labels)
        return self._dead[owner]

    async def _judge(self, owner: str, labels: Mapping[str, str]) -> bool:
        """Say whether an owner is surely dead."""
        machine = _Machine.parse(labels.get(MACHINE_LABEL, ""))
        here = await asyncio.to_thread(_Machine.here)
        by_lock = await asyncio.to_thread(self._take, owner, Path(labels.get(LOCK_LABEL, "")))
        if by_lock is not None:
            return by_lock  # a file of this name is this owner's, wherever it is seen
        if machine == here:
            process = labels.get(PROCESS_LABEL, "")
            return process != "" and await asyncio.to_thread(process_name, process) != process
        if machine is not None and machine.boot == here.boot and machine.container != "-":
            return await self._container_is_gone(machine.container, here)
        return False

    async def _container_is_gone(self, container: str, here: _Machine) -> bool:
        """Say whether the container in which an owner ran is gone, by this same engine."""
        try:
            info = await (await self.engine.container(container)).inspect()
        except ContainerNotFound:
            pass
        else:
            return info.state is State.EXITED
        # Never heard of it: that counts only if it would have been this engine's container.
        if here.container == "-":
            return not await asyncio.to_thread(_any_process_in, container)
        try:
            await self.engine.container(here.container)
        except ContainerNotFound:
            return False
        return True

    def _files(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*.lock")}

    def _dead_files(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*.lock") if self._take(path.stem, path)}

    def _take(self, owner: str, path: Path) -> bool | None:
        """Try to get an owner's lock; None where its file can't be seen or opened."""
        if owner in self._held:
            return True
        # An image may carry such labels, too, and a container that others made from it then does:
        # the file is locked, and deleted, only where an owner's can be.
        if not _OWNER.fullmatch(owner) or path.parts[-2:] != (_FOLDER, f"{owner}.lock"):
            return None
        if not path.is_absolute():
            return None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._held[owner] = descriptor, path
        return True


def _any_process_in(container: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        with contextlib.suppress(OSError):
            if container in path.read_text():
                return True
    return False
