"""The models of ``task.json``, with the names that the original gave them.

Source: contract 2, "task.json". Errors and warnings about files are made by
:mod:`lading.contracts.processing.files`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from lading.contracts.processing.template import (
    BaseEnv,
    BaseTask,
    IOBase,
    IOMount,
    TaskTemplate,
    Text,
)

__all__ = [
    "BaseConfig",
    "DockerConfig",
    "HostPathVolume",
    "IOChannel",
    "IOVolume",
    "K8sConfig",
    "Task",
    "TaskInstance",
    "TaskRun",
]


class HostPathVolume(BaseModel):
    """A directory of the host."""

    host_path: str = Field(min_length=1)


def _kind_of_volume(value: Any) -> str:
    names = value if isinstance(value, Mapping) else vars(value)
    return "host" if "host_path" in names else "cluster"


ClusterVolume = dict[str, Any]
"""What Kubernetes calls a V1Volume's source: ``{"persistentVolumeClaim": {"claimName": ..}}``."""

Volume = Annotated[
    Annotated[HostPathVolume, Tag("host")] | Annotated[ClusterVolume, Tag("cluster")],
    Discriminator(_kind_of_volume),
]


class IOVolume(IOBase):
    """A channel of a task: where its data is."""

    volume_source: Volume

    @model_validator(mode="before")
    @classmethod
    def _as_documented(cls, value: Any) -> Any:
        """Read ``"input": {"host_path": ..}``, as the documents write it."""
        if isinstance(value, Mapping) and "volume_source" not in value:
            for name in ("input", "output"):
                if isinstance(value.get(name), Mapping):
                    return {**value, "volume_source": value[name]}
        return value

    @property
    def host_path(self) -> str | None:
        """The directory of the host that it is; None for a volume of a cluster."""
        source = self.volume_source
        return source.host_path if isinstance(source, HostPathVolume) else None

    @property
    def volume_kinds(self) -> tuple[str, ...]:
        """What its volume is, in the words of the file."""
        source = self.volume_source
        return ("host_path",) if isinstance(source, HostPathVolume) else tuple(source)


class IOChannel(IOMount, IOVolume):
    """A channel with both ends: where its data is, and where the container finds it."""


class BaseConfig(BaseModel):
    """How an engine is to run a task, beyond what every engine understands."""

    model_config = ConfigDict(extra="ignore")

    labels: dict[str, Text] | None = Field(default_factory=dict)


class DockerConfig(BaseConfig):
    """... an engine on one machine."""

    type: Literal["docker"] = "docker"


class K8sConfig(BaseConfig):
    """... a cluster."""

    model_config = ConfigDict(extra="ignore", arbitrary_types_allowed=True)

    type: Literal["k8s"] = "k8s"
    namespace: str = "default"
    annotations: dict[str, Text] | None = Field(default_factory=dict)
    registryUrl: str | None = None  # noqa: N815  # the format's
    registryUsername: str | None = None  # noqa: N815
    registryPassword: str | None = Field(default=None, repr=False)  # noqa: N815
    imagePullSecrets: list[Any] | None = None  # noqa: N815
    env_vars: list[Any] | None = None
    volumes: list[Any] | None = None
    volume_mounts: list[Any] | None = None


def _kind_of_config(value: Any) -> str:
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return kind if isinstance(kind, str) else "base"


Config = Annotated[
    Annotated[DockerConfig, Tag("docker")]
    | Annotated[K8sConfig, Tag("k8s")]
    | Annotated[BaseConfig, Tag("base")],
    Discriminator(_kind_of_config),
]


class _TaskBase(BaseTask):
    name: str = Field(min_length=1)
    image: str = Field(min_length=1)
    api_version: Literal[1] = 1
    config: Config | None = Field(default_factory=BaseConfig)


def _kind_of_template(value: Any) -> str:
    return "inline" if isinstance(value, Mapping | TaskTemplate) else "name"


class Task(_TaskBase):
    """What somebody wants of a container."""

    taskTemplate: Annotated[  # noqa: N815  # the format's
        Annotated[str, Tag("name")] | Annotated[TaskTemplate, Tag("inline")],
        Discriminator(_kind_of_template),
    ]
    inputs: list[IOVolume] = Field(default_factory=list)
    outputs: list[IOVolume] = Field(default_factory=list)
    env: list[BaseEnv] | None = Field(default_factory=list)


class TaskInstance(_TaskBase):
    """A task put together with its template: all that is needed to run it."""

    taskTemplate: TaskTemplate  # noqa: N815
    inputs: list[IOChannel] = Field(default_factory=list)
    outputs: list[IOChannel] = Field(default_factory=list)
    env: list[BaseEnv] = Field(default_factory=list)


class TaskRun(TaskInstance):
    """A task instance that was started."""

    id: str
    mode: str
