"""``lading receipt``: what can be done with the receipt of an execution."""

from __future__ import annotations

import typer

from lading.cli.root import LazyGroup

__all__ = ["COMMANDS", "commands"]

COMMANDS = {"verify": ("receipt_verify", "Verify a receipt, and show what it says.")}
"""As :data:`lading.cli.root.COMMANDS`."""


class ReceiptGroup(LazyGroup):
    """The commands of ``lading receipt``."""

    table = COMMANDS


receipt = typer.Typer(
    name="receipt",
    cls=ReceiptGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@receipt.callback()
def _receipt() -> None:
    """Verify the receipt of an execution.

    An executor sends one with every successful reply, in the header X-Lading-Receipt.
    """


commands = typer.Typer(rich_markup_mode=None)
commands.add_typer(receipt, name="receipt")


@commands.callback()
def _commands() -> None:
    """Hold the one group."""
