"""The directories of a task, and the lock that its driver holds while it lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from lading.contracts.golem.driver.offloop import Stop, in_thread
from lading.errors import InputError, RecordError

__all__ = ["claim", "is_driven", "remove_home", "task_home"]

_LOCK = "lock"


def task_home(state_directory: Path, task_id: str) -> Path:
    """Return where the directories of a task are."""
    return state_directory / "golem" / "tasks" / task_id


def is_driven(home: Path) -> bool:
    """Say whether a driver of the task lives, in whatever process; blocks shortly."""
    try:
        descriptor = os.open(home / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextlib.asynccontextmanager
async def claim(home: Path, task_id: str) -> AsyncIterator[None]:
    """Make the directories, and be the task's only driver meanwhile.

    The kernel lets go of the lock however this process ends.

    Raises
    ------
    InputError
        Another process drives the task.
    RecordError
        The directories can't be made.
    """
    descriptor = await in_thread(_lock, home, task_id)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(_: Stop, home: Path, task_id: str) -> int:
    try:
        (home / "work").mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / "nodes").mkdir(exist_ok=True)
        descriptor = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RecordError(
            f"the directory {home} of the task can't be made: {error.strerror}",
            fix="set LADING_STATE to a writable directory on a local disk",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(
            "", f"task {task_id} is driven by another process", fix="wait for it, or abort it"
        ) from None
    return descriptor


def remove_home(_: Stop, home: Path) -> str:
    """Remove a task's directories; return what could not be removed and why, in words."""
    problems: list[str] = []

    def note(_: object, path: str, info: tuple[type, BaseException, object]) -> None:
        if not isinstance(info[1], FileNotFoundError):
            problems.append(f"{path} can't be removed: {info[1]}")

    shutil.rmtree(home, onerror=note)
    return problems[0] if problems else ""
