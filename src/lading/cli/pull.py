"""``lading pull``: a published task fetched, every block verified, or its image pulled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lading.cli import loop, printing
from lading.cli.knobs import Given, engine_options, flags
from lading.cli.places import (
    IPFS,
    REGISTRY,
    ContentOptions,
    at_registry,
    content_options,
    fetch,
    looks_like_cid,
)
from lading.contracts.meca.addresses import cid_of
from lading.errors import InputError
from lading.settings import EngineOptions

if TYPE_CHECKING:
    from lading.engine import ImageInfo

__all__ = ["commands"]

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
@flags(EngineOptions, into="engine")
@flags(ContentOptions, into="content")
def pull(
    *,
    address: Annotated[
        str,
        typer.Argument(
            metavar="ipfs://CID|registry://HOST/NAME:TAG",
            help="What `lading push` printed.",
        ),
    ],
    car: Annotated[
        str | None,
        typer.Option("--car", metavar="FILE", help="Take it from this CAR file; no node is asked."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Where it goes; there must be nothing yet. Default: the last 10 characters of "
            "its CID.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write what was fetched as one JSON object.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    content: Given,
    engine: Given,
) -> None:
    """Fetch a task from a registry or from IPFS, every block verified.

    From ipfs:// it becomes a folder, which appears when all of it is there; what is executable is
    not kept by IPFS. From registry:// the image is pulled into the engine. The folder's path, or
    the image's name, is written to stdout.
    """
    if quiet:
        printing.be_quiet()
    if looks_like_cid(address):
        cid = cid_of(address)
        target = Path(output or cid.short).expanduser()
        options = content_options(content)
        loop.run(lambda _: fetch(cid, target, options, car))
        _show(as_json, str(target), {"address": f"{IPFS}{cid}", "folder": str(target)})
        return
    for flag, value in (("--car", car), ("--output", output)):
        if value is not None:
            raise InputError(flag, f"is for {IPFS}: from a registry comes an image and no file")
    if not address.startswith(REGISTRY):
        raise InputError(
            "ADDRESS",
            f"{address!r} is none",
            fix=f"write {IPFS}CID or {REGISTRY}HOST/NAME:TAG",
        )
    ref = at_registry("ADDRESS", address)
    image = loop.run(lambda _: _pull(ref, engine_options(engine)))
    _show(as_json, ref, {"image": ref, "image_id": image.id, "digests": list(image.digests)})


def _show(as_json: bool, line: str, value: dict[str, object]) -> None:
    if as_json:
        printing.json(value)
    else:
        printing.line(line)


async def _pull(ref: str, which: EngineOptions) -> ImageInfo:
    from lading.content.registry import pull as pull_image  # noqa: PLC0415
    from lading.engine.discovery import open_engine  # noqa: PLC0415

    async with await open_engine(which) as engine:
        with printing.Live(f"pull {ref}") as live:
            return await pull_image(engine, ref, progress=printing.layers(live))
