"""Connections to the databases of tasks.

An application makes a task manager in every call that it handles, often thousands of times for one
task, while another task's are made in between. So databases stay open for a while, each has one
connection that all threads share in turn, and a part that is saved goes to the database that it
came from.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import OrderedDict
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import peewee

__all__ = ["TaskDatabase", "close_all", "current", "open_database"]

_KEPT_OPEN = 16
"""Databases of tasks that nobody asked for since."""
_BUSY = 30.0
"""Seconds to wait while another process writes."""
_PRAGMAS = (("journal_mode", "wal"), ("synchronous", "full"))


class _Turn:
    """A block of statements that no other thread comes between."""

    def __init__(self, lock: Any, block: Any) -> None:
        self._lock = lock
        self._block = block
        self._entered: list[ExitStack] = []

    def __enter__(self) -> Any:
        with ExitStack() as stack:
            stack.enter_context(self._lock)
            entered = stack.enter_context(self._block)
            self._entered.append(stack.pop_all())
        return entered

    def __exit__(self, *exc: Any) -> Any:
        return self._entered.pop().__exit__(*exc)


class TaskDatabase(peewee.SqliteDatabase):
    """A file of SQLite that all threads of a process share.

    Parameters
    ----------
    path : Path
        Made with the first statement.
    """

    def __init__(self, path: Path) -> None:
        self.turn = threading.RLock()
        self.bound: dict[tuple[type, ...], tuple[Any, ...]] = {}
        super().__init__(
            str(path),
            pragmas=list(_PRAGMAS),
            timeout=_BUSY,
            thread_safe=False,  # one connection for all threads
            check_same_thread=False,
        )

    def execute_sql(self, sql: str, params: Any = None, *rest: Any) -> Any:
        """Execute a statement when it is this thread's turn."""
        with self.turn:
            return super().execute_sql(sql, params, *rest)  # type: ignore[no-untyped-call]

    def atomic(self, *arguments: Any, **keywords: Any) -> Any:
        """Begin a transaction, or a savepoint within one."""
        return _Turn(self.turn, super().atomic(*arguments, **keywords))

    def transaction(self, *arguments: Any, **keywords: Any) -> Any:
        """Begin a transaction."""
        return _Turn(self.turn, super().transaction(*arguments, **keywords))

    def writing(self) -> AbstractContextManager[Any]:
        """Begin a transaction that no other process writes during."""
        return self.atomic("IMMEDIATE")  # type: ignore[no-any-return]

    def rest(self) -> None:
        """Close the connection until the next statement; not within a transaction."""
        with self.turn:
            if not self.is_closed() and not self.in_transaction():
                self.close()


current = peewee.DatabaseProxy()
"""The database of the task manager that was made last; classes of models use it."""

_open: OrderedDict[tuple[int, str], tuple[TaskDatabase, tuple[int, int] | None]] = OrderedDict()
_lock = threading.Lock()


def open_database(path: Path) -> TaskDatabase:
    """Find the open database of a file, or open one."""
    name = str(path.absolute())
    # Another process, even one forked from this, must not use its connections. They stay listed,
    # as closing one there would take from here what SQLite knows of the file.
    key = (os.getpid(), name)
    with _lock:
        found, inode = _open.pop(key, (None, None))
        if found is not None and inode != _inode(name):
            found.rest()  # the file was removed, or is another
            found = None
        if found is None:
            found = TaskDatabase(path.absolute())
            with found.turn:
                found.connect(reuse_if_open=True)
        _open[key] = (found, _inode(name))
        for other in list(_open)[:-_KEPT_OPEN]:
            if other[0] == key[0]:
                _open.pop(other)[0].rest()
        current.initialize(found)
        return found


def close_all() -> None:
    """Close what this process has open; what is used again opens again."""
    with _lock:
        for key in [key for key in _open if key[0] == os.getpid()]:
            _open.pop(key)[0].rest()


def _inode(name: str) -> tuple[int, int] | None:
    try:
        found = os.stat(name)  # noqa: PTH116 - as often as a handler is called
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


atexit.register(close_all)
