"""Blocking work off the event loop."""

from lading.contracts.golem.blocking import Executor as Executor
