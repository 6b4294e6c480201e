"""The two databases that a market can be kept in, behind one small door.

SQLite through the standard library, PostgreSQL through psycopg: the statements are the same few
for both (``?`` stands for a value), and nothing is left for a layer between. SQLAlchemy would take
0.3 to 0.5 s to import and 290 us for an append, where ``sqlite3`` takes 7 ms and 60 us: the first
is more than a one-shot command has, the second more than all the rest of a warm call.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from lading.errors import ConfigError, MarketUnavailable, RecordError, how_to_install
from lading.market.schema import TABLES, VERSION

if TYPE_CHECKING:
    import psycopg

__all__ = ["Conflict", "Database", "Postgres", "Rows", "Sqlite", "open_database"]

Rows = list[tuple[Any, ...]]

_BUSY: Final = 5.0
"""Seconds that one try waits for another process's lock."""
_PAGE: Final = 2048
"""Bytes of a page of SQLite: an append writes one or two of them."""
_LOG_LIMIT: Final = 64 << 20
"""Bytes of SQLite's log above which it is rewound, and writers held back for that long."""
_HELD: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_LOCK: Final = 0x6C6164696E67
"""Of PostgreSQL's advisory locks, the one of whoever appends to the ledger: ``lading``."""


class Conflict(Exception):  # never leaves this package
    """A row of that key is there already."""


