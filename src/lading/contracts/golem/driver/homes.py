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

__all__ = ["claim", "empty_home", "is_driven", "remove_tree", "task_home"]

_LOCK = "lock"
_TRIES = 100
"""Times that a directory may go while it is made."""


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
        try:
            await in_thread(_leave, home)
        finally:
            os.close(descriptor)


def _lock(_: Stop, home: Path, task_id: str) -> int:
    for left in reversed(range(_TRIES)):
        try:
            (home / "work").mkdir(parents=True, exist_ok=True, mode=0o700)
            (home / "nodes").mkdir(exist_ok=True)
            descriptor = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if left and isinstance(error, FileNotFoundError | FileExistsError):
                continue  # whoever had it takes it along, right now
            raise RecordError(
                f"the directory {home} of the task can't be made: {error.strerror}",
                fix="set LADING_STATE to a writable directory on a local disk",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            break
        if _is_there(home, descriptor):
            return descriptor
        os.close(descriptor)
    raise InputError(
        "", f"task {task_id} is driven by another process", fix="wait for it, or abort it"
    )


def _is_there(home: Path, descriptor: int) -> bool:
    """Say whether the lock is still that of the directory: it may have gone before it was ours."""
    try:
        found = (home / _LOCK).stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def _leave(_: Stop, home: Path) -> None:
    """Take the directory along if nothing is in it; its lock goes last, and is ours until then."""
    with contextlib.suppress(OSError):
        for name in ("work", "nodes"):
            (home / name).rmdir()
    with contextlib.suppress(OSError):
        if [path.name for path in home.iterdir()] == [_LOCK]:
            (home / _LOCK).unlink()
            home.rmdir()


def empty_home(stop: Stop, home: Path) -> str:
    """Remove what a task's directory holds, but for the lock: until it is let go of, it is driven.

    Returns
    -------
    str
        What could not be removed and why, in words; nothing if all is gone.
    """
    problems = [remove_tree(stop, path) for path in home.iterdir() if path.name != _LOCK]
    return next(filter(None, problems), "")


def remove_tree(_: Stop, directory: Path) -> str:
    """Remove a directory or a file; return what could not be removed and why, in words."""
    problems: list[str] = []

    def note(_: object, path: str, info: tuple[type, BaseException, object]) -> None:
        if not isinstance(info[1], FileNotFoundError):
            problems.append(f"{path} can't be removed: {info[1]}")

    if directory.is_dir() and not directory.is_symlink():
        shutil.rmtree(directory, onerror=note)
    else:
        try:
            directory.unlink(missing_ok=True)
        except OSError as error:
            problems.append(f"{directory} can't be removed: {error}")
    return problems[0] if problems else ""
