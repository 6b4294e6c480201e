"""The database of the task manager that was made last."""

from lading.contracts.golem.subtasks.connections import current

database = current
