"""A task and the template that it names, put together into an instance that can be run.

What the task says counts, then what the template says: variables by name, channels by name,
amounts of resources one by one, and the command as a whole (contract 2, "task.json").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from lading.contracts.processing.task import IOChannel, IOVolume, Task, TaskInstance
from lading.contracts.processing.template import (
    BaseEnv,
    IOMount,
    ProcessingContainer,
    Resources,
    TaskTemplate,
    TaskTemplateEnv,
)
from lading.errors import InputError

__all__ = [
    "check_env",
    "merge",
    "merge_channels",
    "merge_env",
    "merge_resources",
    "template_of",
    "unused_channels",
]

_Named = TypeVar("_Named", bound=BaseEnv | IOVolume)
_TRUTH = frozenset(("true", "false", "1", "0", "yes", "no", "on", "off"))


def merge(task: Task, template: TaskTemplate) -> TaskInstance:
    """Put a task and its template together.

    Raises
    ------
    InputError
        A channel of the template has no volume in the task, or a variable may not be what the
        task makes it.
    """
    env = task.env or []
    check_env(template.env, env)
    return TaskInstance(
        name=task.name,
        image=task.image,
        config=task.config,
        taskTemplate=task.taskTemplate,
        identifier=template.identifier,
        description=template.description,
        env=merge_env(template.env, env),
        inputs=merge_channels(template.inputs, task.inputs, "input"),
        outputs=merge_channels(template.outputs, task.outputs, "output"),
        command=task.command if task.command is not None else template.command,
        resources=merge_resources(template.resources, task.resources),
    )


def template_of(container: ProcessingContainer, identifier: str) -> TaskTemplate:
    """Find a template.

    Raises
    ------
    InputError
        There is none of that name; the message lists those there are.
    """
    for template in container.templates:
        if template.identifier == identifier:
            return template
    known = ", ".join(repr(template.identifier) for template in container.templates) or "none"
    raise InputError(
        "taskTemplate",
        f"{container.name} has no template {identifier!r}",
        fix=f"it has: {known}",
    )


def merge_env(
    template: Sequence[TaskTemplateEnv] | None, task: Sequence[BaseEnv] | None
) -> list[TaskTemplateEnv]:
    """Merge variables by name: the task's over the template's, others added at the end.

    What the template says about a variable besides its value stays. Of several of one name in
    one place, the first counts.
    """
    merged = _by_name(template)
    for item in _by_name(task).values():
        known = merged.get(item.name)
        merged[item.name] = (
            known.model_copy(update=item.model_dump(exclude_unset=True))
            if known is not None
            else TaskTemplateEnv(**item.model_dump(exclude_unset=True))
        )
    return list(merged.values())


def _by_name(items: Iterable[_Named] | None) -> dict[str, _Named]:
    found: dict[str, _Named] = {}
    for item in items or ():
        found.setdefault(item.name, item)
    return found


def merge_channels(
    template: Iterable[IOMount], task: Iterable[IOVolume], direction: str
) -> list[IOChannel]:
    """Give every channel of a template the volume that the task has for it.

    Parameters
    ----------
    direction : str
        ``input`` or ``output``, for the error.

    Raises
    ------
    InputError
        One has none.
    """
    volumes = _by_name(task)
    merged = []
    for mount in template:
        volume = volumes.get(mount.name)
        if volume is None:
            raise InputError(
                f"{direction}s",
                f"the {direction} channel {mount.name!r} has no volume",
                fix=f"add it to the task's {direction}s, or give --{direction} {mount.name}=DIR",
            )
        merged.append(
            IOChannel(
                name=mount.name,
                mounted_path=mount.mounted_path,
                description=mount.description,
                scale_rule=volume.scale_rule or mount.scale_rule,
                volume_source=volume.volume_source,
            )
        )
    return merged


def unused_channels(template: TaskTemplate, task: Task) -> list[str]:
    """Name the volumes of a task for which its template has no channel."""
    return [
        f"{direction} channel {volume.name!r}"
        for direction, mounts, volumes in (
            ("input", template.inputs, task.inputs),
            ("output", template.outputs, task.outputs),
        )
        for volume in volumes
        if volume.name not in {mount.name for mount in mounts}
    ]


def merge_resources(template: Resources | None, task: Resources | None) -> Resources | None:
    """Merge amounts one by one; None where neither says anything."""
    given = [resources for resources in (template, task) if resources is not None]
    if not given:
        return None
    return Resources(
        limits=_merged(resources.limits for resources in given),
        requests=_merged(resources.requests for resources in given),
    )


def _merged(amounts: Iterable[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    merged: dict[str, Any] = {}
    for one in amounts:
        merged |= {name: value for name, value in (one or {}).items() if value is not None}
    return merged or None


def check_env(template: Sequence[TaskTemplateEnv], task: Sequence[BaseEnv]) -> None:
    """Check what a task sets against the choices and types that the template declares.

    What the template itself has as a value is its own affair.

    Raises
    ------
    InputError
        A value is not one of the choices, or not of the type.
    """
    declared = {item.name: item for item in template}
    for item in task:
        known = declared.get(item.name)
        if known is None or item.value == known.value:
            continue
        if known.choices and item.value not in known.choices:
            raise InputError(
                f"env {item.name}",
                f"{item.value!r} is not one of its choices",
                fix=f"choose one of {', '.join(map(repr, known.choices))}",
            )
        if known.type is not None and not _is_of(known.type, item.value):
            raise InputError(f"env {item.name}", f"{item.value!r} is not of its type, {known.type}")


def _is_of(kind: str, value: str) -> bool:
    match kind.lower():
        case "int" | "integer":
            return _reads_as(int, value)
        case "float" | "number" | "double":
            return _reads_as(float, value)
        case "bool" | "boolean":
            return value.lower() in _TRUTH
        case _:
            return True


def _reads_as(kind: type[int] | type[float], value: str) -> bool:
    try:
        kind(value)
    except ValueError:
        return False
    return True
