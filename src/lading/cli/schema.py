"""``lading schema``: what editors check files by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lading.cli import printing
from lading.contracts.processing.reading.schemas import schema_text
from lading.errors import InputError

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
def schema(
    *,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="pc (processing-container.json) or task (task.json).",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Write it there, not to stdout.")
    ] = "",
) -> None:
    """Write the JSON Schema of a kind of file, for editors.

    JSON Schema 2020-12. It is the letter of the format: `lading validate` warns of what it does
    not allow, and accepts it where it is meant beyond doubt.
    """
    text = schema_text(kind)
    if not output:
        printing.result(text.encode())
        return
    try:
        Path(output).write_text(text, "utf-8")
    except OSError as error:
        raise InputError("--output", f"{output} can't be written: {error.strerror}") from None
    printing.note(f"wrote {output}")
