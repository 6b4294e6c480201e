"""Files read, tasks and templates put together, templates found in images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lading.contracts.processing import merging
from lading.contracts.processing.image import offered_by
from lading.contracts.processing.original.places import CLUSTER_MODE, options_of, tools
from lading.contracts.processing.reading.files import check
from lading.contracts.processing.reading.positions import parse
from lading.contracts.processing.reading.rendering import render
from lading.contracts.processing.task import IOChannel, IOVolume, K8sConfig, Task, TaskInstance
from lading.contracts.processing.template import (
    BaseEnv,
    IOMount,
    ProcessingContainer,
    TaskTemplate,
    TaskTemplateEnv,
)
from lading.engine import Placement
from lading.errors import FileInvalid, FileMissing, InputError, NamespaceNotFound
from lading.run.bridge import blocking
from lading.run.images import pull_if_absent
from lading.settings import environment

__all__ = [
    "create_task_instance",
    "get_processing_container",
    "get_task_template",
    "merge_env",
    "merge_io_channels",
    "parse_processing_container",
    "parse_task",
]

_KAAPANA = "services"
"""The namespace that Kaapana has for its own."""
M = TypeVar("M", bound=BaseModel)
Named = os.PathLike[str] | str


def parse_task(file: Named, custom_vars: Mapping[str, Any] = {}) -> Task:  # unchanged
    """Read a ``task.json``: rendered, checked.

    Parameters
    ----------
    file : path
    custom_vars : mapping
        What ``{{ custom.NAME }}`` finds; ``{{ env.NAME }}`` is the process's environment.

    Raises
    ------
    FileNotFoundError
        There is none; as :class:`~lading.errors.FileMissing`.
    pydantic.ValidationError
        It breaks the format; a note on the error tells each line. Also a ValueError.
    ValueError
        It can't be rendered or is no JSON; as :class:`~lading.errors.FileInvalid`.
    """
    return _parsed(file, "task", Task, custom_vars)


def parse_processing_container(
    file: Named,
    custom_vars: Mapping[str, Any] = {},  # unchanged
) -> ProcessingContainer:
    """Read a ``processing-container.json``; see :func:`parse_task`."""
    return _parsed(file, "pc", ProcessingContainer, custom_vars)


def _parsed(file: Named, kind: str, model: type[M], custom: Mapping[str, Any]) -> M:
    source = os.fspath(file)
    try:
        with open(source, encoding="utf-8-sig") as opened:  # noqa: PTH123  # whatever it is
            text = opened.read()
    except FileNotFoundError:
        raise FileMissing(source, [f"{source}: there is no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else f"is no UTF-8 ({error.reason})"
        raise FileInvalid(source, [f"{source}: can't be read: {why}"]) from None
    report = check(text, source=source, environment=environment(), kind=kind, custom=custom)
    if report.errors:
        _raise_theirs(text, model, custom, [item.at(source) for item in report.errors])
        report.refuse()
    assert isinstance(report.model, model)
    return report.model


def _raise_theirs(
    text: str, model: type[BaseModel], custom: Mapping[str, Any], findings: Sequence[str]
) -> None:
    """Raise what callers of the original catch, if it is the format that is broken."""
    try:
        value, _ = parse(render(text, environment(), custom))
    except Exception:  # it can't be rendered, or parsed: `check` has told of it
        return
    if isinstance(value, dict):
        try:
            model.model_validate(value)
        except ValidationError as error:
            error.add_note("\n".join(findings))
            raise


def create_task_instance(task_template: TaskTemplate, task: Task) -> TaskInstance:
    """Put a task together with its template.

    Raises
    ------
    InputError
        A channel of the template has no volume, or a variable may not have its value.
    """
    return merging.merge(task, task_template)


def merge_env(
    orig_envs: Sequence[TaskTemplateEnv], update_envs: Sequence[BaseEnv]
) -> list[TaskTemplateEnv]:
    """Merge variables by name, the second over the first, others added at the end."""
    return merging.merge_env(orig_envs, update_envs)


def merge_io_channels(mounts: Sequence[IOMount], volumes: Sequence[IOVolume]) -> list[IOChannel]:
    """Give every channel of a template its volume.

    Raises
    ------
    InputError
        One has none; the original left it out without a word.
    """
    return merging.merge_channels(mounts, volumes, "input")


def get_task_template(
    image: str,
    task_identifier: str,
    mode: str = "docker",
    registry_secret: str | None = None,
    namespace: str | None = None,
) -> TaskTemplate:
    """Find a template in an image, by the image's id: a tag that moved is noticed.

    Parameters
    ----------
    image : str
        Pulled if the engine does not have it.
    task_identifier : str
    mode : str
        ``docker``: an engine on this machine. ``k8s``: a cluster.
    registry_secret, namespace : str or None
        For a cluster: the secret with which the image is pulled, and where; None for none, and for
        the namespace that the cluster's client has.

    Raises
    ------
    InputError
        The image has no such template; lists those it has.
    """
    offer = get_processing_container(image, mode, namespace or "", registry_secret or "")
    return merging.template_of(offer, task_identifier)


def get_processing_container(
    image: str,
    mode: str = "docker",
    namespace: str = _KAAPANA,
    registry_secret: str = "registry-secret",  # noqa: S107  # a name
) -> ProcessingContainer:
    """Read what an image offers; see :func:`get_task_template`.

    Raises
    ------
    ImageError
        The image can't be had, or is no processing-container.
    """
    if mode not in ("docker", CLUSTER_MODE):
        raise InputError("mode", f"{mode!r} is none", fix="use one of ['docker', 'k8s']")
    secrets = (registry_secret,) if registry_secret else ()

    async def read(where: Placement) -> ProcessingContainer:
        config = K8sConfig(namespace=where.namespace or None)
        async with tools(options_of(mode, config)) as (opened, owner, state):
            engine = opened.placed(where)
            found = await pull_if_absent(engine, image)
            labels = owner.labels()
            offer, _ = await offered_by(engine, found, name=image, state=state, labels=labels)
            return offer

    async def read_anywhere() -> ProcessingContainer:
        try:
            return await read(Placement(namespace=namespace, pull_secrets=secrets))
        except NamespaceNotFound:
            if namespace != _KAAPANA:
                raise
            return await read(Placement())  # a cluster without Kaapana, so without its secret

    return blocking(read_anywhere)
