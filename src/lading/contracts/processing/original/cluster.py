"""Tasks on a cluster, by the names that the original has for it."""

from __future__ import annotations

import asyncio
import enum
import json
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lading.contracts.processing.detached import Started
from lading.contracts.processing.original.engine_runner import EngineRunner
from lading.contracts.processing.original.places import CLUSTER_MODE, Place, place_of, tools
from lading.contracts.processing.placement import login_of
from lading.contracts.processing.planning import Circumstances, plan
from lading.contracts.processing.task import K8sConfig, Task, TaskInstance, TaskRun
from lading.engine import State
from lading.errors import InputError, NotSupported
from lading.run.bridge import blocking
from lading.run.ids import new_id
from lading.run.records import RunState

__all__ = ["KubernetesRunner", "PodPhase", "SecretReference", "generate_pod_name"]

_LONGEST_NAME = 62
_LOOK = 0.5
"""Seconds between two looks at a phase; whose end is waited for is watched instead."""
_RARELY = 15.0
"""Seconds between two looks at what a pod uses: a cluster measures no oftener."""


class PodPhase(enum.StrEnum):
    """Where a pod is in its life; equal to its text."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


_STARTED = (PodPhase.RUNNING, PodPhase.SUCCEEDED, PodPhase.FAILED)


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


class _Client:
    """The Kubernetes client for Python, for programs that use it; loaded when it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            from kubernetes import client, config  # type: ignore[import-not-found]  # noqa: PLC0415
        except ImportError:
            raise NotSupported(
                f"api.{name} is of the Kubernetes client for Python, which is not installed",
                fix="pip install kubernetes; running tasks does not need it",
            ) from None
        config.load_config()
        return getattr(client.CoreV1Api(), name)


