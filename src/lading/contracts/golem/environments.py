"""The environments in which applications run: Docker, with GPUs or without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from lading.contracts.golem.constants import DOCKER_CPU_ENV_ID, DOCKER_GPU_ENV_ID
from lading.contracts.golem.structs import Infrastructure, Task
from lading.errors import InputError

__all__ = [
    "DOCKER_CPU_ENV_ID",
    "DOCKER_GPU_ENV_ID",
    "Prerequisites",
    "create_docker_cpu_task",
    "create_docker_gpu_task",
]


@dataclass(frozen=True, slots=True)
class Prerequisites:
    """What a Docker environment has to be told.

    Parameters
    ----------
    image, tag : str
        Which image computes the subtasks.
    gpu : bool
        Whether it wants GPUs.
    """

    image: str
    tag: str
    gpu: bool = False

    @property
    def reference(self) -> str:
        """The image as an engine names it."""
        return f"{self.image}:{self.tag}"

    @classmethod
    def read(cls, env_id: str, prerequisites: Mapping[str, Any]) -> Self:
        """Check what an application's ``CreateTask`` said.

        Raises
        ------
        InputError
            If this is no environment that we know, or a field is missing or no text.
        """
        known = (DOCKER_CPU_ENV_ID, DOCKER_GPU_ENV_ID)
        if env_id not in known:
            raise InputError(
                "env_id",
                f"the application wants the environment {env_id!r}",
                fix=f"there are {' and '.join(known)}",
            )
        for field in ("image", "tag"):
            value = prerequisites.get(field)
            if not isinstance(value, str) or not value:
                found = "is missing" if value is None else f"is no name: {value!r}"
                raise InputError(
                    f"prerequisites.{field}",
                    f"{found}, in what the application says of its environment",
                    fix='prerequisites are {"image": "...", "tag": "..."}',
                )
        return cls(prerequisites["image"], prerequisites["tag"], env_id == DOCKER_GPU_ENV_ID)


def create_docker_cpu_task(image: str, tag: str, inf: Infrastructure | None = None) -> Task:
    """Make the answer to ``create_task``: subtasks are computed by this image.

    Parameters
    ----------
    image, tag : str
        The image whose provider side computes the subtasks.
    inf : Infrastructure or None
        What a provider must have; None: nothing special.
    """
    return _docker_task(DOCKER_CPU_ENV_ID, image, tag, inf)


def create_docker_gpu_task(image: str, tag: str, inf: Infrastructure | None = None) -> Task:
    """Make the answer to ``create_task``: subtasks are computed by this image, with GPUs.

    Parameters
    ----------
    image, tag : str
        The image whose provider side computes the subtasks.
    inf : Infrastructure or None
        What a provider must have; None: nothing special.
    """
    return _docker_task(DOCKER_GPU_ENV_ID, image, tag, inf)


def _docker_task(env_id: str, image: str, tag: str, inf: Infrastructure | None) -> Task:
    return Task(env_id, {"image": image, "tag": tag}, inf or Infrastructure())
