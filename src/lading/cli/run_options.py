"""What ``lading run`` is asked to do: its knobs, and what they mean for a folder or an image."""

from __future__ import annotations

import enum
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from lading.cli import printing
from lading.contracts.meca.folder import TaskFolder, read_folder
from lading.contracts.meca.request import MIN_CPUS, MIN_MEMORY, TaskLimits
from lading.errors import InputError, InvalidLimit
from lading.settings import knob
from lading.units import cores, format_bytes, size

__all__ = ["Pull", "RunOptions", "Wish", "read_wish"]


class Pull(enum.StrEnum):
    """When an image is fetched from its registry."""

    MISSING = "missing"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The flags of ``lading run``."""

    input: str | None = knob(
        None,
        "What the task gets: text, a file's bytes, or (-) stdin. "
        "Default for a folder: its example_input.bin.",
        flag="--input -i",
        metavar="TEXT|@FILE|-",
    )
    cpu: str | None = knob(None, "Cores it may use, as 0.5 or 500m.", metavar="CORES")
    memory: str | None = knob(None, "Memory it may use, as 256Mi or 2g.", metavar="SIZE")
    gpus: int | None = knob(None, "Whole GPUs it gets.", metavar="N")
    timeout: float = knob(300.0, "Seconds it may take to answer.", metavar="SECONDS")
    start_timeout: float = knob(60.0, "Seconds it may take until it serves.", metavar="SECONDS")
    runtime: str | None = knob(
        None, "OCI runtime that the engine has, as runsc or kata.", metavar="NAME"
    )
    network: bool = knob(True, "Whether it has the engine's usual network, or none.")
    capabilities: bool = knob(
        False, "Whether it keeps the engine's usual capabilities; otherwise all are dropped."
    )
    sgx: bool | None = knob(None, "Whether it gets the SGX enclave device.")
    tag: str | None = knob(None, "Name of the image that a folder becomes.", metavar="NAME")
    build_arg: tuple[str, ...] = knob(
        (), "Argument of the folder's Dockerfile; may be repeated.", metavar="KEY=VALUE"
    )
    pull: Pull = knob(  # noqa: RUF009  # knob() is dataclasses.field()
        Pull.MISSING, "When an image is fetched from its registry."
    )


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be run, with all that was given read.

    Parameters
    ----------
    name : str
        The task, as its user calls it.
    folder : TaskFolder or None
        To be built; None where `name` is an image's.
    """

    name: str
    folder: TaskFolder | None
    body: bytes
    limits: TaskLimits
    build_args: dict[str, str]
    options: RunOptions


def read_wish(task: str, options: RunOptions) -> Wish:
    """Read what ``lading run`` was given; warns of what is doubtful.

    Parameters
    ----------
    task : str
        A folder, or an image's name.
    options : RunOptions

    Raises
    ------
    InputError, ConfigError, InvalidLimit
        Names the flag, or the file.
    """
    folder = _folder(task)
    if folder is None and (options.tag is not None or options.build_arg):
        raise InputError(
            "--tag and --build-arg",
            f"are for task folders, and {task!r} is an image",
            fix=f"write ./{task} if it is a folder" if "/" not in task else "",
        )
    _positive("--timeout", options.timeout)
    _positive("--start-timeout", options.start_timeout)
    return Wish(
        name=task if folder is None else folder.name,
        folder=folder,
        body=_input(options.input, folder),
        limits=_limits(folder, options),
        build_args=_pairs(options.build_arg),
        options=options,
    )


def _folder(task: str) -> TaskFolder | None:
    if not task.startswith((".", "/", "~")) and not Path(task).is_dir():
        return None
    folder = read_folder(Path(task))
    for warning in folder.warnings:
        printing.warn(warning)
    if folder.missing:
        printing.warn(f"the task folder lacks {', '.join(folder.missing)}")
    return folder


def _input(given: str | None, folder: TaskFolder | None) -> bytes:
    if given is None:
        if folder is not None and folder.example_input is not None:
            return folder.example_input
        what = "the folder has no example_input.bin" if folder else "an image has no example input"
        raise InputError("--input", what, fix="give --input TEXT, --input @FILE or --input -")
    if given == "-":
        if sys.stdin.isatty():
            printing.note("reading the input from the terminal; Ctrl-D ends it")
        return sys.stdin.buffer.read()
    if not given.startswith("@"):
        return os.fsencode(given)
    path = Path(given[1:]).expanduser()
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError("--input", f"{path} can't be read: {error.strerror}") from None


def _limits(folder: TaskFolder | None, options: RunOptions) -> TaskLimits:
    limits = folder.limits if folder is not None else TaskLimits()
    if options.cpu is not None:
        limits = replace(limits, cpus=cores(options.cpu, "--cpu"))
    if options.memory is not None:
        limits = replace(limits, memory=size(options.memory, "--memory"))
    if options.gpus is not None:
        limits = replace(limits, gpus=options.gpus)
    if options.sgx is not None:
        limits = replace(limits, sgx=options.sgx)
    if limits.cpus < MIN_CPUS:
        raise InvalidLimit("--cpu", f"must be at least {MIN_CPUS} cores, not {limits.cpus:g}")
    if limits.gpus < 0:
        raise InvalidLimit("--gpus", f"must be at least 0, not {limits.gpus}")
    if limits.memory < MIN_MEMORY:
        least, given = format_bytes(MIN_MEMORY), format_bytes(limits.memory)
        raise InvalidLimit(
            "--memory", f"must be at least {least}, not {given}", fix="write it as 256Mi"
        )
    return limits


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not key or not equals:
            raise InputError("--build-arg", f"{item!r} is not KEY=VALUE")
        pairs[key] = value
    return pairs


def _positive(flag: str, seconds: float) -> None:
    if not 0 < seconds < float("inf"):
        raise InputError(flag, f"must be seconds, more than 0, not {seconds:g}")
