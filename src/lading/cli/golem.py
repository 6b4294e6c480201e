"""``lading golem``: which commands there are for tasks of many subtasks, each in its own file."""

from __future__ import annotations

import typer

from lading.cli.root import LazyGroup

__all__ = ["COMMANDS", "commands"]

COMMANDS = {
    "run": ("golem_run", "Run a task: split by its application, computed by many nodes."),
    "resume": ("golem_run", "Go on with a task whose command was stopped, killed, or failed."),
    "ps": ("golem_tasks", "List the tasks: how far they are, and how they ended."),
    "abort": ("golem_tasks", "Abort tasks: they can't be resumed then."),
    "rm": ("golem_tasks", "Forget tasks that have ended, and remove what is left of them."),
    "new": ("golem_new", "Write the folder of a new application, to begin with."),
    "benchmark": ("golem_benchmark", "Say how fast this machine is for an application."),
}
"""As :data:`lading.cli.root.COMMANDS`."""


class GolemGroup(LazyGroup):
    """The commands of ``lading golem``."""

    table = COMMANDS


golem = typer.Typer(
    name="golem",
    cls=GolemGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@golem.callback()
def _golem() -> None:
    """Compute a task of a Golem application over many nodes.

    An application is an image that speaks the Golem Task API. Its requestor side splits a task into
    subtasks and judges their results; each subtask is computed by its provider side, in a fresh
    container.
    """


commands = typer.Typer(rich_markup_mode=None)
commands.add_typer(golem, name="golem")


@commands.callback()
def _commands() -> None:
    """Hold the one group."""
