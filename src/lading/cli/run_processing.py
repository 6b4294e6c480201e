"""``lading run`` of a processing-container: a task file, or a template of an image."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.cli import failures, loop, printing
from lading.cli.images import build, fetch, sweep_quietly
from lading.cli.run_options import Order, ProcessingOptions, Pull, RunOptions, pairs
from lading.contracts.processing.instances import (
    Changes,
    find_instance,
    read_task,
    task_for_image,
)
from lading.errors import InputError, LadingError, OutOfMemory, RunError
from lading.settings import EngineOptions, environment, state_directory
from lading.units import format_bytes, format_quantity, format_seconds

if TYPE_CHECKING:
    from lading.contracts.processing.measure.measuring import Measurement
    from lading.contracts.processing.planning import Circumstances
    from lading.contracts.processing.runner import Outcome
    from lading.contracts.processing.task import Task
    from lading.engine import Engine, ImageInfo, LogChunk
    from lading.run.lifecycle import Running
    from lading.run.ownership import Owner
    from lading.run.records import Records

__all__ = [
    "changes_of",
    "circumstances_of",
    "image_of",
    "ours",
    "placed",
    "run_processing",
    "task_of",
]

_TICK = 0.5
"""Seconds between two looks at what a container uses, for who watches a terminal."""


def run_processing(order: Order) -> int:
    """Run a processing-container, and tell of it.

    Returns
    -------
    int
        The container's exit code; 137 where its memory ran out, 124 where its time was up.
    """
    options, wanted = order.options, order.wanted
    changes = changes_of(options, wanted)
    task = task_of(order.tasks, options, wanted)
    circumstances = circumstances_of(options, order.timeout)
    folder = Path(order.tasks[0]) if Path(order.tasks[0]).is_dir() else None
    single = _Single(task, changes, options, circumstances, wanted, folder=folder)
    if wanted.watch:
        single.on_log = show_log_aside if order.as_json else show_log
    outcome = loop.run(lambda _signals: single.run(order.engine))
    if order.as_json:
        printing.json(as_object(outcome, single.measurement))
    else:
        if single.measurement is not None:
            from lading.cli import measurements  # noqa: PLC0415

            measurements.show(single.measurement)
        tell(outcome, watched=wanted.watch)
    return exit_code(outcome)


def circumstances_of(options: RunOptions, timeout: float | None) -> Circumstances:
    """Say how a task is run."""
    from lading.contracts.processing.planning import Circumstances  # noqa: PLC0415

    return Circumstances(
        network=options.network,
        capabilities=options.capabilities,
        runtime=options.runtime,
        timeout=timeout,
    )


def task_of(tasks: list[str], options: RunOptions, wanted: ProcessingOptions) -> Task:
    """Read what is to be run; warns of what is doubtful in it."""
    (given,) = tasks
    if Path(given).is_dir():
        from lading.run.build_context import trial_tag  # noqa: PLC0415

        tag = options.tag or trial_tag(Path(given).resolve().name)
        return task_for_image(tag, wanted.template or "")
    if not given.endswith(".json") and not Path(given).is_file():
        return task_for_image(given, wanted.template or "")
    if wanted.template is not None:
        raise InputError(
            "--template",
            f"chooses one of an image, and {given!r} is a task file",
            fix="change its taskTemplate",
        )
    task, warnings = read_task(Path(given), environment=environment())
    for warning in warnings:
        printing.warn(warning)
    return task


def changes_of(options: RunOptions, wanted: ProcessingOptions) -> Changes:
    """Read what is to be changed in a task.

    Raises
    ------
    InputError
        Names the flag.
    """
    limits: dict[str, str | int] = {}
    if options.cpu is not None:
        limits["cpu"] = options.cpu
    if options.memory is not None:
        from lading.units import size  # noqa: PLC0415

        limits["memory"] = size(options.memory, "--memory")
    if options.gpus is not None:
        limits["nvidia.com/gpu"] = options.gpus
    return Changes(
        env=pairs("--set", "NAME=VALUE", wanted.set),
        inputs=pairs("--input", "CHANNEL=DIR", options.input),
        outputs=pairs("--output", "CHANNEL=DIR", wanted.output),
        limits=limits,
    )


class _Single:
    """One task, run in the foreground."""

    def __init__(
        self,
        task: Task,
        changes: Changes,
        options: RunOptions,
        circumstances: Circumstances,
        wanted: ProcessingOptions,
        *,
        folder: Path | None,
    ) -> None:
        self._folder = folder
        self._task = task
        self._changes = changes
        self._options = options
        self._circumstances = circumstances
        self._wanted = wanted
        self.measurement: Measurement | None = None
        self.on_log: Callable[[LogChunk], None] | None = None

    async def run(self, engine_options: EngineOptions) -> Outcome:
        """Run it to its end."""
        from lading.engine.discovery import open_engine  # noqa: PLC0415

        state = state_directory()
        async with await open_engine(engine_options) as engine:
            with ours(state) as (owner, records):
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(sweep_quietly(engine, state, records))
                        return await self._run(engine, state, owner, records)
                except BaseExceptionGroup as errors:
                    raise failures.first(errors) from errors
        raise AssertionError  # a group that swallows nothing

    async def _run(self, engine: Engine, state: Path, owner: Owner, records: Records) -> Outcome:
        from lading.contracts.processing.planning import plan  # noqa: PLC0415
        from lading.contracts.processing.runner import run_plan  # noqa: PLC0415

        near = placed(engine, self._task)
        found = await find_instance(
            engine,
            self._task,
            self._changes,
            fetch=lambda name: self._image(near, name),
            state=state,
            labels=owner.labels(),
        )
        for warning in found.warnings:
            printing.warn(warning)
        progress = Progress(found.instance.name)
        planned = await plan(
            engine,
            found.instance,
            found.image,
            self._circumstances,
            labels=owner.labels(),
            on_wait=progress.waiting,
        )
        with progress:
            outcome = await run_plan(
                engine,
                planned,
                owner=owner,
                records=records,
                on_log=self.on_log,
                on_start=progress.started,
                on_stop=progress.stopping,
                on_wait=progress.waiting,
            )
        if self._wanted.monitor:
            from lading.contracts.processing.measure.measuring import measure, write_down  # noqa: PLC0415

            self.measurement = await asyncio.to_thread(measure, outcome)
            write_down(self.measurement, records, outcome.run_id)
        return outcome

    async def _image(self, engine: Engine, name: str) -> ImageInfo:
        inline = not isinstance(self._task.taskTemplate, str)
        if inline and self._options.pull is Pull.MISSING and (await engine.info()).cluster:
            from lading.run.images import by_name  # noqa: PLC0415

            # Nothing is read from it. To ask which one it is would take a pod, which is what a run
            # takes; and that tells it, too.
            return by_name(name)
        return await image_of(engine, name, self._options, self._folder)


def placed(engine: Engine, task: Task) -> Engine:
    """Return an engine that looks for a task's image where the task runs."""
    from lading.contracts.processing.placement import placement_of  # noqa: PLC0415

    return engine.placed(placement_of(task.config))


