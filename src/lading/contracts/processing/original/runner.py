"""What all runners have in common: classes that are used and never made instances of."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from lading.contracts.processing.task import Task, TaskRun
from lading.contracts.processing.taskrun import write_task_run

__all__ = ["BaseRunner"]


class BaseRunner(ABC):
    """Runs tasks; a class for each kind of engine, used by its class methods."""

    _logger: ClassVar[logging.Logger] = logging.getLogger("task_api.runners.base.BaseRunner")

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Give each its own logger, by the name that the original's has."""
        super().__init_subclass__(**arguments)
        if "_logger" not in vars(cls):
            cls._logger = logging.getLogger(f"{cls.__module__}.{cls.__name__}")

    @classmethod
    def set_logger(cls, logger: logging.Logger) -> None:
        """Log to another logger from now on."""
        cls._logger = logger

    @classmethod
    def dump(cls, task_run: TaskRun, output: Path | None = None) -> None:
        """Write a task run, to `output` or to ``task_run-<id>.pkl`` in the current directory.

        Plain data: whoever loads it runs nothing.
        """
        write_task_run(task_run, output)

    @classmethod
    @abstractmethod
    def run(cls, task: Task) -> TaskRun:
        """Start a task."""

    @classmethod
    @abstractmethod
    def logs(
        cls,
        task_run: TaskRun,
        follow: bool = False,
        startup_timeout: float = 30,
        log_timeout: float | None = None,
    ) -> None:
        """Log what a task prints, a record for each line."""

    @classmethod
    @abstractmethod
    def stop(cls, task_run: TaskRun) -> None:
        """End a task."""
