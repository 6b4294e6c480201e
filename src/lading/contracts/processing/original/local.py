"""Tasks on an engine of this machine, by the name that the original has for it."""

from __future__ import annotations

import logging
from typing import ClassVar

from lading.contracts.processing.original.engine_runner import EngineRunner
from lading.contracts.processing.task import Task, TaskRun

__all__ = ["DockerRunner"]


class DockerRunner(EngineRunner):
    """Runs tasks on a container engine of this machine: Docker, Podman, whichever answers."""

    mode: ClassVar[str] = "docker"
    _logger: ClassVar[logging.Logger] = logging.getLogger(
        "task_api.runners.DockerRunner.DockerRunner"
    )

    @classmethod
    def run(cls, task: Task) -> TaskRun:
        """Start a task; it goes on without its caller.

        A process of its own watches it, keeps its log, gives its outputs to the caller's user and
        removes the container at the end.

        Returns
        -------
        TaskRun
            Its `id` is the container's.

        Raises
        ------
        InputError
            There is no such template, a channel can't be used, or a quantity is none.
        ImageError
            The image can't be had, or is no processing-container.
        EngineError
            The engine refused to start it.
        """
        cls._logger.info("Running task %s on a local engine", task.name)
        return cls._run(task)
