"""What every task manager does, wherever it keeps its data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from lading.contracts.golem.subtasks.status import SubtaskStatus

__all__ = ["TaskManager"]


class TaskManager(ABC):
    """The parts of one task, numbered from 0, and their subtasks.

    Where a part is is where its last subtask is.
    """

    @abstractmethod
    def create_task(self, part_count: int) -> None:
        """Begin with this many parts, all waiting."""

    @abstractmethod
    def abort_task(self) -> None:
        """Abort every subtask that is computed or verified."""

    @abstractmethod
    def get_part(self, part_num: int) -> Any:
        """Look up a part; None if there is no such number."""

    @abstractmethod
    def get_part_num(self, subtask_id: str) -> int | None:
        """Which part a subtask computes; None if there is no such subtask."""

    @abstractmethod
    def get_subtask(self, subtask_id: str) -> Any:
        """Look up a subtask; None if there is none."""

    @abstractmethod
    def start_subtask(self, part_num: int, subtask_id: str) -> None:
        """Hand a part out: it is computed by this subtask from now on.

        Raises
        ------
        RuntimeError
            There is no such part, or it can't be handed out as another subtask has it.
        """

    @abstractmethod
    def update_subtask_status(self, subtask_id: str, status: SubtaskStatus) -> None:
        """Write down where a subtask is now; nothing happens if there is none."""

    @abstractmethod
    def get_subtasks_statuses(
        self, part_nums: list[int]
    ) -> dict[int, tuple[SubtaskStatus, str | None]]:
        """Where parts are, and by which subtask; numbers that don't exist are left out."""

    @abstractmethod
    def get_next_computable_part_num(self) -> int | None:
        """Find the lowest number of a part that can be handed out; None if there is none now."""
