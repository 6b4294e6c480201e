"""``lading doctor``."""

from __future__ import annotations

import dataclasses

import typer

from lading.cli import loop, printing
from lading.cli.knobs import Given, engine_options, flags
from lading.cli.runs import JsonOption
from lading.settings import EngineOptions

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
@flags(EngineOptions, into="engine")
def doctor(*, as_json: JsonOption = False, engine: Given) -> None:
    """Say what works on this machine, what doesn't, and what to do.

    Exit code 0 if tasks can be served; 1 if not. Warnings are about what only some tasks need.
    """
    options = engine_options(engine)

    async def main(_signals: loop.Signals) -> bool:
        from lading.cli.examinations import FAIL, examine  # noqa: PLC0415

        checks = []
        async for check in examine(options):
            checks.append(check)
            if not as_json:
                printing.finding(check.mark, check.name, check.text, check.fix)
        works = all(check.mark != FAIL for check in checks)
        if as_json:
            found = [dataclasses.asdict(check) for check in checks]
            printing.json({"works": works, "checks": found})
        return works

    works = loop.run(main)
    if not works:
        raise typer.Exit(1)