class KubernetesRunner(EngineRunner):
    """Runs tasks as pods; a ``host_path`` is a directory of the node.

    The cluster is that of the current context, or the one that ``LADING_ENGINE`` names; the
    namespace is the config's.
    """

    mode: ClassVar[str] = CLUSTER_MODE
    _logger: ClassVar[logging.Logger] = logging.getLogger(
        "task_api.runners.KubernetesRunner.KubernetesRunner"
    )
    _tick: ClassVar[float] = _RARELY
    _circumstances: ClassVar[Circumstances] = Circumstances(node_paths=True)
    api: ClassVar[Any] = _Client()

    @classmethod
    def _name(cls, started: Started) -> str:
        return started.container

    @classmethod
    def run(cls, task: Task, dry_run: bool = False) -> TaskRun:
        """Start a task as a pod; it goes on without its caller.

        A process of its own watches it, keeps its log and removes the pod at the end.

        Parameters
        ----------
        task : Task
        dry_run : bool
            Only ask the cluster whether it would take the pod.

        Returns
        -------
        TaskRun
            Its `id` is the pod's name.

        Raises
        ------
        InputError
            There is no such template, or something in the task can't be used.
        ImageError
            The image can't be had, or is no processing-container.
        EngineError
            The cluster refuses it; says which permission is missing, or what there is none of.
        """
        cls.get_image_pull_secrets(task)  # half of the credentials for a registry are none
        cls._logger.info("Running task %s on a cluster%s", task.name, " (dry run)" * dry_run)
        return blocking(lambda: cls._tried(task)) if dry_run else cls._run(task)

    @classmethod
    async def _tried(cls, task: Task) -> TaskRun:
        found, options, _ = await cls._found(task)
        async with tools(options) as (engine, owner, _):
            labels = owner.labels()
            planned = await plan(
                engine, found.instance, found.image, cls._circumstances, labels=labels
            )
            name = f"lading-{new_id()}"
            container = await engine.create(planned.container_spec(labels, name=name))
            await container.remove()
        values = {item: getattr(found.instance, item) for item in TaskInstance.model_fields}
        return TaskRun(**values, id=container.name, mode=cls.mode)

    @classmethod
    def logs(
        cls,
        task_run: TaskRun,
        follow: bool = True,
        startup_timeout: float = 30,
        log_timeout: float | None = 3600,
    ) -> None:
        """Log what a pod printed, a record for each line; also of one that is gone.

        Parameters
        ----------
        follow : bool
            Go on until it ends; at once if it has.
        startup_timeout : float
            Seconds that it may take to start.
        log_timeout : float or None
            Seconds to follow at most; None: until it ends.

        Raises
        ------
        TimeoutError
            It did not start in time, or `log_timeout` is over.
        RecordNotFound
            There is nothing of it any more.
        """
        cls.wait_for_task_status(task_run, timeout=startup_timeout)
        super().logs(task_run, follow=follow, log_timeout=log_timeout)

    @classmethod
    def wait_for_task_status(
        cls,
        task_run: TaskRun,
        states: Sequence[PodPhase] = _STARTED,
        timeout: float = 5,
    ) -> PodPhase:
        """Wait until a pod is in one of some phases; of one that is gone, its record tells.

        Returns
        -------
        PodPhase

        Raises
        ------
        TimeoutError
            It is in none of them in time; says in which it is.
        RecordNotFound
            There is nothing of it any more.
        """
        wanted = [PodPhase(state) for state in states]

        async def wait() -> PodPhase:
            deadline = time.monotonic() + timeout
            async with place_of(task_run) as place:
                while (phase := await _phase(place)) not in wanted:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise TimeoutError(
                            f"the pod {task_run.id} is {phase} after {timeout:g} seconds, and not "
                            f"{' or '.join(wanted)}"
                        )
                    await asyncio.sleep(min(_LOOK, left))
            return phase

        return blocking(wait)

    @classmethod
    def create_image_pull_secret(cls, task: Task, secret_name: str) -> SecretReference:
        """Make a secret of a task's registry credentials in its namespace, which stays there.

        Running a task does not need it: what :meth:`run` makes goes with the pod.

        Raises
        ------
        InputError
            The task has no credentials.
        NotSupported
            The Kubernetes client for Python is not installed.
        """
        config = _config(task)
        login = login_of(config)
        if login is None:
            raise InputError("config", f"the task {task.name} has no credentials for a registry")
        auths = {login.url: {"username": login.username, "password": login.password}}
        secret = {
            "metadata": {"name": secret_name},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": json.dumps({"auths": auths})},
        }
        cls.api.create_namespaced_secret(config.namespace or "default", secret)
        return SecretReference(secret_name)

    @classmethod
    def get_image_pull_secrets(cls, task: Task) -> list[SecretReference]:
        """List the secrets with which a task's image is pulled, besides that of its credentials.

        Raises
        ------
        InputError
            Its config is no cluster's, or has only some of the registry's credentials.
        """
        config = _config(task)
        login_of(config)
        return [SecretReference(name) for name in config.imagePullSecrets or ()]


def _config(task: Task) -> K8sConfig:
    config = task.config
    if not isinstance(config, K8sConfig):
        raise InputError(
            "config",
            f"the task {task.name} has none for a cluster",
            fix='write "config": {"type": "k8s", "namespace": ..}',
        )
    return config


async def _phase(place: Place) -> PodPhase:
    """Say in which phase a pod is, by the cluster, and by its record once it is gone."""
    run = await asyncio.to_thread(place.refreshed)
    if run is not None and run.finished is not None:
        well = run.state is RunState.SUCCEEDED
        return PodPhase.SUCCEEDED if well else PodPhase.FAILED
    info = place.container
    if info is not None and place.engine is not None:
        info = await (await place.engine.container(info.id)).inspect()
    if info is None:
        return PodPhase.UNKNOWN
    if info.state is State.EXITED:
        code = info.exit.code if info.exit is not None else 1
        return PodPhase.FAILED if code else PodPhase.SUCCEEDED
    return PodPhase.RUNNING if info.state is State.RUNNING else PodPhase.PENDING
