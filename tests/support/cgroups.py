"""Control groups of this machine, looked at and removed by tests."""

from __future__ import annotations

import contextlib
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def named(path: str) -> list[Path]:
    """The directories of a control group, in every hierarchy that is mounted in the usual place."""
    below = path.lstrip("/")
    return [found for found in (ROOT / below, *ROOT.glob(f"*/{below}")) if found.is_dir()]


def of_runs(part: str) -> list[str]:
    """The control groups that runs have, by a part of their names: a run's id, or ``PID@``."""
    found = []
    for base in named("lading"):
        with contextlib.suppress(FileNotFoundError):  # other tests' last group, and its parent
            found += [str(folder) for folder in base.iterdir() if part in folder.name]
    return [folder for folder in found if Path(folder).is_dir()]


def groups_of(pid: int) -> list[str]:
    """In which control group a process is, in each hierarchy."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return [line.split(":", 2)[2] for line in lines]


def remove(path: str) -> None:
    """Remove a group, and those above it that are empty then."""
    while path not in ("", "/"):
        for folder in named(path):
            with contextlib.suppress(OSError):
                folder.rmdir()
        path = path.rpartition("/")[0]
