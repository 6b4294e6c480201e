"""``lading version``."""

from __future__ import annotations

from importlib.metadata import version as installed_version

import typer

from lading.cli import printing

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
def version() -> None:
    """Show the version."""
    printing.line(f"lading {installed_version('lading')}")
