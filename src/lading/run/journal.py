"""A SQLite file that an event loop writes to without ever waiting for the disk.

In WAL mode a commit is a write into the page cache: some twenty microseconds, and safe from
the death of the process (`Write-Ahead Logging <https://sqlite.org/wal.html>`_). What is slow, the
fsync of a checkpoint, and waiting for another process that writes, is done by one thread with a
connection of its own: the *keeper*.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lading.errors import RecordError

__all__ = ["Journal", "OnError", "Operation"]

Operation = tuple[str, Sequence[Any]]
"""A statement and its parameters."""
OnError = Callable[[RecordError], None]
"""Told of the first of a row of failures, and of a loss; may be called from the keeper's thread."""

_PAGE = 2048
"""Bytes of a page: a commit of one row writes one or two of them."""
_CHECKPOINT_EVERY = 2000
"""Commits between two checkpoints: some 8 MB of log."""
_LOG_LIMIT = 64 << 20
"""Bytes of log above which writers are held back (into the backlog) until it is rewound."""
_AT_ONCE = 256
"""Of the backlog, how much the loop writes itself once the file is free again: some 2 ms."""
_SPINS = 4
"""How often the loop tries again at once: another process holds the lock for some 20 us."""
_PATIENCE = 5.0
"""Seconds that one try of the keeper waits for another process's lock."""
_RETRY = 1.0
"""Seconds between two tries when the disk says no."""
_BACKLOG_LIMIT = 100_000
"""Operations kept in memory while nothing can be written."""
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Journal:
    """Writes from one thread (usually the event loop's), durable when :meth:`write` returns.

    Unless the file is locked by another process: then what is written waits, in order, for the
    keeper; :meth:`settled` says when it is through.

    Parameters
    ----------
    path : Path
        The file; made with its directories if it is absent.
    schema : str
        Makes the tables of a new file.
    version : int
        Of the schema; a file of a newer one is refused.
    on_error : callable or None
        None: a write that fails raises. Otherwise it is told, once until a write succeeds again,
        and what could not be written is tried again every second. Told as well when so much waits
        that the rest is dropped.

    Raises
    ------
    RecordError
        The file can't be opened, isn't one of ours, or is newer than we are.
    """

    def __init__(
        self, path: Path, *, schema: str, version: int, on_error: OnError | None = None
    ) -> None:
        self.path = path
        self._on_error = on_error
        self._told: set[bool] = set()
        self._backlog: deque[Operation] = deque()
        self._draining = threading.Lock()
        # Never another object: who is added while the keeper takes them is taken, too.
        self._waiters: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._commits = 0
        self._checkpoint_due = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._keeper: threading.Thread | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._connection = self.open()
            _prepare(self._connection, schema, version, path)
            self._connection.execute("PRAGMA busy_timeout = 0")
        except (OSError, sqlite3.Error) as error:
            raise self._explain(error, "can't be opened") from error
        self._cursor = self._connection.cursor()

    def open(self) -> sqlite3.Connection:
        """Open another connection to the file, for another thread; the caller closes it."""
        connection = sqlite3.connect(
            self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute(f"PRAGMA page_size = {_PAGE}")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        except BaseException:
            connection.close()
            raise
        return connection

    def write(self, operations: Sequence[Operation]) -> None:
        """Do these in one transaction.

        Raises
        ------
        RecordError
            They can't be done, and nobody else is told (no `on_error`).
        """
        if self._backlog and not self._caught_up():
            self._queue(operations)
            return
        for _ in range(_SPINS):
            try:
                if len(operations) == 1:
                    self._cursor.execute(*operations[0])  # a transaction of its own
                else:
                    _transact(self._cursor, operations)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _BUSY:
                    self._refused(error, operations)
                    return
            except (ValueError, OverflowError):
                operations = [_storable(operation) for operation in operations]
            except sqlite3.Error as error:
                self._refused(error, operations)
                return
            else:
                self._told.clear()
                self._commits += 1
                if self._commits >= _CHECKPOINT_EVERY:
                    self._commits = 0
                    self._checkpoint_due = True
                    self._wake_keeper()
                return
        self._queue(operations)

    def read(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return all rows.

        Raises
        ------
        RecordError
            The file can't be read.
        """
        try:
            return self._connection.execute(sql, parameters or {}).fetchall()
        except sqlite3.Error as error:
            raise self._explain(error, "can't be read") from error

    def do(self, sql: str, parameters: Mapping[str, Any]) -> int:
        """Do one statement on a connection of its own; may wait: for threads other than the loop's.

        Returns
        -------
        int
            Rows that it changed.

        Raises
        ------
        RecordError
            It can't be done.
        """
        try:
            with contextlib.closing(self.open()) as connection:
                return connection.execute(sql, parameters).rowcount
        except sqlite3.Error as error:
            raise self._explain(error, "can't be written") from error

    async def settled(self) -> None:
        """Wait until everything written so far is durable; at once unless the file was locked.

        Raises
        ------
        RecordError
            It can't be written, and nobody else is told.
        """
        if not self._backlog:
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiters.append((loop, future))
        self._wake_keeper()
        await future

    def close(self) -> None:
        """Write what waits, and close.

        Raises
        ------
        RecordError
            Something could not be written, and nobody else is told.
        """
        self._stop.set()
        if self._backlog or self._keeper is not None:
            self._wake_keeper()
        if self._keeper is not None:
            self._keeper.join(2 * _PATIENCE)
        lost = len(self._backlog)
        with contextlib.suppress(sqlite3.Error):
            self._cursor.close()  # a statement that met a lock would keep the file open
            self._connection.close()
        if lost:
            problem = RecordError(f"{lost} records could not be written to {self.path}")
            self._report(problem, lost=True)

    # What can go wrong.

    def _explain(self, error: Exception, what: str) -> RecordError:
        if isinstance(error, RecordError):
            return error
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        fix = {
            sqlite3.SQLITE_FULL: "make room on the disk",
            sqlite3.SQLITE_NOTADB: "move that file away, or set LADING_STATE to another directory",
            sqlite3.SQLITE_CORRUPT: "move that file away; `sqlite3 FILE .recover` may read it",
        }.get(code, "see that it is writable, or set LADING_STATE to another directory")
        return RecordError(f"the records at {self.path} {what}: {error}", fix=fix)

    def _refused(self, error: Exception, operations: Sequence[Operation]) -> None:
        problem = self._explain(error, "can't be written")
        if self._on_error is None:
            raise problem from error
        self._report(problem)
        self._queue(operations)

    def _report(self, problem: RecordError, *, lost: bool = False) -> None:
        """Tell it once of each kind, until a write succeeds again."""
        if self._on_error is None:
            raise problem
        if lost not in self._told:
            self._told.add(lost)
            self._on_error(problem)

    def _queue(self, operations: Iterable[Operation]) -> None:
        if len(self._backlog) >= _BACKLOG_LIMIT:
            problem = RecordError(
                f"the records at {self.path} could not be written for long: what comes now is lost",
                fix="make room on the disk, or stop who holds a lock on that file",
            )
            self._report(problem, lost=True)
            return
        self._backlog.extend(operations)
        self._wake_keeper()

    # The backlog. Only the loop's thread appends to it; who takes from it holds `_draining`, and
    # does so only after the commit: so the loop may write when it finds it empty, and order is
    # kept.

    def _caught_up(self) -> bool:
        if len(self._backlog) > _AT_ONCE or not self._draining.acquire(blocking=False):
            return False
        try:
            batch = list(self._backlog)
            _transact(self._cursor, batch)
        except (sqlite3.Error, ValueError, OverflowError):
            return False  # the keeper finds out why
        else:
            self._backlog.clear()
            self._told.clear()
            return True
        finally:
            self._draining.release()

    def _wake_keeper(self) -> None:
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, name="records", daemon=True)
            self._keeper.start()
        self._wake.set()

    def _keep(self) -> None:
        connection: sqlite3.Connection | None = None
        while True:
            self._wake.wait()
            self._wake.clear()
            problem: RecordError | None = None
            try:
                connection = connection or self.open()
                with self._draining:
                    self._drain(connection)
                if self._checkpoint_due:
                    self._checkpoint_due = False
                    self._checkpoint(connection)
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BUSY:
                    problem = self._explain(error, "can't be written")
            self._release(problem)
            if self._stop.is_set() and (problem is not None or not self._backlog):
                break
            if self._backlog:
                if problem is not None:
                    self._stop.wait(_RETRY)
                self._wake.set()
        if connection is not None:
            connection.close()

    def _release(self, problem: RecordError | None) -> None:
        failed = problem is not None
        if problem is not None and self._on_error is not None:
            self._report(problem)
            problem = None
        while self._waiters and (failed or not self._backlog):
            loop, future = self._waiters.popleft()
            with contextlib.suppress(RuntimeError):  # that loop has ended meanwhile
                loop.call_soon_threadsafe(_settle, future, problem)

    def _drain(self, connection: sqlite3.Connection) -> None:
        cursor = connection.cursor()
        while batch := list(itertools.islice(self._backlog, 500)):
            try:
                _transact(cursor, batch)
            except sqlite3.OperationalError:
                raise
            except (sqlite3.Error, ValueError, OverflowError):
                batch = batch[:1]  # one of them can't be stored as it is: find it
                self._do_or_drop(cursor, _storable(batch[0]))
            for _ in batch:
                self._backlog.popleft()
            self._told.clear()

    def _do_or_drop(self, cursor: sqlite3.Cursor, operation: Operation) -> None:
        try:
            cursor.execute(*operation)
        except sqlite3.OperationalError:
            raise
        except sqlite3.Error as error:
            if self._on_error is not None:
                self._on_error(self._explain(error, "can't hold one of them"))

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Move the log into the file, and rewind it once it is long.

        A log that is always written to never is all moved at a moment when it can begin anew. So
        most is moved first, while writers go on, and they are held back for the small rest only.
        """
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if frames * _PAGE > _LOG_LIMIT:
            connection.execute("PRAGMA busy_timeout = 200")  # for somebody who reads
            connection.execute("PRAGMA wal_checkpoint(RESTART)")
            connection.execute(f"PRAGMA busy_timeout = {_PATIENCE * 1000:.0f}")


def _settle(future: asyncio.Future[None], problem: RecordError | None) -> None:
    if future.done():
        return
    if problem is None:
        future.set_result(None)
    else:
        future.set_exception(problem)


def _storable(operation: Operation) -> Operation:
    """Replace what SQLite can't hold: lone surrogates, and integers of more than 64 bits."""
    sql, parameters = operation
    values: list[Any] = []
    for value in parameters:
        if isinstance(value, str):
            values.append(value.encode("utf-8", "replace").decode())
        elif isinstance(value, int):
            values.append(max(-(1 << 63), min(value, (1 << 63) - 1)))
        else:
            values.append(value)
    return sql, values


def _transact(cursor: sqlite3.Cursor, operations: Iterable[Operation]) -> None:
    cursor.execute("BEGIN IMMEDIATE")
    try:
        for sql, parameters in operations:
            cursor.execute(sql, parameters)
        cursor.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            cursor.execute("ROLLBACK")
        raise


def _prepare(connection: sqlite3.Connection, schema: str, version: int, path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:  # SQLite does not wait for those who turn the same new file to WAL
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
    if mode != "wal":
        raise RecordError(
            f"the records at {path} can't be shared safely: that file system has no shared memory",
            fix="set LADING_STATE to a directory on a local disk",
        )
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found == 0:
        connection.execute("BEGIN IMMEDIATE")
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found == 0:
            for statement in schema.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version:d}")
            found = version
        connection.execute("COMMIT")
    if found > version:
        raise RecordError(
            f"the records at {path} are of version {found}, and this Lading knows {version}",
            fix="use the newer Lading that wrote them, or set LADING_STATE to another directory",
        )
