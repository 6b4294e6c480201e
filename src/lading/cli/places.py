"""Where a task comes from and where it runs, if not from here and here: addresses, and their flags.

``ipfs://CID`` is a task by its content, ``registry://HOST/NAME:TAG`` an image at a registry,
``http://HOST:2591`` an executor.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.cli.run_options import positive
from lading.contracts.meca.addresses import is_address
from lading.errors import ConfigError, InputError
from lading.settings import from_environment, knob
from lading.units import MIB, format_bytes

if TYPE_CHECKING:
    from lading.content.cid import Cid
    from lading.content.fetching import BlockSource

__all__ = [
    "IPFS",
    "REGISTRY",
    "ContentOptions",
    "PlaceOptions",
    "at_registry",
    "content_options",
    "destination",
    "fetch",
    "looks_like_cid",
    "source",
]

IPFS = "ipfs://"
REGISTRY = "registry://"


@dataclass(frozen=True, slots=True)
class ContentOptions:
    """How content by address is had."""

    ipfs_api: str = knob(
        "http://127.0.0.1:5001",
        "The IPFS node to use: the address of its RPC interface.",
        metavar="URL",
    )
    fetch_timeout: float = knob(
        60.0, "Seconds without anything new after which a fetch is given up.", metavar="SECONDS"
    )
    max_task: int = knob(4096, "MiB that what is fetched may have.", metavar="MiB")


@dataclass(frozen=True, slots=True)
class PlaceOptions:
    """The flags of ``lading run`` for tasks from elsewhere, or run elsewhere."""

    on: str | None = knob(
        None,
        "Run it on the executor there, and not here; LADING_TOKEN is its token.",
        metavar="URL",
    )
    receipt: str | None = knob(
        None, "With --on: write the executor's signed receipt to this file.", metavar="FILE"
    )
    idempotency_key: str | None = knob(
        None,
        "With --on: a name for this execution; sent twice, it is billed once.",
        metavar="KEY",
    )
    car: str | None = knob(
        None, "Take ipfs://CID from this CAR file; no node is asked.", metavar="FILE"
    )


def content_options(given: Mapping[str, Any]) -> ContentOptions:
    """Put the options together: default, then variable, then what was given.

    Raises
    ------
    ConfigError, InputError
        A number is none, or not a possible one.
    """
    values: dict[str, Any] = {**from_environment(ContentOptions), **given}
    try:
        timeout = float(values.get("fetch_timeout", ContentOptions().fetch_timeout))
        most = int(values.get("max_task", ContentOptions().max_task))
    except ValueError as error:
        raise ConfigError("LADING_FETCH_TIMEOUT, LADING_MAX_TASK", str(error)) from None
    positive("--fetch-timeout", timeout)
    if most <= 0:
        raise InputError("--max-task", f"must be MiB, more than 0, not {most}")
    return ContentOptions(str(values.get("ipfs_api", ContentOptions().ipfs_api)), timeout, most)


def looks_like_cid(task: str) -> bool:
    """Whether a task's name is an address of content, rather than a folder or an image's name."""
    return is_address(task) and (task.startswith(IPFS) or not Path(task).exists())


def destination(flag: str, place: str | None) -> str | None:
    """Read where something is published to, or comes from.

    Returns
    -------
    str or None
        The image's name at its registry; None for IPFS.

    Raises
    ------
    InputError
        It is neither.
    """
    if place == IPFS:
        return None
    if place and place.startswith(REGISTRY) and place != REGISTRY:
        return at_registry(flag, place)
    what = "is missing" if not place else f"{place!r} is no place to publish to"
    if place and place.startswith(IPFS):
        what = f"{place!r} has a CID already: it is made of what is published"
    raise InputError(flag, what, fix=f"write {IPFS} or {REGISTRY}HOST/NAME:TAG")


def at_registry(flag: str, place: str) -> str:
    """Read the name of an image at a registry.

    Raises
    ------
    InputError
        It names no registry, or no image.
    """
    from lading.engine.reference import parse  # noqa: PLC0415
    from lading.errors import ImageNameInvalid  # noqa: PLC0415

    ref = place.removeprefix(REGISTRY)
    try:
        parse(ref)
    except ImageNameInvalid as error:
        raise InputError(flag, error.message, fix=error.fix) from None
    host, slash, _ = ref.partition("/")
    if not slash or not (host == "localhost" or "." in host or ":" in host):
        raise InputError(flag, f"{place!r} names no registry", fix=f"write {REGISTRY}HOST/NAME:TAG")
    return ref


@contextlib.asynccontextmanager
async def source(options: ContentOptions, car: str | None) -> AsyncIterator[BlockSource]:
    """Open what blocks are read from: a CAR file where one is given, otherwise the IPFS node.

    Raises
    ------
    InputError
        The CAR file can't be read, or is none.
    NodeUnreachable
        The node does not answer.
    """
    if car is not None:
        from lading.content.car import CarFile  # noqa: PLC0415

        async with CarFile(Path(car)) as file:
            yield file
        return
    from lading.content.ipfs import Node  # noqa: PLC0415

    async with Node(options.ipfs_api, timeout=options.fetch_timeout) as node:
        yield node


async def fetch(cid: Cid, target: Path, options: ContentOptions, car: str | None) -> None:
    """Fetch content with progress, every block verified.

    Raises
    ------
    ContentNotFound, ContentRefused, NodeUnreachable, InputError
        It can't be had, or is not what its address says; nothing is left at `target`.
    """
    from lading.cli import printing  # noqa: PLC0415
    from lading.content.fetching import fetch as fetch_blocks  # noqa: PLC0415

    async with source(options, car) as blocks:
        with printing.Live(f"fetch {cid}") as live:
            live("asking for it")
            await fetch_blocks(
                blocks,
                cid,
                target,
                limit=options.max_task * MIB,
                timeout=options.fetch_timeout,
                progress=lambda done: live.part(format_bytes(done), None),
            )
