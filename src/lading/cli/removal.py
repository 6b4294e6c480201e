"""``lading stop`` and ``lading rm``: runs are ended, and what nobody watches is removed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from lading.cli import failures, loop, printing
from lading.cli.knobs import Given, engine_options, flags
from lading.errors import ContainerNotFound, InputError, LadingError
from lading.settings import EngineOptions, state_directory

if TYPE_CHECKING:
    from lading.cli.targets import Target
    from lading.engine import Engine
    from lading.run.records import Records

commands = typer.Typer(rich_markup_mode=None)

RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN...", help="The beginning of a run's id, or a container's name or id."
    ),
]
_Work = Callable[["Engine", "Records", "Target"], Awaitable[None]]


@commands.command()
@flags(EngineOptions, into="engine")
def stop(
    *,
    runs: RunsArgument = None,
    grace: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="Time between SIGTERM and SIGKILL."),
    ] = 10.0,
    engine: Given,
) -> None:
    """Stop runs: their containers end and are removed.

    Whoever watches a run removes its container and writes down that it was cancelled; where nobody
    does, this command does.
    """

    async def one(opened: Engine, records: Records, target: Target) -> None:
        name = _container(target)
        if target.run is not None and target.runs:
            await asyncio.to_thread(records.mark_stopping, target.run.id)
        try:
            container = await opened.container(name)
            await container.stop(grace)
        except ContainerNotFound:
            return  # whoever watches it was faster
        if target.owner_is_dead:
            await container.remove()
            _write_down(records, target, "stopped by hand; the process that watched it had died")

    _each(runs or [], engine, one)


@commands.command()
@flags(EngineOptions, into="engine")
def rm(
    *,
    runs: RunsArgument = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything whose process is dead: containers, networks.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Also what somebody watches, at once.")
    ] = False,
    engine: Given,
) -> None:
    """Remove containers that nobody watches any more.

    What a live process watches is only removed with --force: that process then reports the run as
    lost.
    """
    if everything:
        if runs:
            raise InputError("--all", "stands alone", fix="leave out either --all or the names")
        _sweep(engine)
        return

    async def one(opened: Engine, records: Records, target: Target) -> None:
        dead = target.owner_is_dead
        container = await opened.container(_container(target))
        if not dead and not force:
            raise InputError(
                target.id,
                "a live process watches it",
                fix=f"`lading stop {target.id}` ends it in good order, --force removes it at once",
            )
        await container.remove()
        if dead:
            _write_down(records, target, "removed by hand; the process that watched it had died")

    _each(runs or [], engine, one)


def _container(target: Target) -> str:
    if target.container is None:
        raise ContainerNotFound(
            f"run {target.id} ({target.state}) has no container any more",
            fix="`lading rm --all` ends the records of those whose process is dead"
            if target.state == "lost"
            else "",
        )
    return target.container.id


def _write_down(records: Records, target: Target, error: str) -> None:
    from lading.run.records import RunState  # noqa: PLC0415

    if target.run is not None and target.run.finished is None:
        records.finish(target.run.id, RunState.LOST, error=error)


def _each(names: list[str], given: Given, work: _Work) -> None:
    """Do the work for each; one that fails doesn't keep the others from it."""
    if not names:
        raise InputError("RUN", "name at least one", fix="`lading ps` lists them")
    options = engine_options(given)

    async def main(_signals: loop.Signals) -> int:
        from lading.cli.targets import find, places  # noqa: PLC0415

        code = 0
        async with places(options) as (opened, records):
            for name in names:
                try:
                    target = await find(opened, records, name)
                    await work(opened, records, target)
                except LadingError as error:
                    failure = failures.report(error)
                    code = code or failure
                else:
                    printing.line(target.id)
        return code

    if code := loop.run(main):
        raise typer.Exit(code)


def _sweep(given: Given) -> None:
    options = engine_options(given)

    async def main(_signals: loop.Signals) -> int:
        from lading.cli.targets import places  # noqa: PLC0415
        from lading.run.ownership import sweep  # noqa: PLC0415

        async with places(options) as (opened, records):
            report = await sweep(opened, state_directory(), records)
        for name in (*report.containers, *report.networks):
            printing.line(name)
        printing.note(
            f"removed {len(report.containers)} containers and {len(report.networks)} networks; "
            f"{report.lost} runs were lost"
        )
        for failed in report.failed:
            printing.error(f"could not be removed: {failed}")
        return 1 if report.failed else 0

    if code := loop.run(main):
        raise typer.Exit(code)
