"""``lading test`` of the folder of a processing-container."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.cli import failures, loop, printing
from lading.cli.images import fetch, sweep_quietly
from lading.cli.run_processing import Progress, circumstances_of, files, image_of, ours
from lading.cli.test_shown import Log, line, ways_out, without_log
from lading.contracts.processing.instances import Changes, find_template, read_task, task_for_image
from lading.contracts.processing.trial import Example, check_inside, read_example
from lading.errors import OutOfMemory, OutputDiffers
from lading.run.build_context import trial_tag
from lading.settings import environment, scratch_directory, state_directory
from lading.units import format_bytes, format_seconds, to_mebibytes

if TYPE_CHECKING:
    from lading.cli.test import Ordered
    from lading.contracts.processing.instances import Offered
    from lading.contracts.processing.task import IOVolume, Task
    from lading.contracts.processing.trial import Trial
    from lading.engine import Engine, ImageInfo
    from lading.run.ownership import Owner
    from lading.run.records import Records

__all__ = ["run_trial"]


def run_trial(order: Ordered) -> None:
    """Try a processing-container with its example, and tell of it.

    Raises
    ------
    OutputDiffers
        Something else came out.
    RunError
        It failed.
    """
    order.refuse({"concurrency", "start_timeout"}, "task folders of contract 1")
    example = read_example(order.folder, update=order.own.update)
    task = _task(order, example)
    log = Log()
    image, trials = loop.run(lambda _signals: _run(order, example, task, log))
    trial = trials[-1]
    for text in trial.warnings:
        printing.warn(text)
    if order.as_json:
        printing.json(_as_json(image, trials, str(log)))
    else:
        _show(image, trials)
    if trial.error is not None:
        error = trial.error
        if isinstance(error, OutputDiffers):
            error.fix = ways_out(order.folder)
        elif isinstance(error, OutOfMemory) and error.limit:
            error.fix = (
                f"raise resources.limits.memory of the template to {to_mebibytes(2 * error.limit)}"
                "Mi; `lading profile` finds what it needs"
            )
        raise without_log(error)


def _task(order: Ordered, example: Example) -> Task:
    """Read the example's task, for the image that is tried."""
    tag = order.own.image or order.options.tag or trial_tag(order.folder.resolve().name)
    if example.task is None:
        return task_for_image(tag, "")
    task, warnings = read_task(example.task, environment=environment())
    for warning in warnings:
        printing.warn(warning)
    # What else it takes is named as it is when the task is run from its folder.
    replaced = example.inputs.keys()
    inputs = [
        one if one.name in replaced else _from(order.folder.absolute(), one) for one in task.inputs
    ]
    return task.model_copy(update={"image": tag, "inputs": inputs})


def _from(folder: Path, volume: IOVolume) -> IOVolume:
    from lading.contracts.processing.task import HostPathVolume  # noqa: PLC0415

    source = volume.volume_source
    if not isinstance(source, HostPathVolume):
        return volume
    path = folder / source.host_path
    check_inside(path, folder)
    return volume.model_copy(update={"volume_source": HostPathVolume(host_path=str(path))})


async def _run(
    order: Ordered, example: Example, task: Task, log: Log
) -> tuple[ImageInfo, list[Trial]]:
    from lading.engine.discovery import open_engine  # noqa: PLC0415

    state = state_directory()
    async with await open_engine(order.engine) as engine:
        with ours(state) as us:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(sweep_quietly(engine, state, us[1]))
                    return await _Tries(engine, order, task, us, log).all(example)
            except BaseExceptionGroup as errors:
                raise failures.first(errors) from errors
    raise AssertionError  # a group that swallows nothing


class _Tries:
    """Runs of it, as many as are wanted."""

    def __init__(
        self, engine: Engine, order: Ordered, task: Task, us: tuple[Owner, Records], log: Log
    ) -> None:
        self._engine = engine
        self._order = order
        self._task = task
        self._owner, self._records = us
        self._log = log

    async def all(self, example: Example) -> tuple[ImageInfo, list[Trial]]:
        """Run it until it fails, at the most as often as is wanted."""
        offered = await find_template(
            self._engine,
            self._task,
            fetch=self._image,
            state=state_directory(),
            labels=self._owner.labels(),
        )
        for warning in offered.warnings:
            printing.warn(warning)
        trials: list[Trial] = []
        for _ in range(self._order.own.repeat if "repeat" in self._order.given else 1):
            trial = await self._one(offered, example, update=self._order.own.update and not trials)
            trials.append(trial)
            if trial.error is not None:
                break
            if trial.updated:
                example = await asyncio.to_thread(read_example, self._order.folder, update=False)
        return offered.image, trials

    async def _image(self, name: str) -> ImageInfo:
        options = self._order.options
        if self._order.own.image is not None:
            return await fetch(self._engine, name, options.pull)
        return await image_of(self._engine, name, options, self._order.folder)

    async def _one(self, offered: Offered, example: Example, *, update: bool) -> Trial:
        from lading.contracts.processing.trial import try_example  # noqa: PLC0415

        options = self._order.options
        timeout = options.timeout if "timeout" in self._order.given else None
        with Progress(self._task.name) as progress:
            return await try_example(
                self._engine,
                offered,
                self._task,
                Changes(),
                example,
                circumstances=circumstances_of(options, timeout),
                scratch=scratch_directory(),
                owner=self._owner,
                records=self._records,
                update=update,
                exact=self._order.own.exact,
                on_log=self._log,
                on_start=progress.started,
            )


def _show(image: ImageInfo, trials: list[Trial]) -> None:
    trial = trials[-1]
    outcome, passed = trial.outcome, trial.error is None
    count = sum(len(found) for found in trial.findings.values())
    how = f"{files(count)} as the example has them" if passed else ""
    if updated := [name for one in trials for name in one.updated]:
        how = f"what came out of {', '.join(updated)} is the example now"
    printing.verdict(outcome.plan.instance.name, "passed" if passed else "failed", how, good=passed)
    line("ended", f"exit code {outcome.exit.code} after {format_seconds(outcome.exit.seconds)}")
    peak, limit = outcome.usage.memory_peak, outcome.plan.needs.memory
    line("memory", format_bytes(peak) + (f" of {format_bytes(limit)}" if limit else ""))
    line("processor", format_seconds(outcome.usage.cpu_seconds))
    line("image", f"{format_bytes(image.size)}, {outcome.plan.instance.image}")
    line("run", outcome.run_id)


def _as_json(image: ImageInfo, trials: list[Trial], log: str) -> dict[str, Any]:
    trial = trials[-1]
    outcome, error = trial.outcome, trial.error
    return {
        "task": outcome.plan.instance.name,
        "contract": "processing",
        "passed": error is None,
        "diff": error.diff if isinstance(error, OutputDiffers) else "",
        "error": error.message if error is not None else "",
        "updated": [name for one in trials for name in one.updated],
        "image": outcome.plan.instance.image,
        "image_id": image.id,
        "image_size": image.size,
        "run": outcome.run_id,
        "container": outcome.container,
        "exit_code": outcome.exit.code,
        "seconds": [round(one.outcome.exit.seconds, 6) for one in trials],
        "memory_limit": outcome.plan.needs.memory,
        "memory_peak": outcome.usage.memory_peak,
        "cpu_seconds": outcome.usage.cpu_seconds,
        "files": [
            {"channel": name, "path": one.path, "likeness": str(one.comparison.likeness)}
            for name, found in trial.findings.items()
            for one in found
        ],
        "log": log,
    }
