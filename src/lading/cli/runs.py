"""``lading ps``, ``logs`` and ``inspect``: what runs, what ran, and what it says."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli import loop, printing
from lading.cli.knobs import Given, engine_options, flags
from lading.cli.moments import SECONDS, moment
from lading.errors import (
    ContainerNotFound,
    EngineUnreachable,
    LadingError,
    RecordError,
    RecordNotFound,
)
from lading.settings import EngineOptions, state_directory
from lading.units import format_bytes, format_cores, format_seconds

if TYPE_CHECKING:
    from lading.cli.targets import Target
    from lading.engine import Engine, Limits
    from lading.run.records import Records, Run
    from lading.run.usage import Usage

commands = typer.Typer(rich_markup_mode=None)

RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="The beginning of a run's id, or a container's name or id."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@commands.command()
@flags(EngineOptions, into="engine")
def ps(
    *,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Recent runs too, though they have ended.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Runs since then: 30m, 2h, 3d, or 2026-01-31T12:00."),
    ] = None,
    calls: Annotated[
        bool, typer.Option("--calls", help="Also each call that a warm container served.")
    ] = False,
    last: Annotated[
        int, typer.Option("--last", "-n", metavar="N", help="At most so many ended runs.")
    ] = 20,
    as_json: JsonOption = False,
    engine: Given,
) -> None:
    """List the containers that Lading runs, and recent runs.

    A run is lost if the process that watched it died: the next start of Lading removes what it
    left, and so does `lading rm --all`.
    """
    begin = moment(since) if since is not None else None
    if begin is not None or calls:
        everything = True
    options = engine_options(engine)

    async def main(_signals: loop.Signals) -> list[dict[str, Any]]:
        from lading.cli.targets import places  # noqa: PLC0415

        async with places(options) as (opened, records):
            return await _list(
                opened, records, everything=everything, since=begin or 0.0, last=last, calls=calls
            )

    rows = loop.run(main)
    if as_json:
        printing.json(rows)
    else:
        _show(rows)


@commands.command()
@flags(EngineOptions, into="engine")
def logs(
    *,
    run: RunArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the container ends.")
    ] = False,
    tail: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Begin with the last N lines.")
    ] = None,
    engine: Given,
) -> None:
    """Show what a run's container prints, or printed.

    Its stdout goes to stdout and its stderr to stderr, byte for byte. A log that was kept is there
    although the container is gone.
    """
    options = engine_options(engine)

    async def main(_signals: loop.Signals) -> None:
        from lading.cli.targets import find, places  # noqa: PLC0415
        from lading.run.log_reading import run_log  # noqa: PLC0415

        async with contextlib.AsyncExitStack() as stack:
            engine_there: Engine | None = None
            try:
                opened, records = await stack.enter_async_context(places(options))
                target = await find(opened, records, run)
                engine_there = opened
            except EngineUnreachable as away:
                target = await _kept(run, away)
            chunks = run_log(
                engine_there,
                target.container,
                state_directory(),
                target.id,
                follow_on=follow,
                tail=tail,
                missing=_missing,
            )
            try:
                async for chunk in chunks:
                    printing.passed_on(chunk.data, to_stdout=chunk.stream == "stdout")
            except RecordNotFound as error:
                raise _gone(target) from error

    loop.run(main)


@commands.command()
@flags(EngineOptions, into="engine")
def inspect(*, run: RunArgument, as_json: JsonOption = False, engine: Given) -> None:
    """Show all that is known of a run.

    Its record, and its container while there is one.
    """
    options = engine_options(engine)

    async def main(_signals: loop.Signals) -> dict[str, Any]:
        from lading.cli.targets import find, places  # noqa: PLC0415

        async with places(options) as (opened, records):
            target = await find(opened, records, run)
            return await _describe(opened, target, everything=True)

    known = loop.run(main)
    if as_json:
        printing.json(known)
    else:
        from lading.cli.inspected import for_people  # noqa: PLC0415

        printing.pairs(for_people(known))


async def _kept(name: str, away: EngineUnreachable) -> Target:
    """Find a run although no engine answers: what was kept of it can be read all the same."""
    from lading.cli.targets import Target  # noqa: PLC0415
    from lading.run.log_reading import is_kept  # noqa: PLC0415
    from lading.run.records import Records, records_path  # noqa: PLC0415

    try:
        with contextlib.closing(Records(records_path(state_directory()))) as records:
            run = records.get(name)
    except RecordError:
        raise away from None
    if not await asyncio.to_thread(is_kept, state_directory(), run.id):
        raise away
    return Target(run, None)


def _missing(size: int) -> None:
    printing.warn(f"{format_bytes(size)} of the log before this were not kept")


def _gone(target: Target) -> ContainerNotFound:
    said = f"; it ended so: {target.run.error}" if target.run and target.run.error else ""
    return ContainerNotFound(
        f"run {target.id} ({target.state}) has no container any more, "
        f"and its log went with it{said}",
        fix=f"`lading inspect {target.id}` shows what was recorded",
    )


# Collecting.


async def _list(
    engine: Engine, records: Records, *, everything: bool, since: float, last: int, calls: bool
) -> list[dict[str, Any]]:
    from lading.cli.targets import Target, ours, record_of  # noqa: PLC0415
    from lading.run.records import Kind  # noqa: PLC0415

    targets = {}
    for info in await ours(engine):
        target = Target(record_of(records, info), info)
        targets[target.id] = target
    if everything:
        kind = None if calls else Kind.CONTAINER
        for run in records.list(kind=kind, since=since, limit=last):
            targets.setdefault(run.id, Target(run, None))
    rows = await asyncio.gather(*(_describe(engine, target) for target in targets.values()))
    return sorted(rows, key=lambda row: str(row["created"]), reverse=True)


async def _describe(engine: Engine, target: Target, *, everything: bool = False) -> dict[str, Any]:
    from lading.run.creation import CONTRACT_LABEL, TASK_LABEL  # noqa: PLC0415
    from lading.run.ownership import OWNER_LABEL  # noqa: PLC0415

    run, info = target.run, target.container
    usage, limits = await _now(engine, target)
    labels = info.labels if info else {}
    known: dict[str, Any] = {
        "run": target.id,
        "task": run.name if run else labels.get(TASK_LABEL) or labels.get("lading.image", ""),
        "contract": run.contract if run else labels.get(CONTRACT_LABEL, ""),
        "kind": str(run.kind) if run else "container",
        "state": target.state,
        "created": _utc(run.created if run else info.created.timestamp() if info else None),
        "started": _utc(run.started) if run else None,
        "finished": _utc(run.finished) if run else None,
        "image": run.image if run else info.image if info else "",
        "container": info.name if info else run.container_name if run else None,
        "container_id": info.id if info else None,
        "cpus": run.cpus if run else limits.cpus,
        "memory_limit": run.memory if run else limits.memory,
        "memory": usage.memory if usage else None,
        "memory_peak": usage.memory_peak if usage else run.memory_peak if run else None,
        "cpu_seconds": usage.cpu_seconds if usage else run.cpu_seconds if run else None,
        "exit_code": run.exit_code if run else None,
        "error": run.error if run else "",
    }
    if everything:
        known["owner"] = run.owner if run else labels.get(OWNER_LABEL)
        if run:
            more = dataclasses.asdict(run)
            names = ("parent", "image_id", "out_of_memory", "input_bytes", "output_bytes")
            known |= {name: more[name] for name in names}
            known |= {name: item for name, item in _detail(run).items() if name not in known}
        if info:
            known |= {"container_state": str(info.state), "labels": dict(info.labels)}
            known["networks"] = dict(info.networks)
    return known


def _detail(run: Run) -> dict[str, Any]:
    """Read what only the contract of a run knows of it."""
    try:
        detail = json.loads(run.detail)
    except ValueError:  # somebody else's hand
        return {}
    return detail if isinstance(detail, dict) else {}


async def _now(engine: Engine, target: Target) -> tuple[Usage | None, Limits]:
    """Look at what its container uses, and may use where no record says it."""
    from lading.engine import Limits  # noqa: PLC0415
    from lading.run.usage import Meter  # noqa: PLC0415

    if target.container is None:
        return None, Limits()
    try:
        container = await engine.container(target.container.id)
        limits = Limits() if target.run else (await container.inspect()).limits
        return await Meter(container).look(), limits
    except LadingError:  # it ended meanwhile
        return None, Limits()


def _utc(moment: float | None) -> str | None:
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")


# Showing.


def _show(rows: list[dict[str, Any]]) -> None:
    heads = ("RUN", "TASK", "STATE", "CREATED", "CORES", "MEMORY", "CPU TIME", "CONTAINER")
    printing.table(heads, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    created = datetime.fromisoformat(row["created"]).timestamp()
    used, limit = row["memory"] or row["memory_peak"], row["memory_limit"]
    memory = " of ".join(format_bytes(part) for part in (used, limit) if part)
    return (
        row["run"],
        row["task"],
        row["state"],
        f"{_short(time.time() - created)} ago",
        format_cores(row["cpus"]) if row["cpus"] else "-",
        memory or "-",
        format_seconds(row["cpu_seconds"]) if row["cpu_seconds"] else "-",
        row["container"] if row["container_id"] else "-",
    )


def _short(seconds: float) -> str:
    for unit in ("d", "h", "m"):
        if seconds >= SECONDS[unit]:
            return f"{seconds / SECONDS[unit]:.0f} {'min' if unit == 'm' else unit}"
    return f"{max(seconds, 0):.0f} s"
