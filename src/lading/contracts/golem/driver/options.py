"""What can be set about how a task is driven, each knob spelled once."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass

from lading.errors import InputError
from lading.settings import knob

__all__ = ["Compare", "DriverOptions"]


class Compare(enum.StrEnum):
    """By what the results of replicas are told apart."""

    BYTES = "bytes"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True)
class DriverOptions:
    """How a task is driven.

    Raises
    ------
    InputError
        Names the flag whose value can't be used.
    """

    nodes: int = knob(
        0, "Nodes: so many subtasks are computed at once. Default: the cores of the host.",
        metavar="N",
    )  # fmt: skip
    max_subtasks: int = knob(
        0, "Subtasks that the application may split the task into. Default: one for each node.",
        metavar="N",
    )  # fmt: skip
    task_timeout: float = knob(
        0.0,
        "Seconds that the task may take in all, while it is driven. Default: no limit.",
        metavar="SECONDS",
    )
    subtask_timeout: float = knob(
        3600.0, "Seconds that a provider may take for one subtask.", metavar="SECONDS"
    )
    app_timeout: float = knob(
        600.0,
        "Seconds that the requestor application may take to answer one call, as Verify.",
        metavar="SECONDS",
    )
    retries: int = knob(
        3, "How often the same piece of work is handed out again after it failed.", metavar="N"
    )
    rest: float = knob(
        5.0,
        "Seconds that a node is left alone after three failures in a row; each further one "
        "doubles them, up to twelve times as many.",
        metavar="SECONDS",
    )
    replicas: int = knob(1, "Nodes that compute the same subtask.", metavar="N")
    agree: int = knob(
        0,
        "Of the replicas, how many must have equal results. Default: more than half of them.",
        metavar="N",
    )
    compare: Compare = knob(
        Compare.BYTES,
        "How results of replicas are judged: bytes, those that are equal agree; or verify, the "
        "application's own Verify is asked for each different one until it accepts one.",
    )
    memory: str | None = knob(
        None,
        "Memory that each provider may use, as 256Mi or 2g; at least what the application asks "
        "for. Default: no limit.",
        metavar="SIZE",
    )
    cpu: str | None = knob(
        None, "Cores that each provider may use, as 0.5 or 500m. Default: no limit.",
        metavar="CORES",
    )  # fmt: skip
    network: bool = knob(
        True, "Whether the application's containers have the engine's usual network, or none."
    )
    runtime: str | None = knob(
        None, "OCI runtime that the engine has, as runsc or kata.", metavar="NAME"
    )

    def __post_init__(self) -> None:
        for flag, number, least in (
            ("--nodes", self.nodes, 0),
            ("--max-subtasks", self.max_subtasks, 0),
            ("--retries", self.retries, 0),
            ("--replicas", self.replicas, 1),
            ("--agree", self.agree, 0),
        ):
            if not least <= number < 1 << 31:
                raise InputError(flag, f"must be a number from {least} on, not {number}")
        for flag, seconds, least in (
            ("--task-timeout", self.task_timeout, True),
            ("--rest", self.rest, True),
            ("--subtask-timeout", self.subtask_timeout, False),
            ("--app-timeout", self.app_timeout, False),
        ):
            if not (seconds > 0 or (least and seconds == 0)) or seconds == float("inf"):
                raise InputError(flag, f"must be seconds, more than 0, not {seconds:g}")
        if self.replicas > self.node_count:
            raise InputError(
                "--replicas",
                f"{self.replicas} different nodes can't be found among {self.node_count}",
                fix=f"give it --nodes {self.replicas} or more, or fewer replicas",
            )
        if self.agree > self.replicas:
            raise InputError(
                "--agree",
                f"{self.agree} of {self.replicas} replicas can't agree",
                fix="ask for at most as many as there are replicas",
            )

    @property
    def node_count(self) -> int:
        """How many nodes there are."""
        return self.nodes or len(os.sched_getaffinity(0))

    @property
    def subtask_limit(self) -> int:
        """What CreateTask is told."""
        return self.max_subtasks or self.node_count

    @property
    def must_agree(self) -> int:
        """How many replicas must have equal results."""
        return self.agree or self.replicas // 2 + 1
