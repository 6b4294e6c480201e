"""What handlers return and clients get: a task, a subtask, what it needs, a verdict."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Infrastructure", "Subtask", "Task", "VerifyResult"]


class VerifyResult(enum.Enum):
    """The verdict on a subtask's result; the numbers are those of the wire."""

    SUCCESS = 0
    FAILURE = 1
    AWAITING_DATA = 2
    """It can't be told before other subtasks have results."""
    INCONCLUSIVE = 3
    """It can't be told at all."""


@dataclass
class Infrastructure:
    """What a provider must have.

    Parameters
    ----------
    min_memory_mib : float
        Memory, in MiB (1024 * 1024 bytes).
    """

    min_memory_mib: float = 0.0


@dataclass
class Task:
    """Where the subtasks of a task are computed.

    Parameters
    ----------
    env_id : str
        The environment: ``docker_cpu`` or ``docker_gpu``.
    prerequisites : dict
        What the environment has to be told; for these two ``image`` and ``tag``.
    inf_requirements : Infrastructure
        What a provider must have.
    """

    env_id: str
    prerequisites: dict[str, Any]
    inf_requirements: Infrastructure = field(default_factory=Infrastructure)


@dataclass
class Subtask:
    """One piece of work.

    Parameters
    ----------
    params : dict
        What the provider's application is told; anything that JSON can say.
    resources : list of str
        Names of files in the task's ``subtask_inputs``.
    """

    params: dict[str, Any]
    resources: list[str] = field(default_factory=list)
