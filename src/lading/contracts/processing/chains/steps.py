"""Tasks as the steps of a chain: put together and checked before the first of them starts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lading.contracts.processing.chains.graph import Graph, Link
from lading.contracts.processing.instances import Changes, Found, Offered, Where, find_template
from lading.contracts.processing.planning import Circumstances, plan
from lading.contracts.processing.scaling import Complexity, needs
from lading.errors import FileInvalid, InputError

if TYPE_CHECKING:
    from lading.contracts.processing.chains.scratch import Scratch
    from lading.contracts.processing.instances import Fetch
    from lading.contracts.processing.task import IOChannel, IOVolume, Task, TaskInstance
    from lading.contracts.processing.template import Resources
    from lading.engine import Engine, ImageInfo

__all__ = ["Prepared", "Step", "Wish", "named", "prepare"]


@dataclass(frozen=True, slots=True)
class Wish:
    """A task that is to be a step.

    Parameters
    ----------
    file : Path
        Where it stands.
    task : Task
    changes : Changes
        What the command line says beyond it.
    """

    file: Path
    task: Task
    changes: Changes


@dataclass(frozen=True, slots=True)
class Step:
    """A task that can be run once those before it have.

    Parameters
    ----------
    name : str
    found : Found
        With the directories of all channels.
    own : tuple of Path
        The output directories that are ours.
    gpus : int
        How many it asks for.
    """

    name: str
    found: Found
    own: tuple[Path, ...] = ()
    gpus: int = 0

    @property
    def has_volumes(self) -> bool:
        """Whether a channel is a volume of a cluster."""
        instance = self.found.instance
        return any(item.host_path is None for item in (*instance.inputs, *instance.outputs))

    def outputs(self) -> dict[str, Where]:
        """Say where the outputs go, by the names of the channels."""
        return {item.name: _where(item) for item in self.found.instance.outputs}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Steps that were found to be right.

    Parameters
    ----------
    steps : dict of str to Step
        In the order in which they were given.
    warnings : tuple of str
        What is doubtful.
    """

    steps: dict[str, Step]
    warnings: tuple[str, ...]


async def prepare(
    engine: Engine,
    wishes: Mapping[str, Wish],
    graph: Graph,
    links: Sequence[Link],
    *,
    scratch: Scratch,
    circumstances: Circumstances,
    fetch: Fetch,
    state: Path,
    labels: Mapping[str, str],
) -> Prepared:
    """Find the images of all steps, put the tasks together, and check what can be checked.

    What depends on inputs that are not there yet, and whether GPUs are free, is left for later.

    Parameters
    ----------
    engine : Engine
    wishes : mapping
        By the names of the steps.
    graph : Graph
        Of the same steps.
    links : sequence of Link
    scratch : Scratch
        Has directories for outputs that are mapped and have no volume.
    circumstances : Circumstances
    fetch : callable
        Finds an image, and is asked once for each.
    state : Path
        The state directory.
    labels : mapping
        What a helper container carries.

    Raises
    ------
    InputError
        Names the step.
    ImageError
        An image can't be had, or is no processing-container.
    NotSupported
        The engine lacks what is asked for.
    """
    images = {
        task: await fetch(task) for task in dict.fromkeys(w.task.image for w in wishes.values())
    }

    async def had(name: str) -> ImageInfo:
        return images[name]

    offers = {}
    for name, wish in wishes.items():
        with named(name):
            offers[name] = await find_template(
                engine, wish.task, fetch=had, state=state, labels=labels
            )
    _check_channels(links, offers)
    steps: dict[str, Step] = {}
    warnings: list[str] = []
    for name in graph.order():
        fed = {link.input: link for link in links if link.step == name}
        wanted = {link.output for link in links if link.upstream == name}
        with named(name):
            inputs = {
                item: steps[link.upstream].outputs()[link.output] for item, link in fed.items()
            }
            warnings += _overruled(name, wishes[name], inputs, fed)
            step = _step(
                name, wishes[name], offers[name], inputs=inputs, wanted=wanted, scratch=scratch
            )
            await _check(engine, step.found, fed, circumstances)
        warnings += [f"{name}: {text}" for text in step.found.warnings]
        steps[name] = step
    for step in steps.values():
        if step.own:
            await asyncio.to_thread(scratch.claim, step.name)
    steps = {name: steps[name] for name in wishes}
    return Prepared(steps, (*warnings, *_shared(steps, links)))


def _check_channels(links: Sequence[Link], offers: Mapping[str, Offered]) -> None:
    for link in links:
        outputs = [item.name for item in offers[link.upstream].template.outputs]
        inputs = [item.name for item in offers[link.step].template.inputs]
        for step, kind, name, known in (
            (link.upstream, "output", link.output, outputs),
            (link.step, "input", link.input, inputs),
        ):
            if name not in known:
                raise InputError(
                    f"--map {link}",
                    f"{step} has no {kind} channel {name!r}",
                    fix=f"it has: {', '.join(known) or 'none'}",
                )


