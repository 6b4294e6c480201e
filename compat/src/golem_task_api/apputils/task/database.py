"""A task manager on SQLite."""

from lading.contracts.golem.subtasks.database import DBTaskManager as DBTaskManager
from lading.contracts.golem.subtasks.database import Part as Part
from lading.contracts.golem.subtasks.database import Subtask as Subtask
