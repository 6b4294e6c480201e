"""The original's command line for processing-containers: ``python3 -m task_api.cli``, unchanged.

The functions can be called as such, too: their defaults are plain values, and what goes wrong is
raised.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli.failures import guarded
from lading.settings import environment, load_env_file

if TYPE_CHECKING:
    from lading.contracts.processing.original.engine_runner import EngineRunner
    from lading.contracts.processing.task import IOChannel, TaskRun

__all__ = [
    "Modes",
    "Schema",
    "app",
    "check_task_run",
    "logger",
    "logs",
    "monitor_container_memory",
    "processing_container",
    "run",
    "validate",
]

logger = logging.getLogger("task-runner")
app = typer.Typer(
    help="Validate, run and follow tasks of processing-containers.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Modes(enum.StrEnum):
    """Where a task runs."""

    docker = "docker"
    kubernetes = "k8s"


class Schema(enum.StrEnum):
    """What a file is."""

    task = "task"
    processing_container = "pc"


_FORMATS = {Schema.task: "task", Schema.processing_container: "processing_container.json file"}
_NOT_SEEN = (
    "A cluster measures every 15 seconds or so and only what runs, so the peak may have been "
    "higher. The files of its channels are not on this machine, and are not compared."
)
_TaskRunFile = Annotated[
    Path, typer.Argument(help="The task_run-<id>.pkl that the command run has written.")
]
_Mode = Annotated[
    Modes, typer.Option(help="docker: a container engine of this machine. k8s: a cluster.")
]


def _command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function a command, and leave the function as it is."""
    app.command()(guarded(function))
    return function


def _prepare() -> None:
    """Do what the original does when it is loaded: variables of ``.env``, log lines on stderr."""
    load_env_file()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s:%(name)s:%(message)s")


def _runner(mode: str) -> type[EngineRunner]:
    if mode == Modes.kubernetes:
        from lading.contracts.processing.original.cluster import (  # noqa: PLC0415
            KubernetesRunner,
        )

        return KubernetesRunner
    from lading.contracts.processing.original.local import DockerRunner  # noqa: PLC0415

    return DockerRunner


def _read(path: Path) -> TaskRun:
    from lading.contracts.processing.taskrun import read_task_run  # noqa: PLC0415

    return read_task_run(path)


@_command
def run(
    input: Annotated[Path, typer.Argument(help="The task.json.")],  # noqa: A002  # unchanged
    mode: _Mode = Modes.docker,
    watch: Annotated[
        bool, typer.Option(help="Show what the container prints, and wait for its end.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Where to write the task run. [default: task_run-<id>.pkl]"),
    ] = None,
    monitor_memory: Annotated[
        bool,
        typer.Option(
            "--monitor-memory/--no-monitor-memory",
            "--monitor-container/--no-monitor-container",
            help="Wait for its end, and compare its memory with its scale rules.",
        ),
    ] = False,
) -> None:
    """Run a task; it goes on after this command, and the others follow it by its task run."""
    from lading.contracts.processing.original.reading import parse_task  # noqa: PLC0415

    _prepare()
    task = parse_task(input)
    runner = _runner(mode)
    task_run = runner.run(task)
    try:
        runner.dump(task_run, output)
    except BaseException:
        runner.stop(task_run)  # nobody could follow it
        raise
    if watch:
        runner.logs(task_run, follow=True)
        ended = runner.wait(task_run)
        if ended.code:
            logger.error("The task ended with exit code %d: %s", ended.code, ended.why)
    if monitor_memory:
        monitor_container_memory(task_run)


@_command
def logs(
    task: _TaskRunFile,
    watch: Annotated[bool, typer.Option(help="Go on until the container ends.")] = False,
) -> None:
    """Show what a task printed, also after its container is gone."""
    _prepare()
    task_run = _read(task)
    _runner(task_run.mode).logs(task_run, follow=watch)


@_command
def check_task_run(
    task_run: _TaskRunFile,
    watch: Annotated[bool, typer.Option(help="Wait for its end.")] = True,
) -> None:
    """Say how a task ended: the exit code is the container's, 137 where its memory ran out."""
    _prepare()
    found = _read(task_run)
    _runner(found.mode).check_status(found, follow=watch)


@_command
def validate(
    input: Annotated[  # noqa: A002  # unchanged
        Path, typer.Argument(help="A task.json, or a processing-container.json.")
    ],
    schema: Annotated[Schema, typer.Option(help="What it should be.")] = Schema.task,
) -> None:
    """Check a file."""
    from lading.contracts.processing.reading.files import check_file  # noqa: PLC0415

    _prepare()
    named = _FORMATS[Schema(schema)]
    if not input.exists():
        typer.echo(f"❌ {input} not found!")
        raise typer.Exit(1)
    report = check_file(str(input), environment=environment(), kind=schema.value, with_model=False)
    for warning in report.warnings:
        logger.warning(warning)
    if report.errors:
        typer.echo(f"❌ {input} is not a valid {named}!")
        for finding in report.errors:
            typer.echo(finding.at(str(input)))
        raise typer.Exit(1)
    typer.echo(f"✅ valid {named}")


@_command
def processing_container(
    image: Annotated[str, typer.Argument(help="The image of a processing-container.")],
    mode: _Mode = Modes.docker,
) -> None:
    """Show the processing-container.json of an image."""
    from lading.contracts.processing.original.reading import (  # noqa: PLC0415
        get_processing_container,
    )

    _prepare()
    typer.echo(get_processing_container(image, mode=mode.value).model_dump_json(indent=2))


def monitor_container_memory(task_run: TaskRun) -> None:
    """Wait for the end of a task, and compare its memory with the scale rules of its inputs."""
    from lading.contracts.processing.original.sizes import human_readable_size  # noqa: PLC0415

    peak = _runner(task_run.mode).monitor_memory(task_run)
    typer.echo(f"Peak memory usage of container: {human_readable_size(peak)}")
    if task_run.mode == Modes.kubernetes:
        typer.echo(_NOT_SEEN)
    for channel in task_run.inputs:
        if channel.host_path is not None and task_run.mode != Modes.kubernetes:
            _tell_of(channel, peak)


def _tell_of(channel: IOChannel, peak: int) -> None:
    from lading.contracts.processing.original import sizes  # noqa: PLC0415

    readable, path = sizes.human_readable_size, Path(channel.host_path or "")
    whose = f"channel: {channel.name}"
    typer.echo(f"Sum of all files for {whose}: {readable(sizes.sum_of_file_sizes(path))}")
    typer.echo(f"Size of largest file for {whose}: {readable(sizes.max_file_size(path))}")
    if channel.scale_rule is None:
        return
    size, needed = sizes.compute_target_size(channel), sizes.compute_memory_requirement(channel)
    typer.echo(f"Calculated size for ScaleRule for {whose}: {readable(size)}")
    typer.echo(f"Calculated resource requirement for {whose}: {readable(needed)}")
    if needed <= peak:
        typer.echo(
            f"WARNING: Calculated resource requirement for {whose} is smaller than the peak "
            f"memory usage {readable(needed)} < {readable(peak)}"
        )
