"""What a run printed, from wherever it is: from its container, or as it was kept.

Nothing is lost and nothing comes twice because it comes from one place only, from the first byte to
the last: never a part from the engine and the rest from the file. Whose log is being kept is
followed in the file, which stays when the container goes; see :mod:`lading.run.kept_logs`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lading.engine.base import Engine
from lading.engine.shield import to_the_end
from lading.engine.spec import ContainerInfo, LogChunk
from lading.errors import ContainerNotFound, RecordNotFound
from lading.run.kept_logs import FRAME, POSITION, STREAMS, is_being_written, kept_path

__all__ = ["Missing", "follow", "is_kept", "last_lines", "read", "run_log"]

Missing = Callable[[int], None]
"""Told how many bytes were not kept, in the moment when they would have come."""

_Item = LogChunk | int
"""Some bytes, or how many are missing."""
_AT_ONCE = 1 << 20
_LOOK = 0.05
"""Seconds between two looks at a file that somebody writes: the standard library can't be told of
it, and a look takes some 20 us."""


def read(
    state_directory: Path, run_id: str, *, tail: int | None = None, missing: Missing | None = None
) -> Iterator[LogChunk]:
    """Read what was kept so far of a run's log; blocks.

    Parameters
    ----------
    state_directory : Path
    run_id : str
        The whole id.
    tail : int or None
        Only the last `tail` lines of both streams.
    missing : callable or None
        See :data:`Missing`.

    Raises
    ------
    RecordNotFound
        No log was kept.
    """
    with contextlib.closing(_Reader(kept_path(state_directory, run_id))) as reader:
        if tail is not None:
            yield from last_lines(list(_chunks([*reader.all(), *reader.rest()])), tail)
            return
        while items := reader.some():
            yield from _chunks(items, missing)
        yield from reader.rest()


async def follow(
    state_directory: Path, run_id: str, *, tail: int | None = None, missing: Missing | None = None
) -> AsyncIterator[LogChunk]:
    """Read what was kept of a run's log, and what is still written, until its writer ends.

    Parameters
    ----------
    state_directory, run_id, missing
        As for :func:`read`.
    tail : int or None
        Begin with the last `tail` lines.

    Raises
    ------
    RecordNotFound
        No log was kept.
    """
    reader = await asyncio.to_thread(_Reader, kept_path(state_directory, run_id))
    with contextlib.closing(reader):  # not while a thread still reads
        if tail is not None:
            so_far = await to_the_end(asyncio.to_thread(reader.all))
            for chunk in last_lines(list(_chunks(so_far)), tail):
                yield chunk
        while (items := await to_the_end(asyncio.to_thread(reader.next))) is not None:
            for chunk in _chunks(items, missing):
                yield chunk
            if not items:
                await asyncio.sleep(_LOOK)


async def run_log(
    engine: Engine | None,
    container: ContainerInfo | None,
    state_directory: Path,
    run_id: str,
    *,
    follow_on: bool = False,
    tail: int | None = None,
    missing: Missing | None = None,
) -> AsyncIterator[LogChunk]:
    """Read what a run printed, wherever that is whole.

    The file, where it has everything or must be followed; the engine, as long as there is a
    container, where nobody keeps the log, or did so only in part.

    Parameters
    ----------
    engine : Engine or None
        None if it is away.
    container : ContainerInfo or None
        None if it is gone.
    state_directory, run_id
        Where the log would have been kept, and the run's whole id.
    follow_on : bool
        Go on until it ends; at once if it has.
    tail, missing
        As for :func:`follow`.

    Raises
    ------
    RecordNotFound
        The container is gone, and no log was kept.
    EngineError
        The engine can't be asked.
    """
    kept = await asyncio.to_thread(_look, state_directory, run_id)
    if engine is not None and container is not None and not (kept and kept.enough(follow_on)):
        told = False
        try:
            found = await engine.container(container.id)
            async for chunk in found.logs(follow=follow_on, tail=tail):
                told = True
                yield chunk
        except ContainerNotFound:
            if told or kept is None:
                raise
        else:
            return
    if not follow_on:
        for chunk in _chunks(await asyncio.to_thread(_all, state_directory, run_id, tail), missing):
            yield chunk
        return
    async for chunk in follow(state_directory, run_id, tail=tail, missing=missing):
        yield chunk


def _all(state_directory: Path, run_id: str, tail: int | None) -> list[_Item]:
    with contextlib.closing(_Reader(kept_path(state_directory, run_id))) as reader:
        items = [*reader.all(), *reader.rest()]
        return items if tail is None else [*last_lines(list(_chunks(items)), tail)]


def _chunks(items: Iterable[_Item], missing: Missing | None = None) -> Iterator[LogChunk]:
    """Take out what is missing, and tell of it."""
    for item in items:
        if isinstance(item, LogChunk):
            yield item
        elif missing is not None:
            missing(item)


def is_kept(state_directory: Path, run_id: str) -> bool:
    """Say whether there is a log that was kept of a run; blocks shortly."""
    return _look(state_directory, run_id) is not None


def last_lines(chunks: list[LogChunk], count: int) -> list[LogChunk]:
    """Cut off what was before the last lines: of both streams, in the order in which they ended.

    An unfinished line at the end of a stream is one as well.
    """
    if count <= 0:
        return []
    unfinished = {chunk.stream: not chunk.data.endswith(b"\n") for chunk in chunks if chunk.data}
    ends = sum(chunk.data.count(b"\n") for chunk in chunks)
    before = min(ends + sum(unfinished.values()) - count, ends)
    skip = {"stdout": 0, "stderr": 0}
    for chunk in chunks:
        here = min(chunk.data.count(b"\n"), max(before, 0))
        skip[chunk.stream] += here
        before -= here
    kept = []
    for chunk in chunks:
        data = chunk.data
        while skip[chunk.stream] and data:
            _, end, data = data.partition(b"\n")
            skip[chunk.stream] -= len(end)
        if data:
            kept.append(LogChunk(chunk.stream, data))
    return kept


class _Kept(NamedTuple):
    """What there is of a log."""

    live: bool
    whole: bool

    def enough(self, follow_on: bool) -> bool:
        """Whether it has all that the engine has, or will outlive it."""
        return self.live and (self.whole or follow_on)


def _look(state_directory: Path, run_id: str) -> _Kept | None:
    try:
        files = _open_files(kept_path(state_directory, run_id))
    except RecordNotFound:
        return None
    try:
        return _Kept(files[-1].is_live(), files[0].start == (0, 0))
    finally:
        for file in files:
            file.close()


class _File:
    """One file of a log, read from its beginning to where its frames end now.

    Attributes
    ----------
    start : tuple of int
        The position with which it begins.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._broken = False
        head = self._file.read(FRAME.size + POSITION.size) or b""
        self._pending = bytearray(head)
        whole = len(head) == FRAME.size + POSITION.size
        self.start: tuple[int, int] = POSITION.unpack_from(head, FRAME.size) if whole else (0, 0)

    def frames(self) -> list[tuple[int, bytes]]:
        """Read some frames that are complete; none if there are no more now."""
        while not (found := self._parse()):
            data = self._file.read(_AT_ONCE)
            if self._broken or not data:
                return []
            self._pending += data
        return found

    def _parse(self) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        at = 0
        while len(self._pending) - at >= FRAME.size:
            number, length = FRAME.unpack_from(self._pending, at)
            if number not in (0, *STREAMS):
                self._broken = True  # by a disk, or by hand
                break
            begin = at + FRAME.size
            if len(self._pending) - begin < length:
                break
            found.append((number, bytes(self._pending[begin : begin + length])))
            at = begin + length
        del self._pending[:at]
        return found

    def rest(self) -> list[LogChunk]:
        """Return what is there of a frame that is not complete."""
        number, data = self._pending[:1], bytes(self._pending[FRAME.size :])
        if self._broken or not data or number[0] not in STREAMS:
            return []
        return [LogChunk(STREAMS[number[0]], data)]

    def is_live(self) -> bool:
        """Whether it is still written to."""
        return is_being_written(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _open_files(path: Path) -> list[_File]:
    """Open a log: the file before the newest, if there is one, and the newest.

    Raises
    ------
    RecordNotFound
        There is none.
    """
    while True:
        newest, before = _open_file(path), _open_file(path.with_suffix(".log.1"))
        files = [file for file in (before, newest) if file is not None]
        if not files:
            raise RecordNotFound(
                f"no log was kept of run {path.stem}",
                fix=f"`lading inspect {path.stem}` shows what was recorded",
            )
        # Opened while they were renamed, they would be one and the same, or the wrong way round.
        if len(files) == 1 or files[0].start < files[1].start:
            return files
        for file in files:
            file.close()


def _open_file(path: Path) -> _File | None:
    try:
        return _File(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordNotFound(f"the log {path} can't be read: {error.strerror}") from error


class _Reader:
    """Reads a log from its beginning, over the files that it is cut into."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = (0, 0)
        self._ended = False
        self._files = _open_files(path)

    def some(self) -> list[_Item]:
        """Return what comes next; nothing if there is nothing more now."""
        while True:
            while frames := self._files[0].frames():
                if items := self._take(frames):
                    return items
            if len(self._files) == 1:
                return []
            rest = self._files[0].rest()
            self._files.pop(0).close()
            if rest:
                return [*rest]

    def _take(self, frames: list[tuple[int, bytes]]) -> list[_Item]:
        items: list[_Item] = []
        for number, data in frames:
            out, err = self._position
            if number == 0:
                self._position = at = POSITION.unpack(data)
                if (gap := sum(at) - out - err) > 0:
                    items.append(gap)
            else:
                items.append(LogChunk(STREAMS[number], data))
                self._position = (out + len(data), err) if number == 1 else (out, err + len(data))
        return items

    def all(self) -> list[_Item]:
        """Return all that there is now."""
        items: list[_Item] = []
        while more := self.some():
            items += more
        return items

    def rest(self) -> list[LogChunk]:
        """Return what there is of a last frame that is not complete."""
        return self._files[0].rest()

    def next(self) -> list[_Item] | None:
        """Return what comes next: nothing yet, or None as nothing ever will."""
        items = self.some()
        if items or self._files[0].is_live():
            return items
        # Nobody writes to this file any more: what was written between the two looks is the last.
        if items := self.some():
            return items
        if self._newer():
            return self.some()
        if self._ended:
            return None
        self._ended = True
        return [*self.rest()]

    def _newer(self) -> bool:
        """Go on to the file that was begun when this one was full, if there is one."""
        try:
            files = _open_files(self._path)
        except RecordNotFound:  # it was pruned meanwhile
            return False
        later = [file for file in files if file.start > self._files[0].start]
        for file in files:
            if file not in later:
                file.close()
        if not later:
            return False
        self._files += later
        return True

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            file.close()
