"""Which part of a task is computed by which subtask: what an application keeps about its task.

A task has a fixed number of parts. Each time that a part is handed out, it gets a subtask; one that
fails or is aborted leaves its part to the next. :class:`SubtaskStatus` and :class:`TaskManager`
are light; :mod:`~lading.contracts.golem.subtasks.database` keeps all that in the task's directory.
"""

from __future__ import annotations

from lading.contracts.golem.subtasks.manager import TaskManager
from lading.contracts.golem.subtasks.status import SubtaskStatus

__all__ = ["SubtaskStatus", "TaskManager"]
