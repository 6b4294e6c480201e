"""Directories of this machine as tar archives whose length is known, and back.

What comes back was written by strangers: no link of theirs is followed here, and what they made of
a directory that is a link by now takes its place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from lading.engine.kubernetes.mounts import Copy

__all__ = ["Packed", "pack", "unpack"]

_PIECE = 1 << 18
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive that is made while it is read.

    Parameters
    ----------
    size : int
        Bytes, exactly.
    names : frozenset of str
        What is in it.
    """

    size: int
    names: frozenset[str]
    entries: tuple[tuple[bytes, str, int], ...]

    def pieces(self) -> Iterator[bytes]:
        """Make it; a file that became shorter meanwhile is filled up with zeros.

        Raises
        ------
        OSError
            A file can't be read (any more).
        """
        for head, path, size in self.entries:
            yield head
            if not size:
                continue
            with os.fdopen(os.open(path, _FILE), "rb") as file:
                left = size
                while left and (piece := file.read(min(left, _PIECE))):
                    left -= len(piece)
                    yield piece
            yield from _zeros(left + -size % _BLOCK)
        yield _END


def _zeros(count: int) -> Iterator[bytes]:
    while count:
        yield bytes(min(count, _PIECE))
        count -= min(count, _PIECE)


def pack(copies: Iterable[Copy], *, own: bool) -> Packed:
    """See what there is to be copied; blocks.

    Parameters
    ----------
    own : bool
        Whether all will belong to whoever unpacks it: directories may be written to by them then.

    Raises
    ------
    OSError
        A directory can't be read.
    """
    entries: list[tuple[bytes, str, int]] = []
    names: set[str] = set()
    for copy in copies:
        above = tarfile.TarInfo(copy.name.partition("/")[0])
        above.type, above.mode = tarfile.DIRTYPE, 0o755
        entries.append((_head(above), "", 0))
        device = os.stat(copy.source).st_dev if copy.read_only else None  # noqa: PTH116
        for name, path, found in _walk(copy.name, copy.source, device):
            if (item := _item(name, path, found, own=own)) is not None:
                names.add(name)
                entries.append((_head(item), path, item.size))
    size = sum(len(head) + length + -length % _BLOCK for head, _, length in entries) + len(_END)
    return Packed(size, frozenset(names), tuple(entries))


def _walk(name: str, path: str, device: int | None) -> Iterator[tuple[str, str, os.stat_result]]:
    """Yield the path itself, and what is in it; other file systems only where `device` is None."""
    waiting = [(name, path, os.stat(path))]  # noqa: PTH116 - a link to what is meant is followed
    while waiting:
        name, path, found = waiting.pop()
        yield name, path, found
        if not stat.S_ISDIR(found.st_mode) or (device is not None and found.st_dev != device):
            continue
        with os.scandir(path) as listed:
            for entry in listed:
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    inside = entry.stat(follow_symlinks=False)
                    waiting.append((f"{name}/{entry.name}", entry.path, inside))


def _item(name: str, path: str, found: os.stat_result, *, own: bool) -> tarfile.TarInfo | None:
    item = tarfile.TarInfo(name)
    item.mode, item.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
    item.uid, item.gid = found.st_uid, found.st_gid
    if stat.S_ISDIR(found.st_mode):
        item.type = tarfile.DIRTYPE
        item.mode |= 0o700 if own else 0
    elif stat.S_ISREG(found.st_mode):
        item.size = found.st_size
    elif stat.S_ISLNK(found.st_mode):
        item.type, item.linkname = tarfile.SYMTYPE, os.readlink(path)  # noqa: PTH115
    elif stat.S_ISFIFO(found.st_mode):
        item.type = tarfile.FIFOTYPE
    else:
        return None
    return item


