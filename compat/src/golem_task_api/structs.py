"""What handlers return."""

from lading.contracts.golem.structs import Infrastructure as Infrastructure
from lading.contracts.golem.structs import Subtask as Subtask
from lading.contracts.golem.structs import Task as Task
