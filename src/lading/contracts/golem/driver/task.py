"""A task from its beginning to its end: run, resume, abort.

::

    await check_assignment(assignment)                      # before a container is started
    home = task_home(state_directory, assignment.task_id)
    async with RequestorApp(home / "work", ...) as app:
        outcome = await run_task(app, providers, journal, assignment, home=home, on_event=show)

A task's home holds ``work`` (the work directory of the requestor's application, with a directory
named for the task), ``nodes/<number>`` (the task directory of each node) and ``lock``, which its
driver holds while it lives.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from lading.contracts.golem.driver.driving import Drive
from lading.contracts.golem.driver.events import Event
from lading.contracts.golem.driver.homes import claim, empty_home, is_driven, task_home
from lading.contracts.golem.driver.journal import Journal
from lading.contracts.golem.driver.nodes import Providers, Requestor
from lading.contracts.golem.driver.offloop import Stop, in_thread
from lading.contracts.golem.driver.options import DriverOptions
from lading.contracts.golem.driver.outputs import check_output, check_resources
from lading.contracts.golem.driver.records import (
    AppReference,
    Assignment,
    TaskOutcome,
    TaskRecord,
    TaskState,
)
from lading.errors import InputError, RecordError

__all__ = [
    "AppReference",
    "Assignment",
    "TaskOutcome",
    "abort_task",
    "check_assignment",
    "forget_task",
    "is_driven",
    "resume_task",
    "run_task",
    "task_home",
]


async def check_assignment(assignment: Assignment) -> None:
    """Check what can be checked before anything is started or written.

    Raises
    ------
    InputError
        A resource is missing or is no file or directory; two would have the same name; the output
        directory isn't empty, or can't be made; the parameters are nothing that JSON can say.
    """
    await in_thread(_check, assignment)


def _check(stop: Stop, assignment: Assignment) -> tuple[Assignment, str]:
    """Return it with absolute paths, and its parameters as JSON: who resumes it is elsewhere."""
    check_output(stop, assignment.output)
    check_resources(stop, assignment.resources)
    try:
        params = json.dumps(assignment.params, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError("--params", f"is nothing that JSON can say: {error}") from None
    resources = tuple(path.absolute() for path in assignment.resources)
    placed = dataclasses.replace(
        assignment, output=assignment.output.absolute(), resources=resources
    )
    return placed, params


async def run_task(
    app: Requestor,
    providers: Providers,
    journal: Journal,
    assignment: Assignment,
    *,
    home: Path,
    on_event: Callable[[Event], None] = lambda _: None,
) -> TaskOutcome:
    """Have a task computed, from its beginning to its results in the output directory.

    When it is cancelled, all computations have ended when that is raised, and the task can be
    resumed; so it can after any error but the first three.

    Parameters
    ----------
    app : Requestor
        Runs already, on ``home / "work"``. Is shut down at the end, not when this is cancelled.
    providers : Providers
        Not closed at the end.
    journal : Journal
    assignment : Assignment
    home : Path
        See :func:`task_home`; removed when the task is done or aborted.
    on_event : callable
        Told what happens.

    Raises
    ------
    InputError
        As of :func:`check_assignment`; nothing was begun.
    GolemTaskFailed
        Retries used up, aborted, out of time, or the application can't go on.
    AppError
        ``CreateTask`` was refused.
    CapacityError
        The disk is full, or the host can never give what the application needs.
    LadingError
        Something else that has to be put right first.
    """
    assignment, params = await in_thread(_check, assignment)
    task_id = assignment.task_id
    async with claim(home, task_id):
        journal.begin(assignment, params)
        await journal.settled()
        return await Drive(app, providers, journal, task_id, home=home, tell=on_event).run()


async def resume_task(
    app: Requestor | None,
    providers: Providers,
    journal: Journal,
    task_id: str,
    *,
    home: Path,
    options: DriverOptions | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> TaskOutcome:
    """Go on with a task whose driver was stopped or killed; as :func:`run_task`.

    Parameters
    ----------
    app : Requestor or None
        None will do for a task that is ``finishing``: only its results are moved.
    task_id : str
        All of it.
    options : DriverOptions or None
        Other ones from now on; None: those it was begun with.

    Raises
    ------
    InputError
        It has ended, or another process drives it.
    """
    async with claim(home, task_id):
        record = _open(journal, task_id)
        if options is not None and options != record.options:
            journal.change_options(task_id, options)
            await journal.settled()
        drive = Drive(app, providers, journal, task_id, home=home, tell=on_event, resumed=True)
        return await drive.run()


def _open(journal: Journal, task_id: str) -> TaskRecord:
    record = journal.task(task_id)
    if record.ended:
        raise InputError("", f"task {task_id} is {record.state} already")
    return record


async def abort_task(
    app: Requestor | None,
    journal: Journal,
    task_id: str,
    *,
    home: Path,
) -> TaskState:
    """Abort a task that nobody drives now; for one that is driven, `Journal.ask_abort`.

    Parameters
    ----------
    app : Requestor or None
        Is told ``AbortTask`` and ``Shutdown``; None: it isn't told, and just forgotten.

    Returns
    -------
    TaskState
        As it is now: what has ended before stays as it was.

    Raises
    ------
    InputError
        A driver lives.
    """
    async with claim(home, task_id):
        if not journal.task(task_id).ended:
            journal.ask_abort(task_id)
            await Drive(app, None, journal, task_id, home=home).abort()
        return journal.task(task_id).state


async def forget_task(journal: Journal, task_id: str, *, home: Path) -> None:
    """Remove what is left of a task that has ended, and what is known of it.

    Parameters
    ----------
    task_id : str
        All of it.

    Raises
    ------
    InputError
        It has not ended.
    RecordError
        Something can't be removed; the task is still known then.
    """
    async with claim(home, task_id):
        record = journal.task(task_id)
        if not record.ended:
            raise InputError(
                "TASK", f"{task_id} has not ended", fix=f"`lading golem abort {task_id}` ends it"
            )
        if problem := await in_thread(empty_home, home):
            raise RecordError(problem, fix="remove it, then try again")
        journal.forget(task_id)
        await journal.settled()
