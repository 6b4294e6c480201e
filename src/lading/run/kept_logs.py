"""Logs that outlive their container: written as it prints, read by :mod:`lading.run.log_reading`.

::

    log = await KeptLog.open(state_directory, run.id)   # before the container is created
    try:
        it = await start(engine, spec, run=run, on_log=log.write)
        ...
        await it.close()                                # the container is gone now
    finally:
        await log.close()

Then whoever finds the container finds its log as well, and whoever finds it gone finds the log
whole: there is no moment at which the end of it would be nowhere.

The format
----------
``<state>/logs/<run id>.log`` is a sequence of frames, nearly as engines send logs::

    1 byte    1: stdout, 2: stderr, 0: a position
    4 bytes   length of what follows, big-endian
    ...       what was written; of a position, two big-endian numbers of 8 bytes each

A position tells how many bytes went to stdout and to stderr before it. Every file begins with one.
If it is further on than what was read before it, then what is between was not kept.

A file that has reached its limit becomes ``<run id>.log.1``, in place of the one before, and a new
one is begun: the newest are kept. The file that is being written is locked by its writer (flock(2),
exclusively); who gets the lock knows that nothing more will come, however the writer ended. The
last frame may then be incomplete.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Self

from lading.engine.shield import to_the_end
from lading.engine.spec import LogChunk
from lading.errors import RecordError, RecordNotFound
from lading.run.records import Records
from lading.units import MIB

__all__ = ["FRAME", "POSITION", "STREAMS", "KeptLog", "is_being_written", "kept_path", "prune"]

FRAME = struct.Struct(">BI")
POSITION = struct.Struct(">QQ")
STREAMS = {1: "stdout", 2: "stderr"}

_NUMBERS = {name: number for number, name in STREAMS.items()}
_HEAD = FRAME.size + POSITION.size
_LIMIT = 16 * MIB
_WAITING = MIB
"""Bytes that may wait for the disk, at the least."""
_PIECE = MIB
"""Bytes of a frame at the most, so that files are rotated near their limit."""
_FOLDER = "logs"
_RUN_ID = re.compile(r"[0-9a-z]{1,64}")
_PRUNED = ".pruned"
_DAY = 86_400.0


def kept_path(state_directory: Path, run_id: str) -> Path:
    """Return where the log of a run is kept, if it is.

    Raises
    ------
    RecordNotFound
        That is no run's id.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise RecordNotFound(f"{run_id!r} is no id of a run", fix="`lading ps --all` lists them")
    return state_directory / _FOLDER / f"{run_id}.log"


