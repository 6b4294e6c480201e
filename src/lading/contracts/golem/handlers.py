"""What an application implements: a requestor's handler, a provider's, and what frames them.

All methods are coroutines in the server's event loop: work that blocks goes through
:class:`lading.contracts.golem.blocking.Executor`. What a method raises reaches the client, with
its text. What no task can do without is abstract; applications of the original may lack the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from lading.contracts.golem.directories import ProviderTaskDir, RequestorTaskDir
from lading.contracts.golem.structs import Subtask, Task, VerifyResult

__all__ = ["AppLifecycleHandler", "ProviderAppHandler", "RequestorAppHandler"]


class RequestorAppHandler(ABC):
    """The long-running side of an application: splits tasks, judges results, merges them."""

    @abstractmethod
    async def create_task(
        self,
        task_work_dir: RequestorTaskDir,
        max_subtasks_count: int,
        task_params: dict[str, Any],
    ) -> Task:
        """Begin a task; comes once, before all other calls about it.

        Parameters
        ----------
        task_work_dir : RequestorTaskDir
            Holds what the user gave in its ``task_inputs_dir``.
        max_subtasks_count : int
            Into how many subtasks it may be split.
        task_params : dict
            What the user asks for.
        """

    @abstractmethod
    async def next_subtask(
        self, task_work_dir: RequestorTaskDir, subtask_id: str, opaque_node_id: str
    ) -> Subtask | None:
        """Hand out one more piece of work under this id; None: that node gets nothing."""

    @abstractmethod
    async def verify(
        self, task_work_dir: RequestorTaskDir, subtask_id: str
    ) -> tuple[VerifyResult, str | None]:
        """Judge the result in ``task_work_dir.subtask_outputs_dir(subtask_id)``; say why.

        After the last success ``task_work_dir.task_outputs_dir`` holds the task's result.
        """

    async def discard_subtasks(
        self, task_work_dir: RequestorTaskDir, subtask_ids: list[str]
    ) -> list[str]:
        """Forget these results and what was made of them; return the ids of all that are gone."""
        raise _lacks(self, "discard_subtasks")

    async def run_benchmark(self, work_dir: Path) -> float:
        """Tell how fast this machine is for such tasks, within a minute."""
        raise _lacks(self, "run_benchmark")

    @abstractmethod
    async def has_pending_subtasks(self, task_work_dir: RequestorTaskDir) -> bool:
        """Whether there is work to hand out now."""

    async def abort_task(self, task_work_dir: RequestorTaskDir) -> None:  # noqa: B027  # older applications have none
        """Stop verifying, clean up: the task was given up."""

    async def abort_subtask(  # noqa: B027  # as above
        self, task_work_dir: RequestorTaskDir, subtask_id: str
    ) -> None:
        """Stop verifying this subtask, clean up: it was given up."""


class ProviderAppHandler(ABC):
    """The side of an application that computes: one call, then its server ends."""

    @abstractmethod
    async def compute(
        self, task_work_dir: ProviderTaskDir, subtask_id: str, subtask_params: dict[str, Any]
    ) -> Path | str:
        """Compute a subtask; return its result's path, relative to ``task_work_dir``."""

    async def run_benchmark(self, work_dir: Path) -> float:
        """Tell how fast this machine is for such tasks, within a minute."""
        raise _lacks(self, "run_benchmark")


class AppLifecycleHandler:
    """What is done around the life of an application's server; each does nothing by default."""

    async def on_before_startup(self) -> None:
        """Before the server answers."""

    async def on_after_startup(self) -> None:
        """When the server answers."""

    async def on_before_shutdown(self) -> None:
        """When the server has been told to end."""

    async def on_after_shutdown(self) -> None:
        """When the server has ended."""


def _lacks(handler: object, method: str) -> NotImplementedError:
    return NotImplementedError(f"{type(handler).__name__} has no {method}")
