"""Tasks that are run one after the other and at once, as what they give each other allows.

::

    prepared = await prepare(engine, wishes, graph, links, ...)
    chain = Chain(engine, prepared.steps, graph, ...)
    await chain.run(parallel=2)
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lading.contracts.processing.chains.graph import Graph, run_graph
from lading.contracts.processing.chains.resume import done_before, fingerprint
from lading.contracts.processing.chains.steps import Step, named
from lading.contracts.processing.channels import channels_of
from lading.contracts.processing.planning import Circumstances, plan
from lading.contracts.processing.runner import Outcome, run_plan
from lading.errors import LadingError, OutOfMemory, RecordError, RunError

if TYPE_CHECKING:
    from lading.contracts.processing.chains.scratch import Scratch
    from lading.engine import Engine, LogChunk
    from lading.run.lifecycle import Running
    from lading.run.ownership import Owner
    from lading.run.records import Records, Run

__all__ = ["Chain", "Report", "StepState"]


class StepState(enum.StrEnum):
    """Where a step is."""

    NOT_RUN = "not run"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    UNCHANGED = "unchanged"
    """It was done before, and nothing that it depends on has changed."""
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Report:
    """What became of a step.

    Parameters
    ----------
    step : Step
    state : StepState
    run_id : str
        Of the run that did it, or does; empty where there is none.
    run : Run or None
        Its record, once it has ended.
    outcome : Outcome or None
        How it ended; None where no container of this chain did.
    error : LadingError or None
        Why it failed.
    exit_code : int or None
        The container's, and 137 where its memory ran out; what the error says where no container
        ended.
    notes : tuple of str
        What its user should know.
    waits : str
        Why its container does not run yet, in the engine's words.
    """

    step: Step
    state: StepState = StepState.NOT_RUN
    run_id: str = ""
    run: Run | None = None
    outcome: Outcome | None = None
    error: LadingError | None = None
    exit_code: int | None = None
    notes: tuple[str, ...] = ()
    waits: str = ""

    @property
    def seconds(self) -> float | None:
        """How long its container ran; of one that ran before, with its removal."""
        if self.outcome is not None:
            return self.outcome.exit.seconds
        run = self.run
        if run is None or run.started is None or run.finished is None:
            return None
        return run.finished - run.started


class Chain:
    """Steps that are run in the order that their maps allow.

    Parameters
    ----------
    engine : Engine
    steps : mapping
        From :func:`~lading.contracts.processing.chains.steps.prepare`.
    graph : Graph
        Of the same steps.
    circumstances : Circumstances
    scratch : Scratch
    owner : Owner
    records : Records
    resume : bool
        Whether steps that were done before, and on which nothing has changed, are left as they are.
    on_change : callable
        Told whenever the state of a step changes.
    on_log : callable or None
        Makes what is told of all that a step's container prints.

    Attributes
    ----------
    reports : dict of str to Report
        Of every step, in the order in which they were given.
    first_failed : Report or None
    """

    def __init__(
        self,
        engine: Engine,
        steps: Mapping[str, Step],
        graph: Graph,
        *,
        circumstances: Circumstances,
        scratch: Scratch,
        owner: Owner,
        records: Records,
        resume: bool = False,
        on_change: Callable[[Report], None] = lambda _: None,
        on_log: Callable[[str], Callable[[LogChunk], None]] | None = None,
    ) -> None:
        self.reports = {name: Report(step) for name, step in steps.items()}
        self.first_failed: Report | None = None
        self._engine = engine
        self._graph = graph
        self._circumstances = circumstances
        self._scratch = scratch
        self._owner = owner
        self._records = records
        self._resume = resume
        self._on_change = on_change
        self._on_log = on_log
        # An idle GPU that was lent is seen to be busy only once its container uses it.
        self._gpus = asyncio.Lock()

    async def run(self, *, parallel: int) -> None:
        """Run all steps; after a failure no other begins, and those that run are finished.

        Parameters
        ----------
        parallel : int
            At most so many containers at once; those that have ended are removed meanwhile, unless
            it is 1.
        """
        await run_graph(self._graph, self._do, parallel=parallel)

    async def _do(self, name: str, make_room: Callable[[], None]) -> bool:
        report = self.reports[name]
        self._change(report, StepState.RUNNING)
        try:
            async with self._gpus if report.step.gpus else contextlib.nullcontext():
                with named(name):
                    state = await self._run(report, make_room)
        except LadingError as error:
            report.error = error
            report.exit_code = error.exit_code
            state = StepState.FAILED
        except BaseException:
            self._look_up(report)
            self._change(report, StepState.CANCELLED)
            raise
        if state is StepState.FAILED:
            self.first_failed = self.first_failed or report
        self._look_up(report)
        self._change(report, state)
        return state is not StepState.FAILED

    async def _run(self, report: Report, make_room: Callable[[], None]) -> StepState:
        def ended(running: Running) -> None:
            if running.exited.exception() is None and running.exited.result().code == 0:
                make_room()

        def waits(why: str) -> None:
            report.waits = why
            self._on_change(report)

        step, circumstances = report.step, self._circumstances
        instance, image = step.found.instance, step.found.image
        mark = ""
        if not step.has_volumes:  # what is in those, nobody can see from here
            channels = await asyncio.to_thread(channels_of, instance)
            mark = await asyncio.to_thread(fingerprint, instance, image, circumstances, channels)
            earlier = (
                await done_before(self._records, instance.name, mark, channels)
                if self._resume
                else None
            )
            if earlier is not None:
                report.run_id = earlier.id
                report.exit_code = earlier.exit_code
                return StepState.UNCHANGED
        await asyncio.to_thread(self._scratch.clear, step.name, step.own)
        planned = await plan(
            self._engine,
            instance,
            image,
            circumstances,
            labels=self._owner.labels(),
            on_wait=waits,
        )
        report.run_id = planned.run_id
        outcome = await run_plan(
            self._engine,
            replace(planned, fingerprint=mark),
            owner=self._owner,
            records=self._records,
            on_log=self._on_log(step.name) if self._on_log is not None else None,
            on_start=lambda running: running.on_exit(ended),
            on_wait=waits,
        )
        return self._judge(report, outcome)

    def _judge(self, report: Report, outcome: Outcome) -> StepState:
        report.outcome, report.notes = outcome, outcome.notes
        report.error = error = outcome.error
        report.exit_code = outcome.code
        if error is not None and error.exit_code not in (RunError.exit_code, OutOfMemory.exit_code):
            report.exit_code = error.exit_code  # as of time that was up
        return StepState.SUCCEEDED if error is None else StepState.FAILED

    def _look_up(self, report: Report) -> None:
        """Find the record; one that somebody has pruned meanwhile is no reason to fail."""
        if report.run_id:
            with contextlib.suppress(RecordError):
                report.run = self._records.get(report.run_id)

    def _change(self, report: Report, state: StepState) -> None:
        report.state = state
        self._on_change(report)