def _head(item: tarfile.TarInfo) -> bytes:
    return item.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def unpack(stream: IO[bytes], copies: Iterable[Copy], before: frozenset[str]) -> None:
    """Make what is here what an archive of the copies says; blocks.

    Parameters
    ----------
    before : frozenset of str
        What was copied there: of that, what is not in the archive was removed there.

    Raises
    ------
    OSError
        Something can't be written here.
    tarfile.TarError
        The archive ends too early.
    """
    by_name = {copy.name: copy for copy in copies}
    seen: set[str] = set()
    trees = {name: _Tree(copy.source) for name, copy in by_name.items() if copy.directory}
    with contextlib.ExitStack() as stack:
        for tree in trees.values():
            stack.callback(tree.close)
        tar = stack.enter_context(
            tarfile.open(
                fileobj=stream,
                mode="r|",
                bufsize=_PIECE,
                encoding="utf-8",
                errors="surrogateescape",
            )
        )
        while (item := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
            parts = [part for part in item.name.split("/") if part not in ("", ".")]
            if ".." in parts or len(parts) < 2:
                continue
            seen.add("/".join(parts))
            copy = by_name.get("/".join(parts[:2]))
            if copy is not None and copy.directory:
                trees[copy.name].take(tar, item, parts[2:])
            elif copy is not None and item.isreg() and len(parts) == 2:
                _write_in_place(tar, item, copy.source)
        for name, tree in trees.items():
            tree.finish()
            gone = {path for path in before - seen if path.startswith(f"{name}/")}
            for path in sorted(gone, reverse=True):  # what is in a directory comes before it
                tree.remove(path.removeprefix(f"{name}/").split("/"))


def _write_in_place(tar: tarfile.TarFile, item: tarfile.TarInfo, path: str) -> None:
    content = tar.extractfile(item)
    if content is not None:
        with open(path, "wb") as file:  # noqa: PTH123 - a link to what is meant is followed
            shutil.copyfileobj(content, file, _PIECE)


class _Tree:
    """A directory that is written to without following any link in it."""

    def __init__(self, root: str) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._at: tuple[str, ...] = ()
        self._here = self._root
        self._directories: list[tuple[list[str], tarfile.TarInfo]] = []
        self._as_root = os.geteuid() == 0

    def close(self) -> None:
        """Close what is open."""
        self._leave()
        os.close(self._root)

    def take(self, tar: tarfile.TarFile, item: tarfile.TarInfo, parts: list[str]) -> None:
        """Make what a member says."""
        if item.isdir():
            self._enter(parts)
            self._directories.append((parts, item))
            return
        if not parts:
            return
        here, name = self._enter(parts[:-1]), parts[-1]
        if item.isreg():
            self._write(tar, item, here, name)
        elif item.issym():
            _clear(here, name)
            os.symlink(item.linkname, name, dir_fd=here)
            if self._as_root:
                os.chown(name, item.uid, item.gid, dir_fd=here, follow_symlinks=False)
        elif item.islnk():
            self._link(item, here, name)
        elif item.isfifo():
            _clear(here, name)
            os.mkfifo(name, item.mode & 0o777, dir_fd=here)

    def finish(self) -> None:
        """Give directories their modes and times, the inner ones first."""
        for parts, item in reversed(self._directories):
            here = self._enter(parts)
            if self._as_root:
                os.fchown(here, item.uid, item.gid)
            os.fchmod(here, self._mode(item))
            os.utime(here, (item.mtime, item.mtime))

    def remove(self, parts: list[str]) -> None:
        """Remove what was removed there; a directory only if it is empty here, too."""
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            here = self._root
            for part in parts[:-1]:
                here = os.open(part, _DIRECTORY, dir_fd=here)
                stack.callback(os.close, here)
            try:
                os.unlink(parts[-1], dir_fd=here)
            except IsADirectoryError:
                os.rmdir(parts[-1], dir_fd=here)

    def _write(self, tar: tarfile.TarFile, item: tarfile.TarInfo, here: int, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=here, follow_symlinks=False)
            same = found.st_size == item.size and int(found.st_mtime) == int(item.mtime)
            if same and stat.S_ISREG(found.st_mode):
                return  # as it was
        content = tar.extractfile(item)
        if content is None:
            return
        _clear(here, name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=here), "wb") as file:
            shutil.copyfileobj(content, file, _PIECE)
            file.flush()
            if self._as_root:
                os.fchown(file.fileno(), item.uid, item.gid)
            os.fchmod(file.fileno(), self._mode(item))
            os.utime(file.fileno(), (item.mtime, item.mtime))

    def _link(self, item: tarfile.TarInfo, here: int, name: str) -> None:
        """Make a second name of what came before; the link's target has the copy's own name."""
        target = [part for part in item.linkname.split("/") if part not in ("", ".")][2:]
        if ".." in target or not target:
            return
        there = os.dup(here)
        try:
            source = self._enter(target[:-1])
            _clear(there, name)
            os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=there, follow_symlinks=False)
        finally:
            os.close(there)

    def _mode(self, item: tarfile.TarInfo) -> int:
        # What belongs to us here would act as us: only who was root there may act as root here.
        return item.mode & (0o7777 if self._as_root else 0o1777)

    def _enter(self, parts: list[str]) -> int:
        """Open a directory below the root, and make it where it is none."""
        if self._at == tuple(parts):
            return self._here
        self._leave()
        for part in parts:
            try:
                inner = os.open(part, _DIRECTORY, dir_fd=self._here)
            except OSError:
                _clear(self._here, part)
                os.mkdir(part, 0o700, dir_fd=self._here)
                inner = os.open(part, _DIRECTORY, dir_fd=self._here)
            if self._here != self._root:
                os.close(self._here)
            self._here = inner
        self._at = tuple(parts)
        return self._here

    def _leave(self) -> None:
        if self._here != self._root:
            os.close(self._here)
        self._here, self._at = self._root, ()


def _clear(here: int, name: str) -> None:
    """Remove what has a name, whatever it is."""
    try:
        os.unlink(name, dir_fd=here)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        shutil.rmtree(name, dir_fd=here)
