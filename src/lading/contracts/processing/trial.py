"""A processing-container tried with its example: run over its inputs, its outputs compared.

The layout: ``example/inputs/<channel>/`` is mounted as that input, ``example/outputs/<channel>/``
is what has to come out of that output (an output without such a directory is not compared), and
``example/task.json`` says the template, variables and limits, where the defaults won't do.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lading.contracts.processing.planning import Circumstances, plan
from lading.contracts.processing.runner import Outcome, run_plan
from lading.engine.shield import to_the_end
from lading.errors import ConfigError, OutputDiffers, RunError
from lading.folders.examples import Finding, compare_trees, differences, replace_tree
from lading.run.scratch import make_scratch

if TYPE_CHECKING:
    from lading.contracts.processing.instances import Changes, Offered
    from lading.contracts.processing.task import Task
    from lading.engine import Engine, LogChunk
    from lading.run.lifecycle import Running
    from lading.run.ownership import Owner
    from lading.run.records import Records

__all__ = ["Example", "Trial", "check_inside", "read_example", "try_example"]

FOLDER, INPUTS, OUTPUTS, TASK = "example", "inputs", "outputs", "task.json"


@dataclass(frozen=True, slots=True)
class Example:
    """What a folder has for trying it.

    Parameters
    ----------
    folder : Path
        ``example``.
    inputs, outputs : dict
        Directories by the names of channels.
    task : Path or None
        Its task file.
    """

    folder: Path
    inputs: dict[str, Path]
    outputs: dict[str, Path]
    task: Path | None


@dataclass(frozen=True, slots=True)
class Trial:
    """What a run over the example gave.

    Parameters
    ----------
    outcome : Outcome
    findings : dict
        Of each output that was compared, by its name, a finding for each file.
    error : RunError or None
        Why it did not pass.
    warnings : tuple of str
    updated : tuple of str
        Outputs that are the example now.
    """

    outcome: Outcome
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    error: RunError | None = None
    warnings: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()


def read_example(folder: Path, *, update: bool) -> Example:
    """Read a folder's example; blocks on the disk.

    Parameters
    ----------
    folder : Path
        That of the processing-container.
    update : bool
        Whether outputs are to be written, and need not be there.

    Raises
    ------
    ConfigError
        There is nothing to run it with, or nothing to compare with.
    """
    place = folder / FOLDER
    task = place / TASK
    found = Example(
        place,
        _channels(place / INPUTS),
        _channels(place / OUTPUTS),
        task if task.is_file() else None,
    )
    if not found.outputs and not update:
        raise ConfigError(
            str(place / OUTPUTS),
            "there is nothing in it, so there is nothing to compare with",
            fix=f"put inputs into {place / INPUTS}/CHANNEL; `lading test {folder} --update` then "
            "writes what comes out",
        )
    return found


def _channels(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    found = {path.name: path.absolute() for path in sorted(folder.iterdir()) if path.is_dir()}
    for path in found.values():
        check_inside(path, folder.parent.parent)
    return found


def check_inside(path: Path, folder: Path) -> None:
    """See that a directory lies in a folder: its author is a stranger, and gets what is mounted.

    Raises
    ------
    ConfigError
        It lies, or leads, outside.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(
            str(path),
            f"lies outside the folder, in {path.resolve()}",
            fix="copy what the example needs into the folder",
        )


async def try_example(
    engine: Engine,
    offered: Offered,
    task: Task,
    changes: Changes,
    example: Example,
    *,
    circumstances: Circumstances,
    scratch: Path,
    owner: Owner,
    records: Records,
    update: bool = False,
    exact: bool = False,
    on_log: Callable[[LogChunk], None] | None = None,
    on_start: Callable[[Running], None] | None = None,
) -> Trial:
    """Run a processing-container over its example, and compare what comes.

    Parameters
    ----------
    engine : Engine
    offered : Offered
        The template and its image.
    task : Task
    changes : Changes
        What else the command line says; its channels are the example's.
    example : Example
    circumstances : Circumstances
    scratch : Path
        Where the directory for outputs is made; removed at the end.
    owner, records, on_log, on_start
        As :func:`~lading.contracts.processing.runner.run_plan` takes them.
    update : bool
        Whether what comes is the example from now on.
    exact : bool
        Whether only the same bytes will do.

    Raises
    ------
    ConfigError
        An input has no directory, an output of the example is none of the template, or the example
        can't be written.
    EngineError
        The engine refused to start it, or went away.
    """
    _check(offered, task, example)
    work = await to_the_end(asyncio.to_thread(make_scratch, "test", scratch))
    try:
        # By number: a channel may have a name that no directory can have.
        names = [item.name for item in offered.template.outputs]
        outputs = {name: work / str(number) for number, name in enumerate(names)}
        given = replace(
            changes,
            inputs={name: str(path) for name, path in example.inputs.items()},
            outputs={name: str(path) for name, path in outputs.items()},
        )
        found = offered.put_together(task, given)
        planned = await plan(engine, found.instance, found.image, circumstances)
        outcome = await run_plan(
            engine, planned, owner=owner, records=records, on_log=on_log, on_start=on_start
        )
        trial = Trial(outcome, warnings=(*found.warnings, *outcome.notes))
        if outcome.error is not None:
            return replace(trial, error=_failed(outcome))
        if update:
            await to_the_end(asyncio.to_thread(_update, outputs, example))
            return replace(trial, updated=tuple(outputs))
        return await asyncio.to_thread(_judged, trial, outputs, example, exact)
    finally:
        await to_the_end(asyncio.to_thread(shutil.rmtree, work, ignore_errors=True))


def _failed(outcome: Outcome) -> RunError:
    error = outcome.error
    return error if isinstance(error, RunError) else RunError(str(error))


def _check(offered: Offered, task: Task, example: Example) -> None:
    """Check that the example fits the template."""
    inputs = [item.name for item in offered.template.inputs]
    outputs = [item.name for item in offered.template.outputs]
    for known, given, kind in (
        (inputs, example.inputs, INPUTS),
        (outputs, example.outputs, OUTPUTS),
    ):
        for name, path in given.items():
            if name not in known:
                raise ConfigError(
                    str(path),
                    f"the template {offered.template.identifier} has no such channel",
                    fix=f"its {kind} are: {', '.join(known) or 'none'}",
                )
    elsewhere = {item.name for item in task.inputs}
    for name in inputs:
        if name not in example.inputs and name not in elsewhere:
            raise ConfigError(
                str(example.folder / INPUTS / name),
                f"there is no such directory, and the template has an input {name!r}",
                fix="put a small input there",
            )


def _update(outputs: dict[str, Path], example: Example) -> None:
    for name, path in outputs.items():
        replace_tree(path, example.folder / OUTPUTS / name)


def _judged(trial: Trial, outputs: dict[str, Path], example: Example, exact: bool) -> Trial:
    findings = {
        name: compare_trees(expected, outputs[name], exact=exact)
        for name, expected in example.outputs.items()
    }
    told = [differences(found, name) for name, found in findings.items()]
    bad = [(words, diff) for words, diff in told if words]
    if not bad:
        return replace(trial, findings=findings)
    error = OutputDiffers(
        f"what came out is not what the example says: {bad[0][0]}",
        diff="\n".join(diff for _, diff in bad),
    )
    return replace(trial, findings=findings, error=error)
