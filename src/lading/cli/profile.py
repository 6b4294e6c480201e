"""``lading profile``: how a task's memory follows the size of its input."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lading.cli import failures, loop, plots, printing
from lading.cli.knobs import Given, engine_options, flags
from lading.cli.measurements import show_suggestions
from lading.cli.run_options import ProcessingOptions, RunOptions, positive
from lading.cli.run_processing import Progress, changes_of, circumstances_of, ours, task_of
from lading.contracts.processing import FILE_NAME
from lading.errors import InputError
from lading.settings import EngineOptions, knob, scratch_directory, state_directory
from lading.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from lading.contracts.processing.measure.profiles import Profile
    from lading.contracts.processing.measure.profiling import Wish
    from lading.contracts.processing.runner import Outcome
    from lading.engine import Engine
    from lading.run.lifecycle import Running
    from lading.run.ownership import Owner
    from lading.run.records import Records

commands = typer.Typer(rich_markup_mode=None)

_SHARED = (
    "input", "cpu", "gpus", "timeout", "start_timeout", "runtime", "network", "capabilities",
    "pull", "tag", "build_arg",
)  # fmt: skip
_FOLDER_ONLY = frozenset(("start_timeout", "tag", "build_arg", "write", "slower", "margin"))
_FOLDER_TOO = _FOLDER_ONLY | {"timeout", "runtime", "network", "capabilities", "repeat"}


@dataclass(frozen=True, slots=True)
class ProfileOptions:
    """The flags that only ``lading profile`` has."""

    inputs: tuple[str, ...] = knob(
        (), "Directories of several sizes for the input channel.", metavar="DIR..."
    )
    channel: str | None = knob(
        None,
        "Which input they are for. Default: the only one with a scale rule, or the only one.",
        metavar="NAME",
    )
    repeat: int = knob(
        1,
        "Runs with each directory: the median is fitted, the highest covered. For a folder: runs "
        "that must pass under what is suggested, 3 by default.",
        metavar="N",
    )
    keep_limit: bool = knob(False, "Whether the declared memory limit holds, which may hide.")
    plot: str | None = knob(None, "Also write the plot to a file.", metavar="FILE.png")
    write: bool = knob(False, "Write what a folder should declare into its config.json.")
    slower: float = knob(
        2.0, "How many times as slow a folder's task may be as with its limits now.",
        metavar="FACTOR",
    )  # fmt: skip
    margin: float = knob(
        20.0, "What is added to the least memory that passed, in percent.", metavar="PERCENT"
    )


@commands.command()
@flags(EngineOptions, into="engine")
@flags(ProcessingOptions, into="wanted", only=("template", "set"))
@flags(RunOptions, into="given", only=_SHARED)
@flags(ProfileOptions, into="own")
def profile(
    *,
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK.json|IMAGE|FOLDER",
            help="A task file, the image of a processing-container, or a task folder.",
        ),
    ],
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DIR]...", help="More directories for --inputs."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    own: Given,
    given: Given,
    wanted: Given,
    engine: Given,
) -> None:
    """Find what a task needs: its scale rule, or its least limits.

    Of a processing-container, one input channel gets the directories, one after the other; outputs
    go to temporary directories that are removed. The task has no memory limit, which would hide
    what it needs: the largest input must fit into this machine. The first run that fails ends it.

    A task folder is built, and its example run under less and less memory, then with fewer and
    fewer cores: at most some thirty runs. What is suggested is the least under which the example
    passes and is not much slower, with a margin.
    """
    if quiet:
        printing.be_quiet()
    chosen = ProfileOptions(**own)
    if _is_folder(task):
        _refuse({*own, *given, *wanted} - _FOLDER_TOO, "processing-containers", task)
        if more:
            raise InputError("DIR", "is for processing-containers")
        from lading.cli.profile_meca import Ordered, run_profile  # noqa: PLC0415

        run_profile(
            Ordered(
                Path(task), RunOptions(**given), chosen, engine_options(engine), as_json=as_json,
                repeat=own.get("repeat"),
            )
        )  # fmt: skip
        return
    _refuse({*own, *given} & _FOLDER_ONLY, "task folders", task)
    wish = _wish(chosen, more or [])
    if given.get("timeout") is not None:
        positive("--timeout", given["timeout"])
    target = Path(chosen.plot).expanduser() if chosen.plot is not None else None
    if target is not None:
        plots.check_file(target)
    command = _Command(task, wish, RunOptions(**given), ProcessingOptions(**wanted), given)
    options = engine_options(engine)
    found = loop.run(lambda _signals: command.run(options))
    if as_json:
        printing.json(found.as_object())
    else:
        _show(found)
    if target is not None:
        plots.write_file(_plot(found), target)
        printing.note(f"plot written to {target}")


def _is_folder(task: str) -> bool:
    return Path(task).is_dir() and not Path(task, FILE_NAME).is_file()


def _refuse(names: Iterable[str], whose: str, task: str) -> None:
    for name in sorted(names):
        flag = "--" + name.replace("_", "-")
        raise InputError(flag, f"is for {whose}, and {task!r} is none")


def _wish(chosen: ProfileOptions, more: Sequence[str]) -> Wish:
    from lading.contracts.processing.measure.profiling import Wish  # noqa: PLC0415

    if chosen.repeat < 1:
        raise InputError("--repeat", f"must be at least 1, not {chosen.repeat}")
    directories = tuple(Path(one).expanduser() for one in [*chosen.inputs, *more])
    if not directories:
        raise InputError("--inputs", "names no directory", fix="write --inputs small medium large")
    return Wish(directories, chosen.channel, chosen.repeat, chosen.keep_limit, scratch_directory())


class _Command:
    """The runs, with their progress told."""

    def __init__(
        self,
        task: str,
        wish: Wish,
        options: RunOptions,
        wanted: ProcessingOptions,
        given: Mapping[str, object],
    ) -> None:
        timeout = given.get("timeout")
        self._wish = wish
        self._options = options
        self._changes = changes_of(options, wanted)
        self._task = task_of([task], options, wanted)
        self._circumstances = circumstances_of(
            options, timeout if isinstance(timeout, float) else None
        )
        self._progress: Progress | None = None
        self._title = ""

    async def run(self, engine_options: EngineOptions) -> Profile:
        """Do all of them."""
        from lading.cli.images import sweep_quietly  # noqa: PLC0415
        from lading.engine.discovery import open_engine  # noqa: PLC0415

        state = state_directory()
        async with await open_engine(engine_options) as engine:
            with ours(state) as (owner, records):
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(sweep_quietly(engine, state, records))
                        return await self._run(engine, state, owner, records)
                except BaseExceptionGroup as errors:
                    raise failures.first(errors) from errors
                finally:
                    self._close()
        raise AssertionError  # a group that swallows nothing

    async def _run(self, engine: Engine, state: Path, owner: Owner, records: Records) -> Profile:
        from lading.cli.images import fetch  # noqa: PLC0415
        from lading.contracts.processing.instances import find_template  # noqa: PLC0415
        from lading.contracts.processing.measure.profiling import profile  # noqa: PLC0415

        offered = await find_template(
            engine,
            self._task,
            fetch=lambda name: fetch(engine, name, self._options.pull),
            state=state,
            labels=owner.labels(),
        )
        for warning in offered.warnings:
            printing.warn(warning)
        return await profile(
            engine,
            offered,
            self._task,
            self._changes,
            wish=self._wish,
            circumstances=self._circumstances,
            owner=owner,
            records=records,
            watcher=self,
        )

    def begins(self, number: int, total: int, directory: Path) -> None:
        """Tell that a run is to begin."""
        self._close()
        self._title = f"run {number} of {total}, {directory}"
        self._progress = Progress(self._title)
        self._progress.__enter__()

    def started(self, running: Running) -> None:
        """Show what it uses."""
        if self._progress is not None:
            self._progress.started(running)

    def ended(self, outcome: Outcome) -> None:
        """Tell how it ended."""
        self._close()
        for text in outcome.notes:
            printing.warn(text)
        if outcome.error is None:
            peak, seconds = outcome.usage.memory_peak, outcome.exit.seconds
            printing.note(
                f"{self._title}: memory {format_bytes(peak)} after {format_seconds(seconds)}"
            )

    def notices(self, text: str) -> None:
        """Tell what is doubtful."""
        printing.warn(text)

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None


def _show(found: Profile) -> None:
    mode = found.fit.mode
    rows = []
    for trial in sorted(found.trials, key=lambda one: one.point.sizes[mode]):
        point = trial.point
        now = trial.limit_now
        short = " (too little)" if now is not None and now < point.highest else ""
        rows.append(
            (
                str(trial.directory),
                format_bytes(point.sizes[mode]),
                format_bytes(point.highest),
                (format_bytes(now) if now else "none") + short,
                format_bytes(found.suggested_limit(trial)),
                format_seconds(max(trial.seconds)),
            )
        )
    printing.table(("INPUT", "SIZE", "PEAK", "LIMIT NOW", "SUGGESTED", "TIME"), rows)
    printing.line("")
    for line in plots.as_lines(_plot(found)):
        printing.line(line)
    printing.line("")
    fit = found.fit
    told = [f"misses no peak by more than {format_bytes(fit.largest_residual)}"]
    if fit.r_squared is not None:
        told.append(f"R² {fit.r_squared:.4f}")
    size = f", n is the {mode} of {found.channel}" if fit.power else ""
    printing.line(f"{'fit':<12}peak = {found.expression}{size}: {', '.join(told)}")
    show_suggestions(found.suggestions)
    for note in found.notes:
        printing.line(f"{'note':<12}{note}")


def _plot(found: Profile) -> plots.Plot:
    from lading.contracts.processing.measure.fitting import covered  # noqa: PLC0415

    fit, sizing = found.fit, found.sizing
    return plots.Plot(
        title=f"{found.instance.name}: {found.expression}",
        size_name=f"{fit.mode} of {found.channel}",
        points=[
            (trial.point.sizes[fit.mode], peak)
            for trial in found.trials
            for peak in trial.point.peaks
        ],
        fit=fit,
        limit=lambda size: covered(size, sizing, fit.power),
    )
