"""One task instance, run to its end: its channels mounted, measured, written down, and removed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lading.contracts.processing import CONTRACT
from lading.contracts.processing.access import Access, unowned
from lading.contracts.processing.channels import make_outputs, measured, remove_empty
from lading.contracts.processing.recording import begun, detail
from lading.engine import Exit
from lading.engine.shield import to_the_end
from lading.errors import ContainerLost, LadingError, RunError, TimedOut
from lading.run.creation import CONTRACT_LABEL, TASK_LABEL
from lading.run.handover import Stamp, hand_over
from lading.run.kept_logs import KeptLog
from lading.run.lifecycle import Running, start
from lading.run.records import RunState
from lading.run.usage import Usage
from lading.units import format_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from lading.contracts.processing.planning import Plan
    from lading.engine import Engine, LogChunk
    from lading.run.ownership import Owner
    from lading.run.records import Records

__all__ = ["Outcome", "run_plan"]

_LAST_LINES = 10.0
"""Seconds that the end of a log may take to come after the end of its container."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Parameters
    ----------
    plan : Plan
    container, container_id : str
        The name and id it had.
    exit : Exit
    usage : Usage
        Peak memory and processor time.
    channels : list of dict
        With sizes: of inputs before, of outputs after the run.
    error : LadingError or None
        Why it failed, if it did.
    notes : tuple of str
        What its user should know.
    ran : str
        The digest of the image that ran, as far as it is known.
    """

    plan: Plan
    container: str
    container_id: str
    exit: Exit
    usage: Usage
    channels: list[dict[str, Any]]
    error: LadingError | None = None
    notes: tuple[str, ...] = ()
    ran: str = ""

    @property
    def run_id(self) -> str:
        """The id of its record."""
        return self.plan.run_id

    @property
    def code(self) -> int:
        """The container's exit code; 137 where memory ran out, though a child only was killed."""
        return 137 if self.exit.out_of_memory and self.exit.code else self.exit.code


