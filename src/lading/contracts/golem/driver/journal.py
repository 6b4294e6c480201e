"""The durable state of tasks: what a driver must know to go on where another one was killed.

Everything is written before it is acted upon. A write is durable against the death of the process
when it returns (:mod:`lading.run.journal`), or after :meth:`Journal.settled` where another process
had the file locked.

A subtask's way: *asked* (its id was made up; ``NextSubtask`` may have been called with it),
*handed* (out to a node), *computed* (its result lies in ``subtask_outputs``), *verifying*
(``Verify`` may have been called), and then *done*, *failed*, or *awaiting* (data of others). One
that the application was told to forget is *discarded*.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

from lading.contracts.golem.driver.options import Compare, DriverOptions
from lading.contracts.golem.driver.records import (
    AppReference,
    Assignment,
    Candidate,
    OpenSubtask,
    SubtaskState,
    TaskRecord,
    TaskState,
)
from lading.errors import RecordNotFound
from lading.run import journal as files
from lading.run.ids import new_id

__all__ = [
    "AppReference",
    "Assignment",
    "Candidate",
    "Journal",
    "OpenSubtask",
    "SubtaskState",
    "TaskRecord",
    "TaskState",
    "journal_path",
]

_VERSION = 1


def journal_path(state_directory: Path) -> Path:
    """Return where the journal is in a state directory."""
    return state_directory / "golem" / "golem.db"


@cache
def _statements() -> dict[str, str]:
    text = Path(__file__).with_name("journal.sql").read_text("utf-8")
    parts = [part.partition("\n") for part in text.split("-- name: ")[1:]]
    return {name.strip(): body.strip() for name, _, body in parts}


class Journal:
    """The tasks in one file, shared by all drivers of a state directory.

    Does not wait for the disk, and belongs to one thread. A context manager.

    Parameters
    ----------
    path : Path
        See :func:`journal_path`; made if it is absent.

    Raises
    ------
    RecordError
        The file can't be opened, or a newer Lading made it. Every method raises it where the file
        can't be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._sql = _statements()
        self._file = files.Journal(path, schema=self._sql["schema"], version=_VERSION)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    async def settled(self) -> None:
        """Wait until all that was written is durable; at once unless the file was locked."""
        await self._file.settled()

    # Tasks.

    def tasks(self, *, ended: bool = True, limit: int = -1) -> list[TaskRecord]:
        """Return tasks, the latest first.

        Parameters
        ----------
        ended : bool
            Whether also those that are done, failed or aborted.
        limit : int
            At most so many; -1: all.
        """
        return self._tasks("", "\U0010ffff", ended=ended, limit=limit)

    def task(self, prefix: str) -> TaskRecord:
        """Return the task whose id begins so.

        Raises
        ------
        RecordNotFound
            There is none, or more than one.
        """
        found = self._tasks(prefix, prefix + "\U0010ffff", ended=True, limit=2)
        exact = [task for task in found if task.task_id == prefix]
        if len(exact or found) == 1:
            return (exact or found)[0]
        what = "begins the ids of several tasks" if found else "is no task of ours"
        raise RecordNotFound(
            f"{prefix!r} {what}", fix="`lading golem ps --all` shows which there are"
        )

    def _tasks(self, first: str, end: str, *, ended: bool, limit: int) -> list[TaskRecord]:
        parameters = {"from": first, "to": end, "ended": ended, "limit": limit}
        return [_record(row) for row in self._file.read(self._sql["tasks"], parameters)]

    def assignment(self, task_id: str) -> Assignment:
        """Return what the task was begun with."""
        record = self.task(task_id)
        ((resources, params),) = self._file.read(self._sql["assignment"], {"task": record.task_id})
        return Assignment(
            app=record.app,
            params=json.loads(params),
            resources=tuple(map(Path, json.loads(resources))),
            output=record.output,
            options=record.options,
            task_id=record.task_id,
        )

    def begin(self, assignment: Assignment, params: str) -> None:
        """Write a new task down; `params` are those of the assignment, as JSON."""
        app = assignment.app
        values = (
            assignment.task_id,
            assignment.task_id,
            app.name,
            app.image,
            app.definition,
            str(assignment.output),
            json.dumps(dataclasses.asdict(assignment.options)),
            time.time(),
            json.dumps([str(path) for path in assignment.resources]),
            params,
        )
        self._file.write([(self._sql["begin"], values)])

    def anew(self, task_id: str) -> str:
        """Give a task that was never created another id for its application; return it."""
        wire_id = new_id()
        self._do("anew", wire_id, task_id)
        return wire_id

    def created(
        self, task_id: str, env_id: str, prerequisites: Mapping[str, Any], min_memory_mib: float
    ) -> None:
        """Write down what ``CreateTask`` answered; the task runs."""
        self._do("created", env_id, json.dumps(prerequisites), min_memory_mib, task_id)

    def enter(self, task_id: str, state: TaskState, *, driven: float, error: str = "") -> None:
        """Write down where a task is now; once it is done or aborted, only its sums are kept."""
        ended = state in (TaskState.DONE, TaskState.FAILED, TaskState.ABORTED)
        values = (state, error, time.time() if ended else None, driven, task_id)
        operations: list[files.Operation] = [(self._sql["task_state"], values)]
        if state in (TaskState.DONE, TaskState.ABORTED):
            forget = ("forget_subtasks", "forget_pieces")
            operations += [(self._sql[name], (task_id,)) for name in forget]
        self._file.write(operations)

    def change_options(self, task_id: str, options: DriverOptions) -> None:
        """Drive a task otherwise from now on."""
        self._do("task_options", json.dumps(dataclasses.asdict(options)), task_id)

    def ask_abort(self, task_id: str) -> None:
        """Have the driver of a task abort it: it looks twice a second."""
        self._do("ask_abort", time.time(), task_id)

    def abort_asked(self, task_id: str) -> bool:
        """Say whether somebody wants the task aborted."""
        rows = self._file.read(self._sql["abort_asked"], {"task": task_id})
        return bool(rows and rows[0][0])

    def forget(self, task_id: str) -> None:
        """Remove what is known of a task that has ended."""
        if self.task(task_id).ended:
            names = ("forget_subtasks", "forget_pieces", "forget_task")
            self._file.write([(self._sql[name], (task_id,)) for name in names])

    # Subtasks.

    def open_subtasks(self, task_id: str) -> list[OpenSubtask]:
        """Return those that are on their way; results in the order in which they came."""
        return [
            OpenSubtask(name, SubtaskState(state), piece or b"", _candidates(results))
            for name, state, piece, results in self._file.read(self._sql["open"], {"task": task_id})
        ]

    def open_counts(self, task_id: str) -> dict[SubtaskState, int]:
        """Count those that are on their way, by state."""
        rows = self._file.read(self._sql["open_counts"], {"task": task_id})
        return {SubtaskState(state): count for state, count in rows}

    def last_position(self, task_id: str) -> int:
        """Return how many results have come so far."""
        ((position,),) = self._file.read(self._sql["last_position"], {"task": task_id})
        return int(position)

    def subtask(self, task_id: str, subtask_id: str) -> SubtaskState | None:
        """Return where a subtask is; None where there is none."""
        rows = self._file.read(self._sql["subtask"], {"task": task_id, "id": subtask_id})
        return SubtaskState(rows[0][0]) if rows else None

    def failures(self, task_id: str, piece: bytes) -> int:
        """Return how often a piece of work has failed since it last succeeded."""
        rows = self._file.read(self._sql["failures"], {"task": task_id, "digest": piece})
        return int(rows[0][0]) if rows else 0

    def left_over(self, task_id: str) -> tuple[int, str]:
        """Count the pieces of work that failed and never succeeded; with one of the reasons."""
        ((count, reason),) = self._file.read(self._sql["left_over"], {"task": task_id})
        return int(count), reason or ""

    def asked(self, task_id: str, subtask_id: str) -> None:
        """``NextSubtask`` is about to be called with this id."""
        self._do("asked", task_id, subtask_id)

    def refused(self, task_id: str, subtask_id: str) -> None:
        """``NextSubtask`` gave nothing: the id was never used."""
        self._do("refused", task_id, subtask_id)

    def handed(self, task_id: str, subtask_id: str, piece: bytes) -> None:
        """``NextSubtask`` gave this piece of work."""
        self._do("handed", piece, task_id, subtask_id)

    def computed(
        self, task_id: str, subtask_id: str, position: int, candidates: Sequence[Candidate]
    ) -> None:
        """Its result, or results to choose from, lie where they can be verified."""
        self._do("computed", position, _text(candidates), task_id, subtask_id)

    def verifying(self, task_id: str, subtask_id: str) -> None:
        """``Verify`` is about to be called."""
        self._do("state", SubtaskState.VERIFYING, "", task_id, subtask_id)

    def awaiting(
        self, task_id: str, subtask_id: str, candidates: Sequence[Candidate], reason: str
    ) -> None:
        """``Verify`` wants the results of others first; these candidates are left."""
        self._do("awaiting", _text(candidates), reason, task_id, subtask_id)

    def done(self, task_id: str, subtask_id: str, piece: bytes, *, driven: float) -> None:
        """``Verify`` accepted it."""
        self._file.write(
            [
                (self._sql["state"], (SubtaskState.DONE, "", task_id, subtask_id)),
                (self._sql["success"], (task_id, piece)),
                (self._sql["count"], (1, 0, 0, driven, task_id)),
            ]
        )

    def failed(
        self,
        task_id: str,
        subtask_id: str,
        piece: bytes,
        reason: str,
        *,
        in_a_row: int,
        driven: float,
    ) -> None:
        """Write down that this try is over."""
        operations: list[files.Operation] = [
            (self._sql["state"], (SubtaskState.FAILED, reason, task_id, subtask_id)),
            (self._sql["count"], (0, 1, in_a_row, driven, task_id)),
        ]
        if piece:
            operations.append((self._sql["failure"], (task_id, piece, reason)))
        self._file.write(operations)

    def discarded(self, task_id: str, subtask_ids: Sequence[str], reason: str) -> int:
        """Write down that the application has forgotten them; return how many were done."""
        known = {name: self.subtask(task_id, name) for name in subtask_ids}
        done = sum(state is SubtaskState.DONE for state in known.values())
        operations: list[files.Operation] = [
            (self._sql["state"], (SubtaskState.DISCARDED, reason, task_id, name)) for name in known
        ]
        if done:
            operations.append((self._sql["undone"], (done, task_id)))
        if operations:
            self._file.write(operations)
        return done

    def _do(self, name: str, *values: Any) -> None:
        self._file.write([(self._sql[name], values)])


def _record(row: tuple[Any, ...]) -> TaskRecord:
    task_id, wire_id, state, app, image, definition, output, options, *rest = row
    created, finished, driven, done, failed, in_a_row, error, abort_asked, env_id, *given = rest
    prerequisites, min_memory = given
    return TaskRecord(
        task_id=task_id,
        wire_id=wire_id,
        state=TaskState(state),
        app=AppReference(app, image, definition),
        output=Path(output),
        options=_options(options),
        created=created,
        finished=finished,
        driven=driven,
        done=done,
        failed=failed,
        in_a_row=in_a_row,
        error=error,
        abort_asked=abort_asked,
        env_id=env_id,
        prerequisites=json.loads(prerequisites),
        min_memory_mib=min_memory,
    )


def _options(text: str) -> DriverOptions:
    values = json.loads(text)
    known = {item.name for item in dataclasses.fields(DriverOptions)}
    values = {name: value for name, value in values.items() if name in known}
    return DriverOptions(**{**values, "compare": Compare(values["compare"])})


def _text(candidates: Sequence[Candidate]) -> str:
    return json.dumps([dataclasses.astuple(item) for item in candidates])


def _candidates(text: str) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(name, size, tuple(nodes), path) for name, size, nodes, path in json.loads(text)
    )
