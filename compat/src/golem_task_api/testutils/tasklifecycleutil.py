"""Drives a whole task."""

from lading.contracts.golem.original.simulation import TaskLifecycleUtil as TaskLifecycleUtil
