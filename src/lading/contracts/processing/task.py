"""The models of ``task.json``, with the names that the original gave them.

A task instance is a task put together with its template, a task run an instance that was
started. Source: contract 2, "task.json"; the order of the fields is the original's. Warnings
about files are made by :mod:`lading.contracts.processing.reading.deviations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    model_validator,
)

from lading.contracts.processing.template import (
    ApiVersion,
    BaseEnv,
    BaseTask,
    IOBase,
    Many,
    TaskTemplate,
    TaskTemplateEnv,
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

    model_config = ConfigDict(extra="ignore", defer_build=True)

    host_path: str = Field(
        min_length=1, pattern=r"^[^\x00]+$", description="A directory of the host."
    )

    @model_validator(mode="before")
    @classmethod
    def _as_once(cls, value: Any) -> Any:
        """Read ``{"local_path": ..}``, as the field was called first."""
        if isinstance(value, Mapping) and "host_path" not in value and "local_path" in value:
            return {**value, "host_path": value["local_path"]}
        return value


def _kind_of_volume(value: Any) -> str:
    names = value if isinstance(value, Mapping) else getattr(value, "__dict__", ())
    return "host" if "host_path" in names or "local_path" in names else "cluster"


def _says_something(value: dict[str, Any]) -> dict[str, Any]:
    if not value:
        raise ValueError('is empty; write {"host_path": "/data/in"}')
    return value


ClusterVolume = Annotated[dict[str, Any], AfterValidator(_says_something)]
"""What Kubernetes calls a V1Volume's source: ``{"persistentVolumeClaim": {"claimName": ..}}``."""

Volume = Annotated[
    Annotated[HostPathVolume, Tag("host")] | Annotated[ClusterVolume, Tag("cluster")],
    Discriminator(_kind_of_volume),
]


class IOVolume(IOBase):
    """A channel of a task: where its data is."""

    volume_source: Volume = Field(
        description='Where its data is: {"host_path": "/data/in"}, or on a cluster the source of '
        "a volume."
    )

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


class IOChannel(IOVolume):
    """A channel with both ends: where its data is, and where the container finds it."""

    mounted_path: str = Field(
        pattern=r"^/[^\x00]*$", description="Where the container finds it: an absolute path."
    )
    description: str | None = Field(default=None, description="What is expected there.")


class BaseConfig(BaseModel):
    """How an engine is to run a task, beyond what every engine understands."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    labels: dict[str, Text] | None = Field(
        default_factory=dict, description="Labels of the container, or of the pod."
    )


class DockerConfig(BaseConfig):
    """How an engine on one machine is to run a task."""

    type: Literal["docker"] = Field(default="docker", description="A machine's own engine.")


_Objects = Annotated[list[Any], Many]


class K8sConfig(BaseConfig):
    """How a cluster is to run a task."""

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True, defer_build=True)

    type: Literal["k8s"] = Field(default="k8s", description="A cluster.")
    namespace: str | None = Field(default=None, description="The namespace of the pod.")
    registryUrl: str | None = Field(  # noqa: N815  # the format's
        default=None, description="The registry that has the image, if it wants credentials."
    )
    registryUsername: str | None = Field(  # noqa: N815
        default=None, description="The user at the registry."
    )
    registryPassword: str | None = Field(  # noqa: N815
        default=None,
        repr=False,
        description="The password there; better as {{ env.NAME }} than in the file.",
    )
    imagePullSecrets: list[Text] | None = Field(  # noqa: N815
        default=None, description="Names of secrets of the namespace, for pulling the image."
    )
    env_vars: _Objects = Field(default_factory=list, description="More variables, as V1EnvVar.")
    volumes: _Objects = Field(default_factory=list, description="More volumes, as V1Volume.")
    volume_mounts: _Objects = Field(
        default_factory=list, description="Where they are mounted, as V1VolumeMount."
    )
    annotations: dict[str, Text] | None = Field(
        default_factory=dict, description="Annotations of the pod."
    )


def _kind_of_config(value: Any) -> str:
    """Say which of the models a config is of; without a type it is a cluster's."""
    if isinstance(value, BaseConfig):
        return str(getattr(value, "type", "base"))
    kind = value.get("type", "k8s") if isinstance(value, Mapping) else "base"
    return kind if kind in ("docker", "k8s") else "base"


Config = Annotated[
    Annotated[DockerConfig, Tag("docker")]
    | Annotated[K8sConfig, Tag("k8s")]
    | Annotated[BaseConfig, Tag("base")],
    Discriminator(_kind_of_config),
]


def _kind_of_template(value: Any) -> str:
    return "inline" if isinstance(value, Mapping | TaskTemplate) else "name"


Template = Annotated[
    Annotated[str, Tag("name"), Field(min_length=1)] | Annotated[TaskTemplate, Tag("inline")],
    Discriminator(_kind_of_template),
]


class Task(BaseTask):
    """What somebody wants of a container: the file task.json."""

    name: str = Field(min_length=1, description="The name of the task.")
    image: str = Field(min_length=1, description="The image of the processing-container.")
    api_version: ApiVersion = Field(default=1, description="The version of this format: 1.")
    taskTemplate: Template = Field(  # noqa: N815  # the format's
        description="The identifier of one of the image's templates, or a whole template."
    )
    config: Config | None = Field(
        default_factory=BaseConfig, description="What only one kind of engine understands."
    )
    inputs: Annotated[list[IOVolume], Many] = Field(
        default_factory=list, description="Where the data of the template's input channels is."
    )
    outputs: Annotated[list[IOVolume], Many] = Field(
        default_factory=list, description="Where the data of its output channels goes."
    )
    env: list[BaseEnv] | None = Field(
        default_factory=list, description="Variables, over those of the template and beside them."
    )


class TaskInstance(BaseTask):
    """A task put together with its template: all that is needed to run it."""

    inputs: Annotated[list[IOChannel], Many] = Field(default_factory=list)
    outputs: Annotated[list[IOChannel], Many] = Field(default_factory=list)
    env: Annotated[list[TaskTemplateEnv], Many] = Field(default_factory=list)
    identifier: str
    """Of the template."""
    description: str
    """Of the template."""
    name: str = Field(min_length=1)
    image: str = Field(min_length=1)
    taskTemplate: Template  # noqa: N815
    config: Config | None = Field(default_factory=BaseConfig)


class TaskRun(TaskInstance):
    """A task instance that was started."""

    id: str
    mode: str
    _run: str = PrivateAttr(default="")
    """The id of its record; empty where nobody knows it."""
    _state: str = PrivateAttr(default="")
    """The state directory that has the record; empty for the usual one."""
