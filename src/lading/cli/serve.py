"""``lading serve``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lading.cli import printing
from lading.cli.knobs import Given, flags
from lading.cli.loop import Signals, run
from lading.contracts.meca.options import ExecutorOptions, load

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
@flags(ExecutorOptions, into="given")
def serve(
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Configuration file, in YAML."),
    ] = None,
    *,
    given: Given,
) -> None:
    """Serve task containers to others: the executor.

    Callers send an image, its limits and an input; the executor runs the image sealed and limited,
    keeps it warm, and answers with what it replied. It takes no work after SIGTERM or Ctrl-C, lets
    what runs finish, and removes every container before it ends.

    Each option is also a key of the configuration file (`start_timeout: 5`) and a
    variable (LADING_START_TIMEOUT); a flag beats a variable, a variable the file.
    """
    options, warnings = load(config, given)
    printing.log_to_stderr()

    async def main(signals: Signals) -> None:
        from lading.contracts.meca import serve as executor  # noqa: PLC0415

        def announce(address: str) -> None:
            # From here on the server itself ends at a signal: nothing is to be cancelled.
            signals.cancels = False
            printing.note(f"serving on {address}")

        await executor.serve(options, warnings=warnings, announce=announce)

    run(main, loop_factory=_loop_factory())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Choose uvloop, which serves twice as much, where it is installed."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
