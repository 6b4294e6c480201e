"""The blocks and the CID of a file or folder, as ``ipfs add -r --cid-version=1`` makes them.

Nothing is kept in memory but the links of the folders on the way to the file that is being read.

A folder with very many entries is spread over several blocks ("sharded") by nodes, each kind from
another size on: JavaScript nodes from 1,000 entries (if their settings say so), Kubo from 256 KiB
of names and addresses, or of the block. So it has no one CID, and it is refused here.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lading.content.cid import DAG_PB, RAW, Cid
from lading.content.unixfs import directory_block, file_block, symlink_block
from lading.errors import ContentRefused, FileMissing, FolderSharded, InputError

__all__ = [
    "CHUNK",
    "MOST_DEPTH",
    "PROFILE",
    "Added",
    "Entry",
    "Sink",
    "add_path",
    "entries",
    "leads_outside",
    "pieces",
]

CHUNK = 262_144
LINKS = 174
MOST_DEPTH = 200
"""Folders in one another; a path of more can't be opened by its name on Linux anyway."""

MOST_ENTRIES = 1_000
"""From so many on, JavaScript nodes shard a folder."""
MOST_FOLDER = 256 * 1024
"""Bytes of a folder's block: with less, no Kubo shards it, however it counts (IPIP-499)."""

PROFILE: dict[str, str | int | bool] = {
    "cid-version": 1,
    "hash": "sha2-256",
    "chunker": f"size-{CHUNK}",
    "raw-leaves": True,
    "trickle": False,
    "max-file-links": LINKS,
    "inline": False,
    "wrap-with-directory": False,
    "preserve-mode": False,
    "preserve-mtime": False,
}
"""What a CID depends on besides the content, in the words of Kubo's ``add``."""

Sink = Callable[[Cid, bytes], None]


@dataclass(frozen=True)
class Added:
    """What became of a file or folder.

    Parameters
    ----------
    cid : Cid
    size : int
        Bytes of the files.
    blocks : int
        How many were made; equal ones count as often as they were.
    files : int
        Files and symbolic links.
    """

    cid: Cid
    size: int
    blocks: int
    files: int


@dataclass(frozen=True)
class Entry:
    """An entry of a folder that is being published.

    Parameters
    ----------
    name : bytes
    path : str
    kind : str
        ``file``, ``directory`` or ``symlink``.
    """

    name: bytes
    path: str
    kind: str


def add_path(
    path: Path,
    sink: Sink | None = None,
    *,
    hidden: bool = False,
    stop: threading.Event | None = None,
    within: Path | None = None,
) -> Added:
    """Make the CID of a file or folder; blocks while it reads.

    Parameters
    ----------
    path : Path
        A symbolic link is followed here, and nowhere below.
    sink : callable or None
        Gets each block with its CID, a folder's after those of what is in it.
    hidden : bool
        Whether what begins with a dot is taken as well; ``ipfs add -r`` leaves it out.
    stop : threading.Event or None
        Ends the work when it is set.
    within : Path or None
        The folder that symbolic links may not leave, where it is not `path` itself.

    Raises
    ------
    FileMissing
        There is no such file or folder.
    InputError
        Something can't be read, or changed while it was.
    FolderSharded
        Nodes would spread a folder over several blocks.
    ContentRefused
        A symbolic link leads outside, something is neither file, folder nor link, or a name is not
        UTF-8.
    InterruptedError
        `stop` was set.
    """
    work = _Adding(path, sink, hidden=hidden, stop=stop, within=within)
    try:
        cid, _ = work.root()
    except FileNotFoundError as error:
        raise FileMissing(
            str(error.filename), [f"{error.filename}: there is no such file or folder"]
        ) from None
    except InterruptedError:
        raise
    except OSError as error:
        raise InputError(str(error.filename or path), f"can't be read: {error.strerror}") from None
    return Added(cid, work.size, work.blocks, work.files)


class _Adding:
    def __init__(
        self,
        path: Path,
        sink: Sink | None,
        *,
        hidden: bool,
        stop: threading.Event | None,
        within: Path | None,
    ) -> None:
        self._path = str(path)
        self._top = os.path.realpath(path)
        self._root = self._top if within is None else os.path.realpath(within)
        self._sink = sink
        self._hidden = hidden
        self._stop = stop
        self.size = self.blocks = self.files = 0

    def root(self) -> tuple[Cid, int]:
        mode = os.stat(self._path).st_mode  # noqa: PTH116 - follows a link, once
        if stat.S_ISDIR(mode):
            return self._directory(self._top, 0)
        if not stat.S_ISREG(mode):
            raise _neither(self._path)
        return self._file(self._top)

    def _keep(self, codec: int, block: bytes) -> Cid:
        cid = Cid(1, codec, hashlib.sha256(block).digest())
        self.blocks += 1
        if self._sink is not None:
            self._sink(cid, block)
        return cid

    def _directory(self, path: str, depth: int) -> tuple[Cid, int]:
        links, total = [], 0
        listed = entries(path, self._root, hidden=self._hidden, depth=depth, most=MOST_ENTRIES)
        for entry in listed:
            if entry.kind == "directory":
                cid, size = self._directory(entry.path, depth + 1)
            elif entry.kind == "symlink":
                block = symlink_block(os.readlink(os.fsencode(entry.path)))  # noqa: PTH115
                cid, size = self._keep(DAG_PB, block), len(block)
                self.files += 1
            else:
                cid, size = self._file(entry.path)
            links.append((entry.name, cid, size))
            total += size
        block = directory_block(links)
        if len(block) >= MOST_FOLDER:
            raise _sharded(path, f"{len(block)} bytes of names and addresses")
        return self._keep(DAG_PB, block), total + len(block)

    def _file(self, path: str) -> tuple[Cid, int]:
        tree = _Tree(self._keep)
        for piece in pieces(path, self._stop):
            tree.add((self._keep(RAW, piece), len(piece), len(piece)))
            self.size += len(piece)
        self.files += 1
        return tree.root()