async def image_of(
    engine: Engine, name: str, options: RunOptions, folder: Path | None
) -> ImageInfo:
    """Find or fetch an image, or build it where it is a folder's."""
    if folder is None:
        return await fetch(engine, name, options.pull)
    args = pairs("--build-arg", "KEY=VALUE", options.build_arg)
    labels = {"lading.task": (await asyncio.to_thread(folder.resolve)).name}
    return await build(engine, folder, tag=name, args=args, labels=labels)


@contextlib.contextmanager
def ours(state: Path) -> Iterator[tuple[Owner, Records]]:
    """Be an owner with records while the block runs."""
    from lading.run.ownership import Owner  # noqa: PLC0415
    from lading.run.records import Records, records_path  # noqa: PLC0415

    with contextlib.closing(Records(records_path(state))) as records:
        owner = Owner.claim(state)
        try:
            yield owner, records
        finally:
            owner.release()


def show_log(chunk: LogChunk) -> None:
    """Pass on what a container prints, to where it printed it, while somebody reads there."""
    with contextlib.suppress(printing.OutputClosed):  # a task is more than its output
        printing.passed_on(chunk.data, to_stdout=chunk.stream == "stdout")


def show_log_aside(chunk: LogChunk) -> None:
    """Pass on what a container prints where stdout is for something else."""
    with contextlib.suppress(printing.OutputClosed):
        printing.passed_on(chunk.data, to_stdout=False)


