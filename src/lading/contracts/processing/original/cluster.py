"""Tasks on a cluster: the names and checks; what needs the cluster itself is refused by now."""

from __future__ import annotations

import enum
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from lading.contracts.processing.original.reading import no_cluster
from lading.contracts.processing.original.runner import BaseRunner
from lading.contracts.processing.task import K8sConfig, Task, TaskRun
from lading.errors import InputError

__all__ = ["KubernetesRunner", "PodPhase", "SecretReference", "generate_pod_name"]

_LONGEST_NAME = 62
_CREDENTIALS = ("registryUrl", "registryUsername", "registryPassword")


class PodPhase(enum.StrEnum):
    """Where a pod is in its life; equal to its text."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


def generate_pod_name(base_name: str) -> str:
    """Make the name of a pod: lower case, ``[a-z0-9.-]``, ends alphanumeric, 62 characters.

    Empty where nothing of `base_name` can stand in one.
    """
    name = re.sub(r"[^a-z0-9.-]", "-", base_name.lower())
    return name.strip(".-")[:_LONGEST_NAME].rstrip(".-")


@dataclass(frozen=True, slots=True)
class SecretReference:
    """The name of a secret in the namespace of the pod.

    Parameters
    ----------
    name : str
    """

    name: str


class _NoCluster:
    """Stands where a cluster's client would be; says so as soon as anything is asked of it."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise no_cluster(f"api.{name}")


class KubernetesRunner(BaseRunner):
    """Runs tasks as pods."""

    _logger: ClassVar[logging.Logger] = logging.getLogger(
        "task_api.runners.KubernetesRunner.KubernetesRunner"
    )
    api: ClassVar[Any] = _NoCluster()

    @classmethod
    def run(cls, task: Task, dry_run: bool = False) -> TaskRun:
        """Start a task as a pod.

        Raises
        ------
        InputError
            Its config can't be used.
        NotSupported
            This version can't use a cluster.
        """
        cls.get_image_pull_secrets(task)
        raise no_cluster(f"running the task {task.name} as a pod{' (dry run)' * dry_run}")

    @classmethod
    def logs(
        cls,
        task_run: TaskRun,
        follow: bool = True,
        startup_timeout: float = 30,
        log_timeout: float | None = 3600,
    ) -> None:
        """Log what a pod prints; see :meth:`run`."""
        del follow, startup_timeout, log_timeout
        raise no_cluster(f"the log of the pod {task_run.id}")

    @classmethod
    def stop(cls, task_run: TaskRun) -> None:
        """Delete a pod; see :meth:`run`."""
        raise no_cluster(f"deleting the pod {task_run.id}")

    @classmethod
    def wait_for_task_status(
        cls,
        task_run: TaskRun,
        states: Sequence[PodPhase] = (PodPhase.RUNNING, PodPhase.SUCCEEDED, PodPhase.FAILED),
        timeout: float = 5,
    ) -> PodPhase:
        """Wait until a pod is in one of some phases; see :meth:`run`."""
        del states, timeout
        raise no_cluster(f"the phase of the pod {task_run.id}")

    @classmethod
    def create_image_pull_secret(cls, task: Task, secret_name: str) -> NoReturn:
        """Make a secret of a task's registry credentials; see :meth:`run`."""
        raise no_cluster(f"the secret {secret_name} of the task {task.name}")

    @classmethod
    def get_image_pull_secrets(cls, task: Task) -> list[SecretReference]:
        """List the secrets with which a task's image is pulled.

        Raises
        ------
        InputError
            Its config is no cluster's, or has only some of the registry's credentials.
        NotSupported
            It has credentials, of which a secret would have to be made.
        """
        config = task.config
        if not isinstance(config, K8sConfig):
            raise InputError(
                "config",
                f"the task {task.name} has none for a cluster",
                fix='write "config": {"type": "k8s", "namespace": ..}',
            )
        missing = [name for name in _CREDENTIALS if not getattr(config, name)]
        if 0 < len(missing) < len(_CREDENTIALS):
            raise InputError(
                "config", f"has no {' and no '.join(missing)}", fix="give all three, or none"
            )
        if not missing:
            cls.create_image_pull_secret(task, f"{generate_pod_name(task.name)}-secret")
        return [SecretReference(name) for name in config.imagePullSecrets or ()]
