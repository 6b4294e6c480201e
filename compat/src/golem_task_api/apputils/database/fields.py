"""Fields of models."""

from lading.contracts.golem.subtasks.database import EnumField as EnumField