class Progress:
    """State, elapsed time, memory and processor of a run, where a person looks.

    Parameters
    ----------
    name : str
        The task's.
    """

    def __init__(self, name: str) -> None:
        self._live = printing.Live(name)
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> Progress:
        self._live("starting")
        return self

    def waiting(self, why: str) -> None:
        """Tell why it does not run yet; empty: it goes on."""
        self._live(f"waits: {why}" if why else "starting")

    def started(self, running: Running) -> None:
        """Begin to look at it."""
        self._live("running")
        if self._live.moves:
            self._task = asyncio.create_task(self._watch(running), name="progress")

    def stopping(self, grace: float) -> None:
        """Tell that it is being stopped."""
        self._end_watch()
        self._live(f"stopping, for which it has {format_seconds(grace)}")

    def __exit__(self, *exc: object) -> None:
        self._end_watch()
        self._live.clear()

    def _end_watch(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _watch(self, running: Running) -> None:
        began, before = time.monotonic(), 0.0
        while True:
            await asyncio.sleep(_TICK)
            try:
                used = await running.usage()
            except LadingError:
                continue  # the engine is away for a moment
            share = max(used.cpu_seconds - before, 0.0) / _TICK
            before = used.cpu_seconds
            limit = running.spec.limits.memory
            memory = format_bytes(used.memory) + (f" of {format_bytes(limit)}" if limit else "")
            elapsed = format_seconds(time.monotonic() - began)
            self._live(f"running for {elapsed}, memory {memory}, {share:.1f} cores")


def tell(outcome: Outcome, *, watched: bool) -> None:
    """Tell how a run ended, for people."""
    for text in outcome.notes:
        printing.warn(text)
    if outcome.error is not None:
        failures.report(_error(outcome, watched=watched))
    printing.note(_summary(outcome))


def exit_code(outcome: Outcome) -> int:
    """Return what the command ends with."""
    if isinstance(outcome.error, OutOfMemory) or outcome.error is None:
        return outcome.code
    return (
        outcome.exit.code
        if outcome.error.exit_code == RunError.exit_code
        else (outcome.error.exit_code)
    )


def _error(outcome: Outcome, *, watched: bool) -> LadingError:
    error = outcome.error
    assert error is not None
    if isinstance(error, RunError) and watched:
        error.logs = ""
    if isinstance(error, OutOfMemory) and error.limit:
        more = format_quantity(2 * error.limit)
        error.fix = f"raise resources.limits.memory of the task, or try --memory {more}"
    return error


def _summary(outcome: Outcome) -> str:
    used, limit = outcome.usage, outcome.plan.needs.memory
    peak = format_bytes(used.memory_peak) if used.memory_peak else "not seen"
    written = [
        f"{item['name']}: {_amount(item)}in {_from_here(item['path'])}"
        for item in outcome.channels
        if item["direction"] == "output"
    ]
    parts = [
        f"exit code {outcome.exit.code} after {format_seconds(outcome.exit.seconds)}",
        f"memory {peak}" + (f" of {format_bytes(limit)}" if limit else ""),
        f"CPU {format_seconds(used.cpu_seconds) if used.cpu_seconds else 'not seen'}",
        *written,
        f"run {outcome.run_id}",
    ]
    return ", ".join(parts)


def _amount(item: dict[str, Any]) -> str:
    """Say how much lies in a channel; nothing of a volume, which nobody sees from here."""
    if item["files"] is None:
        return ""
    return f"{files(item['files'])}{_before(item)}, {format_bytes(item['bytes'])} "


def _before(item: dict[str, Any]) -> str:
    """Say how many of them lay there when the run began."""
    count = item["files_before"]
    return f" ({count} {'was' if count == 1 else 'were'} there before)" if count else ""


def _from_here(path: str) -> str:
    """Write a path as one would type it: relative where it is below the current directory."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def files(count: int) -> str:
    """Count files in words."""
    return "1 file" if count == 1 else f"{count} files"


def as_object(outcome: Outcome, measurement: Measurement | None = None) -> dict[str, Any]:
    """Describe a run for programs."""
    planned = outcome.plan
    known: dict[str, Any] = {
        "run": outcome.run_id,
        "task": planned.instance.name,
        "template": planned.instance.identifier,
        "image": planned.instance.image,
        "image_id": planned.image.id or outcome.ran,
        "image_digest": outcome.ran or planned.digest,
        "container": outcome.container,
        "container_id": outcome.container_id,
        "exit_code": outcome.exit.code,
        "out_of_memory": outcome.exit.out_of_memory,
        "seconds": round(outcome.exit.seconds, 6),
        "cpus": planned.needs.cpus,
        "memory_limit": planned.needs.memory,
        "memory_peak": outcome.usage.memory_peak,
        "cpu_seconds": outcome.usage.cpu_seconds,
        "channels": outcome.channels,
        "error": outcome.error.message if outcome.error is not None else "",
        "notes": list(outcome.notes),
    }
    if measurement is not None:
        known["measurement"] = measurement.as_object()
    return known
