"""What the driver tells about a task, while it happens.

A display needs :class:`Progress` (after every change of a number), :class:`NodeChanged` (a line
for each node) and the words of the others (:func:`lading.contracts.golem.driver.events.words`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from lading.units import format_seconds

__all__ = [
    "AppRestarted",
    "Discarded",
    "Event",
    "Finishing",
    "NodeChanged",
    "NodeRested",
    "NodeState",
    "Progress",
    "ResultTaken",
    "SubtaskFailed",
    "TaskBegan",
    "TaskCreated",
    "Verdict",
    "Warned",
    "words",
]


class NodeState(enum.StrEnum):
    """What a node does."""

    WAITING = "waiting"
    """Nothing is pending for it."""
    REFUSED = "refused"
    """The application gives it nothing, and is asked again after something has changed."""
    COMPUTING = "computing"
    """It copies resources, waits for room, computes, or its result is copied."""
    RESTING = "resting"
    """It failed repeatedly, and is left alone for a while."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class TaskBegan:
    """The task is driven from now on.

    Parameters
    ----------
    task_id : str
        As its user knows it.
    nodes : int
    resumed : bool
        Whether another driver began it.
    done : int
        Subtasks that were done before.
    """

    task_id: str
    nodes: int
    resumed: bool
    done: int


@dataclass(frozen=True, slots=True)
class TaskCreated:
    """``CreateTask`` was answered.

    Parameters
    ----------
    env_id : str
    prerequisites : dict
    min_memory_mib : float
        In MiB.
    seconds : float
        What it took.
    """

    env_id: str
    prerequisites: dict[str, Any]
    min_memory_mib: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """The numbers of now.

    Parameters
    ----------
    limit : int
        Subtasks that the application may make; it may make fewer.
    done : int
        Subtasks that were verified.
    running : int
        Subtasks that are computed now; with replicas, each of them once, and also those that wait
        for another node.
    verifying : int
        Results that are, or wait to be, verified.
    awaiting : int
        Of those, how many wait for the results of others.
    failed : int
        Tries that failed: computing, results that could not be taken, and wrong ones.
    seconds : float
        How long the task has been driven, by all its drivers.
    eta : float or None
        Seconds until `limit` subtasks are done at the pace of this driver; None where nobody can
        tell yet.
    """

    limit: int
    done: int
    running: int
    verifying: int
    awaiting: int
    failed: int
    seconds: float
    eta: float | None


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """A node does something else now.

    Parameters
    ----------
    node : int
        Its number, from 1 on.
    state : NodeState
    subtask_id : str
        Which it computes; empty where it computes none.
    attempt : int
        The how many-th try of that piece of work it is; 0 where it computes none.
    """

    node: int
    state: NodeState
    subtask_id: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class ResultTaken:
    """A result was copied to the requestor.

    Parameters
    ----------
    node : int
    subtask_id : str
    name : str
        Of its file.
    size : int
        In bytes. An empty file is a result: whether it is right, ``Verify`` says.
    seconds : float
        From hand-out until now.
    """

    node: int
    subtask_id: str
    name: str
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """``Verify`` was answered.

    Parameters
    ----------
    subtask_id : str
    result : str
        ``SUCCESS``, ``FAILURE``, ``AWAITING_DATA`` or ``INCONCLUSIVE``.
    reason : str
        The application's words; may be empty.
    """

    subtask_id: str
    result: str
    reason: str


@dataclass(frozen=True, slots=True)
class SubtaskFailed:
    """A try failed; the application hands the work out again.

    Parameters
    ----------
    node : int or None
        Whose fault it was, as far as one can tell.
    subtask_id : str
    reason : str
        Why.
    failures : int
        Of this piece of work, so far.
    allowed : int
        How many failures it may have; with one more, the task fails.
    """

    node: int | None
    subtask_id: str
    reason: str
    failures: int
    allowed: int


@dataclass(frozen=True, slots=True)
class NodeRested:
    """A node failed repeatedly, and gets no work for a while.

    Parameters
    ----------
    node : int
    seconds : float
        How long.
    failures : int
        In a row.
    reason : str
        Of the last one.
    """

    node: int
    seconds: float
    failures: int
    reason: str


@dataclass(frozen=True, slots=True)
class AppRestarted:
    """The requestor's application died, and was started again.

    Parameters
    ----------
    reason : str
    times : int
        Since a subtask was last verified.
    """

    reason: str
    times: int


@dataclass(frozen=True, slots=True)
class Discarded:
    """The application was told to forget subtasks; it hands their work out again.

    Parameters
    ----------
    subtask_ids : tuple of str
        All that are gone.
    done : int
        How many of them were verified before.
    """

    subtask_ids: tuple[str, ...]
    done: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the user should know.

    Parameters
    ----------
    text : str
    """

    text: str


@dataclass(frozen=True, slots=True)
class Finishing:
    """All is verified; the results are moved to the output directory."""


Event = (
    TaskBegan
    | TaskCreated
    | Progress
    | NodeChanged
    | ResultTaken
    | Verdict
    | SubtaskFailed
    | NodeRested
    | AppRestarted
    | Discarded
    | Warned
    | Finishing
)


def words(event: Event) -> str:  # noqa: PLR0911  # a kind of event, a line
    """Say it in a line for people; empty for what only a display needs."""
    match event:
        case TaskBegan(task_id=task, nodes=nodes, resumed=True, done=done):
            return (
                f"task {task}: resumed on {_counted(nodes, 'node')}, "
                f"{_counted(done, 'subtask')} done before"
            )
        case TaskBegan(task_id=task, nodes=nodes):
            return f"task {task}: on {_counted(nodes, 'node')}"
        case ResultTaken(node=node, subtask_id=subtask, name=name, size=0):
            return f"node {node}: subtask {subtask}: its result {name} is an empty file"
        case SubtaskFailed(node=node, subtask_id=subtask, reason=reason):
            who = f"node {node}: " if node is not None else ""
            count = f"failure {event.failures}, may be retried {event.allowed} times"
            return f"{who}subtask {subtask} failed ({count}): {reason}"
        case NodeRested(node=node, seconds=seconds, failures=failures, reason=reason):
            return (
                f"node {node}: left alone for {format_seconds(seconds)} after {failures} failures "
                f"in a row, the last: {reason}"
            )
        case AppRestarted(reason=reason, times=times):
            return f"the requestor application was started again ({times}): {reason}"
        case Discarded(subtask_ids=subtasks, done=done):
            verified = f", {done} of them verified" if done else ""
            return f"computed again: {_counted(len(subtasks), 'subtask')}{verified}"
        case Warned(text=text):
            return text
    return ""


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
