"""``lading golem new``: the folder of an application that works, to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lading.cli import printing

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
def new(
    *,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the application: word-count, for example.")
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FOLDER", help="Default: the name, right here."),
    ] = "",
) -> None:
    """Write the folder of a new application, to begin with.

    It counts the words of text files, builds as it is, and passes its own tests: replace its work
    by yours. The name becomes that of its image, and of its Python package with _ for -.
    """
    from lading.contracts.golem.scaffold import write_application  # noqa: PLC0415

    folder = Path(output or name).expanduser()
    written = write_application(name, folder)
    printing.note(f"wrote {len(written)} files to {folder}: begin with its README.md")
    for path in written:
        printing.line(str(folder / path))


@commands.callback()
def _commands() -> None:
    """Keep the name: a single command would be called without it."""
