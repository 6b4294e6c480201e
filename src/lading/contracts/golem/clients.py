"""Clients of an application's requestor and provider sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from lading.contracts.golem.structs import Subtask, Task, VerifyResult

__all__ = ["ProviderCalls", "RequestorCalls"]


class RequestorCalls(Protocol):
    """What one can ask of a requestor's application.

    Each raises :class:`lading.errors.AppError` where the application says no or breaks a rule of
    the contract, and :class:`lading.errors.AppGone` where it ended in the middle of the call.
    """

    async def create_task(
        self, task_id: str, max_subtasks_count: int, task_params: dict[str, Any]
    ) -> Task:
        """Begin a task."""

    async def has_pending_subtasks(self, task_id: str) -> bool:
        """Ask whether there is work to hand out."""

    async def next_subtask(
        self, task_id: str, subtask_id: str, opaque_node_id: str
    ) -> Subtask | None:
        """Ask for a piece of work; None: this node gets nothing."""

    async def verify(self, task_id: str, subtask_id: str) -> tuple[VerifyResult, str | None]:
        """Ask for the verdict on a result, and why."""

    async def discard_subtasks(self, task_id: str, subtask_ids: list[str]) -> list[str]:
        """Have results forgotten; return the ids of all that are gone with them."""

    async def run_benchmark(self) -> float:
        """Ask how fast the machine is."""

    async def abort_task(self, task_id: str) -> None:
        """Give a task up."""

    async def abort_subtask(self, task_id: str, subtask_id: str) -> None:
        """Give a subtask up."""

    async def shutdown(self) -> None:
        """End the application, in good order."""


class ProviderCalls(Protocol):
    """What one can ask of a provider's application; errors as of :class:`RequestorCalls`."""

    async def compute(self, task_id: str, subtask_id: str, subtask_params: dict[str, Any]) -> Path:
        """Have a subtask computed; return its result's path, relative to the task's directory."""

    async def run_benchmark(self) -> float:
        """Ask how fast the machine is."""

    async def shutdown(self) -> None:
        """End the application, in good order."""
