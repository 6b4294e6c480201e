"""``lading run``: a task once, whatever contract it is written for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from lading.cli import printing
from lading.cli.knobs import Given, engine_options, flags
from lading.cli.run_options import Order, ProcessingOptions, RunOptions, positive
from lading.contracts.processing import FILE_NAME
from lading.errors import InputError
from lading.settings import EngineOptions

commands = typer.Typer(rich_markup_mode=None)

_PROCESSING = frozenset(item.name for item in fields(ProcessingOptions))
_SERVER_ONLY = frozenset(("start_timeout", "sgx"))
_FOLDER_ONLY = _SERVER_ONLY | {"tag", "build_arg"}
_CHOOSES_TEMPLATE = frozenset(("template", "set", "output"))
"""Flags that tell an image of a processing-container from one of a task that serves."""
_CHAIN = frozenset(("map", "resume", "parallel", "work"))


@commands.command()
@flags(EngineOptions, into="engine")
@flags(ProcessingOptions, into="wanted")
@flags(RunOptions, into="given")
def run(
    *,
    tasks: Annotated[
        list[str],
        typer.Argument(
            metavar="FOLDER|IMAGE|TASK.json...",
            help="A folder to build, an image's name, or task files of processing-containers.",
        ),
    ],
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Let the container run on after the reply, until Ctrl-C."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write reply and figures to stdout as one JSON object.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, no log of the task, no summary.")
    ] = False,
    given: Given,
    wanted: Given,
    engine: Given,
) -> None:
    """Run a task once: a task folder, an image, or task files.

    A folder is built first. The reply of a task that serves goes to stdout, byte for byte;
    progress, what the task prints and a summary go to stderr.

    A task.json, an image with --template, or a folder with a processing-container.json runs a
    processing-container to its end over the directories of its channels; the exit code is the
    container's.

    The container is removed whatever happens. It is limited and has next to no capabilities, but
    it has the engine's usual network: --no-network cuts it off.
    """
    if quiet:
        printing.be_quiet()
    options = engine_options(engine)
    if _are_for_processing(tasks, given) or wanted.keys() & _CHOOSES_TEMPLATE:
        built = Path(tasks[0]).is_dir()
        _refuse(given.keys() & (_SERVER_ONLY if built else _FOLDER_ONLY), "task folders", tasks)
        if keep:
            raise InputError("--keep", "is for task folders: a processing-container ends by itself")
        if len(tasks) > 1 or wanted.keys() & _CHAIN:
            if wanted.get("detach"):
                raise InputError("--detach", "is for one task: a chain has to be watched")
            from lading.cli.run_chain import run_chain as run_it  # noqa: PLC0415
        elif wanted.get("detach"):
            from lading.cli.run_detached import run_detached as run_it  # noqa: PLC0415
        else:
            from lading.cli.run_processing import run_processing as run_it  # noqa: PLC0415

        timeout = given.get("timeout")
        if timeout is not None:
            positive("--timeout", timeout)
        order = Order(
            tasks, RunOptions(**given), ProcessingOptions(**wanted), options, as_json, timeout
        )
        if code := run_it(order):
            raise typer.Exit(code)
        return
    _refuse(wanted.keys(), "processing-containers", tasks)
    if len(tasks) > 1:
        raise InputError("FOLDER|IMAGE", "only task files can be run several at once")
    from lading.cli.run_meca import run_task  # noqa: PLC0415
    from lading.cli.wish import read_wish  # noqa: PLC0415

    wish = read_wish(tasks[0], RunOptions(**given))
    run_task(wish, options, keep=keep, as_json=as_json, quiet=quiet)


def _are_for_processing(tasks: list[str], given: Given) -> bool:
    """Whether these are task files, a folder says what it offers, or inputs are directories.

    One that is so makes the others so.
    """
    return any(
        task.endswith(".json") or Path(task).is_file() or Path(task, FILE_NAME).is_file()
        for task in tasks
    ) or any(
        "=" in text and Path(text.partition("=")[2]).is_dir() for text in given.get("input", ())
    )


def _refuse(names: Iterable[str], whose: str, tasks: list[str]) -> None:
    for name in sorted(names):
        flag = "--" + name.replace("_", "-")
        raise InputError(flag, f"is for {whose}, and {tasks[0]!r} is none")