async def run_plan(
    engine: Engine,
    planned: Plan,
    *,
    owner: Owner,
    records: Records,
    on_log: Callable[[LogChunk], None] | None = None,
    on_start: Callable[[Running], None] | None = None,
    on_stop: Callable[[float], None] | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> Outcome:
    """Run a task to its end; its container is removed whatever happens.

    Parameters
    ----------
    engine : Engine
    planned : Plan
        From :func:`lading.contracts.processing.planning.plan`.
    owner : Owner
        Whose container it is.
    records : Records
        Where the run is written down.
    on_log : callable or None
        Told of all that it prints.
    on_start : callable or None
        Told once it runs.
    on_stop : callable or None
        Told when it is being stopped, and how many seconds it has for that.
    on_wait : callable or None
        Told why it does not run yet, see :meth:`lading.engine.Container.start`.

    Returns
    -------
    Outcome
        Also of a task that failed: its `error` says why.

    Raises
    ------
    InputError
        An output directory can't be made.
    EngineError
        The engine refused to start it, or went away.
    RecordError
        The run can't be written down, so it was not begun.
    """
    work = _Work(engine, planned, owner, records, on_stop)
    work.on_wait = on_wait
    try:
        await work.prepare()
        log = await KeptLog.open(records.path.parent, planned.run_id)
    except BaseException:
        await to_the_end(work.undo())
        raise
    try:
        running = await work.start(log, on_log)
        try:
            if on_start is not None:
                on_start(running)
            await work.wait(running)
        except BaseException as error:
            work.interrupted(error)
            raise
        finally:
            await to_the_end(work.finish(running, log))
    finally:
        await log.close()
    return work.outcome(running)


class _Work:
    """What becomes of one run, step by step."""

    def __init__(
        self,
        engine: Engine,
        planned: Plan,
        owner: Owner,
        records: Records,
        on_stop: Callable[[float], None] | None,
    ) -> None:
        self._engine = engine
        self._plan = planned
        self._records = records
        self.on_wait: Callable[[str], None] | None = None
        self._on_stop = on_stop
        self._labels = {
            **owner.labels(),
            CONTRACT_LABEL: CONTRACT,
            TASK_LABEL: planned.instance.name,
        }
        self._run = begun(planned, owner)
        self._channels: list[dict[str, Any]] = []
        self._made: list[Path] = []
        self._access = Access()
        self._stamp = Stamp(())
        self._state: RunState | None = None
        self._error: LadingError | None = None
        self._words = ""
        self._usage = Usage()
        self._notes: list[str] = list(planned.needs.notes)
        self._ran = planned.digest

    async def prepare(self) -> None:
        """Make the output directories, and look at all channels."""
        await to_the_end(asyncio.to_thread(self._make))
        channels = self._plan.channels
        self._channels = self._with_volumes(await asyncio.to_thread(measured, channels))
        outputs = [channel.path for channel in channels if channel.is_output]
        self._stamp = await asyncio.to_thread(Stamp.of, outputs)
        self._notes += self._access.warnings

    def _make(self) -> None:
        channels, user = self._plan.channels, self._plan.image.user
        self._made = make_outputs(channels)
        self._access = Access.give(channels, self._made, user=user, rootless=self._plan.rootless)

    async def undo(self) -> None:
        """Leave no empty directory behind, as nothing was started."""
        await asyncio.to_thread(self._access.restore)
        await asyncio.to_thread(remove_empty, self._made)

    async def start(self, log: KeptLog, on_log: Callable[[LogChunk], None] | None) -> Running:
        """Start the container; leaves nothing behind if that fails."""

        def told(chunk: LogChunk) -> None:
            log.write(chunk)
            if on_log is not None:
                on_log(chunk)

        spec = self._plan.container_spec(self._labels)
        self._run = replace(self._run, detail=self._detail(), input_bytes=self._bytes("input"))
        try:
            return await start(
                self._engine,
                spec,
                records=self._records,
                run=self._run,
                on_log=told,
                accounting=True,
                exact=True,
                on_wait=self.on_wait,
            )
        except BaseException:
            await to_the_end(self.undo())
            raise

    async def wait(self, running: Running) -> None:
        """Wait for its end, or until its time is up."""
        limit = self._plan.circumstances.timeout
        try:
            async with asyncio.timeout(limit):
                await running.wait()
        except TimeoutError:
            assert limit is not None
            self._state = RunState.FAILED
            self._error = TimedOut(
                f"{self._plan.instance.name} was stopped: it did not end within "
                f"{format_seconds(limit)}",
                seconds=limit,
                fix="allow it more time with --timeout",
            )
        except ContainerLost as error:
            self._error = error

    def interrupted(self, error: BaseException) -> None:
        """Note that it did not end by itself."""
        if isinstance(error, asyncio.CancelledError):
            self._state, self._words = RunState.CANCELLED, "interrupted"
        else:
            self._state = RunState.FAILED
            self._words = error.message if isinstance(error, LadingError) else repr(error)

    async def finish(self, running: Running, log: KeptLog) -> None:
        """End it, give its outputs to its user, and write down how it ended.

        The record ends last: who waits for that finds everything in its place.
        """
        try:
            if not running.exited.done():
                if self._on_stop is not None:
                    self._on_stop(self._plan.circumstances.grace)
                with contextlib.suppress(LadingError):
                    await running.container.stop(self._plan.circumstances.grace)
                await asyncio.wait({running.exited}, timeout=1.0)
            elif self._error is None and not self._words and running.exited.exception() is None:
                await running.tail.finished(_LAST_LINES)
                self._error = await self._why(running)
            await log.flush()
            await self._see_what_ran(running)
            await self._give_outputs()
            await self._look_at_outputs()
        finally:
            words = self._error.message if self._error is not None else self._words
            await running.close(state=self._state, error=words)
            self._usage = await running.usage()

    async def _why(self, running: Running) -> LadingError | None:
        """Say why it ended by itself, if not well."""
        if running.stopped:
            return RunError(f"{self._plan.instance.name} was stopped by hand")
        end = running.exited.result()
        return await running.explain() if end.code or end.out_of_memory else None

    async def _see_what_ran(self, running: Running) -> None:
        """Learn which image a node has really run: its name may have moved on since we looked."""
        if not self._plan.cluster:
            return
        with contextlib.suppress(LadingError):
            found = (await running.container.inspect()).image_id
            known = (self._plan.image.id, *self._plan.image.digests)
            if found and found not in known and self._plan.image.id:
                self._notes.append(
                    f"the image {self._plan.instance.image} moved on before it was run: what ran "
                    f"is {found}"
                )
            self._ran = found or self._ran

    async def _give_outputs(self) -> None:
        report = await hand_over(
            self._engine,
            self._plan.image.runs_as,
            self._stamp,
            labels=self._labels,
            helper=not self._plan.cluster,  # its containers see other files than we
        )
        await asyncio.to_thread(self._access.restore)
        if self._error is not None:
            self._notes += self._access.doubts
        if report.warning:
            self._notes.append(report.warning)

    async def _look_at_outputs(self) -> None:
        outputs = [channel for channel in self._plan.channels if channel.is_output]
        after = await asyncio.to_thread(measured, outputs, manifests=bool(self._plan.fingerprint))
        before = [
            item
            for item in self._channels
            if item["direction"] == "output" and "volume" not in item
        ]
        for item, was in zip(after, before, strict=True):
            item["files_before"] = was["files"]
        self._notes += unowned(self._stamp.unwritable, after)
        inputs = [item for item in self._channels if item["direction"] == "input"]
        self._channels = [*inputs, *after, *self._volumes("output")]
        self._records.update(
            self._run.id, detail=self._detail(), output_bytes=self._bytes("output")
        )

    def outcome(self, running: Running) -> Outcome:
        """Say how it ended."""
        if isinstance(self._error, ContainerLost) or running.exited.exception() is not None:
            raise self._error or running.exited.exception() or LadingError("lost")
        end = running.exited.result()
        return Outcome(
            plan=self._plan,
            container=running.container.name,
            container_id=running.container.id,
            exit=end,
            usage=self._usage,
            channels=self._channels,
            error=self._error,
            notes=tuple(self._notes),
            ran=self._ran,
        )

    def _with_volumes(self, here: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Add the channels that are volumes, inputs first."""
        inputs = [item for item in here if item["direction"] == "input"]
        outputs = [item for item in here if item["direction"] == "output"]
        return [*inputs, *self._volumes("input"), *outputs, *self._volumes("output")]

    def _volumes(self, direction: str) -> list[dict[str, Any]]:
        return [item.described() for item in self._plan.volumes if item.direction == direction]

    def _bytes(self, direction: str) -> int:
        found = (item["bytes"] for item in self._channels if item["direction"] == direction)
        return sum(count or 0 for count in found)

    def _detail(self) -> str:
        return detail(self._plan, self._channels, self._notes, ran=self._ran)
