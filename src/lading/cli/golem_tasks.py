"""``lading golem ps``, ``abort`` and ``rm``: which tasks there are, and the end of some."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli import failures, loop, printing
from lading.cli.knobs import Given, engine_options, flags
from lading.errors import EngineError, InputError, LadingError, RunError
from lading.settings import EngineOptions, state_directory
from lading.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from lading.contracts.golem.driver.journal import Journal, TaskRecord, TaskState

commands = typer.Typer(rich_markup_mode=None)

_LOOK = 0.1
"""Seconds between two looks at a task that its driver is aborting."""
_PATIENCE = 60.0
"""Seconds that a driver has to abort a task."""


@commands.command()
def ps(
    *,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Also tasks that have ended.")
    ] = False,
    last: Annotated[
        int, typer.Option("--last", "-n", metavar="N", help="At most so many, the latest.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """List the tasks: how far they are, and how they ended.

    A task that is stopped has no command that drives it: `lading golem resume TASK` goes on with
    it, `lading golem abort TASK` gives it up.
    """
    from lading.contracts.golem.driver.journal import Journal, journal_path  # noqa: PLC0415

    state = state_directory()
    with Journal(journal_path(state)) as journal:
        found = journal.tasks(ended=everything, limit=last)
        rows = [_described(journal, state, record) for record in found]
    if as_json:
        printing.json(rows)
        return
    heads = ("TASK", "STATE", "DONE", "FAILED", "AGE", "APP", "OUTPUT")
    printing.table(heads, [_row(row) for row in rows])
    for row in rows:
        if row["error"] and row["state"] != "aborted":
            printing.note(f"{row['task']}: {row['error'].splitlines()[0]}")


def _described(journal: Journal, state: Path, record: TaskRecord) -> dict[str, Any]:
    from lading.contracts.golem.driver.task import is_driven, task_home  # noqa: PLC0415

    driven = not record.ended and is_driven(task_home(state, record.task_id))
    stopped = not record.ended and not driven
    return {
        "task": record.task_id,
        "state": "stopped" if stopped else str(record.state),
        "phase": str(record.state),
        "driven": driven,
        "app": record.app.name,
        "image": record.app.image,
        "subtasks_limit": record.options.subtask_limit,
        "subtasks_done": record.done,
        "subtasks_failed": record.failed,
        "subtasks_open": {str(k): v for k, v in journal.open_counts(record.task_id).items()},
        "nodes": record.options.node_count,
        "created": _moment(record.created),
        "finished": _moment(record.finished),
        "driven_seconds": round(record.driven, 3),
        "output": str(record.output),
        "error": record.error,
    }


def _moment(seconds: float | None) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds is not None else None


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    age = time.time() - datetime.fromisoformat(row["created"]).timestamp()
    return (
        row["task"],
        row["state"],
        f"{row['subtasks_done']}/{row['subtasks_limit']}",
        str(row["subtasks_failed"] or ""),
        format_seconds(round(max(0.0, age))),
        row["app"],
        row["output"],
    )


@commands.command()
@flags(EngineOptions, into="engine")
def abort(
    *,
    tasks: Annotated[
        list[str], typer.Argument(metavar="TASK...", help="The beginning of a task's id.")
    ],
    engine: Given,
) -> None:
    """Abort tasks: they can't be resumed then.

    The command that drives a task ends its containers, tells the application, and fails. Where none
    does, this command tells the application.
    """
    options = engine_options(engine)
    _each(tasks, lambda name: _abort(name, options))


@commands.command()
def rm(
    *,
    tasks: Annotated[
        list[str] | None, typer.Argument(metavar="TASK...", help="The beginning of a task's id.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="All tasks that have ended.")
    ] = False,
) -> None:
    """Forget tasks that have ended, and remove what is left of them.

    Of a task that has failed, what its application had done by then is left. Results in output
    directories are not touched.
    """
    from lading.contracts.golem.driver.journal import Journal, journal_path  # noqa: PLC0415

    names = tasks or []
    if everything:
        with Journal(journal_path(state_directory())) as journal:
            names = [record.task_id for record in journal.tasks() if record.ended]
    elif not names:
        raise InputError("TASK", "name at least one, or --all", fix="`lading golem ps -a` has them")
    _each(names, _forget)


def _each(names: list[str], work: Callable[[str], Awaitable[str]]) -> None:
    """Do the work for each; one that fails doesn't keep the others from it."""

    async def main(_signals: loop.Signals) -> int:
        code = 0
        for name in names:
            try:
                printing.line(await work(name))
            except LadingError as error:
                failure = failures.report(error)
                code = code or failure
        return code

    if code := loop.run(main):
        raise typer.Exit(code)


def _find(journal: Journal, name: str) -> TaskRecord:
    if not name:
        raise InputError("TASK", "the name is empty", fix="`lading golem ps` lists them")
    return journal.task(name)


async def _forget(name: str) -> str:
    from lading.contracts.golem.driver.journal import Journal, journal_path  # noqa: PLC0415
    from lading.contracts.golem.driver.task import forget_task, task_home  # noqa: PLC0415

    state = state_directory()
    with Journal(journal_path(state)) as journal:
        task_id = _find(journal, name).task_id
        await forget_task(journal, task_id, home=task_home(state, task_id))
    return task_id


async def _abort(name: str, options: EngineOptions) -> str:
    from lading.contracts.golem.driver.journal import Journal, journal_path  # noqa: PLC0415
    from lading.contracts.golem.driver.task import is_driven, task_home  # noqa: PLC0415

    state = state_directory()
    with Journal(journal_path(state)) as journal:
        record = _find(journal, name)
        if record.ended:
            raise InputError(
                "TASK",
                f"{record.task_id} is {record.state}: it has ended",
                fix=f"`lading golem rm {record.task_id}` forgets it",
            )
        home = task_home(state, record.task_id)
        journal.ask_abort(record.task_id)
        await journal.settled()
        began = time.monotonic()
        while await asyncio.to_thread(is_driven, home):
            if time.monotonic() - began > _PATIENCE:
                raise RunError(
                    f"the command that drives {record.task_id} has not aborted it within "
                    f"{format_seconds(_PATIENCE)}",
                    fix="end that command, then abort it again",
                )
            await asyncio.sleep(_LOOK)
        record = journal.task(record.task_id)
        if not record.ended:
            end = await _abort_undriven(journal, record, home, options)
            printing.note(f"task {record.task_id}: {end}")
    return record.task_id


async def _abort_undriven(
    journal: Journal, record: TaskRecord, home: Path, options: EngineOptions
) -> TaskState:
    """Abort a task that nobody drives; its application is told where that can be done."""
    from lading.cli.golem_session import begun_on, session  # noqa: PLC0415
    from lading.contracts.golem.driver.journal import TaskState  # noqa: PLC0415
    from lading.contracts.golem.driver.task import abort_task  # noqa: PLC0415

    if record.state is TaskState.RUNNING:
        try:
            options = await asyncio.to_thread(begun_on, home, options)
            async with session(options) as here, contextlib.AsyncExitStack() as stack:
                place = await here.place(record.options)
                made = await here.requestor(place, record.app, home, record.task_id)
                app = await stack.enter_async_context(made)
                return await abort_task(app, journal, record.task_id, home=home)
        except (EngineError, RunError) as error:
            printing.warn(f"the application is not told of it: {error.message}")
    return await abort_task(None, journal, record.task_id, home=home)
