"""What the runners of the original do on an engine, whichever it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lading.contracts.processing.detached import Job, Started, launch
from lading.contracts.processing.instances import Changes, Found, find_instance
from lading.contracts.processing.original.places import Place, options_of, place_of, tools
from lading.contracts.processing.original.runner import BaseRunner
from lading.contracts.processing.original.sizes import human_readable_size
from lading.contracts.processing.placement import placement_of
from lading.contracts.processing.planning import Circumstances
from lading.contracts.processing.task import (
    HostPathVolume,
    IOChannel,
    Task,
    TaskInstance,
    TaskRun,
)
from lading.contracts.processing.template import Resources
from lading.engine import Exit, LogChunk, State
from lading.errors import ContainerLost, ContainerNotFound, EngineError
from lading.run.bridge import blocking
from lading.run.ending import code_of, explain_run
from lading.run.images import pull_if_absent
from lading.run.log_reading import run_log
from lading.run.records import Run, RunState
from lading.run.usage import Meter
from lading.run.waiting import until_finished
from lading.settings import EngineOptions
from lading.units import format_quantity, quantity

__all__ = ["EngineRunner"]

_GRACE = 10.0
_KILLED = 137


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a task ended, or that it did not.

    Parameters
    ----------
    code : int or None
        Its exit code, 137 where its memory ran out; None while it runs.
    why : str
        What to say of it; empty where all went well.
    """

    code: int | None
    out_of_memory: bool = False
    why: str = ""


class EngineRunner(BaseRunner):
    """Runs tasks on an engine: each in a container that a process of its own watches.

    Attributes
    ----------
    mode : str
        What the original calls this kind of engine.
    """

    mode: ClassVar[str]
    _tick: ClassVar[float] = 1.0
    """Seconds between two words about the memory that a task uses."""
    _circumstances: ClassVar[Circumstances] = Circumstances()

    @classmethod
    def _name(cls, started: Started) -> str:
        """Say what the original has as the id of a task run."""
        return started.container_id

    @classmethod
    def _run(cls, task: Task) -> TaskRun:
        """Start a task; it goes on without its caller.

        A process of its own watches it, keeps its log, gives its outputs to the caller's user and
        removes the container at the end.

        Returns
        -------
        TaskRun
            Its `id` is the container's.

        Raises
        ------
        InputError
            There is no such template, a channel can't be used, or a quantity is none.
        ImageError
            The image can't be had, or is no processing-container.
        EngineError
            The engine refused to start it.
        """
        instance, started, state = blocking(lambda: cls._start(task))
        for note in started.notes:
            cls._logger.warning(note)
        task_run = TaskRun(
            **{name: getattr(instance, name) for name in TaskInstance.model_fields},
            id=cls._name(started),
            mode=cls.mode,
        )
        task_run.resources = _effective(instance.resources, started.memory)
        task_run._run, task_run._state = started.run, str(state)  # noqa: SLF001
        cls._logger.info("Container %s runs, run %s", task_run.id, started.run)
        return task_run

    @classmethod
    async def _start(cls, task: Task) -> tuple[TaskInstance, Started, Path]:
        found, options, state = await cls._found(task)
        instance = found.instance
        if not cls._circumstances.node_paths:
            instance = await asyncio.to_thread(_absolute, instance)
        job = Job(instance, found.image, options, state, cls._circumstances)
        return instance, await launch(job), state.absolute()

    @classmethod
    async def _found(cls, task: Task) -> tuple[Found, EngineOptions, Path]:
        """Put a task together with its template, and say on which engine it is to run."""
        options = options_of(cls.mode, task.config)
        async with tools(options) as (engine, owner, state):
            near = engine.placed(placement_of(task.config))
            found = await find_instance(
                engine,
                task,
                Changes(),
                fetch=lambda name: pull_if_absent(near, name),
                state=state,
                labels=owner.labels(),
            )
        for warning in found.warnings:
            cls._logger.warning(warning)
        return found, options, state

    @classmethod
    def logs(
        cls,
        task_run: TaskRun,
        follow: bool = False,
        startup_timeout: float = 30,
        log_timeout: float | None = None,
    ) -> None:
        """Log what a task printed, a record for each line; also of one whose container is gone.

        Parameters
        ----------
        follow : bool
            Go on until it ends; at once if it has.
        startup_timeout : float
            For who waits for its start elsewhere; one that was started here runs.
        log_timeout : float or None
            Seconds to follow at most; None: until it ends.

        Raises
        ------
        TimeoutError
            `log_timeout` is over.
        RecordNotFound
            There is nothing of it any more.
        """
        del startup_timeout

        async def read() -> None:
            lines = _Lines(lambda line: cls._logger.info("%s", line))
            async with place_of(task_run) as place:
                chunks = run_log(
                    place.engine, place.container, place.state, place.run_id, follow_on=follow
                )
                try:
                    async with asyncio.timeout(log_timeout):
                        async for chunk in chunks:
                            lines.add(chunk)
                except TimeoutError:
                    raise TimeoutError(
                        f"the log of {task_run.name} did not end within {log_timeout} seconds"
                    ) from None
                finally:
                    lines.end()

        blocking(read)

    @classmethod
    def stop(cls, task_run: TaskRun) -> None:
        """End a task, with 10 seconds between SIGTERM and SIGKILL, and remove its container.

        Returns once its record is finished; at once if it has ended.
        """
        blocking(lambda: _stop(task_run))
        cls._logger.info("Stopped task %s", task_run.name)

    @classmethod
    def check_status(cls, task_run: TaskRun, follow: bool = False) -> None:
        """Log how a task ended, and leave the program with its exit code if that is not 0.

        Parameters
        ----------
        follow : bool
            Wait for its end; without it, nothing is raised of a task that still runs.

        Raises
        ------
        SystemExit
            With the container's exit code; 137 where its memory ran out.
        """
        ended = cls.wait(task_run) if follow else blocking(lambda: _ended(task_run, wait=False))
        if ended.code is None:
            cls._logger.info("Container is running")
            return
        if ended.out_of_memory:
            cls._logger.error("Container stopped because of OutOfMemory! %s", ended.why)
        elif ended.code:
            cls._logger.error("Container returned exit code %d: %s", ended.code, ended.why)
        else:
            cls._logger.info("Container exited with status code 0")
        if ended.code:
            raise SystemExit(ended.code)

    @classmethod
    def wait(cls, task_run: TaskRun) -> _Ended:
        """Wait until a task has ended and its outputs are in their place."""
        return blocking(lambda: _ended(task_run, wait=True))

    @classmethod
    def monitor_memory(cls, task_run: TaskRun) -> int:
        """Follow what memory a task uses until it ends.

        Returns
        -------
        int
            The most that it used, in bytes; of one that has ended, what was recorded.
        """

        async def watch() -> int:
            async with place_of(task_run) as place:
                return await cls._watch(place)

        peak = blocking(watch)
        cls._logger.info("Memory peak: %s", human_readable_size(peak))
        return peak

    @classmethod
    async def _watch(cls, place: Place) -> int:
        peak, meter = 0, None
        # Also where its container is gone: its record may not be finished yet.
        ending = asyncio.create_task(_end(place))
        try:
            while not ending.done():
                if place.container is not None and place.engine is not None:
                    with contextlib.suppress(EngineError):  # it may end, or go, in any moment
                        meter = meter or Meter(await place.engine.container(place.container.id))
                        peak = max(peak, (await meter.look()).memory_peak)
                        cls._logger.info("Memory peak: %s", human_readable_size(peak))
                await asyncio.wait({ending}, timeout=cls._tick)
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
        run = place.refreshed()
        return max(peak, (run.memory_peak or 0) if run is not None else 0)