class KeptLog:
    """The log of one run, being written; made by :meth:`open`.

    Attributes
    ----------
    error : RecordError or None
        Why the log has ended before its time.
    """

    def __init__(
        self, path: Path, limit: int, on_error: Callable[[RecordError], None] | None
    ) -> None:
        self.error: RecordError | None = None
        self._path = path
        self._limit = limit
        self._on_error = on_error
        self._loop = asyncio.get_running_loop()
        # Between the loop, which adds, and the thread that writes: all under the lock.
        self._lock = threading.Lock()
        self._queue: deque[LogChunk] = deque()
        self._queued = 0
        self._skipped = [0, 0]
        self._busy = False
        self._ended = False
        self._writing: asyncio.Future[None] | None = None
        # Of the thread that writes.
        self._descriptor = -1
        self._size = 0
        self._position = [0, 0]

    @classmethod
    async def open(
        cls,
        state_directory: Path,
        run_id: str,
        *,
        limit: int = _LIMIT,
        on_error: Callable[[RecordError], None] | None = None,
    ) -> Self:
        """Begin a log.

        A run is not lost because its log can't be kept: what goes wrong, now or later, ends the
        log and not the run.

        Parameters
        ----------
        state_directory : Path
        run_id : str
            From :func:`lading.run.records.new_id`.
        limit : int
            Bytes of a file; there are two, so at least so many of the newest are kept.
        on_error : callable or None
            Told once, on the event loop, if the log ends before its time.
        """
        log = cls(kept_path(state_directory, run_id), limit, on_error)
        try:
            await to_the_end(asyncio.to_thread(log._begin))
        except asyncio.CancelledError:  # nobody gets it who would close it
            await log.close()
            raise
        return log

    def write(self, chunk: LogChunk) -> None:
        """Take what a container printed; neither waits nor raises. On the event loop only."""
        with self._lock:
            if self._ended or not chunk.data:
                return
            self._queue.append(chunk)
            self._queued += len(chunk.data)
            while self._queued > max(self._limit, _WAITING) and len(self._queue) > 1:
                # A disk that is slower than the container: of that much, the newest is kept.
                first = self._queue.popleft()
                self._queued -= len(first.data)
                self._skipped[_NUMBERS[first.stream] - 1] += len(first.data)
            if self._busy:
                return
            self._busy = True
        try:
            self._writing = self._loop.run_in_executor(None, self._drain)
        except RuntimeError:  # the loop is about to end, which `close` does not need
            self._busy = False

    async def flush(self) -> None:
        """Wait until what was taken so far is in the file, or the log has ended."""
        while self._busy and self._writing is not None:
            await asyncio.wait({self._writing})

    async def close(self) -> None:
        """Write what waits, and end the log; not to be cancelled. May be called again."""
        await to_the_end(self._close())

    async def _close(self) -> None:
        with self._lock:
            self._ended = True  # for `write`: what waits is still written
        if self._writing is not None:
            await asyncio.wait({self._writing})
        await asyncio.to_thread(self._finish)

    # In a thread, one at a time.

    def _begin(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._path.exists():
                raise FileExistsError(f"{self._path} exists already")
            self._new_file()
        except OSError as error:
            self._give_up(error)

    def _new_file(self) -> None:
        """Begin a file: locked and with its position before anybody sees it."""
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            head = self._position_frame()
            os.write(descriptor, head)
            if self._descriptor >= 0:
                self._path.rename(self._path.with_suffix(".log.1"))
            new.rename(self._path)
        except BaseException:
            os.close(descriptor)
            new.unlink(missing_ok=True)
            raise
        # Last: who reads the old one to its end must find the new one.
        old, self._descriptor, self._size = self._descriptor, descriptor, len(head)
        if old >= 0:
            os.close(old)

    def _position_frame(self) -> bytes:
        return FRAME.pack(0, POSITION.size) + POSITION.pack(*self._position)

    def _drain(self) -> None:
        """Write until nothing waits."""
        while True:
            with self._lock:
                chunks, self._queue = self._queue, deque()
                skipped, self._skipped = self._skipped, [0, 0]
                self._queued = 0
                if not chunks:
                    self._busy = False
                    return
            try:
                self._put(chunks, skipped)
            except OSError as error:
                self._give_up(error)
                return

    def _put(self, chunks: deque[LogChunk], skipped: list[int]) -> None:
        waiting = bytearray()
        if any(skipped):
            self._position = [at + more for at, more in zip(self._position, skipped, strict=True)]
            waiting += self._position_frame()
        for chunk in chunks:
            number = _NUMBERS[chunk.stream]
            for begin in range(0, len(chunk.data), _PIECE):
                data = chunk.data[begin : begin + _PIECE]
                size = self._size + len(waiting)
                if size > _HEAD and size + FRAME.size + len(data) > self._limit:
                    self._append(waiting)
                    waiting.clear()
                    self._new_file()
                waiting += FRAME.pack(number, len(data))
                waiting += data
                self._position[number - 1] += len(data)
        self._append(waiting)

    def _append(self, data: bytearray) -> None:
        with memoryview(data) as view:
            written = 0
            while written < len(view):
                written += os.write(self._descriptor, view[written:])
        self._size += len(data)

    def _give_up(self, error: OSError) -> None:
        with self._lock:
            self._ended = True
            self._busy = False
            self._queue.clear()
        self._let_go()
        self.error = RecordError(
            f"the log of the run at {self._path} is not kept any further: "
            f"{error.strerror or error}",
            fix="make room on the disk, or set LADING_STATE to another directory",
        )
        if self._on_error is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._on_error, self.error)

    def _finish(self) -> None:
        if self._descriptor >= 0:
            self._drain()
            self._let_go()

    def _let_go(self) -> None:
        """Close the file, and with it unlock it: it has ended."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_being_written(descriptor: int) -> bool:
    """Say whether the writer of an open log file still lives."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


async def prune(
    state_directory: Path,
    records: Records,
    *,
    older_than: float = 30 * _DAY,
    every: float = _DAY,
) -> int:
    """Delete logs that are old, or of runs that the records have forgotten; most calls do nothing.

    Parameters
    ----------
    state_directory : Path
    records : Records
        Those of the same directory.
    older_than : float
        Seconds since something was written to it.
    every : float
        Nothing is done if it was done so many seconds ago. A log that was written to since then is
        left alone in any case.

    Returns
    -------
    int
        How many logs.

    Raises
    ------
    RecordError
        The records can't be read.
    """
    folder = state_directory / _FOLDER
    found = await asyncio.to_thread(_ages, folder, every)
    gone = [
        run_id
        for run_id, age in found.items()
        if age > every and (age > older_than or not _recorded(records, run_id))
    ]
    return await asyncio.to_thread(_delete, folder, gone)


def _ages(folder: Path, every: float) -> dict[str, float]:
    """List the logs by how long ago they were written to; none if they were looked at lately."""
    stamp, now = folder / _PRUNED, time.time()
    found: dict[str, float] = {}
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileNotFoundError):
            if 0 <= now - stamp.stat().st_mtime < every:
                return {}
        stamp.touch(mode=0o600)
        for entry in os.scandir(folder):
            name = entry.name.partition(".")[0]
            if _RUN_ID.fullmatch(name):
                age = now - entry.stat(follow_symlinks=False).st_mtime
                found[name] = min(age, found.get(name, age))
    return found


def _recorded(records: Records, run_id: str) -> bool:
    try:
        return records.get(run_id).id == run_id
    except RecordNotFound:
        return False


def _delete(folder: Path, run_ids: list[str]) -> int:
    deleted = 0
    for run_id in run_ids:
        path = folder / f"{run_id}.log"
        with contextlib.suppress(OSError):
            if not _is_live(path):
                for name in (path, path.with_suffix(".log.1"), path.with_suffix(".new")):
                    name.unlink(missing_ok=True)
                deleted += 1
    return deleted


def _is_live(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return is_being_written(descriptor)
    finally:
        os.close(descriptor)