def _overruled(
    step: str, wish: Wish, inputs: Mapping[str, Where], fed: Mapping[str, Link]
) -> list[str]:
    for name in wish.changes.inputs:
        if name in fed:
            raise InputError(
                f"--input {name}", f"is mapped, by --map {fed[name]}", fix="choose one"
            )
    told = {item.name: _where(item) for item in wish.task.inputs if item.name in inputs}
    return [
        f"{step}: the input {name!r} is {_told(given)} in {wish.file}; it is "
        f"{_told(inputs[name])}, by --map"
        for name, given in told.items()
        if given != inputs[name]
    ]


def _step(
    name: str,
    wish: Wish,
    offered: Offered,
    *,
    inputs: Mapping[str, Where],
    wanted: set[str],
    scratch: Scratch,
) -> Step:
    """Put a task together, with the directories that maps give it."""
    placed = {item.name for item in wish.task.outputs} | wish.changes.outputs.keys()
    own = {
        item.name: scratch.path(name, item.name)
        for item in offered.template.outputs
        if item.name in wanted and item.name not in placed
    }
    changes = replace(
        wish.changes,
        inputs={**wish.changes.inputs, **inputs},
        outputs={**wish.changes.outputs, **{key: str(path) for key, path in own.items()}},
    )
    found = offered.put_together(wish.task, changes)
    return Step(name, found, tuple(own.values()), needs(found.instance.resources, ()).gpus)


async def _check(
    engine: Engine, found: Found, fed: Mapping[str, Link], circumstances: Circumstances
) -> None:
    """Plan a step as far as that can be done before there are inputs, and forget the plan."""
    from lading.contracts.processing.task import HostPathVolume  # noqa: PLC0415

    instance = found.instance

    def early(channel: IOChannel, *, later: bool) -> IOChannel:
        if channel.scale_rule is not None:
            Complexity.of(channel.scale_rule)
        changed: dict[str, object] = {"scale_rule": None}
        if (
            later and channel.host_path is not None
        ):  # a directory that is always there stands for the one that will be
            changed["volume_source"] = HostPathVolume(host_path="/usr")
        return channel.model_copy(update=changed)

    trimmed = instance.model_copy(
        update={
            "inputs": [early(item, later=item.name in fed) for item in instance.inputs],
            "outputs": [early(item, later=False) for item in instance.outputs],
            "resources": _without_gpus(instance),
        }
    )
    await plan(engine, trimmed, found.image, circumstances)


def _without_gpus(instance: TaskInstance) -> Resources | None:
    known = instance.resources
    if known is None:
        return None
    kept = {
        kind: {name: value for name, value in (amounts or {}).items() if name in ("cpu", "memory")}
        for kind, amounts in (("limits", known.limits), ("requests", known.requests))
    }
    return known.model_copy(update=kept)


def _shared(steps: Mapping[str, Step], links: Sequence[Link]) -> list[str]:
    """Find directories that steps have in common although no map says so."""
    warnings = []
    writers: dict[str, str] = {}
    for step in steps.values():
        for name, where in step.outputs().items():
            other = writers.setdefault(_told(where), f"{step.name}:{name}")
            if other != f"{step.name}:{name}":
                one = "directory" if isinstance(where, str) else "volume"
                warnings.append(f"{other} and {step.name}:{name} are one {one}, {_told(where)}")
    mapped = {(link.step, link.input) for link in links}
    for step in steps.values():
        for item in step.found.instance.inputs:
            writer = writers.get(_told(_where(item)))
            if writer is not None and (step.name, item.name) not in mapped:
                warnings.append(
                    f"{step.name}:{item.name} is the directory of {writer}, but does not wait for "
                    f"it: say --map {writer}={step.name}:{item.name}"
                )
    return warnings


def _where(channel: IOVolume) -> Where:
    if channel.host_path is not None:
        return str(Path(channel.host_path).expanduser().absolute())
    source = channel.volume_source
    assert isinstance(source, dict)
    return source


def _told(where: Where) -> str:
    return where if isinstance(where, str) else json.dumps(where, sort_keys=True, default=str)


@contextlib.contextmanager
def named(step: str) -> Iterator[None]:
    """Let errors in the block name the step, and their advice too.

    Raises
    ------
    InputError
        In place of another one.
    """
    try:
        yield
    except FileInvalid:
        raise  # names the image's file
    except InputError as error:
        fix = error.fix
        for flag in ("--input", "--output"):
            fix = fix.replace(f"{flag} ", f"{flag} {step}:")
        field = f"{step}: {error.field}" if error.field else step
        raise InputError(field, error.reason, fix=fix) from None
