"""A task from its beginning to its end: run, resume, abort.

::

    await check_assignment(assignment)                      # before a container is started
    home = task_home(state_directory, assignment.task_id)
    async with RequestorApp(home / "work", ...) as app:     # C's
        outcome = await run_task(app, providers, journal, assignment, home=home, on_event=show)

A task's home holds ``work`` (the work directory of the requestor's application, with a directory
named for the task), ``nodes/<number>`` (the task directory of each node) and ``lock``, which its
driver holds while it lives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lading.contracts.golem.driver.events import Event
from lading.contracts.golem.driver.journal import Assignment, Journal, TaskState
from lading.contracts.golem.driver.nodes import Providers, Requestor

if TYPE_CHECKING:
    from lading.contracts.golem.driver.options import DriverOptions

__all__ = [
    "TaskOutcome",
    "abort_task",
    "check_assignment",
    "is_driven",
    "resume_task",
    "run_task",
    "task_home",
]


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """How a task ended that was done.

    Parameters
    ----------
    task_id : str
    output : Path
        The directory with its results.
    done, failed : int
        Subtasks that were verified; tries that failed.
    seconds : float
        How long it was driven.
    notes : tuple of str
        What its user should know.
    """

    task_id: str
    output: Path
    done: int
    failed: int
    seconds: float
    notes: tuple[str, ...] = ()


def task_home(state_directory: Path, task_id: str) -> Path:
    """Return where the directories of a task are."""
    return state_directory / "golem" / "tasks" / task_id


def is_driven(home: Path) -> bool:
    """Say whether a driver of the task lives; blocks shortly."""
    raise NotImplementedError


async def check_assignment(assignment: Assignment) -> None:
    """Check what can be checked before anything is started or written.

    Raises
    ------
    InputError
        A resource is missing or is no file or directory; two would have the same name; the output
        directory isn't empty, or can't be made; the parameters are nothing that JSON can say.
    """
    raise NotImplementedError


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
    raise NotImplementedError


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
    raise NotImplementedError


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
    raise NotImplementedError
