"""``lading migrate``: a legacy container becomes a processing-container."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli import images, loop, printing
from lading.cli.knobs import Given, engine_options, flags
from lading.cli.run_options import Pull
from lading.errors import InputError
from lading.settings import EngineOptions, state_directory

if TYPE_CHECKING:
    from lading.contracts.processing.legacy.drafting import Draft
    from lading.contracts.processing.legacy.examples import Example
    from lading.contracts.processing.legacy.migration import Legacy

commands = typer.Typer(rich_markup_mode=None)

_FOLDER = "--output"


@commands.command()
@flags(EngineOptions, into="engine")
def migrate(
    *,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The legacy container's image.")],
    inputs: Annotated[
        str | None,
        typer.Option("--in", metavar="DIR", help="A directory of items to run it on."),
    ] = None,
    outputs: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Where results are to go.")
    ] = None,
    folder: Annotated[
        str | None,
        typer.Option(
            _FOLDER, "-o", metavar="FOLDER", help="What to write. Default: the name, right here."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Of the new container. Default: the image's."),
    ] = None,
    build: Annotated[bool, typer.Option("--build", help="Build the new image, too.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write what was found to stdout as one JSON object.")
    ] = False,
    engine: Given,
) -> None:
    """Make a processing-container of a legacy container.

    Looks into the image, without running it, for the scripts that it starts and the variables that
    they read. Its program then runs unchanged. Writes a folder: a drafted
    processing-container.json, a Dockerfile FROM the old image, an adapter between channels and the
    old layout, a task.json, and a README.md that says what was found, and what to check by hand.
    """
    wish = _Wish(image, inputs, outputs, folder, name)
    options = engine_options(engine)
    legacy, draft = loop.run(lambda _signals: _migrate(wish, options, build=build))
    if as_json:
        printing.json(_as_json(legacy, draft, wish.folder, built=build))
    else:
        _show(legacy, draft, wish.folder, built=build)


class _Wish:
    """What was asked for, checked as far as it can be without an engine."""

    def __init__(
        self,
        image: str,
        inputs: str | None,
        outputs: str | None,
        folder: str | None,
        name: str | None,
    ) -> None:
        from lading.contracts.processing.legacy.drafting import default_name  # noqa: PLC0415
        from lading.contracts.processing.legacy.examples import Example  # noqa: PLC0415
        from lading.contracts.processing.legacy.writing import check_free  # noqa: PLC0415

        self.image = image
        if name is not None and default_name(name) != name:
            raise InputError(
                "--name",
                f"{name!r} can't be an image's name",
                fix=f"use lower case, digits, '.', '_' and '-', as in {default_name(name)!r}",
            )
        self.name = name or default_name(image)
        self.folder = Path(folder or self.name).expanduser().absolute()
        check_free(self.folder, _FOLDER)
        self.inputs: Example | None = Example.of(Path(inputs), "--in") if inputs else None
        self.outputs = Path(outputs).expanduser().absolute() if outputs else None
        if self.outputs is not None and self.outputs.exists() and not self.outputs.is_dir():
            raise InputError("--out", f"{self.outputs} is not a directory", fix="name another")


async def _migrate(wish: _Wish, options: EngineOptions, *, build: bool) -> tuple[Legacy, Draft]:
    from lading.contracts.processing.legacy import drafting, writing  # noqa: PLC0415
    from lading.contracts.processing.legacy.migration import inspect  # noqa: PLC0415
    from lading.engine.discovery import open_engine  # noqa: PLC0415
    from lading.run.ownership import Owner  # noqa: PLC0415

    async with await open_engine(options) as engine:
        image = await images.fetch(engine, wish.image, Pull.MISSING)
        owner = await asyncio.to_thread(Owner.claim, state_directory())
        try:
            legacy = await inspect(engine, image, reference=wish.image, labels=owner.labels())
        finally:
            owner.release()
        draft = await asyncio.to_thread(
            drafting.draft, legacy, name=wish.name, inputs=wish.inputs, outputs=wish.outputs
        )
        await asyncio.to_thread(writing.write, draft, wish.folder, _FOLDER)
        if build:
            await images.build(engine, wish.folder, tag=draft.image, args={}, labels={})
    return legacy, draft


def _show(legacy: Legacy, draft: Draft, folder: Path, *, built: bool) -> None:
    printing.pairs(
        {
            "program": " ".join(legacy.program),
            "scripts": ", ".join(script.path for script in legacy.scripts) or "none could be read",
            "channels": ", ".join(channel.name for channel in draft.channels),
            "variables": ", ".join(
                f"{item.name}={item.value}" if item.value else item.name
                for item in draft.parameters
            ),
            "wrote": str(folder),
            "image": draft.image if built else "",
        }
    )
    printing.line("check by hand:")
    for text in draft.checks:
        printing.line(f"  - {text}")
    if built:
        printing.note(f"next: lading run {folder / 'task.json'}")
    else:
        printing.note(f"next: the commands in {folder / 'README.md'}")


def _as_json(legacy: Legacy, draft: Draft, folder: Path, *, built: bool) -> dict[str, Any]:
    return {
        "name": draft.name,
        "image": draft.image,
        "built": built,
        "folder": str(folder),
        "files": sorted(draft.files),
        "program": list(legacy.program),
        "scripts": [script.path for script in legacy.scripts],
        "unread": legacy.unread,
        "channels": [
            {
                "name": item.name,
                "direction": "output" if item.output else "input",
                "mounted_path": item.mounted_path,
                "variable": item.variable,
            }
            for item in draft.channels
        ],
        "variables": [
            {
                "name": item.name,
                "value": item.value,
                "required": item.required,
                "type": item.type or "string",
                "places": list(item.places),
            }
            for item in draft.parameters
        ],
        "checks": draft.checks,
    }
