"""``lading test`` of a task folder of contract 1."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from lading.cli import failures, loop, printing
from lading.cli.images import fetch, sweep_quietly
from lading.cli.run_meca import image_of, job_of
from lading.cli.run_options import pairs
from lading.cli.test_shown import Log, line, ways_out, without_log
from lading.contracts.meca.folder import (
    CONFIG,
    EXAMPLE_INPUT,
    EXAMPLE_OUTPUT,
    TaskFolder,
    read_folder,
)
from lading.errors import ConfigError, NotReady, OutOfMemory, OutputDiffers, RunError, TimedOut
from lading.folders.comparing import Comparison, Likeness, compare, input_doubts
from lading.folders.rewriting import check_writable, replace_file
from lading.settings import state_directory
from lading.units import format_bytes, format_cores, format_seconds, to_mebibytes

if TYPE_CHECKING:
    from pathlib import Path

    from lading.cli.run_options import RunOptions
    from lading.cli.test import Ordered
    from lading.contracts.meca.oneshot import Job
    from lading.contracts.meca.trial import Trial
    from lading.engine import Engine, ImageInfo

__all__ = ["Judge", "job_of_example", "read_example", "run_trial"]

_CLOSE = 0.9
"""Share of the memory limit above which there is little room."""


def run_trial(order: Ordered) -> None:
    """Try a task with its example, and tell of it.

    Raises
    ------
    OutputDiffers
        It replied something else.
    RunError
        It did not reply.
    """
    folder = read_example(order.folder, update=order.own.update)
    judge = Judge(folder, update=order.own.update, exact=order.own.exact)
    log = Log()
    job, trial = loop.run(lambda _signals: _run(order, folder, judge, log))
    if trial.error is None and order.own.update:
        judge.write()
    error = None if trial.error is None else _told(trial.error, order)
    if order.as_json:
        printing.json(_as_json(folder, job, trial, judge, str(log)))
    elif trial.rounds:
        _show(folder, job, trial, judge)
    if error is not None:
        raise without_log(error)


def read_example(given: Path, *, update: bool = False) -> TaskFolder:
    """Read a folder that is to be tried; warns of what is doubtful.

    Parameters
    ----------
    given : Path
    update : bool
        Whether the example's output is to be written, and need not be there.

    Raises
    ------
    ConfigError
        It has no example, or a file of it can't be used.
    """
    folder = read_folder(given)
    for warning in folder.warnings:
        printing.warn(warning)
    examples = {EXAMPLE_INPUT, EXAMPLE_OUTPUT}
    if lacks := [name for name in folder.missing if name not in examples]:
        printing.warn(f"the task folder lacks {', '.join(lacks)}")
    if folder.example_input is None:
        raise ConfigError(
            str(folder.path / EXAMPLE_INPUT),
            "there is no such file, so there is nothing to send",
            fix="write the body of a request into it, as JSON",
        )
    if doubt := input_doubts(folder.example_input):
        printing.warn(f"{EXAMPLE_INPUT} {doubt}; it is sent as it is")
    output = folder.path / EXAMPLE_OUTPUT
    if update:
        check_writable(output)
    elif folder.example_output is None:
        raise ConfigError(
            str(output),
            "there is no such file, so there is nothing to compare with",
            fix=f"`lading test {given} --update` writes what the task replies",
        )
    return folder


async def _run(order: Ordered, folder: TaskFolder, judge: Judge, log: Log) -> tuple[Job, Trial]:
    from lading.cli.run_processing import ours  # noqa: PLC0415
    from lading.contracts.meca.trial import try_task  # noqa: PLC0415
    from lading.engine.discovery import open_engine  # noqa: PLC0415

    state = state_directory()
    async with await open_engine(order.engine) as engine:
        with ours(state) as (owner, records):
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(sweep_quietly(engine, state, records))
                    image = await _image(engine, order, folder)
                    job = job_of_example(folder, image, order.options)
                    trial = await try_task(
                        engine,
                        job,
                        judge,
                        owner=owner,
                        records=records,
                        repeat=order.own.repeat,
                        concurrency=order.own.concurrency,
                        on_log=log,
                    )
            except BaseExceptionGroup as errors:
                raise failures.first(errors) from errors
    return job, trial


async def _image(engine: Engine, order: Ordered, folder: TaskFolder) -> ImageInfo:
    """Build the folder's image, or have the one that is to be tried instead."""
    if order.own.image is not None:
        return await fetch(engine, order.own.image, order.options.pull)
    options = order.options
    args = pairs("--build-arg", "KEY=VALUE", options.build_arg)
    return await image_of(engine, folder, options, args)


def job_of_example(folder: TaskFolder, image: ImageInfo, options: RunOptions) -> Job:
    """Decide how it is run: its example, under the limits that the folder declares."""
    return job_of(folder.name, image, folder.example_input or b"", folder.limits, options)


