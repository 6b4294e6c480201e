"""``lading wait``: until runs have ended, whoever watches them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from lading.cli import failures, loop, printing
from lading.cli.knobs import Given, engine_options, flags
from lading.errors import InputError, LadingError, RecordNotFound
from lading.settings import EngineOptions, state_directory

if TYPE_CHECKING:
    from lading.run.records import Run

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
@flags(EngineOptions, into="engine")
def wait(
    *,
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN...", help="The beginning of a run's id, or a container's name or id."
        ),
    ] = None,
    engine: Given,
) -> None:
    """Wait until runs have ended; the exit code is the container's.

    A run has ended when its outputs are in their place and its record is finished; of one that
    ended yesterday that is known at once. Writes the exit code of each to stdout; with several, the
    first that is not 0 is the command's. Ctrl-C ends the waiting, not the run.
    """
    if not runs:
        raise InputError("RUN", "name at least one", fix="`lading ps` lists them")
    options = engine_options(engine)

    async def main(_signals: loop.Signals) -> int:
        codes = [await _one(name, options) for name in runs]
        return next((code for code in codes if code), 0)

    if code := loop.run(main):
        raise typer.Exit(code)


async def _one(name: str, options: EngineOptions) -> int:
    from lading.run.ending import code_of, explain_run  # noqa: PLC0415

    try:
        run = _ended(name) or await _end(name, options)
    except LadingError as error:
        return failures.report(error)
    if isinstance(run, int):
        printing.line(str(run))
        return run
    if why := explain_run(run):
        failures.report(why)
    code = code_of(run)
    printing.line(str(code))
    return code


def _ended(name: str) -> Run | None:
    """Find a run that has ended, for which nobody needs an engine."""
    from lading.run.records import Records, records_path  # noqa: PLC0415

    with contextlib.closing(Records(records_path(state_directory()))) as records:
        try:
            run = records.get(name) if name else None
        except RecordNotFound:
            return None
    return run if run is not None and run.finished is not None else None


async def _end(name: str, options: EngineOptions) -> Run | int:
    """Wait for the end of a run; of one that others recorded, its container's exit code is all."""
    from lading.cli.targets import find, places  # noqa: PLC0415
    from lading.run.waiting import until_finished  # noqa: PLC0415

    async with places(options) as (engine, records):
        target = await find(engine, records, name)
        if target.run is not None:
            return await until_finished(engine, records, state_directory(), target.run.id)
        assert target.container is not None
        container = await engine.container(target.container.id)
        return (await container.wait()).code
