"""``lading run``: a task once, whatever contract it is written for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from lading.cli import printing
from lading.cli.knobs import Given, engine_options, flags
from lading.cli.places import ContentOptions, PlaceOptions, content_options, looks_like_cid
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
_OF_EXECUTORS = frozenset(("receipt", "idempotency_key"))
_OF_ADDRESSES = frozenset(("car", *(item.name for item in fields(ContentOptions))))


@commands.command()
@flags(EngineOptions, into="engine")
@flags(ProcessingOptions, into="wanted")
@flags(RunOptions, into="given")
@flags(PlaceOptions, into="place")
@flags(ContentOptions, into="content")
def run(
    *,
    tasks: Annotated[
        list[str],
        typer.Argument(
            metavar="FOLDER|IMAGE|ipfs://CID|TASK.json...",
            help="A folder to build, an image's name, the address of a published task, or task "
            "files of processing-containers.",
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
    place: Given,
    content: Given,
    engine: Given,
) -> None:
    """Run a task once: a task folder, an image, or task files.

    A folder is built first. What is published at ipfs://CID is fetched, every block verified, and
    then built. With --on, an executor elsewhere does it. The reply of a task that serves goes to
    stdout, byte for byte; progress, what the task prints and a summary go to stderr.

    A task.json, an image with --template, or a folder with a processing-container.json runs a
    processing-container to its end over the directories of its channels; the exit code is the
    container's.

    The container is removed whatever happens. It is limited and has next to no capabilities, but
    it has the engine's usual network: --no-network cuts it off.
    """
    if quiet:
        printing.be_quiet()
    options = engine_options(engine)
    where = PlaceOptions(**place)
    _refuse_places(tasks, place, content)
    if _are_for_processing(tasks, given) or wanted.keys() & _CHOOSES_TEMPLATE:
        order = Order(
            tasks, RunOptions(**given), ProcessingOptions(**wanted), options, as_json,
            given.get("timeout"),
        )  # fmt: skip
        _run_processing(order, given, wanted, keep=keep, on=where.on)
        return
    _refuse(wanted.keys(), "processing-containers", tasks)
    if len(tasks) > 1:
        raise InputError("FOLDER|IMAGE", "only task files can be run several at once")
    task, asked = tasks[0], RunOptions(**given)
    if where.on is not None:
        from lading.cli.remote import run_remotely  # noqa: PLC0415

        run_remotely(task, asked, where, keep=keep, as_json=as_json)
        return
    if looks_like_cid(task):
        from lading.cli.run_content import run_content  # noqa: PLC0415

        fetched = content_options(content)
        run_content(task, asked, where, fetched, options, keep=keep, as_json=as_json, quiet=quiet)
        return
    from lading.cli.run_meca import run_task  # noqa: PLC0415
    from lading.cli.wish import read_wish  # noqa: PLC0415

    wish = read_wish(task, asked)
    run_task(wish, options, keep=keep, as_json=as_json, quiet=quiet)


def _run_processing(
    order: Order, given: Given, wanted: Given, *, keep: bool, on: str | None
) -> None:
    """Run processing-containers: one, detached maybe, or a chain."""
    if on is not None:
        raise InputError("--on", "is for tasks that serve: processing-containers run here")
    tasks = order.tasks
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

    if order.timeout is not None:
        positive("--timeout", order.timeout)
    if code := run_it(order):
        raise typer.Exit(code)


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


def _refuse_places(tasks: list[str], place: Given, content: Given) -> None:
    """Refuse flags that mean nothing for where this task comes from, or for where it runs."""
    if place.get("on") is None:
        for name in sorted(place.keys() & _OF_EXECUTORS):
            raise InputError("--" + name.replace("_", "-"), "is for runs --on an executor")
        if not looks_like_cid(tasks[0]):
            _refuse((place.keys() | content.keys()) & _OF_ADDRESSES, "ipfs://CID", tasks)
        return
    for name in sorted((place.keys() | content.keys()) & _OF_ADDRESSES):
        flag = "--" + name.replace("_", "-")
        raise InputError(flag, "is for runs here: the executor fetches a task itself")


def _refuse(names: Iterable[str], whose: str, tasks: list[str]) -> None:
    for name in sorted(names):
        flag = "--" + name.replace("_", "-")
        raise InputError(flag, f"is for {whose}, and {tasks[0]!r} is none")
