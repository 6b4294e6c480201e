"""What tests an application."""

from lading.contracts.golem.original.inline import InlineTaskApiService as InlineTaskApiService
from lading.contracts.golem.original.simulation import TaskLifecycleUtil as TaskLifecycleUtil
