"""``lading version``."""

from __future__ import annotations

import typer

import lading
from lading.cli import printing

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
def version() -> None:
    """Show the version."""
    printing.line(f"lading {lading.__version__}")
