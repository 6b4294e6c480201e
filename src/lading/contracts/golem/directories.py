"""The work directories of the Golem Task API, as paths that know their parts.

::

    <requestor's work_dir>/<task_id>/    task_inputs, task_outputs, subtask_inputs,
                                         subtask_outputs/<subtask_id>
    <provider's task directory>/         subtask_inputs, <subtask_id>

A provider's application sees its task's directory as its work directory.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lading.contracts.golem import constants

__all__ = ["ProviderDir", "ProviderTaskDir", "RequestorDir", "RequestorTaskDir"]

if TYPE_CHECKING:
    _Path = Path
else:
    # Before Python 3.12, only the class for this system can be subclassed.
    _Path = type(Path())


class RequestorTaskDir(_Path):
    """A task's directory in the work directory of a requestor's application."""

    @property
    def task_inputs_dir(self) -> Path:
        """What the task's user gave."""
        return Path(self, constants.TASK_INPUTS_DIR)

    @property
    def task_outputs_dir(self) -> Path:
        """Where the application puts the results of the whole task, and nothing else."""
        return Path(self, constants.TASK_OUTPUTS_DIR)

    @property
    def subtask_inputs_dir(self) -> Path:
        """Where the application puts the files that subtasks need."""
        return Path(self, constants.SUBTASK_INPUTS_DIR)

    @property
    def subtask_outputs_top_dir(self) -> Path:
        """Where the results of all subtasks are, each in a directory named for it."""
        return Path(self, constants.SUBTASK_OUTPUTS_DIR)

    def subtask_outputs_dir(self, subtask_id: str) -> Path:
        """Where the result of one subtask is."""
        return Path(self, constants.SUBTASK_OUTPUTS_DIR, subtask_id)

    def prepare(self) -> None:
        """Make the directories that an application may count on, where they are missing."""
        for directory in (
            self.task_inputs_dir,
            self.task_outputs_dir,
            self.subtask_inputs_dir,
            self.subtask_outputs_top_dir,
        ):
            directory.mkdir(parents=True, exist_ok=True)


class RequestorDir(_Path):
    """The work directory of a requestor's application."""

    def task_dir(self, task_id: str) -> RequestorTaskDir:
        """Return the directory of one task."""
        return RequestorTaskDir(self, task_id)


class ProviderTaskDir(_Path):
    """A task's directory at a provider."""

    @property
    def subtask_inputs_dir(self) -> Path:
        """Where the files are that the subtask needs."""
        return Path(self, constants.SUBTASK_INPUTS_DIR)

    def subtask_dir(self, subtask_id: str) -> Path:
        """Where the application works on one subtask; it is there when Compute comes."""
        return Path(self, subtask_id)

    def prepare(self) -> None:
        """Make the directory that an application may count on, where it is missing."""
        self.subtask_inputs_dir.mkdir(parents=True, exist_ok=True)


class ProviderDir(_Path):
    """Where a provider keeps the directories of its tasks."""

    def task_dir(self, task_id: str) -> ProviderTaskDir:
        """Return the directory of one task."""
        return ProviderTaskDir(self, task_id)
