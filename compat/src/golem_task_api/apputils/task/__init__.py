"""The parts of a task and their subtasks."""

from lading.contracts.golem.subtasks import SubtaskStatus as SubtaskStatus
from lading.contracts.golem.subtasks import TaskManager as TaskManager
