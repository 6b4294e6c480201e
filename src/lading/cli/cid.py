"""``lading cid``: the address that a file or folder has, before anybody was given it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli import printing
from lading.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from lading.content.adding import Added
    from lading.content.cid import Cid

commands = typer.Typer(rich_markup_mode=None)

_TOLD_EVERY = 64 << 20


@commands.command()
def cid(
    *,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Files and folders.", show_default=False)
    ],
    hidden: Annotated[
        bool,
        typer.Option(
            "--hidden", help="Take what begins with a dot as well; ipfs add -r leaves it out."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Print the CID of a file or folder, without a node.

    It is the one that ipfs add -r --cid-version=1 makes with Kubo's defaults: raw leaves, pieces of
    262144 bytes, 174 links to a block. Of several, each is printed with its path.
    """
    from lading.content.adding import PROFILE, add_path  # noqa: PLC0415

    described: list[dict[str, Any]] = []
    for path in paths:
        with printing.Live(str(path)) as live:
            added = add_path(path, _watched(live) if live.moves else None, hidden=hidden)
        described.append(_described(path, added))
        if not as_json:
            printing.line(str(added.cid) if len(paths) == 1 else f"{added.cid}  {path}")
    if as_json:
        printing.json({"profile": {**PROFILE, "hidden": hidden}, "paths": described})


def _described(path: Path, added: Added) -> dict[str, Any]:
    return {
        "path": str(path),
        "cid": str(added.cid),
        "short": added.cid.short,
        "size": added.size,
        "files": added.files,
        "blocks": added.blocks,
    }


def _watched(live: printing.Live) -> Callable[[Cid, bytes], None]:
    """Show how far it is, where a person looks."""
    done = told = 0

    def seen(_cid: Cid, block: bytes) -> None:
        nonlocal done, told
        done += len(block)
        if done - told >= _TOLD_EVERY:
            told = done
            live(format_bytes(done))

    return seen
