"""A task tried with its example: called cold and warm, several times at once if wanted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lading.contracts.meca.oneshot import Job, Started, started
from lading.errors import LadingError, OutputDiffers, RunError
from lading.folders.comparing import Comparison
from lading.run.usage import Usage

if TYPE_CHECKING:
    from lading.contracts.meca.task import TaskReply
    from lading.engine import Engine, LogChunk
    from lading.run.ownership import Owner
    from lading.run.records import Records

__all__ = ["Call", "Trial", "try_task"]

Judge = Callable[[bytes], Comparison]


@dataclass(frozen=True, slots=True)
class Call:
    """One request and what came of it.

    Parameters
    ----------
    seconds : float
        From the request to the whole reply, or until it failed.
    reply : TaskReply or None
    comparison : Comparison or None
        None where there is no reply.
    error : LadingError or None
        Why there is none.
    words : str
        Its message.
    """

    seconds: float
    reply: TaskReply | None = None
    comparison: Comparison | None = None
    error: LadingError | None = None
    words: str = ""

    @property
    def passed(self) -> bool:
        """Whether it gave what was expected."""
        return self.comparison is not None and self.comparison.same


@dataclass(slots=True)
class Trial:
    """What a trial gave, and what it took.

    Parameters
    ----------
    run_id, container : str
        Of its record, and the name its container had.
    start_seconds : float
        From the order to create the container until it was ready.
    rounds : list of list of Call
        The first has one call, the cold one.
    seconds : float
        That calls took, one round after the other.
    usage : Usage
        Peak memory and processor time, of all rounds and the start.
    calls_cpu_seconds : float
        Processor time without that of the start.
    error : RunError or None
        Why it did not pass.
    """

    run_id: str = ""
    container: str = ""
    start_seconds: float = 0.0
    rounds: list[list[Call]] = field(default_factory=list)
    seconds: float = 0.0
    usage: Usage = field(default_factory=Usage)
    calls_cpu_seconds: float = 0.0
    error: RunError | None = None

    @property
    def calls(self) -> list[Call]:
        """All of them, the cold one first."""
        return [call for one in self.rounds for call in one]

    @property
    def cold_seconds(self) -> float:
        """From the order to create the container to the first reply."""
        return self.start_seconds + self.calls[0].seconds

    @property
    def warm_seconds(self) -> list[float]:
        """Of the calls after the first, sorted."""
        return sorted(call.seconds for call in self.calls[1:])

    @property
    def failed(self) -> list[Call]:
        """Calls that gave no reply, or another than expected."""
        return [call for call in self.calls if not call.passed]


async def try_task(
    engine: Engine,
    job: Job,
    judge: Judge,
    *,
    owner: Owner,
    records: Records,
    repeat: int = 2,
    concurrency: int = 1,
    on_log: Callable[[LogChunk], None] | None = None,
) -> Trial:
    """Start a task, call it as often as wanted, and remove it whatever happens.

    The first call is alone; every repeat after it sends several at once, and ends when all of them
    have. The first round in which a call fails, or gives something else, is the last.

    Parameters
    ----------
    engine : Engine
    job : Job
    judge : callable
        Compares a reply's bytes with what was expected; called in a thread.
    owner : Owner
        Whose container it is.
    records : Records
        Where the run is written down.
    repeat : int
        Rounds in all.
    concurrency : int
        Calls at once in every round but the first.
    on_log : callable or None
        Told of all that the task prints.

    Returns
    -------
    Trial
        Also of a task that failed: its `error` says why.

    Raises
    ------
    NotSupported, GpuUnavailable, EngineError
        It was not begun, or the engine went away.
    """
    trial = Trial()
    try:
        async with started(
            engine, job, owner=owner, records=records, on_log=on_log, accounting=True
        ) as task:
            await _rounds(task, judge, trial, repeat, concurrency)
    except RunError as error:
        trial.error = error
    else:
        last = trial.calls[-1].reply
        records.update(trial.run_id, output_bytes=len(last.body) if last else 0)
    return trial


async def _rounds(task: Started, judge: Judge, trial: Trial, repeat: int, concurrency: int) -> None:
    running = task.running
    trial.run_id, trial.container = running.run_id, running.container.name
    trial.start_seconds = running.started_seconds
    before = await running.usage()
    try:
        for number in range(repeat):
            await _round(task, judge, trial, concurrency if number else 1)
    finally:
        with contextlib.suppress(LadingError):
            trial.usage = await running.usage()
        trial.calls_cpu_seconds = trial.usage.cpu_seconds - before.cpu_seconds


async def _round(task: Started, judge: Judge, trial: Trial, calls: int) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        made = [group.create_task(_call(task, judge)) for _ in range(calls)]
    trial.seconds += loop.time() - began
    done = [one.result() for one in made]
    trial.rounds.append(done)
    bad = [call for call in done if not call.passed]
    if bad:
        raise _told(bad, calls, first=len(trial.rounds) == 1)


async def _call(task: Started, judge: Judge) -> Call:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        reply, seconds = await task.call()
    except LadingError as error:
        return Call(loop.time() - began, error=error, words=error.message)
    return Call(seconds, reply, await asyncio.to_thread(judge, reply.body))


def _told(bad: list[Call], calls: int, *, first: bool) -> LadingError:
    """Make the error of a round: that of its first call that has one, with how many there are."""
    worst = next((call for call in bad if call.error is not None), bad[0])
    if worst.error is not None:
        error = worst.error
    else:
        assert worst.comparison is not None
        error = OutputDiffers(
            f"the reply is not what the example says: {worst.comparison.words}",
            diff=worst.comparison.diff,
        )
    if calls > 1:
        error.message = f"{len(bad)} of {calls} calls at once failed: {error.message}"
    elif not first:
        error.message = f"the first call went well, a later one did not: {error.message}"
    return error
