"""Files below a directory that strangers write to.

Applications are strangers' code, and the directories that their containers write to are theirs:
any name in them may be a symbolic link to the host's files, at any moment. So what they name is
looked up component by component below the directory that their container had, no link leads out of
it, and nothing is written through one. All functions block, see
:mod:`lading.contracts.golem.driver.offloop`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections import deque
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lading.contracts.golem.constants import WORK_DIR
from lading.contracts.golem.driver.offloop import Stop
from lading.errors import AppError, CapacityError, LadingError

__all__ = [
    "Way",
    "copy_over",
    "digest",
    "disk_problem",
    "open_below",
    "parts_of",
    "refuse",
    "remove",
    "write_copy",
]

_MOUNTED = PurePosixPath("/", WORK_DIR)
_CHUNK = 16 << 20
"""Bytes copied between two looks whether to stop."""
_LINKS = 40
"""As Linux: more symbolic links on one way go in a circle."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNABLE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM)
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a symbolic link",
}


def disk_problem(error: OSError, what: str, place: Path) -> LadingError:
    """Say in words why files can't be written."""
    if error.errno in _FULL:
        return CapacityError(
            f"{what}: the disk of {place} is full",
            fix="make room there, then resume the task",
        )
    return LadingError(
        f"{what}: {error.strerror or error}",
        fix=f"see that {place} can be used, then resume the task",
    )


def refuse(call: str, status: str, what: str) -> AppError:
    """Say that an application has named a file that can't be used."""
    return AppError(call, status, what)


class Way:
    """Directories from a root downwards, as descriptors that no link can turn aside."""

    def __init__(self, root: Path) -> None:
        self._stack = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]

    def __enter__(self) -> Way:
        return self

    def __exit__(self, *_: object) -> None:
        self.back(0)
        os.close(self._stack.pop())

    @property
    def here(self) -> int:
        """Descriptor of where we are; good for looking up names only."""
        return self._stack[-1]

    def back(self, depth: int) -> None:
        """Go up to so many directories below the root."""
        while len(self._stack) > depth + 1:
            os.close(self._stack.pop())

    def up(self) -> bool:
        """Go up; False at the root."""
        if len(self._stack) == 1:
            return False
        os.close(self._stack.pop())
        return True

    def down(self, name: str) -> None:
        """Go down into a directory that is there, and is no link to one."""
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._stack.append(os.open(name, flags, dir_fd=self.here))

    def make(self, name: str) -> None:
        """Go down into a directory; made where there is none, or something else is in its way."""
        try:
            os.mkdir(name, 0o755, dir_fd=self.here)
        except FileExistsError:
            found = os.stat(name, dir_fd=self.here, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                os.unlink(name, dir_fd=self.here)
                os.mkdir(name, 0o755, dir_fd=self.here)
        self.down(name)


def _link(name: str, here: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=here)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise


def parts_of(path: str) -> list[str]:
    """Split a path into its components."""
    return [part for part in path.split("/") if part not in ("", ".")]


@contextlib.contextmanager
def open_below(root: Path, path: str, *, call: str, what: str) -> Iterator[int]:
    """Open a regular file below the directory that a container has mounted as its work directory.

    Symbolic links may lead from anywhere to anywhere in it, also by the name that it has in the
    container.

    Parameters
    ----------
    root : Path
        Our own: nobody else can replace it.
    path : str
        Relative to it.
    call, what : str
        For the error: which call of the application named it, and how to name it.

    Yields
    ------
    int
        A descriptor to read from; closed at the end.

    Raises
    ------
    AppError
        It is missing, leads out, or is no regular file; nothing was opened.
    """
    try:
        with Way(root) as way:
            descriptor = _open_last(way, deque(parts_of(path)), call, what)
    except FileNotFoundError:
        raise refuse(call, "NOT_FOUND", f"{what} is not there") from None
    except NotADirectoryError:
        text = f"{what} is not there: a part of its path is no directory"
        raise refuse(call, "NOT_FOUND", text) from None
    except OSError as error:
        text = f"{what} can't be read: {error.strerror}"
        raise refuse(call, "PERMISSION_DENIED", text) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_last(way: Way, todo: deque[str], call: str, what: str) -> int:
    outside = f"{what} leads out of the work directory, which is not allowed"
    links = 0
    while todo:
        name = todo.popleft()
        if name == "..":
            if not way.up():
                raise refuse(call, "PERMISSION_DENIED", outside)
            continue
        target = _link(name, way.here)
        if target is not None:
            links += 1
            if links > _LINKS:
                raise refuse(call, "NOT_FOUND", f"{what} goes through links in a circle")
            if target.startswith("/"):
                pure = PurePosixPath(target)
                if not pure.is_relative_to(_MOUNTED):
                    raise refuse(call, "PERMISSION_DENIED", outside)
                way.back(0)
                target = str(pure.relative_to(_MOUNTED))
            todo.extendleft(reversed(parts_of(target)))
        elif todo:
            way.down(name)
        else:
            return _open_file(way.here, name, call, what)
    raise refuse(call, "FAILED_PRECONDITION", f"{what} is a directory, not a regular file")


def _open_file(here: int, name: str, call: str, what: str) -> int:
    found = os.stat(name, dir_fd=here, follow_symlinks=False)
    if stat.S_ISREG(found.st_mode):
        # It may have become something else by now: a pipe must not block us.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=here)
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            return descriptor
        os.close(descriptor)
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
    raise refuse(call, "FAILED_PRECONDITION", f"{what} is {kind}, not a regular file")


# Copying.


def copy_over(source: int, target: int, stop: Stop) -> None:
    """Copy a file's content from its beginning; shares the blocks where the file system can.

    Raises
    ------
    InterruptedError
        `stop` was set.
    OSError
    """
    size, done = os.fstat(source).st_size, 0
    try:
        while done < size:
            stop.check()
            count = os.copy_file_range(source, target, min(_CHUNK, size - done), done, done)
            if count == 0:
                break
            done += count
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
    os.lseek(source, done, os.SEEK_SET)
    os.lseek(target, done, os.SEEK_SET)
    while chunk := os.read(source, 1 << 20):  # the rest, and what copy_file_range can't
        stop.check()
        view = memoryview(chunk)
        while view:
            view = view[os.write(target, view) :]


def digest(descriptor: int, stop: Stop) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    found = hashlib.sha256()
    while chunk := os.read(descriptor, 1 << 20):
        stop.check()
        found.update(chunk)
    return found.hexdigest()


def write_copy(here: int, name: str, source: int, stop: Stop) -> None:
    """Put a copy into a directory, in place of whatever has that name there."""
    remove(here, name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(name, flags, 0o600, dir_fd=here)
    try:
        copy_over(source, target, stop)
        os.fchmod(target, stat.S_IMODE(os.fstat(source).st_mode) & 0o777 | 0o600)
    finally:
        os.close(target)


def remove(here: int, name: str) -> None:
    """Remove whatever has this name in a directory; nothing if there is nothing."""
    try:
        os.unlink(name, dir_fd=here)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
        shutil.rmtree(name, dir_fd=here)