class Transaction(ABC):
    """Statements that happen together or not at all."""

    @abstractmethod
    def read(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Return all rows of a query."""

    @abstractmethod
    def write(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        """Do a statement for each row of values; returns how many rows of the last it changed."""


class Database(ABC):
    """One connection; any thread may use it, one after the other.

    Every method raises :class:`~lading.errors.MarketUnavailable` where the database is locked,
    full or can't be reached, and may be tried again then, and :class:`~lading.errors.RecordError`
    where it is broken.
    """

    inline = False
    """Whether a commit is so quick that an event loop may do it."""
    shown: str
    """Its address, without a password."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    @abstractmethod
    def begin(self, *, wait: bool = True) -> contextlib.AbstractContextManager[Transaction]:
        """Open a transaction that writes: at most one at a time, of all processes.

        Parameters
        ----------
        wait : bool
            Wait for others, up to five seconds; otherwise fail at once.

        Raises
        ------
        Conflict
            Inside: a row of that key is there already.
        """

    @abstractmethod
    def read(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """Return all rows of a query."""

    @abstractmethod
    def keep(self) -> None:
        """Do what has to be done about once a second for what was written to stay written."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def _prepare(self, *, bytes_type: str, integer: str) -> None:
        """Make the tables of a new database.

        Raises
        ------
        RecordError
            A newer Lading made them.
        """
        with self.begin() as transaction:
            if not self._has_tables(transaction):
                for statement in TABLES:
                    transaction.write(statement.format(bytes=bytes_type, integer=integer), [()])
                transaction.write(
                    "INSERT INTO lading_market VALUES (?, ?)", [("version", VERSION), ("change", 0)]
                )
            ((found,),) = transaction.read(
                "SELECT value FROM lading_market WHERE name = ?", ("version",)
            )
        if found > VERSION:
            raise RecordError(
                f"the market at {self.shown} is of version {found}, this Lading knows {VERSION}",
                fix="use the newer Lading that wrote it, or another --market",
            )

    @abstractmethod
    def _has_tables(self, transaction: Transaction) -> bool: ...


# SQLite.


class _SqliteTransaction(Transaction):
    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    def read(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        return self._cursor.execute(sql, values).fetchall()

    def write(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        for row in rows:
            self._cursor.execute(sql, row)
        return self._cursor.rowcount


class Sqlite(Database):
    """A file that several processes of one machine share, in WAL mode.

    A commit survives the death of the process at once, and that of the machine after
    :meth:`keep`, which `lading serve` does every second.
    """

    inline = True

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path = path.absolute()
        self.shown = str(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Who paid whom is nobody else's business; SQLite gives its other files the same mode.
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise self._explain(error) from error
        try:
            with self._translated():
                self._set_up()
            self._set_waiting(wait=True)
            self._prepare(bytes_type="BLOB", integer="INTEGER")
        except BaseException:
            self._connection.close()
            raise
        self._cursor = self._connection.cursor()

    def _set_up(self) -> None:
        execute = self._connection.execute
        execute(f"PRAGMA page_size = {_PAGE}")
        deadline = time.monotonic() + _BUSY
        while True:  # SQLite does not wait for those who turn the same new file to WAL
            try:
                (mode,) = execute("PRAGMA journal_mode = WAL").fetchone()
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _HELD or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
        if mode != "wal":
            raise RecordError(
                f"the market at {self.shown} can't be shared safely: no shared memory there",
                fix="put it on a local disk, or use PostgreSQL",
            )
        execute("PRAGMA synchronous = NORMAL")
        execute("PRAGMA wal_autocheckpoint = 0")

    def _set_waiting(self, *, wait: bool) -> None:
        self._waits = wait
        self._connection.execute(f"PRAGMA busy_timeout = {_BUSY * 1000 if wait else 0:.0f}")

    def _has_tables(self, transaction: Transaction) -> bool:
        return bool(
            transaction.read("SELECT 1 FROM sqlite_master WHERE name = ?", ("lading_market",))
        )

    @contextlib.contextmanager
    def begin(self, *, wait: bool = True) -> Iterator[Transaction]:  # noqa: D102  # its base's
        with self._lock, self._translated():
            if self._waits != wait:
                self._set_waiting(wait=wait)
            # Closed whatever happens: a statement that met a lock would keep the file open.
            with contextlib.closing(self._connection.cursor()) as cursor:
                cursor.execute("BEGIN IMMEDIATE")
                try:
                    yield _SqliteTransaction(cursor)
                    cursor.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        cursor.execute("ROLLBACK")
                    raise

    def insert(self, sql: str, row: Sequence[Any]) -> None:
        """Do one statement in a transaction of its own, without waiting: 30 us.

        Raises
        ------
        Conflict
            A row of that key is there already.
        """
        with self._lock, self._translated():
            if self._waits:
                self._set_waiting(wait=False)
            self._cursor.execute(sql, row)

    def read(self, sql: str, values: Sequence[Any] = ()) -> Rows:  # noqa: D102
        with self._lock, self._translated():
            return self._connection.execute(sql, values).fetchall()

    def keep(self) -> None:
        """Move the log into the file: what was committed is on the disk after this."""
        with (
            self._translated(),
            contextlib.closing(sqlite3.connect(self.path, timeout=0.2)) as connection,
        ):
            connection.execute("PRAGMA synchronous = NORMAL")
            _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            if frames * page > _LOG_LIMIT:
                connection.execute("PRAGMA wal_checkpoint(RESTART)")

    def close(self) -> None:  # noqa: D102
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._cursor.close()
            self._connection.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise Conflict(str(error)) from error
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> RecordError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        text = f"the market at {self.shown} can't be used: {error}"
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return RecordError(
                text, fix="it is no SQLite file, or broken: `sqlite3 FILE .recover` may read it"
            )
        fix = {
            sqlite3.SQLITE_FULL: "make room on the disk",
            sqlite3.SQLITE_BUSY: "another process holds a lock on it: end that, or wait",
        }.get(code, "see that it is there and writable, or name another by --market")
        return MarketUnavailable(text, fix=fix)


# PostgreSQL.


class _PostgresTransaction(Transaction):
    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        self._cursor = cursor

    def read(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        return self._cursor.execute(_percent(sql), values).fetchall()

    def write(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        if len(rows) == 1:
            self._cursor.execute(_percent(sql), rows[0] or None)
        else:
            self._cursor.executemany(_percent(sql), rows)
        return self._cursor.rowcount


def _percent(sql: str) -> Any:
    return sql.replace("%", "%%").replace("?", "%s")


class Postgres(Database):
    """A database that several hosts share.

    A connection that broke is made anew at the next use.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self.shown = _without_password(url)
        try:
            import psycopg  # noqa: PLC0415  # 0.3 s, and an extra
        except ImportError:
            raise ConfigError(
                "market",
                "PostgreSQL needs a library that is not installed",
                fix=how_to_install("postgres"),
            ) from None
        self._psycopg = psycopg
        self._connection: psycopg.Connection[Any] | None = None
        try:
            self._prepare(bytes_type="BYTEA", integer="BIGINT")
        except BaseException:
            self.close()
            raise

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = self._psycopg.connect(
                self._url,
                connect_timeout=5,
                application_name="lading",
                keepalives_idle=30,
                tcp_user_timeout=10_000,  # a server that vanished is not waited for for ever
                options="-c lock_timeout=5s -c statement_timeout=20s "
                "-c idle_in_transaction_session_timeout=60s",
                autocommit=True,
            )
        return self._connection

    def _has_tables(self, transaction: Transaction) -> bool:
        ((found,),) = transaction.read("SELECT to_regclass('lading_market') IS NOT NULL")
        return bool(found)

    @contextlib.contextmanager
    def begin(self, *, wait: bool = True) -> Iterator[Transaction]:  # noqa: ARG002, D102
        with self._lock, self._translated():
            connection = self._connected()
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                yield _PostgresTransaction(cursor)

    def read(self, sql: str, values: Sequence[Any] = ()) -> Rows:  # noqa: D102
        with self._lock, self._translated(), self._connected().cursor() as cursor:
            return cursor.execute(_percent(sql), values).fetchall()

    def keep(self) -> None:
        """Do nothing: PostgreSQL waits for its disk at every commit."""

    def close(self) -> None:  # noqa: D102
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(self._psycopg.Error):
                    self._connection.close()
                self._connection = None

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        errors = self._psycopg.errors
        try:
            yield
        except errors.UniqueViolation as error:
            raise Conflict(str(error)) from error
        except self._psycopg.Error as error:
            lost = self._connection is None or self._connection.broken
            if lost or isinstance(error, self._psycopg.InterfaceError):
                self.close()
            text = " ".join(str(error).split())
            raise MarketUnavailable(
                f"the market at {self.shown} can't be used: {text}", fix=self._fix(error)
            ) from error

    def _fix(self, error: Exception) -> str:
        errors = self._psycopg.errors
        if isinstance(error, errors.DiskFull):
            return "make room on the database's disk"
        if isinstance(error, errors.InsufficientPrivilege):
            return "give that user the right to make, read and write the tables lading_*"
        if isinstance(error, errors.LockNotAvailable | errors.QueryCanceled):
            return "another process holds a lock in it: end that, or wait"
        return "see that it runs and lets this user in"


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = f"{parts.username}@" if parts.username else ""
    places = [(key, value) for key, value in parse_qsl(parts.query) if key in ("host", "port")]
    return urlunsplit((parts.scheme, user + host, parts.path, urlencode(places, safe="/"), ""))


def open_database(url: str) -> Database:
    """Open the database of a URL; makes its tables where there are none; blocks.

    Parameters
    ----------
    url : str
        ``sqlite:///relative``, ``sqlite:////absolute``, ``postgresql://user@host/name`` as libpq
        has it (34.1.1, Connection URIs), or a path.

    Raises
    ------
    ConfigError
        It is none of these, or the library for it is missing.
    MarketUnavailable
        It can't be reached, or not now.
    RecordError
        It is none of ours, or of a newer Lading.
    """
    scheme, colon, rest = url.partition("://")
    if not colon:
        return Sqlite(Path(url))
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return Sqlite(Path(unquote(rest[1:])))
    if scheme in ("postgresql", "postgres"):
        return Postgres(url)
    raise ConfigError(
        "market",
        f"{_without_password(url)!r} is no address of a database",
        fix="write a path, sqlite:////PATH, or postgresql://USER@HOST/NAME",
    )
