"""``lading new``: the folder of a task that works, to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lading.cli import printing
from lading.cli.check import CONTRACTS
from lading.errors import InputError

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
def new(
    *,
    contract: Annotated[str, typer.Argument(metavar="CONTRACT", help="meca, processing or golem.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the task: word-count.")],
    template: Annotated[
        str,
        typer.Option(
            "--template",
            "-t",
            metavar="TEMPLATE",
            help="For meca: python (nothing to install), flask, fastapi, c (a compiled program).",
        ),
    ] = "",
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FOLDER", help="Default: the name, right here."),
    ] = "",
) -> None:
    """Write the folder of a new task, to begin with.

    It builds as it is, and passes lading check, lading test and its own unit test at once: replace
    its work by yours. meca is a server that answers calls, processing a container that runs to its
    end over directories, golem an application whose tasks are split over many nodes.

    The name may be in any script: it becomes the folder's, and stands in the files. For golem it
    names an image and a Python package, and is in small letters, digits and -.
    """
    folder = Path(output or name).expanduser()
    written = _written(contract, name, folder, template)
    printing.note(f"wrote {len(written)} files to {folder}: begin with its README.md")
    for path in written:
        printing.line(str(folder / path))


def _written(contract: str, name: str, folder: Path, template: str) -> list[Path]:
    if contract not in CONTRACTS:
        raise InputError(
            "CONTRACT", f"{contract!r} is none", fix=f"use one of {', '.join(CONTRACTS)}"
        )
    if contract == "meca":
        from lading.contracts.meca.scaffold import write_task  # noqa: PLC0415

        return write_task(name, folder, template or "python")
    if template not in ("", "python"):
        raise InputError(
            "--template", f"there is no {template!r} for {contract}", fix="leave it out"
        )
    if contract == "processing":
        from lading.contracts.processing.scaffold import write_container  # noqa: PLC0415

        return write_container(name, folder)
    from lading.contracts.golem.scaffold import write_application  # noqa: PLC0415

    return write_application(name, folder)
