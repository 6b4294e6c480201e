"""``lading tasks``: which commands there are for what is offered, and for what fee."""

from __future__ import annotations

import typer

from lading.cli.root import LazyGroup

__all__ = ["COMMANDS", "commands"]

COMMANDS = {
    "list": ("listings", "List the tasks that are offered."),
    "show": ("listings", "Show all that is known of a task, and what it was before."),
    "fee": ("listings", "Change the fee of a task."),
    "retire": ("listings", "Offer a task no longer."),
}
"""As :data:`lading.cli.root.COMMANDS`."""


class TasksGroup(LazyGroup):
    """The commands of ``lading tasks``."""

    table = COMMANDS


tasks = typer.Typer(
    name="tasks",
    cls=TasksGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@tasks.callback()
def _tasks() -> None:
    """List the tasks that are offered, and their fees.

    `lading push` puts a task into the catalogue; an executor serves it at `GET /v1/tasks`, and
    writes into its ledger what is owed for each execution.
    """


commands = typer.Typer(rich_markup_mode=None)
commands.add_typer(tasks, name="tasks")


@commands.callback()
def _commands() -> None:
    """Hold the one group."""
