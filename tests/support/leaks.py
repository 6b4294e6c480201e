"""What a test may leave behind, and how to see it."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from tests.support import cgroups, cluster, engines

_HARMLESS = ("/dev/", "/sys/", "/proc/")
"""Opened once by libraries and kept: no resource that anybody waits for."""
_EVENTS = "anon_inode:[eventfd]"
"""Counted, not told apart: where a process forks, gRPC closes its own and opens another."""


@dataclass
class Footprint:
    """By what a test's containers and networks are known on an engine."""

    test_id: str
    labels: dict[str, set[str]] = field(init=False)
    names: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.labels = {"lading.test": {self.test_id}, "lading.owner": {self.test_id}}
        self.names = {f"lading-{self.test_id}"}

    def watch_label(self, key: str, value: str) -> None:
        """Count what carries this label as this test's."""
        self.labels.setdefault(key, set()).add(value)

    def watch_name(self, prefix: str) -> None:
        """Count what has a name that begins so as this test's."""
        self.names.add(prefix)

    def remove_leftovers(self, host: str) -> list[str]:
        """Remove what is left on an engine, and tell of it."""
        there = cluster if host.startswith("kubernetes://") else engines
        found = there.leftovers(host, self.labels, self.names)
        for _, target in found:
            if there is cluster:
                cluster.call("DELETE", target)
            else:
                engines.call(host, "DELETE", target)
        return [line for line, _ in found]


@dataclass(frozen=True)
class Snapshot:
    """What this process has open."""

    folder: Path
    files: frozenset[str]
    descriptors: dict[int, str]
    threads: frozenset[threading.Thread]
    processes: dict[int, str]
    groups: frozenset[str]

    @classmethod
    def take(cls, folder: Path) -> Snapshot:
        """Look now; what only a reference cycle keeps is let go first."""
        return cls(
            folder,
            frozenset(path.name for path in folder.iterdir()),
            _descriptors(),
            frozenset(threading.enumerate()),
            _children(),
            frozenset(cgroups.of_runs(f"{os.getpid()}@")),
        )

    def grown_since(self, before: Snapshot) -> list[str]:
        """Lines about what is here and was not before."""
        grown = self
        if self._differs(before):
            # An object in a reference cycle, or a thread on its last instruction, is no leak.
            gc.collect()
            for thread in self.threads - before.threads:
                thread.join(timeout=1.0)
            grown = Snapshot.take(self.folder)
        return grown._lines(before)

    def _differs(self, before: Snapshot) -> bool:
        return bool(self._lines(before))

    def _lines(self, before: Snapshot) -> list[str]:
        lines = [f"temporary file {name}" for name in sorted(self.files - before.files)]
        lines += [
            f"file descriptor {number}: {target}"
            for number, target in self.descriptors.items()
            if before.descriptors.get(number) != target
            and (target != _EVENTS or self._count(_EVENTS) > before._count(_EVENTS))
        ]
        lines += [f"control group {path}" for path in sorted(self.groups - before.groups)]
        lines += [f"thread {thread.name}" for thread in self.threads - before.threads]
        lines += [
            f"process {pid}: {command}"
            for pid, command in self.processes.items()
            if pid not in before.processes
        ]
        return lines

    def _count(self, target: str) -> int:
        return list(self.descriptors.values()).count(target)


def _descriptors() -> dict[int, str]:
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        # The one that lists the folder is gone by now.
        with contextlib.suppress(FileNotFoundError):
            target = str(link.readlink())
            if not target.startswith(_HARMLESS):
                found[int(link.name)] = target
    return found


def _children() -> dict[int, str]:
    found = {}
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found[child.pid] = f"{child.name()} ({child.status()})"
    return found
