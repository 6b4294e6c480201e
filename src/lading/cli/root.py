"""The command line's top: which commands there are, and where each is written."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any, ClassVar

import typer
import typer.core
import typer.main

from lading.cli.failures import guarded

__all__ = ["COMMANDS", "LazyGroup", "app"]

COMMANDS = {
    "serve": ("serve", "Serve task containers to others: the executor."),
    "run": ("run", "Run a task once: a task folder, an image, or task files."),
    "new": ("new", "Write the folder of a new task, to begin with."),
    "check": ("check", "Check a task's folder: what its contract wants, what will bite later."),
    "test": ("test", "Build a task's folder, run its example, and compare what comes."),
    "build": ("build", "Build the image of a task's folder."),
    "push": ("push", "Publish a task: its image to a registry, or its folder to IPFS."),
    "pull": ("pull", "Fetch a task from a registry or from IPFS, every block verified."),
    "cid": ("cid", "Print the CID of a file or folder, without a node."),
    "tasks": ("tasks", "List the tasks that are offered, and their fees."),
    "ledger": ("ledger", "Show what was executed, and what is owed for it."),
    "receipt": ("receipt", "Verify the receipt of an execution."),
    "profile": (
        "profile",
        "Find what a task needs: its scale rule, or its least limits.",
    ),
    "templates": ("templates", "Show what a processing-container offers."),
    "validate": ("validate", "Check processing-container.json and task.json files."),
    "schema": ("schema", "Write the JSON Schema of a kind of file, for editors."),
    "ps": ("runs", "List the containers that Lading runs, and recent runs."),
    "logs": ("runs", "Show what a run's container prints, or printed."),
    "wait": ("waiting", "Wait until runs have ended; the exit code is the container's."),
    "inspect": ("runs", "Show all that is known of a run."),
    "stop": ("removal", "Stop runs: their containers end and are removed."),
    "rm": ("removal", "Remove containers that nobody watches any more."),
    "golem": ("golem", "Compute a task of a Golem application over many nodes."),
    "migrate": ("migrate", "Make a processing-container of a legacy container."),
    "doctor": ("doctor", "Say what works on this machine, what doesn't, and what to do."),
    "version": ("about", "Show the version."),
}
"""Name of each command, the module of this folder that has it, and its line in the help: the
first of its docstring, here so that the help loads none of them."""


class LazyCommand(typer.core.TyperCommand):
    """A command known by name and summary, and loaded when its arguments are read."""

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name, short_help=summary, rich_markup_mode=None)
        self._module = module

    def load(self) -> Any:
        """Import the command itself; whatever it raises becomes a message and an exit code."""
        commands = import_module(f"lading.cli.{self._module}").commands
        command = typer.main.get_group(commands).commands[str(self.name)]
        if command.callback is not None:
            command.callback = guarded(command.callback)
        return command

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the arguments: from here on (help, completion, the call) it is the real one."""
        return self.load().make_context(*args, **kwargs)


class LazyGroup(typer.core.TyperGroup):
    """Commands in the order of a table such as :data:`COMMANDS`."""

    table: ClassVar[Mapping[str, tuple[str, str]]] = COMMANDS

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (module, summary) in self.table.items():
            self.add_command(LazyCommand(name, module, summary))

    def list_commands(self, _ctx: Any) -> list[str]:
        """Name them in the order in which people meet them."""
        return list(self.commands)


app = typer.Typer(
    name="lading",
    cls=LazyGroup,
    help="One toolkit for task containers: develop, check, run, serve, publish and scale them.",
    epilog="Exit codes: 0 done, 2 wrong usage or input, 65 to 78 as in sysexits.h (69 the engine, "
    "70 the task, 75 try again later), 124 time is up, 137 out of memory, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:  # as Typer calls it
    if wanted:
        from lading.cli import about  # noqa: PLC0415

        about.version()
        raise typer.Exit


@app.callback()
def _lading(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Take what stands before the command's name."""
