"""``lading test``: a task's folder built, its example run, and what comes compared."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from lading.cli import printing
from lading.cli.knobs import Given, engine_options, flags
from lading.cli.run_options import RunOptions, positive
from lading.contracts.processing import FILE_NAME
from lading.errors import InputError
from lading.settings import EngineOptions, knob

__all__ = ["Ordered", "TrialOptions", "commands", "kind_of"]

commands = typer.Typer(rich_markup_mode=None)

_SHARED = (
    "timeout", "start_timeout", "runtime", "network", "capabilities", "tag", "build_arg", "pull",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """The flags that only ``lading test`` has."""

    update: bool = knob(
        False, "Take what comes as what is expected from now on, and write it into the folder."
    )
    repeat: int = knob(
        2,
        "Calls in all, one after the other: the first is cold, the others are warm.",
        metavar="N",
    )
    concurrency: int = knob(1, "Calls at once, in every repeat but the first.", metavar="N")
    exact: bool = knob(False, "Whether only the same bytes will do.")
    image: str | None = knob(
        None, "Try this image with the folder's example, and build nothing.", metavar="IMAGE"
    )


@dataclass(frozen=True, slots=True)
class Ordered:
    """What ``lading test`` is asked to do.

    Parameters
    ----------
    folder : Path
    options : RunOptions
    own : TrialOptions
    engine : EngineOptions
    as_json : bool
    given : frozenset of str
        Names of the knobs that the command line sets.
    """

    folder: Path
    options: RunOptions
    own: TrialOptions
    engine: EngineOptions
    as_json: bool
    given: frozenset[str]

    def refuse(self, names: set[str], whose: str) -> None:
        """Refuse flags that mean nothing for a folder of this kind.

        Raises
        ------
        InputError
            Names the first of them.
        """
        for name in sorted(names & self.given):
            flag = "--" + name.replace("_", "-")
            raise InputError(flag, f"is for {whose}, and {str(self.folder)!r} is none")


@commands.command("test")
@flags(EngineOptions, into="engine")
@flags(RunOptions, into="given", only=_SHARED)
@flags(TrialOptions, into="own")
def try_folder(
    *,
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="The folder of a task, of any contract.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Write what was found to stdout as one JSON object.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, and no log of the task.")
    ] = False,
    own: Given,
    given: Given,
    engine: Given,
) -> None:
    """Build a task's folder, run its example, and compare what comes.

    A task that serves gets example_input.bin, under the limits of config.json, and must reply what
    example_output.bin says: the same bytes, the same JSON, or where that is no text, the same type
    and size. A processing-container runs over example/inputs and must give example/outputs. A
    Golem application computes the task of params.json on one node, and must give results.

    The exit code is 70 if something else came. What is left behind is the image.
    """
    if quiet:
        printing.be_quiet()
    chosen = TrialOptions(**own)
    _check(chosen, given)
    order = Ordered(
        folder=Path(folder),
        options=RunOptions(**given),
        own=chosen,
        engine=engine_options(engine),
        as_json=as_json,
        given=frozenset((*own, *given)),
    )
    import_module(f"lading.cli.test_{kind_of(order.folder)}").run_trial(order)


def _check(own: TrialOptions, given: Given) -> None:
    for name, value in (("--repeat", own.repeat), ("--concurrency", own.concurrency)):
        if value < 1:
            raise InputError(name, f"must be at least 1, not {value}")
    if own.concurrency > 1 and own.repeat < 2:
        raise InputError("--concurrency", "is for the calls after the first, and --repeat is 1")
    if own.image is not None:
        for name in ("tag", "build_arg"):
            if name in given:
                raise InputError(
                    f"--{name.replace('_', '-')}", "is for a build, and --image is none"
                )
    elif "pull" in given:
        raise InputError("--pull", "is for --image")
    for name in ("timeout", "start_timeout"):
        if name in given:
            positive(f"--{name.replace('_', '-')}", given[name])


def kind_of(folder: Path) -> str:
    """Tell whose contract a folder is written for: ``processing``, ``golem`` or ``meca``."""
    if (folder / FILE_NAME).is_file():
        return "processing"
    return "golem" if (folder / "app.json").is_file() else "meca"
