"""Directories of our own for what goes from step to step: ``<work>/<step>/<channel>``.

A file in ``<work>/<step>`` marks it as ours, and is locked while a chain uses it. What an earlier
try left in such a directory is removed before its step runs again. A directory without the mark is
somebody's: nothing in it is touched, and nothing is put into it unless it is empty.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from lading.errors import InputError

__all__ = ["Scratch"]

_MARK = ".lading-step"


class Scratch:
    """The directories of one chain; every call blocks.

    Parameters
    ----------
    work : Path
        Where they are made; need not be there.
    """

    def __init__(self, work: Path) -> None:
        self._work = work.expanduser().absolute()
        self._locks: dict[str, int] = {}
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        self.release()

    def path(self, step: str, channel: str) -> Path:
        """Say where the directory of a channel is, or will be.

        Raises
        ------
        InputError
            The channel has a name that no directory can have.
        """
        if "/" in channel or "\0" in channel or channel in (".", "..", _MARK):
            raise InputError(
                f"output channel {channel!r}",
                "has a name that no directory can have",
                fix=f"say where it is: --output {channel}=DIR",
            )
        return self._work / step / channel

    def claim(self, step: str) -> None:
        """Make the directory of a step ours, until :meth:`release`.

        Raises
        ------
        InputError
            It can't be made, is somebody's, or another chain uses it.
        """
        if step in self._locks:
            return
        place = self._work / step
        mark = place / _MARK
        try:
            self._make(place)
            if not mark.exists() and any(place.iterdir()):
                raise InputError(
                    "--work",
                    f"{place} holds what no chain of ours has put there",
                    fix="choose another directory with --work, or move it away",
                )
            lock = _lock(mark)
        except OSError as error:
            raise InputError(
                "--work",
                f"{place} can't be used: {error.strerror}",
                fix="choose a directory that you may write to",
            ) from None
        if lock is None:
            raise InputError(
                "--work",
                f"{place} is used by another chain that runs now",
                fix="wait for it, or choose another directory with --work",
            )
        self._locks[step] = lock

    def clear(self, step: str, channels: Iterable[Path]) -> None:
        """Remove what an earlier try left in a step's directories.

        Raises
        ------
        InputError
            It can't be removed.
        """
        for path in channels:
            assert step in self._locks
            try:
                if path.is_symlink() or path.is_file():
                    path.unlink()
                elif path.exists():
                    shutil.rmtree(path)
            except OSError as error:
                raise InputError(
                    "--work",
                    f"{path} has files of an earlier try that can't be removed: {error.strerror}",
                    fix="remove them, or choose another directory with --work",
                ) from None

    def release(self) -> None:
        """Let others use them; what is still empty is taken away."""
        for step, lock in self._locks.items():
            place = self._work / step
            with contextlib.suppress(OSError):
                if [item.name for item in place.iterdir()] == [_MARK]:
                    (place / _MARK).unlink()
                    place.rmdir()
            os.close(lock)
        self._locks.clear()
        for path in reversed(self._made):
            with contextlib.suppress(OSError):
                path.rmdir()
        self._made.clear()

    def _make(self, place: Path) -> None:
        missing = []
        while not place.exists():
            missing.append(place)
            place = place.parent
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            self._made.append(path)


def _lock(mark: Path) -> int | None:
    """Open and lock a file, made if need be; None if another process has it locked."""
    while True:
        descriptor = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it may have removed it meanwhile.
            if mark.exists() and os.path.samestat(os.fstat(descriptor), mark.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
