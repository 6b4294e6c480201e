"""What is passed on between the operator, the trigger and what works on an engine: plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lading.contracts.processing.task import Task
    from lading.contracts.processing.template import TaskTemplate
    from lading.engine import RegistryLogin

__all__ = ["Ended", "Handle", "Identity", "Order"]

ATTEMPT_LABEL = "lading.airflow.try"


@dataclass(frozen=True, slots=True)
class Identity:
    """Which task of which run of which DAG: by these labels its containers are found.

    Parameters
    ----------
    dag, run, task : str
        Their ids.
    index : int
        Which of the tasks that one was mapped to; -1: it is only one.
    attempt : int
        Which try, from 1.
    data : str
        The directory of all data, by which one Airflow is told from another on the same engine:
        both may have runs of the same names.
    """

    dag: str
    run: str
    task: str
    index: int = -1
    attempt: int = 1
    data: str = ""

    def selector(self) -> dict[str, str]:
        """Return the labels of the containers of all its tries."""
        return {
            "lading.airflow.dag": self.dag,
            "lading.airflow.run": self.run,
            "lading.airflow.task": self.task,
            "lading.airflow.index": str(self.index),
            "lading.airflow.data": self.data,
        }

    def labels(self) -> dict[str, str]:
        """Return the labels of the container of this try."""
        return {**self.selector(), ATTEMPT_LABEL: str(self.attempt)}


@dataclass(frozen=True, slots=True)
class Order:
    """What has to be run.

    Parameters
    ----------
    identity : Identity
    task : Task
        With everything but its volumes and its config.
    root : Path
        Below which all data are.
    folder : Path
        Where its output channels go, a directory each.
    index : str
        A directory in each of those; empty: none.
    inputs : mapping of str to Path
        Directories of the input channels that are mapped.
    engine : str
        As ``--engine`` takes it; empty: as ``LADING_ENGINE`` and the others say.
    namespace : str
        On a cluster; empty: the usual one.
    labels, annotations : mapping
        Of its container, or pod; annotations are a cluster's.
    start_within : float
        Seconds until its container runs.
    time_limit : float or None
        Seconds that it may run.
    adopt : bool
        Whether a container of this same try that runs is taken over.
    login : RegistryLogin or None
        For the pull of its image.
    check : callable
        Told of the template, raises if the DAG does not fit it.
    tell : callable
        Told of what happens, in a line.
    input_roots : mapping of str to Path
        Below which the data of an input channel are, where that is not ``root``.
    """

    identity: Identity
    task: Task
    root: Path
    folder: Path
    index: str
    inputs: Mapping[str, Path]
    engine: str
    namespace: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    start_within: float
    time_limit: float | None
    adopt: bool
    login: RegistryLogin | None
    check: Callable[[TaskTemplate], None]
    tell: Callable[[str], None]
    input_roots: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Handle:
    """What runs: everything that is needed to wait for it, also by another process.

    Parameters
    ----------
    engine : dict
        The fields of the :class:`~lading.settings.EngineOptions` that found its engine.
    mode : str
        ``docker``: a keeper watches it, see :mod:`lading.contracts.processing.detached`;
        ``k8s``: a pod that nobody watches.
    container : str
        Its id.
    run, state : str
        Of a kept one: the id of its record, and the directory that has it.
    deadline : float or None
        When its time is up, in seconds since 1970.
    task_run : dict
        The task run, as JSON.
    """

    engine: dict[str, Any]
    mode: str
    container: str
    run: str
    state: str
    deadline: float | None
    task_run: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Write it down."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Handle:
        """Read what :meth:`as_json` wrote."""
        return cls(**told)


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended.

    Parameters
    ----------
    code : int
        Its exit code; 137 where memory ran out, 70 where it is not known.
    out_of_memory, timed_out : bool
    why : str
        What to say of it; empty where all went well.
    """

    code: int
    out_of_memory: bool = False
    timed_out: bool = False
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """Write it down."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Ended:
        """Read what :meth:`as_json` wrote."""
        return cls(**told)
