"""What is known of tasks and of their subtasks."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lading.contracts.golem.driver.options import DriverOptions
from lading.run.ids import new_id

__all__ = [
    "AppReference",
    "Assignment",
    "Candidate",
    "OpenSubtask",
    "SubtaskState",
    "TaskOutcome",
    "TaskRecord",
    "TaskState",
]


class TaskState(enum.StrEnum):
    """Where a task is."""

    PREPARING = "preparing"
    """Its directories are made and its resources copied."""
    CREATING = "creating"
    """``CreateTask`` was called, and not answered yet."""
    RUNNING = "running"
    FINISHING = "finishing"
    """All is verified; the results are moved to the output directory."""
    FAILING = "failing"
    """It can't be finished; its application is told so."""
    DONE = "done"
    FAILED = "failed"
    ABORTED = "aborted"


class SubtaskState(enum.StrEnum):
    """Where a subtask is."""

    ASKED = "asked"
    HANDED = "handed"
    COMPUTED = "computed"
    VERIFYING = "verifying"
    AWAITING = "awaiting"
    DONE = "done"
    FAILED = "failed"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class AppReference:
    """Which application.

    Parameters
    ----------
    name : str
        For people.
    image : str
        Of its requestor side, as an engine takes it.
    definition : str
        The text of its definition file; empty where it was given by its image alone.
    """

    name: str
    image: str
    definition: str = ""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task that is to be driven.

    Parameters
    ----------
    app : AppReference
    params : dict
        What ``CreateTask`` gets; anything that JSON can say.
    resources : tuple of Path
        Files, and directories whose content goes to ``task_inputs``.
    output : Path
        The directory that gets the results: one that is not there yet, or is empty.
    options : DriverOptions
    task_id : str
        From :func:`lading.run.ids.new_id`.
    """

    app: AppReference
    params: dict[str, Any]
    resources: tuple[Path, ...]
    output: Path
    options: DriverOptions = dataclasses.field(default_factory=DriverOptions)
    task_id: str = dataclasses.field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What is known of a task.

    Parameters
    ----------
    task_id : str
        As its user knows it.
    wire_id : str
        As its application knows it: another one where ``CreateTask`` had to be called again.
    created, finished : float
        Seconds since 1970, UTC; `finished` is None while it is not done, failed or aborted.
    driven : float
        Seconds that drivers have spent on it, as of when the last subtask ended.
    done, failed : int
        Subtasks that are verified; tries that failed.
    in_a_row : int
        Tries that failed since one succeeded.
    error : str
        Why it failed, or why its last driver stopped; may be empty.
    abort_asked : float or None
        When, in seconds since 1970.
    env_id, prerequisites, min_memory_mib
        What ``CreateTask`` answered, once it has.
    """

    task_id: str
    wire_id: str
    state: TaskState
    app: AppReference
    output: Path
    options: DriverOptions
    created: float
    finished: float | None
    driven: float
    done: int
    failed: int
    in_a_row: int
    error: str
    abort_asked: float | None
    env_id: str
    prerequisites: dict[str, Any]
    min_memory_mib: float

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.finished is not None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A result that lies with the requestor, or next to it until it is its turn.

    Parameters
    ----------
    name : str
        Of its file.
    size : int
        In bytes.
    nodes : tuple of int
        Who computed it.
    path : str
        Where it is, relative to the task's home; empty for the one in ``subtask_outputs``.
    """

    name: str
    size: int
    nodes: tuple[int, ...]
    path: str = ""


@dataclass(frozen=True, slots=True)
class OpenSubtask:
    """A subtask that is on its way.

    Parameters
    ----------
    subtask_id : str
    state : SubtaskState
    piece : bytes
        Digest of its work; empty where that was never known.
    candidates : tuple of Candidate
        Its results; one, unless ``Verify`` is to choose among those of replicas.
    """

    subtask_id: str
    state: SubtaskState
    piece: bytes
    candidates: tuple[Candidate, ...] = ()

    @property
    def nodes(self) -> tuple[int, ...]:
        """Who computed the result that is verified."""
        return self.candidates[0].nodes if self.candidates else ()


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
