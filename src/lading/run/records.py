"""The durable record of every run: what ran, for whom, how it ended and what it used.

A run is written before its container starts and finished after it ends, in a SQLite file that
several Lading processes share. The statements are in ``records.sql``, the writing in
:mod:`lading.run.journal`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, fields
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from lading.errors import RecordError, RecordNotFound
from lading.run.ids import first_id, new_id
from lading.run.journal import Journal, OnError, Operation
from lading.run.states import Kind, RunState

__all__ = ["Kind", "Records", "Run", "RunState", "new_id", "records_path"]

_VERSION = 1
"""Of the schema; a change of it comes with a migration."""
_COALESCE = 0.02
"""Seconds that the beginning of a call may wait for company: most calls are over by then, and cost
one statement in all."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a container, or one call that it served.

    Parameters
    ----------
    id : str
        From :func:`new_id`.
    contract : str
        ``meca``, ``processing``, ``golem``.
    owner : str
        :attr:`lading.run.ownership.Owner.id` of the process that watches it.
    name : str
        The task, as people call it.
    created, started, finished : float
        Seconds since 1970, UTC.
    parent : str or None
        Of a call: the run of its container.
    cpus, memory
        Limits, in cores and bytes; None where there is none.
    exit_code : int or None
        None where nobody saw it end by itself.
    error : str
        Why it failed; empty if it did not.
    memory_peak, cpu_seconds
        What it used, in bytes and seconds.
    detail : str
        A JSON object of the contract's own.
    """

    id: str
    kind: Kind
    contract: str
    owner: str
    name: str
    image: str
    state: RunState = RunState.STARTING
    created: float = field(default_factory=time.time)
    started: float | None = None
    finished: float | None = None
    image_id: str | None = None
    container_id: str | None = None
    container_name: str | None = None
    parent: str | None = None
    cpus: float | None = None
    memory: int | None = None
    exit_code: int | None = None
    out_of_memory: bool = False
    error: str = ""
    memory_peak: int | None = None
    cpu_seconds: float | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None
    detail: str = "{}"


_COLUMN = {item.name: position for position, item in enumerate(fields(Run))}
_values = attrgetter(*_COLUMN)
_CHANGEABLE = frozenset(_COLUMN) - {"id", "kind", "contract", "owner", "created"}


def records_path(state_directory: Path) -> Path:
    """Return where the records are kept in a state directory."""
    return state_directory / "records.db"


@cache
def _statements() -> dict[str, str]:
    text = Path(__file__).with_name("records.sql").read_text("utf-8")
    parts = [part.partition("\n") for part in text.split("-- name: ")[1:]]
    return {name.strip(): body.strip() for name, _, body in parts}


@cache
def _update(columns: tuple[str, ...]) -> str:
    if unknown := set(columns) - _CHANGEABLE:
        raise TypeError(f"a record has no changeable {', '.join(sorted(unknown))}")
    return f"UPDATE run SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?"  # noqa: S608


class Records:
    """The records in one file.

    Everything but :meth:`mark_lost` and :meth:`prune` belongs to one thread, and does not wait for
    the disk.

    Parameters
    ----------
    path : Path
        The file, see :func:`records_path`; made if it is absent.
    on_error : callable or None
        None: what can't be written raises. Otherwise it is told, once until writing succeeds
        again (maybe from another thread), and the record is tried again later.

    Raises
    ------
    RecordError
        The file can't be opened, or a newer Lading made it.
    """

    def __init__(self, path: Path, *, on_error: OnError | None = None) -> None:
        sql = _statements()
        self._insert = sql["insert"]
        self._journal = Journal(path, schema=sql["schema"], version=_VERSION, on_error=on_error)
        self._pending: dict[str, list[Any]] = {}
        self._ending: list[tuple[Operation, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self._journal.path

    def begin(self, run: Run) -> None:
        """Write a run down: of a container now, a call within 20 ms, with what else came.

        Raises
        ------
        RecordError
            It can't be written.
        """
        values = list(_values(run))
        if run.kind is Kind.CALL:
            if self._timer is None:
                try:
                    loop = asyncio.get_running_loop()
                except RuntimeError:
                    pass  # a blocking caller: nobody would call us back
                else:
                    self._timer = loop.call_later(_COALESCE, self.flush)
            if self._timer is not None:
                self._pending[run.id] = values
                return
        self._journal.write([(self._insert, values)])

    def update(self, run_id: str, **columns: Any) -> None:
        """Change some columns of a run.

        Raises
        ------
        RecordError
            It can't be written.
        """
        values = self._pending.get(run_id)
        if values is None:
            self._journal.write([(_update(tuple(columns)), (*columns.values(), run_id))])
            return
        for name, value in columns.items():
            values[_COLUMN[name]] = value

    def finish(
        self, run_id: str, state: RunState, *, finished: float | None = None, **columns: Any
    ) -> None:
        """Write down how a run ended; durable when this returns, or else after :meth:`settled`.

        A call that began less than 20 ms ago costs one statement in all.

        Parameters
        ----------
        state : RunState
            One of the last four.
        finished : float or None
            Seconds since 1970; None is now.
        **columns
            Other columns to set, such as ``exit_code``.

        Raises
        ------
        RecordError
            It can't be written.
        """
        self._journal.write([self._end(run_id, state, finished, columns)])

    async def finish_together(self, run_id: str, state: RunState, **columns: Any) -> None:
        """Do :meth:`finish`, in one transaction with all that end in this turn of the event loop.

        Where many calls run at once, that is cheaper; where there is only this one, it is written
        at once.

        Raises
        ------
        RecordError
            It can't be written.
        """
        operation = self._end(run_id, state, None, columns)
        if not self._pending and not self._ending:
            self._journal.write([operation])
            return
        loop = asyncio.get_running_loop()
        if not self._ending:
            loop.call_soon(self._write_endings)
        written: asyncio.Future[None] = loop.create_future()
        self._ending.append((operation, written))
        await written

    def _end(
        self, run_id: str, state: RunState, finished: float | None, columns: dict[str, Any]
    ) -> Operation:
        columns["state"] = state
        columns["finished"] = time.time() if finished is None else finished
        values = self._pending.pop(run_id, None)
        if values is None:
            return _update(tuple(columns)), (*columns.values(), run_id)
        for name, value in columns.items():
            values[_COLUMN[name]] = value
        return self._insert, values

    def _write_endings(self) -> None:
        ending, self._ending = self._ending, []
        if not ending:
            return
        problem: RecordError | None = None
        try:
            self._journal.write([operation for operation, _ in ending])
        except RecordError as error:
            problem = error
        for _, written in ending:
            if written.done():  # whoever waited was cancelled
                continue
            if problem is None:
                written.set_result(None)
            else:
                written.set_exception(problem)

    def flush(self) -> None:
        """Write the beginnings and endings that wait for company.

        Raises
        ------
        RecordError
            They can't be written.
        """
        self._write_endings()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pending:
            pending, self._pending = self._pending, {}
            self._journal.write([(self._insert, values) for values in pending.values()])

    async def settled(self) -> None:
        """Wait until all that was finished is durable: at once, unless the file is locked.

        Raises
        ------
        RecordError
            It can't be written.
        """
        await self._journal.settled()

    def get(self, run_id: str) -> Run:
        """Find a run by its id or the beginning of it.

        Raises
        ------
        RecordNotFound
            There is none, or more than one.
        RecordError
            The file can't be read.
        """
        self.flush()
        bounds = {"prefix": run_id, "end": run_id + "\x7f"}
        # Ids are ASCII, and what isn't may be no text at all to SQLite.
        rows = self._journal.read(_statements()["get"], bounds) if run_id.isascii() else []
        if not rows:
            raise RecordNotFound(f"no run {run_id!r}", fix="`lading ps --all` lists them")
        if len(rows) > 1 and rows[0][0] != run_id:
            raise RecordNotFound(
                f"more than one run begins with {run_id!r}", fix="write more of its id"
            )
        return _run(rows[0])

    def list(
        self,
        *,
        state: RunState | None = None,
        kind: Kind | None = None,
        since: float = 0.0,
        limit: int = 100,
    ) -> list[Run]:
        """Return runs, the latest first.

        Parameters
        ----------
        since : float
            Only those created from then on; seconds since 1970.
        limit : int
            At most so many.

        Raises
        ------
        RecordError
            The file can't be read.
        """
        self.flush()
        wanted = {"state": state, "kind": kind, "since": first_id(since), "limit": limit}
        return [_run(row) for row in self._journal.read(_statements()["list"], wanted)]

    def find(self, *, contract: str, name: str, fingerprint: str) -> Run | None:
        """Return the latest run that succeeded with a fingerprint; None if there is none.

        Looks at every record of a task, in 25 ms for 10,000 of them.

        Parameters
        ----------
        contract, name : str
            As the run has them.
        fingerprint : str
            What its `detail` has by that name.

        Raises
        ------
        RecordError
            The file can't be read.
        """
        self.flush()
        wanted = {"contract": contract, "name": name, "fingerprint": fingerprint}
        rows = self._journal.read(_statements()["fingerprinted"], wanted)
        return _run(rows[0]) if rows else None

    def open_owners(self) -> set[str]:
        """Return the owners of all runs that have not ended.

        Raises
        ------
        RecordError
            The file can't be read.
        """
        self.flush()
        return {str(row[0]) for row in self._journal.read(_statements()["open_owners"])}

    def mark_lost(self, owner: str, error: str = "the process that ran it died") -> int:
        """End every open run of an owner that is dead; may wait, for any thread.

        Returns
        -------
        int
            How many.

        Raises
        ------
        RecordError
            They can't be written.
        """
        values = {"owner": owner, "now": time.time(), "error": error}
        return self._journal.do(_statements()["lost"], values)

    def mark_stopping(self, run_id: str) -> bool:
        """Note that somebody asks for the end of a run; may wait, for any thread.

        Returns
        -------
        bool
            Whether it had not ended.

        Raises
        ------
        RecordError
            It can't be written.
        """
        return self._journal.do(_statements()["stopping"], {"id": run_id}) > 0

    def prune(self, *, older_than: float, keep: int | None = None) -> int:
        """Forget ended runs; may wait, for any thread.

        Parameters
        ----------
        older_than : float
            Those created so many seconds ago.
        keep : int or None
            And those beyond the latest `keep`.

        Returns
        -------
        int
            How many.

        Raises
        ------
        RecordError
            They can't be deleted.
        """
        values = {"before": first_id(time.time() - older_than), "keep": keep}
        return self._journal.do(_statements()["prune"], values)

    def close(self) -> None:
        """Write what waits, and close the file.

        Raises
        ------
        RecordError
            Something could not be written.
        """
        try:
            self.flush()
        finally:
            self._journal.close()


def _run(row: tuple[Any, ...]) -> Run:
    values = dict(zip(_COLUMN, row, strict=True))
    try:
        values["kind"] = Kind(values["kind"])
        values["state"] = RunState(values["state"])
    except ValueError as error:
        raise RecordError(f"run {row[0]}: {error}") from error
    values["out_of_memory"] = bool(values["out_of_memory"])
    return Run(**values)
