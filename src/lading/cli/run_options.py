"""The knobs of ``lading run``, for every kind of task."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from lading.errors import InputError
from lading.settings import EngineOptions, knob

__all__ = ["Order", "ProcessingOptions", "Pull", "RunOptions", "pairs", "positive"]


class Pull(enum.StrEnum):
    """When an image is fetched from its registry."""

    MISSING = "missing"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The flags of ``lading run`` that are there for every task, and those for task folders."""

    input: tuple[str, ...] = knob(
        (),
        "What the task gets: text, a file's bytes, or (-) stdin. Default for a folder: its "
        "example_input.bin. For a processing-container: the directory of a channel; may be "
        "repeated.",
        flag="--input -i",
        metavar="TEXT|@FILE|-|CHANNEL=DIR",
    )
    cpu: str | None = knob(None, "Cores it may use, as 0.5 or 500m.", metavar="CORES")
    memory: str | None = knob(None, "Memory it may use, as 256Mi or 2g.", metavar="SIZE")
    gpus: int | None = knob(None, "Whole GPUs it gets.", metavar="N")
    timeout: float = knob(
        300.0,
        "Seconds it may take to answer; a processing-container to end, where there is no default.",
        metavar="SECONDS",
    )
    start_timeout: float = knob(60.0, "Seconds it may take until it serves.", metavar="SECONDS")
    runtime: str | None = knob(
        None, "OCI runtime that the engine has, as runsc or kata.", metavar="NAME"
    )
    network: bool = knob(True, "Whether it has the engine's usual network, or none.")
    capabilities: bool = knob(
        False, "Whether it keeps the engine's usual capabilities; otherwise all are dropped."
    )
    sgx: bool | None = knob(None, "Whether it gets the SGX enclave device.")
    tag: str | None = knob(None, "Name of the image that a folder becomes.", metavar="NAME")
    build_arg: tuple[str, ...] = knob(
        (), "Argument of the folder's Dockerfile; may be repeated.", metavar="KEY=VALUE"
    )
    pull: Pull = knob(  # noqa: RUF009  # knob() is dataclasses.field()
        Pull.MISSING, "When an image is fetched from its registry."
    )


@dataclass(frozen=True, slots=True)
class ProcessingOptions:
    """The flags of ``lading run`` that are for processing-containers only."""

    template: str | None = knob(
        None, "Run this template of an image, instead of a task file.", metavar="ID"
    )
    set: tuple[str, ...] = knob(
        (), "Value of a variable of the container; may be repeated.", metavar="NAME=VALUE"
    )
    output: tuple[str, ...] = knob(
        (), "Directory of an output channel; may be repeated.", flag="--output -o",
        metavar="CHANNEL=DIR",
    )  # fmt: skip
    watch: bool = knob(False, "Show what the container prints, as it prints it.")
    detach: bool = knob(
        False,
        "Write the run's id once it runs, and leave it: `lading wait` waits for its end.",
        flag="--detach -d",
    )
    monitor: bool = knob(
        False,
        "Compare what it used with its limits and scale rules, and say what would have fitted.",
    )
    map: tuple[str, ...] = knob(
        (),
        "An output of one step that is the input of another, in a chain of several task files; "
        "may be repeated.",
        metavar="STEP:OUTPUT=STEP:INPUT",
    )
    resume: bool = knob(
        False, "Leave out the steps of a chain that were done before, where nothing has changed."
    )
    parallel: int | None = knob(
        None, "At most so many steps of a chain at once. Default: the cores of the host.",
        metavar="N",
    )  # fmt: skip
    work: str | None = knob(
        None,
        "Where outputs of a chain go that have no directory in their task. Default: lading-work.",
        metavar="DIR",
    )


@dataclass(frozen=True, slots=True)
class Order:
    """A run of processing-containers, as the command line asks for it.

    Parameters
    ----------
    tasks : list of str
        Task files, an image, or a folder.
    options : RunOptions
    wanted : ProcessingOptions
    engine : EngineOptions
    as_json : bool
        Whether the outcome is written for programs.
    timeout : float or None
        Seconds that each may run; None: as long as it takes.
    """

    tasks: list[str]
    options: RunOptions
    wanted: ProcessingOptions
    engine: EngineOptions
    as_json: bool
    timeout: float | None


def pairs(flag: str, form: str, given: tuple[str, ...]) -> dict[str, str]:
    """Read ``NAME=VALUE`` texts.

    Raises
    ------
    InputError
        One is none, or a name is given twice.
    """
    found: dict[str, str] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not name or not equals:
            raise InputError(flag, f"{item!r} is not {form}")
        if name in found:
            raise InputError(flag, f"{name!r} is given twice")
        found[name] = value
    return found


def positive(flag: str, seconds: float) -> None:
    """Check a duration.

    Raises
    ------
    InputError
        It is not above 0, or endless.
    """
    if not 0 < seconds < float("inf"):
        raise InputError(flag, f"must be seconds, more than 0, not {seconds:g}")