class Judge:
    """Compares replies with the example, or with the first one where that is to be the example."""

    def __init__(self, folder: TaskFolder, *, update: bool = False, exact: bool = False) -> None:
        self._folder = folder
        self._exact = exact
        self._update = update
        self._expected = None if update else folder.example_output
        self.accepted: Comparison | None = None

    def __call__(self, reply: bytes) -> Comparison:
        """Compare one."""
        if self._expected is None:
            self._expected = reply
        return compare(self._expected, reply, exact=self._exact)

    def write(self) -> None:
        """Make the first reply the example, and tell what is different now."""
        before, after = self._folder.example_output, self._expected
        assert after is not None
        self.accepted = compare(before, after) if before is not None else None
        if before == after:
            printing.note(f"{EXAMPLE_OUTPUT} says so already")
            return
        replace_file(self._folder.path / EXAMPLE_OUTPUT, after)
        printing.note(f"{EXAMPLE_OUTPUT} written: {format_bytes(len(after))}")
        if self.accepted is not None and self.accepted.diff:
            printing.detail(self.accepted.diff)

    @property
    def written(self) -> bool:
        """Whether the example is another than it was."""
        return self._update and self._folder.example_output != self._expected


def _told(error: RunError, order: Ordered) -> RunError:
    """Say what a task's developer can do about it."""
    if isinstance(error, OutputDiffers):
        error.fix = ways_out(order.folder)
    elif isinstance(error, OutOfMemory) and error.limit:
        more = to_mebibytes(2 * error.limit)
        error.fix = (
            f'set "mem" to {more} in {CONFIG}; `lading profile {order.folder}` finds the '
            "least that it needs"
        )
    elif isinstance(error, TimedOut):
        error.fix = "allow it more time with --timeout, or see its log"
    elif isinstance(error, NotReady):
        error.fix = "see its log; if it is only slow, allow it more time with --start-timeout"
    return error


def _likeness(trial: Trial) -> Comparison | None:
    """Choose the least alike of all comparisons."""
    order = list(Likeness)
    found = [call.comparison for call in trial.calls if call.comparison is not None]
    return max(found, key=lambda one: order.index(one.likeness), default=None)


def _show(folder: TaskFolder, job: Job, trial: Trial, judge: Judge) -> None:
    like = _likeness(trial)
    how = "" if like is None or trial.error is not None else like.words
    if judge.written and trial.error is None:
        how = "and its reply is the example now"
    printing.verdict(
        folder.name, "passed" if trial.error is None else "failed", how, good=trial.error is None
    )
    first = trial.calls[0].seconds
    line("cold", f"{format_seconds(trial.cold_seconds)}: ready in "
          f"{format_seconds(trial.start_seconds)}, then {_seconds(first)}")  # fmt: skip
    if trial.warm_seconds:
        line("warm", _warm(trial))
    line("memory", _memory(trial, job))
    line("processor", _processor(trial, job))
    tag = job.image.tags[0] if job.image.tags else job.image.id
    line("image", f"{format_bytes(job.image.size)}, {tag}")
    line("run", trial.run_id)


def _seconds(seconds: float) -> str:
    return format_seconds(seconds) if seconds >= 0.001 else f"{seconds * 1000:.1g} ms"


def _warm(trial: Trial) -> str:
    times = trial.warm_seconds
    median = _seconds(times[len(times) // 2])
    if len(times) == 1:
        return median
    text = f"{median} in the middle of {len(times)} calls, {_seconds(times[-1])} at the most"
    at_once = max(map(len, trial.rounds))
    return f"{text}, {at_once} at once" if at_once > 1 else text


def _memory(trial: Trial, job: Job) -> str:
    peak, limit = trial.usage.memory_peak, job.limits.memory
    if not peak:
        return f"not seen, of {format_bytes(limit)}"
    text = f"{format_bytes(peak)} of {format_bytes(limit)} at the most ({peak / limit * 100:.0f} %)"
    if peak >= _CLOSE * limit:
        # The page cache takes what is left, so a peak at the limit is no proof of need.
        text += ": little room, `lading profile` finds what it needs"
    return text


def _processor(trial: Trial, job: Job) -> str:
    used = f"{format_seconds(trial.usage.cpu_seconds)} in all"
    if trial.seconds > 0.1:  # less can't be told from nothing
        share = trial.calls_cpu_seconds / trial.seconds
        used += f", {share:.2f} of {format_cores(job.limits.cpus)} cores during calls"
    return used


def _as_json(folder: TaskFolder, job: Job, trial: Trial, judge: Judge, log: str) -> dict[str, Any]:
    like = _likeness(trial)
    error = trial.error
    warm = trial.warm_seconds
    return {
        "task": folder.name,
        "contract": "meca",
        "passed": error is None,
        "likeness": str(like.likeness) if like is not None else "",
        "difference": like.words if like is not None and not like.same else "",
        "diff": error.diff if isinstance(error, OutputDiffers) else "",
        "error": error.message if error is not None else "",
        "updated": judge.written and error is None,
        "image": job.image.tags[0] if job.image.tags else job.image.id,
        "image_id": job.image.id,
        "image_size": job.image.size,
        "run": trial.run_id,
        "container": trial.container,
        "start_seconds": round(trial.start_seconds, 6),
        "cold_seconds": round(trial.cold_seconds, 6) if trial.calls else None,
        "warm_seconds": round(warm[len(warm) // 2], 6) if warm else None,
        "calls": [
            {
                "round": number,
                "seconds": round(call.seconds, 6),
                "passed": call.passed,
                "bytes": len(call.reply.body) if call.reply is not None else None,
                "content_type": call.reply.content_type if call.reply is not None else "",
                "error": call.words,
            }
            for number, one in enumerate(trial.rounds, 1)
            for call in one
        ],
        "cpus": job.limits.cpus,
        "cpu_seconds": trial.usage.cpu_seconds,
        "memory_limit": job.limits.memory,
        "memory_peak": trial.usage.memory_peak,
        "log": log,
    }