async def _stop(task_run: TaskRun) -> None:
    async with place_of(task_run) as place:
        run, container = place.run, None
        if place.container is not None and place.engine is not None:
            if run is not None and place.container.state is not State.EXITED:
                await asyncio.to_thread(place.records.mark_stopping, run.id)
            with contextlib.suppress(ContainerNotFound):
                container = await place.engine.container(place.container.id)
                await container.stop(_GRACE)
        if run is not None:
            try:
                await until_finished(place.engine, place.records, place.state, run.id)
            except ContainerLost:  # nobody watches it any more
                words = "stopped by hand; the process that watched it had died"
                place.records.finish(run.id, RunState.LOST, error=words)
        if container is not None:
            await container.remove()


async def _ended(task_run: TaskRun, *, wait: bool) -> _Ended:
    async with place_of(task_run) as place:
        if not wait and not await asyncio.to_thread(place.is_over):
            return _Ended(None)
        end = await _end(place)
        if isinstance(end, Run):
            error = explain_run(end)
            return _Ended(code_of(end), end.out_of_memory, str(error or ""))
        code = _KILLED if end.out_of_memory and end.code else end.code
        return _Ended(code, end.out_of_memory, end.error)


async def _end(place: Place) -> Run | Exit:
    """Wait for the end of a task, as its record has it; of another program's, as its engine does.

    Raises
    ------
    ContainerLost
        Nobody watches it any more.
    """
    if place.run is not None:
        return await until_finished(place.engine, place.records, place.state, place.run.id)
    assert place.engine is not None
    assert place.container is not None
    return await (await place.engine.container(place.container.id)).wait()


class _Lines:
    """Cuts what comes into lines, each stream's by itself."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest: dict[str, bytes] = {}

    def add(self, chunk: LogChunk) -> None:
        *lines, rest = (self._rest.get(chunk.stream, b"") + chunk.data).split(b"\n")
        self._rest[chunk.stream] = rest
        for line in lines:
            self._one(line)

    def end(self) -> None:
        for rest in self._rest.values():
            if rest:
                self._one(rest)
        self._rest.clear()

    def _one(self, line: bytes) -> None:
        self._tell(line.decode("utf-8", "replace").rstrip())


def _absolute(instance: TaskInstance) -> TaskInstance:
    """Name the directories of channels so that they are found from any other directory."""

    def one(channel: IOChannel) -> IOChannel:
        if channel.host_path is None:
            return channel
        path = str(Path(channel.host_path).expanduser().absolute())
        return channel.model_copy(update={"volume_source": HostPathVolume(host_path=path)})

    return instance.model_copy(
        update={
            "inputs": [one(channel) for channel in instance.inputs],
            "outputs": [one(channel) for channel in instance.outputs],
        }
    )


def _effective(resources: Resources | None, memory: int | None) -> Resources | None:
    """Write down the limit that was really set, where a scale rule raised it."""
    limits = dict((resources.limits if resources is not None else None) or {})
    declared = limits.get("memory")
    if memory is None or (declared is not None and quantity(declared, "memory") >= memory):
        return resources
    limits["memory"] = format_quantity(memory)
    requests = resources.requests if resources is not None else None
    return Resources(limits=limits, requests=requests)
