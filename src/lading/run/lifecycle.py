"""One container from start to gone.

::

    async with running(engine, spec, readiness=Readiness(mark=b"ready", port=8080)) as it:
        sock = await it.connect(8080)

Whatever happens after a container was asked for (an error, a time-out, a cancellation at any
moment), it is removed, and its record says how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from lading.engine.base import Container, Engine, OnWait
from lading.engine.shield import to_the_end
from lading.engine.spec import ContainerSpec, Exit, LogChunk
from lading.errors import (
    ContainerLost,
    ContainerNotFound,
    EngineUnreachable,
    LadingError,
    RecordError,
    RunError,
)
from lading.run.accounting import Accounting
from lading.run.creation import RUN_LABEL, create, create_counted, remove
from lading.run.ending import explain_exit, failure, outcome
from lading.run.logs import LogTail
from lading.run.readiness import Readiness, until_ready
from lading.run.records import Records, Run, RunState, new_id
from lading.run.usage import Meter, Usage

if TYPE_CHECKING:
    import socket

__all__ = ["Running", "running", "start"]

_ENGINE_PATIENCE = 60.0
"""Seconds that an engine may be away while a container runs, before it is given up."""
_LATE = 1.0
"""Seconds to wait for what comes just after the end: the exit's reason, the last log lines."""
_METER_DELAY = 0.25
"""Seconds before the first look at what a server uses: it has its first request to answer."""


