"""What ``lading run`` is asked to do with a task folder, or the image of one."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from lading.cli import printing
from lading.cli.places import looks_like_cid
from lading.cli.run_options import RunOptions, pairs, positive
from lading.contracts.meca.folder import TaskFolder, read_folder
from lading.contracts.meca.request import MIN_CPUS, MIN_MEMORY, TaskLimits
from lading.errors import InputError, InvalidLimit
from lading.units import cores, format_bytes, size

__all__ = ["Wish", "check_times", "limits_over", "named_folder", "only", "read_input", "read_wish"]


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
    folder = named_folder(task)
    if folder is None and (options.tag is not None or options.build_arg):
        raise InputError(
            "--tag and --build-arg",
            f"are for task folders, and {task!r} is an image",
            fix=f"write ./{task} if it is a folder" if "/" not in task else "",
        )
    check_times(options)
    return Wish(
        name=task if folder is None else folder.name,
        folder=folder,
        body=read_input(only(options.input), folder, task),
        limits=limits_over(folder.limits if folder is not None else TaskLimits(), options),
        build_args=pairs("--build-arg", "KEY=VALUE", options.build_arg),
        options=options,
    )


def check_times(options: RunOptions) -> None:
    """Check the times that are allowed.

    Raises
    ------
    InputError
        One is not above 0, or endless.
    """
    positive("--timeout", options.timeout)
    positive("--start-timeout", options.start_timeout)


def named_folder(task: str) -> TaskFolder | None:
    """Read the folder that a task's name is the path of; None where it is none.

    Raises
    ------
    ConfigError
        The folder is no task's, or a file in it can't be used.
    """
    if not task.startswith((".", "/", "~")) and not Path(task).is_dir():
        return None
    folder = read_folder(Path(task))
    for warning in folder.warnings:
        printing.warn(warning)
    if folder.missing:
        printing.warn(f"the task folder lacks {', '.join(folder.missing)}")
    return folder


def only(given: tuple[str, ...]) -> str | None:
    """Return the one input that a task that serves takes.

    Raises
    ------
    InputError
        There are several.
    """
    if len(given) > 1:
        raise InputError("--input", "a task of this kind takes one input")
    return given[0] if given else None


def read_input(given: str | None, folder: TaskFolder | None, task: str = "") -> bytes:
    """Read an input as the command line has it: text, ``@FILE``, ``-``, or the folder's example.

    Parameters
    ----------
    task : str
        As it was named, for the message.

    Raises
    ------
    InputError
        There is none, or the file can't be read.
    """
    if given is None:
        if folder is not None and folder.example_input is not None:
            return folder.example_input
        what = "the folder has no example_input.bin" if folder else "an image has no example input"
        fix = "give --input TEXT, --input @FILE or --input -"
        if looks_like_cid(task):
            what = "the executor fetches the task, and its example is not here"
        elif folder is None and task:
            fix += f"; if you mean a folder, there is no {task} here"
        raise InputError("--input", what, fix=fix)
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


def limits_over(limits: TaskLimits, options: RunOptions) -> TaskLimits:
    """Put what the command line says over what a task declares.

    Raises
    ------
    InvalidLimit
        Names the flag.
    """
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
