"""A file or folder fetched by its CID: every block verified, written aside, renamed when whole.

What is fetched comes from strangers. So nothing is believed: not that a block is what was asked
for, not that sizes add up, not that a name stays in its folder, not that there is an end.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lading.content.adding import MOST_DEPTH, leads_outside
from lading.content.cid import Cid, verify
from lading.content.unixfs import Node, decode
from lading.engine.shield import to_the_end
from lading.errors import ContentError, ContentNotFound, ContentRefused, FileMissing, InputError
from lading.units import format_bytes, format_seconds

__all__ = ["MOST_LEVELS", "BlockSource", "Fetched", "fetch"]

_AT_ONCE = 16
"""Blocks that are asked for at the same time."""
_MOST_ENTRIES = 500_000
"""Entries of all folders: an empty file has no bytes to count, and needs an inode."""
MOST_LEVELS = 16
"""Of blocks in one file or sharded folder; four of 174 links hold 200 TB."""


class BlockSource(Protocol):
    """Where blocks come from: a node, a CAR file."""

    async def block(self, cid: Cid) -> bytes:
        """Give a block; it need not be the right one.

        Raises
        ------
        ContentNotFound
            It is not there.
        """
        ...


@dataclass(frozen=True)
class Fetched:
    """What was fetched.

    Parameters
    ----------
    size : int
        Bytes of the files.
    files : int
        Files and symbolic links.
    """

    size: int
    files: int


@dataclass(frozen=True, slots=True)
class _Job:
    """A block that is wanted.

    Parameters
    ----------
    cid : Cid
    path : str
        Where what it holds belongs.
    depth : int
        Folders above it.
    levels : int
        Blocks above it that belong to the same file or folder.
    part : bool
        Whether it is a further part of a file or of a sharded folder.
    offset, size : int
        Of a part of a file: where in it, and how many bytes.
    """

    cid: Cid
    path: str
    depth: int = 0
    levels: int = 0
    part: bool = False
    offset: int = 0
    size: int = 0


async def fetch(
    source: BlockSource,
    cid: Cid,
    target: Path,
    *,
    limit: int,
    timeout: float,
    progress: Callable[[int], None] | None = None,
) -> Fetched:
    """Fetch a file or folder.

    Parameters
    ----------
    source : BlockSource
    cid : Cid
    target : Path
        Where to; there must be nothing yet. It appears when it is whole, or not at all.
    limit : int
        Bytes of all blocks; one that is used twice counts twice.
    timeout : float
        Seconds to wait for a block. There is no limit on the whole: break it off for one.
    progress : callable or None
        Gets the bytes so far.

    Raises
    ------
    ContentNotFound
        A block is not there, or did not come in time.
    ContentRefused
        A block is wrong or malformed, something leads outside, or there is too much of it.
    ContentError
        It can't be written: the disk is full.
    InputError
        There is something at `target`.
    """
    temporary = target.parent / f".{target.name[:100]}.{secrets.token_hex(8)}"
    try:
        with _errors(target):
            await to_the_end(asyncio.to_thread(_make_beside, target, temporary))
        work = _Fetching(source, temporary / "content", limit=limit, timeout=timeout)
        with _errors(target):
            await work.all(cid, progress)
            await asyncio.to_thread(work.finish, target)
    finally:
        await to_the_end(asyncio.to_thread(shutil.rmtree, temporary, ignore_errors=True))
    return Fetched(work.size, work.files)


def _make_beside(target: Path, temporary: Path) -> None:
    if target.is_symlink() or target.exists():
        raise InputError(str(target), "is there already", fix="name another, or remove it")
    if not target.parent.is_dir():
        raise FileMissing(str(target.parent), [f"{target.parent}: there is no such folder"])
    temporary.mkdir(mode=0o700)


@contextmanager
def _errors(target: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        # Of a symbolic link, the first is where it leads.
        name = os.path.basename(os.fsdecode(error.filename2 or error.filename))  # noqa: PTH119
        raise ContentRefused(f"two entries of a folder are called {name!r}") from None
    except FileMissing:
        raise
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
            raise ContentRefused(f"a path in it can't be made here: {error.strerror}") from None
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise ContentError(
            f"{target} can't be written: {error.strerror}", fix="make room" if full else ""
        ) from None


class _Fetching:
    def __init__(self, source: BlockSource, root: Path, *, limit: int, timeout: float) -> None:
        self._source = source
        self._root = str(root)
        self._limit = limit
        self._timeout = timeout
        self._lock = threading.Lock()
        self._links: list[str] = []
        self._entries = 0
        self._taken = 0
        self.size = self.files = 0

    async def all(self, cid: Cid, progress: Callable[[int], None] | None) -> None:
        """Fetch everything; what was found last comes first, so little waits in memory."""
        jobs = [_Job(cid, self._root)]
        running: set[asyncio.Task[list[_Job]]] = set()
        try:
            while jobs or running:
                while jobs and len(running) < _AT_ONCE:
                    running.add(asyncio.create_task(self._one(jobs.pop())))
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    jobs += task.result()
                if progress is not None:
                    progress(self._taken)
        finally:
            for task in running:
                task.cancel()
            if running:
                await to_the_end(_ended(running))

    async def _one(self, job: _Job) -> list[_Job]:
        try:
            async with asyncio.timeout(self._timeout):
                block = await self._source.block(job.cid)
        except TimeoutError:
            raise ContentNotFound(
                f"block {job.cid} did not come in {format_seconds(self._timeout)}: nobody who can "
                "be reached has it",
                fix="check the CID; somebody who has it must be online, and connected",
            ) from None
        # To its end: what still writes would do so after the clean-up.
        return await to_the_end(asyncio.to_thread(self._take, job, block))

    def finish(self, target: Path) -> None:
        """Put it in its place, if no link leads out of it; only now all are there."""
        root = os.path.realpath(self._root)
        for link in self._links:
            if leads_outside(link, root):
                name = os.path.relpath(link, self._root)
                leads = os.readlink(link)  # noqa: PTH115
                raise ContentRefused(f"the symbolic link {name!r} leads outside, to {leads!r}")
        Path(self._root).rename(target)

    # In threads.

    def _take(self, job: _Job, block: bytes) -> list[_Job]:
        node = decode(job.cid, verify(job.cid, block))
        with self._lock:
            self._taken += len(block)
            self._entries += not job.part
            self._within(self._taken)
            if self._entries > _MOST_ENTRIES:
                raise ContentRefused(f"it has more than {_MOST_ENTRIES} files and folders")
        if job.part:
            return self._part(job, node)
        if node.kind == "file":
            return self._file(job, node)
        if node.kind == "symlink":
            return self._symlink(job, node)
        os.mkdir(job.path)  # noqa: PTH102
        return self._folder(job, node)

    def _within(self, size: int) -> None:
        if size > self._limit:
            raise ContentRefused(
                f"it is larger than the limit of {format_bytes(self._limit)}",
                fix="allow more, if you trust whoever published it",
            )

    def _part(self, job: _Job, node: Node) -> list[_Job]:
        if job.levels > MOST_LEVELS:
            raise ContentRefused(f"block {job.cid} lies below more than {MOST_LEVELS} others")
        if job.offset < 0:
            if node.kind != "shard":
                raise ContentRefused(f"block {job.cid} is a {node.kind}, no part of a folder")
            return self._folder(job, node)
        if node.kind != "file" or node.size != job.size:
            raise ContentRefused(
                f"block {job.cid} has {node.size} bytes, and is said to have {job.size}"
            )
        if node.data:
            number = os.open(job.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            _write(number, node.data, job.offset)
        return list(_pieces(job, node))

    def _file(self, job: _Job, node: Node) -> list[_Job]:
        with self._lock:
            self.files += 1
            self.size += node.size
            self._within(self.size)
        mode = 0o777 if node.executable else 0o666
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        _write(os.open(job.path, flags, mode), node.data, 0)
        return list(_pieces(job, node))

    def _symlink(self, job: _Job, node: Node) -> list[_Job]:
        if job.path == self._root:
            raise ContentRefused(f"{job.cid} is a symbolic link, no file or folder")
        os.symlink(node.data, os.fsencode(job.path))  # noqa: PTH211 - may be any bytes
        with self._lock:
            self.files += 1
            self._links.append(job.path)
        return []

    def _folder(self, job: _Job, node: Node) -> list[_Job]:
        if job.depth > MOST_DEPTH:
            raise ContentRefused(f"more than {MOST_DEPTH} folders lie in one another")
        return [
            _Job(link.cid, f"{job.path}/{link.name}", job.depth + 1)
            if link.name
            else _Job(link.cid, job.path, job.depth, job.levels + 1, part=True, offset=-1)
            for link in node.links
        ]


def _pieces(job: _Job, node: Node) -> Iterator[_Job]:
    offset = job.offset + len(node.data)
    for link, size in zip(node.links, node.sizes, strict=True):
        if size == 0:
            raise ContentRefused(f"block {job.cid} has a piece without bytes")
        yield _Job(link.cid, job.path, 0, job.levels + 1, part=True, offset=offset, size=size)
        offset += size


def _write(number: int, data: bytes, offset: int) -> None:
    """Write at a place, and close."""
    try:
        left = memoryview(data)
        while left:
            written = os.pwrite(number, left, offset)
            left, offset = left[written:], offset + written
    finally:
        os.close(number)


async def _ended(tasks: set[asyncio.Task[list[_Job]]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