_Piece = tuple[Cid, int, int]
"""A piece of a file: its CID, the bytes of its blocks, and those of the file in them."""


class _Tree:
    """The balanced tree of a file's pieces, filled from the left; 174 to a node.

    A level is made into a node only when one more comes, as the last node of each level may be the
    root.
    """

    def __init__(self, keep: Callable[[int, bytes], Cid]) -> None:
        self._keep = keep
        self._levels: list[list[_Piece]] = [[]]

    def add(self, piece: _Piece, level: int = 0) -> None:
        if level == len(self._levels):
            self._levels.append([])
        if len(self._levels[level]) == LINKS:
            self._close(level)
        self._levels[level].append(piece)

    def root(self) -> tuple[Cid, int]:
        level = 0
        while level < len(self._levels) - 1 or len(self._levels[level]) > 1:
            self._close(level)
            level += 1
        cid, size, _ = self._levels[level][0]
        return cid, size

    def _close(self, level: int) -> None:
        below = self._levels[level]
        self._levels[level] = []
        block = file_block(below)
        size = len(block) + sum(piece[1] for piece in below)
        self.add((self._keep(DAG_PB, block), size, sum(piece[2] for piece in below)), level + 1)


def pieces(path: str, stop: threading.Event | None = None) -> Iterator[bytes]:
    """Read a file in pieces of `CHUNK` bytes; an empty one is one empty piece.

    Raises
    ------
    InputError
        It changed meanwhile: its CID would be that of a file that never was.
    InterruptedError
        `stop` was set.
    OSError
    """
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = os.fstat(number)
        if not stat.S_ISREG(before.st_mode):
            raise _neither(path)
        count = 0
        while piece := _full(number):
            if stop is not None and stop.is_set():
                raise InterruptedError("stopped")
            count += len(piece)
            if count > before.st_size:
                break  # it would go on for ever with a log that is written as fast
            yield piece
        if before.st_size == count == 0:
            yield b""
        after = os.fstat(number)
    finally:
        os.close(number)
    if count != after.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise InputError(path, "changed while it was read", fix="try again when it is at rest")


def _full(number: int) -> bytes:
    """Read a whole piece: a file system in user space gives less at once."""
    piece = os.read(number, CHUNK)
    while piece and len(piece) < CHUNK and (more := os.read(number, CHUNK - len(piece))):
        piece += more
    return piece


def entries(
    path: str, root: str, *, hidden: bool, depth: int = 0, most: int | None = None
) -> list[Entry]:
    """List what of a folder is published, in the order of the names' bytes.

    Parameters
    ----------
    path, root : str
        The folder, and the one that is published; without links in it.
    hidden : bool
        Whether what begins with a dot is listed as well.
    depth : int
        How far below the root.
    most : int or None
        From how many on they are too many.

    Raises
    ------
    FolderSharded
        They are.
    ContentRefused
        As :func:`add_path`.
    OSError
    """
    if depth > MOST_DEPTH:
        raise ContentRefused(f"{path}: more than {MOST_DEPTH} folders lie in one another")
    found = []
    with os.scandir(path) as listing:
        for item in listing:
            if item.name.startswith(".") and not hidden:
                continue
            found.append(Entry(_utf8(item.name, path), item.path, _kind(item, root)))
            if len(found) == most:
                raise _sharded(path, f"{most} entries or more")
    found.sort(key=lambda entry: entry.name)
    return found


def leads_outside(link: str, root: str) -> bool:
    """Whether a symbolic link leads out of a folder, or would after the folder was moved."""
    target = os.readlink(link)  # noqa: PTH115
    if target.startswith("/"):
        return True
    real = os.path.realpath(link)
    return real != root and not real.startswith(f"{root}/")


def _kind(item: os.DirEntry[str], root: str) -> str:
    if item.is_symlink():
        if leads_outside(item.path, root):
            target = os.readlink(item.path)  # noqa: PTH115
            raise ContentRefused(
                f"{item.path}: the symbolic link leads outside, to {target}",
                fix="put a copy of the file in its place, or make the link relative",
            )
        return "symlink"
    if item.is_dir(follow_symlinks=False):
        return "directory"
    if item.is_file(follow_symlinks=False):
        return "file"
    raise _neither(item.path)


def _utf8(name: str, folder: str) -> bytes:
    try:
        return name.encode("utf-8")
    except UnicodeEncodeError:
        raise ContentRefused(
            f"{folder}: the name {os.fsencode(name)!r} is not UTF-8", fix="rename it"
        ) from None


def _neither(path: str) -> ContentRefused:
    return ContentRefused(
        f"{path}: is neither a file, a folder nor a symbolic link", fix="take it out of the folder"
    )


def _sharded(path: str, size: str) -> FolderSharded:
    return FolderSharded(
        f"{path}: has {size}: nodes spread such a folder over several blocks, each kind of node "
        f"from another size on ({MOST_ENTRIES} entries, or {MOST_FOLDER} bytes), so it has no one "
        "CID",
        fix="put the entries into several folders, or one archive; or let a node add it",
    )
