"""Which output of one task is which input of another, and the checks of that.

What is wrong is told when the DAG is read: no run has to fail first. Names of channels are known
by then where templates stand in the DAG; those of templates that are in images are checked before
the first of both tasks starts its container.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lading.errors import InputError

if TYPE_CHECKING:
    from lading.contracts.processing.template import TaskTemplate

__all__ = [
    "IOMapping",
    "check_channels",
    "check_mappings",
    "inline_template",
    "mappings_of",
    "odd_fields",
]


@dataclass(frozen=True, slots=True)
class IOMapping:
    """An input channel of a task is the output channel of another of the same DAG run.

    Parameters
    ----------
    upstream_operator : ProcessingContainerOperator
        The other task.
    upstream_output_channel : str
        Its output channel.
    input_channel : str
        The input channel of the task that has this mapping.
    """

    upstream_operator: Any
    upstream_output_channel: str
    input_channel: str

    def __post_init__(self) -> None:
        for name in ("upstream_output_channel", "input_channel"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise InputError(name, f"is {value!r}", fix="give the name of a channel")
        if not hasattr(self.upstream_operator, "task_id"):
            raise InputError(
                "upstream_operator",
                f"is {self.upstream_operator!r}, no operator",
                fix="give the ProcessingContainerOperator whose output it is",
            )


def mappings_of(task: Any) -> Sequence[IOMapping]:
    """Return the mappings of a task, also of one that is mapped over a list; else none."""
    own = getattr(task, "iochannel_maps", None)
    if own is None:
        own = (getattr(task, "partial_kwargs", None) or {}).get("iochannel_maps")
    return tuple(own or ())


def inline_template(task: Any) -> TaskTemplate | None:
    """Return the template that stands in the DAG; None where it is in the image."""
    from lading.contracts.processing.template import TaskTemplate  # noqa: PLC0415

    given = getattr(task, "taskTemplate", None)
    if given is None:
        given = (getattr(task, "partial_kwargs", None) or {}).get("taskTemplate")
    if isinstance(given, TaskTemplate):
        return given
    return TaskTemplate.model_validate(given) if isinstance(given, Mapping) else None


def odd_fields(task: Any) -> str:
    """Name the fields of a template that stands in the DAG that no template has; empty: none."""
    from difflib import get_close_matches  # noqa: PLC0415

    from lading.contracts.processing.template import TaskTemplate  # noqa: PLC0415

    given = getattr(task, "taskTemplate", None)
    if given is None:
        given = (getattr(task, "partial_kwargs", None) or {}).get("taskTemplate")
    known = list(TaskTemplate.model_fields)
    told = []
    for name in given if isinstance(given, Mapping) else ():
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            told.append(f"{name!r}{f' (did you mean {near[0]!r}?)' if near else ''}")
    return ", ".join(told)


def check_mappings(task: Any) -> None:
    """Check the mappings of a task against the whole DAG.

    Raises
    ------
    InputError
        Tasks map each other's outputs in a circle; an output is of a task that is not upstream;
        a channel is not there. Names those that are.
    """
    maps = mappings_of(task)
    if not maps:
        return
    _check_circle(task)
    upstream = task.get_flat_relative_ids(upstream=True)
    containers = sorted(
        other.task_id for other in task.get_flat_relatives(upstream=True) if _is_ours(other)
    )
    for item in maps:
        other = item.upstream_operator
        where = _where(task, item)
        if not _is_ours(other):
            raise InputError(
                where,
                f"task {other.task_id} runs no processing-container, so it has no channels",
                fix="map the output of a ProcessingContainerOperator",
            )
        if other.task_id not in upstream:
            raise InputError(
                where,
                f"task {other.task_id} is not upstream of task {task.task_id}; upstream are: "
                f"{', '.join(containers) or 'none'}",
                fix=f"add {other.task_id} >> {task.task_id}",
            )
    _check_twice(task, maps)
    if (own := inline_template(task)) is not None:
        check_channels(task, own, ())
    for item in maps:
        if (theirs := inline_template(item.upstream_operator)) is not None:
            _check_output(task, item, [channel.name for channel in theirs.outputs])


def check_channels(task: Any, template: TaskTemplate, others: Iterable[Any]) -> None:
    """Check both ends of the mappings that touch a task, once its template is known.

    Parameters
    ----------
    others : iterable
        The tasks downstream of it.

    Raises
    ------
    InputError
        A channel is not there, or an input has nothing mapped to it. Names those that are.
    """
    inputs = [channel.name for channel in template.inputs]
    for item in mappings_of(task):
        if item.input_channel not in inputs:
            raise InputError(
                _where(task, item),
                f"template {template.identifier} of task {task.task_id} has no input channel "
                f"{item.input_channel!r}; it has: {_names(inputs)}{_oddities(task)}",
                fix="map to one of those",
            )
    outputs = [channel.name for channel in template.outputs]
    for other in others:
        for item in mappings_of(other):
            if item.upstream_operator.task_id == task.task_id:
                _check_output(other, item, outputs)


def _check_output(task: Any, item: IOMapping, outputs: Sequence[str]) -> None:
    if item.upstream_output_channel not in outputs:
        raise InputError(
            _where(task, item),
            f"task {item.upstream_operator.task_id} has no output channel "
            f"{item.upstream_output_channel!r}; it has: {_names(outputs)}"
            f"{_oddities(item.upstream_operator)}",
            fix="map one of those",
        )


def _check_circle(task: Any) -> None:
    """Follow the mappings back; who meets the task again has found a circle."""
    to_see: list[tuple[Any, tuple[str, ...]]] = [(task, (task.task_id,))]
    seen = set()
    while to_see:
        here, way = to_see.pop()
        for item in mappings_of(here):
            name = item.upstream_operator.task_id
            if name == task.task_id:
                raise InputError(
                    f"iochannel_maps of task {task.task_id}",
                    f"tasks wait for each other's outputs in a circle: {' <- '.join((*way, name))}",
                    fix="take one of these mappings out",
                )
            if name not in seen:
                seen.add(name)
                to_see.append((item.upstream_operator, (*way, name)))


def _check_twice(task: Any, maps: Sequence[IOMapping]) -> None:
    names = [item.input_channel for item in maps]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"iochannel_maps of task {task.task_id}",
                f"two outputs are mapped to its input channel {name!r}",
                fix="map each input channel once",
            )


def _is_ours(task: Any) -> bool:
    """Whether a task runs a processing-container, also one that is mapped over a list."""
    return bool(
        getattr(task, "runs_processing_container", False)
        or getattr(getattr(task, "operator_class", None), "runs_processing_container", False)
    )


def _where(task: Any, item: IOMapping) -> str:
    return (
        f"iochannel_maps of task {task.task_id} ({item.upstream_operator.task_id}."
        f"{item.upstream_output_channel} -> {item.input_channel})"
    )


def _oddities(task: Any) -> str:
    odd = odd_fields(task)
    return f"; its template has {odd}, which is no field of one" if odd else ""


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
