"""From what somebody gives (a file, or an image and a template's name) to what can be run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.contracts.processing.reading.files import read_task
from lading.errors import InputError

if TYPE_CHECKING:
    from lading.contracts.processing.task import Task, TaskInstance
    from lading.contracts.processing.template import TaskTemplate
    from lading.engine import Engine, ImageInfo

__all__ = [
    "Changes",
    "Found",
    "Offered",
    "Where",
    "find_instance",
    "find_template",
    "read_task",
    "task_for_image",
]

Fetch = Callable[[str], Awaitable["ImageInfo"]]
"""Finds an image by its name, and pulls it if that is wanted."""
Where = str | Mapping[str, Any]
"""A directory, or the source of a cluster's volume."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What the command line says beyond a task file.

    Parameters
    ----------
    env : mapping
        Values of variables, by name.
    inputs, outputs : mapping
        Directories of channels, or the sources of a cluster's volumes, by name.
    limits : mapping
        Resources, by the names that they have in a task file.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Where] = field(default_factory=dict)
    outputs: Mapping[str, Where] = field(default_factory=dict)
    limits: Mapping[str, str | int] = field(default_factory=dict)

    def applied_to(self, task: Task) -> Task:
        """Return a task with these changes."""
        from lading.contracts.processing.merging import merge_resources  # noqa: PLC0415
        from lading.contracts.processing.template import BaseEnv, Resources  # noqa: PLC0415

        env = {item.name: item for item in task.env or ()}
        env |= {name: BaseEnv(name=name, value=value) for name, value in self.env.items()}
        return task.model_copy(
            update={
                "env": list(env.values()),
                "resources": merge_resources(task.resources, Resources(limits=dict(self.limits)))
                if self.limits
                else task.resources,
                "inputs": _with_volumes(task.inputs, self.inputs),
                "outputs": _with_volumes(task.outputs, self.outputs),
            }
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A task instance and the image that it runs.

    Parameters
    ----------
    instance : TaskInstance
    image : ImageInfo
        One that the engine has.
    warnings : tuple of str
        What is doubtful in the template, or left out.
    """

    instance: TaskInstance
    image: ImageInfo
    warnings: tuple[str, ...] = ()


def task_for_image(image: str, template: str) -> Task:
    """Make a task of an image and the name of a template; its channels have no volumes yet."""
    from lading.contracts.processing.task import Task  # noqa: PLC0415

    name = template or image.rpartition("/")[2].partition(":")[0].partition("@")[0]
    task = Task(name=name, image=image, taskTemplate=name)
    return task.model_copy(update={"taskTemplate": template})  # empty: the only one there is


@dataclass(frozen=True, slots=True)
class Offered:
    """A template, and the image that it is of.

    Parameters
    ----------
    template : TaskTemplate
    image : ImageInfo
        One that the engine has.
    warnings : tuple of str
        What is doubtful in the image's file.
    """

    template: TaskTemplate
    image: ImageInfo
    warnings: tuple[str, ...] = ()

    def put_together(self, task: Task, changes: Changes) -> Found:
        """Merge a task into it.

        Raises
        ------
        InputError
            A channel has no volume, a change names what there is not, or a variable may not have
            its value.
        """
        from lading.contracts.processing.merging import merge, unused_channels  # noqa: PLC0415
        from lading.contracts.processing.placement import odd_fields  # noqa: PLC0415

        template = self.template
        _check_names(changes.inputs, [item.name for item in template.inputs], "input")
        _check_names(changes.outputs, [item.name for item in template.outputs], "output")
        wanted = changes.applied_to(task)
        if wanted.taskTemplate == "":  # the only one there is
            wanted = wanted.model_copy(update={"taskTemplate": template.identifier})
        warnings = [
            f"{what} of task {task.name} is not used: its template has no such channel"
            for what in unused_channels(template, wanted)
        ]
        warnings += _unknown(changes.env, [item.name for item in template.env])
        warnings += odd_fields(task.config)
        return Found(merge(wanted, template), self.image, (*self.warnings, *warnings))


async def find_template(
    engine: Engine,
    task: Task,
    *,
    fetch: Fetch,
    state: Path,
    labels: Mapping[str, str],
) -> Offered:
    """Find the image of a task and the template that it names there.

    Parameters
    ----------
    engine : Engine
    task : Task
        Its template may be inline, named, or (empty) the only one that the image has.
    fetch : callable
        Finds the image.
    state : Path
        The state directory.
    labels : mapping
        What a helper container carries.

    Raises
    ------
    InputError
        There is no such template.
    ImageError
        The image can't be had, or is no processing-container.
    """
    from lading.contracts.processing.image import offered_by  # noqa: PLC0415
    from lading.contracts.processing.merging import template_of  # noqa: PLC0415
    from lading.contracts.processing.placement import placement_of  # noqa: PLC0415

    image = await fetch(task.image)
    template = task.taskTemplate
    if not isinstance(template, str):
        return Offered(template, image)
    near = engine.placed(placement_of(task.config))  # who may pull it, may read it
    offer, warnings = await offered_by(near, image, name=task.image, state=state, labels=labels)
    if not template and len(offer.templates) != 1:
        known = ", ".join(item.identifier for item in offer.templates) or "none"
        raise InputError("--template", f"{task.image} has several: {known}", fix="choose one")
    if not template:
        template = offer.templates[0].identifier
    return Offered(template_of(offer, template), image, tuple(warnings))


async def find_instance(
    engine: Engine,
    task: Task,
    changes: Changes,
    *,
    fetch: Fetch,
    state: Path,
    labels: Mapping[str, str],
) -> Found:
    """Put a task together with the template that it names in its image.

    That is :func:`find_template`, then :meth:`Offered.put_together`.

    Raises
    ------
    InputError, ImageError
        As those do.
    """
    offered = await find_template(engine, task, fetch=fetch, state=state, labels=labels)
    return offered.put_together(task, changes)


def _unknown(given: Iterable[str], known: Sequence[str]) -> list[str]:
    """Tell of variables that look misspelt: others are passed on, as the contract has it."""
    from difflib import get_close_matches  # noqa: PLC0415

    near = {name: get_close_matches(name, known, n=1) for name in given if name not in known}
    return [
        f"--set {name}: the template has no such variable, it is added; did you mean {found[0]}?"
        for name, found in near.items()
        if found
    ]


def _check_names(given: Mapping[str, Where], known: Sequence[str], direction: str) -> None:
    for name in given:
        if name not in known:
            raise InputError(
                f"--{direction}",
                f"the template has no {direction} channel {name!r}",
                fix=f"it has: {', '.join(known) or 'none'}",
            )


def _with_volumes(volumes: Sequence[object], given: Mapping[str, Where]) -> list[object]:
    from lading.contracts.processing.task import HostPathVolume, IOVolume  # noqa: PLC0415

    def source(where: Where) -> HostPathVolume | dict[str, Any]:
        return HostPathVolume(host_path=where) if isinstance(where, str) else dict(where)

    left = dict(given)
    changed: list[object] = []
    for volume in volumes:
        assert isinstance(volume, IOVolume)
        where = left.pop(volume.name, None)
        changed.append(
            volume if where is None else volume.model_copy(update={"volume_source": source(where)})
        )
    changed += [IOVolume(name=name, volume_source=source(where)) for name, where in left.items()]
    return changed