class Running:
    """A container that runs; made by :func:`start`.

    Attributes
    ----------
    container : Container
    spec : ContainerSpec
        With the name and labels that it got.
    task : str
        What errors call it.
    run_id : str
    tail : LogTail
        The end of its log.
    exited : asyncio.Future of Exit
        Done once it has ended. Wait for it with :func:`asyncio.wait` or by :meth:`wait`: to cancel
        who awaits a future is to cancel the future. Its exception is
        :class:`~lading.errors.ContainerLost` if somebody removed the container, or
        :class:`~lading.errors.EngineUnreachable` if the engine stays away for a minute.
    started_seconds : float
        From the order to create it until it was ready.
    """

    def __init__(
        self,
        container: Container,
        spec: ContainerSpec,
        *,
        task: str,
        run_id: str,
        records: Records | None,
        mark: bytes | None,
        counters: Accounting | None = None,
    ) -> None:
        self.container = container
        self.spec = spec
        self.task = task
        self.run_id = run_id
        self.tail = LogTail(container, mark=mark)
        self.started_seconds = 0.0
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._records = records
        self._counters = counters
        self._meter = Meter(container, counters)
        self._watcher: asyncio.Task[None] | None = None
        self._callbacks: list[Callable[[Running], None]] = []
        self._closing: asyncio.Task[None] | None = None
        self._ready = False
        self._recorded = False

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as we know, and is not being closed."""
        return self._closing is None and not self.exited.done()

    def on_exit(self, callback: Callable[[Running], None]) -> None:
        """Call somebody on the event loop when it ends by itself or is removed by others.

        At once if it has ended; not after :meth:`close`.
        """
        if self.exited.done():
            callback(self)
        else:
            self._callbacks.append(callback)

    async def wait(self) -> Exit:
        """Wait until it has ended.

        Raises
        ------
        ContainerLost
            Somebody removed it.
        EngineUnreachable
            The engine has been away for a minute.
        """
        return await asyncio.shield(self.exited)

    async def connect(self, port: int) -> socket.socket:
        """Open a TCP connection to it; see :meth:`lading.engine.base.Container.connect`.

        Raises
        ------
        ConnectionError
            Nothing listens there, or it does not run any more.
        """
        try:
            return await self.container.connect(port)
        except ContainerNotFound as error:
            raise ConnectionResetError(error.message) from error

    async def usage(self) -> Usage:
        """Look at what it uses now; once it has ended, what was seen last, or (counted) all."""
        with contextlib.suppress(ContainerNotFound):
            await self._meter.look()
        return self._meter.last

    @property
    def stopped(self) -> bool:
        """Whether somebody asked for its end by its record, as ``lading stop`` does."""
        with contextlib.suppress(RecordError):
            if self._records is not None:
                return self._records.get(self.run_id).state is RunState.STOPPING
        return False

    async def explain(self, timeout: float = 0.0) -> LadingError | None:
        """Say why it ended, if it has or does within `timeout` seconds; None if it runs.

        For whoever lost a connection to it: that is known a moment before the end is, so at least
        as long is waited as the engine may take to tell.

        Returns
        -------
        OutOfMemory or ExitedEarly or ContainerLost or EngineUnreachable or None
        """
        await asyncio.wait({self.exited}, timeout=max(timeout, self.container.news_delay))
        if not self.exited.done():
            return None
        error = self.exited.exception()
        if error is not None:
            assert isinstance(error, LadingError)
            return error
        await self.tail.finished(_LATE)
        return explain_exit(
            self.exited.result(),
            task=self.task,
            limits=self.spec.limits,
            peak=self._meter.last.memory_peak,
            logs=self.tail.tail(),
            ready=self._ready,
        )

    async def close(
        self, grace: float = 0.0, *, state: RunState | None = None, error: str = ""
    ) -> None:
        """Stop it if it runs, remove it, and finish its record; not to be cancelled.

        May be called again: then it waits for the first call, or tries again what that could not.

        Parameters
        ----------
        grace : float
            Seconds between SIGTERM and SIGKILL; 0 kills at once.
        state : RunState or None
            How the run ended; None judges by the exit code, and by `cancelled` where it still ran.
        error : str
            For the record.

        Raises
        ------
        EngineError
            The container could not be removed.
        """
        if self._closing is None or (
            self._closing.done()
            and (self._closing.cancelled() or self._closing.exception() is not None)
        ):
            closing = self._close(grace, state, error)
            self._closing = asyncio.create_task(closing, name=f"close {self.container.name}")
        await to_the_end(asyncio.wait({self._closing}))
        self._closing.result()

    # What `start` does.

    def follow(self) -> None:
        """Begin to watch it; called once it was started."""
        self.tail.start()
        self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.container.name}")

    def ready(self, seconds: float, *, serves: bool) -> None:
        """Note that it can be used."""
        self.started_seconds = seconds
        self._ready = True
        self._meter.start(_METER_DELAY if serves else 0.0)
        if self._records is not None:
            self._records.update(
                self.run_id,
                state=RunState.RUNNING,
                started=time.time(),
                container_id=self.container.id,
            )

    # Watching.

    async def _watch(self) -> None:
        try:
            end = await self._end()
        except LadingError as error:
            if not self.exited.done():
                self.exited.set_exception(error)
                self.exited.exception()  # retrieved: nobody has to look at it
        else:
            self._meter.read()  # all there is: who is told of the end may ask at once
            if not self.exited.done():
                self.exited.set_result(end)
        if self._closing is None:
            callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback(self)

    async def _end(self) -> Exit:
        """Wait for its end; an engine that is away for a while has not ended it."""
        loop = asyncio.get_running_loop()
        wait, away_since = 0.05, None
        while True:
            try:
                return await self.container.wait()
            except ContainerNotFound as error:
                if error.end is not None and self.stopped:
                    return error.end  # type: ignore[no-any-return]
                raise ContainerLost(
                    f"{self.task}: its container {self.container.name} was removed while it ran",
                    logs=self.tail.tail(),
                    fix="see who removes containers on this engine",
                ) from error
            except EngineUnreachable:
                away_since = away_since or loop.time()
                if loop.time() - away_since > _ENGINE_PATIENCE:
                    raise
                await asyncio.sleep(wait)
                wait = min(wait * 2, 1.0)

    # Closing. Every step is tried, whatever became of the ones before it.

    async def _close(self, grace: float, state: RunState | None, error: str) -> None:
        ran = not self.exited.done()
        try:
            if ran:
                with contextlib.suppress(LadingError, OSError, TimeoutError):
                    async with asyncio.timeout(_LATE):
                        await self._meter.look()
            if ran and grace > 0:
                with contextlib.suppress(LadingError, OSError):
                    await self.container.stop(grace)
                await asyncio.wait({self.exited}, timeout=_LATE)
        finally:
            try:
                await remove(self.container)
            finally:
                await self._stop_watching()
                await self._stop_counting()
                self._finish(ran, grace, state, error)

    async def _stop_watching(self) -> None:
        await self._meter.close()
        await self.tail.close()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
        if not self.exited.done():
            self.exited.set_exception(ContainerLost(f"{self.task}: its container was stopped"))
            self.exited.exception()

    async def _stop_counting(self) -> None:
        if self._counters is not None:
            self._meter.read()
            await self._counters.close()

    def _finish(self, ran: bool, grace: float, state: RunState | None, error: str) -> None:
        if self._records is None or self._recorded:  # a removal that is tried again ends no run
            return
        lost = self.exited.exception()
        end = None if lost else self.exited.result()
        if isinstance(lost, ContainerLost) and not ran:
            state, error = state or RunState.LOST, error or lost.message
        if self.stopped:
            state, error = RunState.CANCELLED, error or "stopped by hand"
        used, peak = self._meter.last, self._meter.last.memory_peak
        out_of_memory = end is not None and end.out_of_memory
        if out_of_memory:
            peak = max(peak, self.spec.limits.memory or 0)
        self._records.finish(
            self.run_id,
            state or outcome(end, ran),
            exit_code=end.code if end is not None and (grace or not ran) else None,
            out_of_memory=out_of_memory,
            error=error,
            memory_peak=peak or None,
            cpu_seconds=used.cpu_seconds or None,
        )
        self._recorded = True


async def start(
    engine: Engine,
    spec: ContainerSpec,
    *,
    readiness: Readiness | None = None,
    records: Records | None = None,
    run: Run | None = None,
    on_log: Callable[[LogChunk], None] | None = None,
    accounting: bool = False,
    exact: bool = False,
    on_wait: OnWait | None = None,
) -> Running:
    """Create a container, start it, and wait until it is ready.

    Parameters
    ----------
    spec : ContainerSpec
        Its image must be there. Without a name it is named ``lading-<run id>``.
    readiness : Readiness or None
        None: ready once started.
    records, run
        Where to write down what; without both, nothing is.
    on_log : callable or None
        Told of all that it prints, from the first byte; see :meth:`LogTail.subscribe`.
    accounting : bool
        Whether it gets a control group of its own, where that is possible: then what it used is
        exact, however short it lived. Otherwise what was seen now and then is told.
    exact : bool
        Whether all that it prints is wanted byte for byte, see :meth:`LogTail.attach`.
    on_wait : callable or None
        Told why it does not run yet, see :meth:`lading.engine.base.Container.start`.

    Raises
    ------
    NotReady
        It did not become ready in time.
    ExitedEarly, OutOfMemory, ContainerLost
        It ended before it was ready.
    EngineError
        The engine refused, or went away.
    RecordError
        The run can't be written down, so it is not begun.
    """
    began = time.perf_counter()
    run_id = run.id if run is not None else new_id()
    name = spec.name or f"lading-{run_id}"
    spec = replace(spec, name=name, labels={**spec.labels, RUN_LABEL: run_id})
    task = run.name if run is not None else spec.image
    records = records if run is not None else None
    if run is not None and records is not None:
        records.begin(replace(run, container_name=name))
    counters: Accounting | None = None
    try:
        if accounting:
            container, counters = await create_counted(engine, spec, run_id)
        else:
            container = await create(engine, spec, run_id)
    except BaseException as error:
        if records is not None:
            records.finish(run_id, failure(error), error=_message(error))
        raise
    if records is not None and spec.placement is not None:
        # Where on a cluster it is, in case that nobody is left to say it.
        records.update(run_id, container_id=container.id)
    mark = readiness.mark if readiness is not None else None
    it = Running(
        container, spec, task=task, run_id=run_id, records=records, mark=mark, counters=counters
    )
    if on_log is not None:
        it.tail.subscribe(on_log)
    try:
        if exact:
            await it.tail.attach()
        await container.start(on_wait)
        it.follow()
        if readiness is not None and not await until_ready(
            readiness, task=task, container=container, tail=it.tail, exited=it.exited
        ):
            raise (await it.explain()) or RunError(f"{task} ended before it was ready")
        it.ready(time.perf_counter() - began, serves=readiness is not None)
    except ContainerNotFound as error:
        lost = ContainerLost(f"{task}: its container {name} was removed before it was ready")
        await it.close(state=RunState.LOST, error=lost.message)
        raise lost from error
    except BaseException as error:
        await it.close(state=failure(error), error=_message(error))
        raise
    return it


@contextlib.asynccontextmanager
async def running(
    engine: Engine,
    spec: ContainerSpec,
    *,
    readiness: Readiness | None = None,
    records: Records | None = None,
    run: Run | None = None,
    accounting: bool = False,
    grace: float = 0.0,
) -> AsyncIterator[Running]:
    """Do :func:`start`, and :meth:`Running.close` with `grace` at the end of the block."""
    it = await start(
        engine, spec, readiness=readiness, records=records, run=run, accounting=accounting
    )
    try:
        yield it
    except BaseException as error:
        await it.close(grace, state=failure(error), error=_message(error))
        raise
    await it.close(grace)


def _message(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return ""
    return error.message if isinstance(error, LadingError) else f"{type(error).__name__}: {error}"
