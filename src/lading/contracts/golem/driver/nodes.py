"""Nodes, the work they get, and what the driver asks of those who bring the two together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lading.contracts.golem.clients import RequestorCalls
else:

    class RequestorCalls(Protocol):
        """Stands for that one, which would load gRPC: `lading golem ps` needs none."""


__all__ = ["Node", "Providers", "Requestor", "Work", "node_id"]


def node_id(task_id: str, number: int) -> str:
    """Name a node: 32 hexadecimal digits that tell nothing else about it."""
    return hashlib.blake2b(f"{task_id}/{number}".encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Node:
    """One that computes subtasks of a task, one after the other.

    Parameters
    ----------
    number : int
        From 1 on.
    id : str
        What the application is told: 32 hexadecimal digits, the same for as long as the task is.
    directory : Path
        Its task directory: the work directory of its provider containers. It holds
        ``subtask_inputs`` when :meth:`Providers.compute` is called, and is kept from one subtask
        to the next.
    """

    number: int
    id: str
    directory: Path


@dataclass(frozen=True, slots=True)
class Work:
    """A subtask that was handed out to a node.

    Parameters
    ----------
    task_id : str
        As the application knows it.
    subtask_id : str
    params : dict
        What ``Compute`` gets.
    resources : tuple of str
        Names of files, already in the node's ``subtask_inputs``.
    env_id : str
        ``docker_cpu`` or ``docker_gpu``.
    prerequisites : dict
        Of the environment: ``image`` and ``tag``.
    min_memory_mib : float
        What the application wants a provider to have, in MiB; 0 where it doesn't say.
    """

    task_id: str
    subtask_id: str
    params: dict[str, Any] = field(repr=False)
    resources: tuple[str, ...]
    env_id: str
    prerequisites: dict[str, Any]
    min_memory_mib: float


class Providers(Protocol):
    """Computes a subtask in a fresh provider container."""

    async def compute(self, node: Node, work: Work, *, deadline: float | None) -> Path:
        """Make room, start a container on the node's directory, call ``Compute``, and remove it.

        When this raises, also because it is cancelled, the container is gone. When it returns, the
        container has answered, and all that is left for it to do is to end: nobody waits for that
        but :meth:`close`. Is called for at most one subtask of a node at a time.

        The node's ``subtask_inputs`` may be mounted read-only, but need not be: the driver copies
        a resource anew if anybody has touched its copy.

        Parameters
        ----------
        node : Node
        work : Work
        deadline : float or None
            Seconds that it may take from the container's start to the answer. Waiting for room,
            and for an image, does not count.

        Returns
        -------
        Path
            What the application said, unchecked: relative to the node's directory (or joined to
            it). The driver checks it.

        Raises
        ------
        RunError
            This try failed, and the work is handed out again: :class:`~lading.errors.OutOfMemory`,
            :class:`~lading.errors.TimedOut`, :class:`~lading.errors.ExitedEarly`,
            :class:`~lading.errors.AppError` and the like.
        ImageError, NotSupported, EngineUnreachable, CapacityError
            No try can succeed now: the driver stops, and the task can be resumed.
        """

    async def close(self) -> None:
        """Let go of what is kept from one subtask to the next."""


class Requestor(RequestorCalls, Protocol):
    """The requestor's application, which can be brought back when it has died.

    ``shutdown`` returns once its container has ended, or can write to nothing any more.
    """

    async def revive(self) -> None:
        """Start it again on the same work directory.

        Raises
        ------
        LadingError
            It doesn't start.
        """
