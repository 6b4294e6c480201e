"""A task run once, for its own user: started, called, measured and removed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lading.contracts.meca import MARK, PORT
from lading.contracts.meca.launch import AESM_DIRECTORY, CONTRACT, ENCLAVE_DEVICE
from lading.contracts.meca.request import ATTESTATION, TaskLimits
from lading.contracts.meca.task import NotSent, TaskReply, TaskServer
from lading.engine import ContainerSpec, Device, Gpu, Limits, Mount, Network, NetworkSpec
from lading.engine.shield import to_the_end
from lading.errors import ContainerLost, LadingError, NotSupported
from lading.host.gpus import lend
from lading.run.creation import CONTRACT_LABEL, TASK_LABEL
from lading.run.lifecycle import Running, start
from lading.run.readiness import Readiness
from lading.run.records import Kind, Run, RunState, new_id
from lading.run.usage import Usage

if TYPE_CHECKING:
    from lading.engine import Engine, EngineInfo, ImageInfo, LogChunk
    from lading.engine.base import OnWait
    from lading.run.ownership import Owner
    from lading.run.records import Records

__all__ = ["Job", "Outcome", "Started", "run_once", "started"]

_PIDS = 4096
"""Processes of a task that one runs for oneself: enough for any, too few for a fork bomb."""
_MAX_REPLY = 4 << 30


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a task, decided in everything.

    Parameters
    ----------
    name : str
        The task, as its user calls it.
    image : ImageInfo
        One that the engine has.
    body : bytes
        What the task gets.
    limits : TaskLimits
    runtime : str or None
        OCI runtime by the name that the engine has it under; None is the engine's default.
    network : bool
        Whether it has the engine's usual network; without it, it reaches nothing.
    sealed : bool
        Whether all capabilities are dropped and no new privileges can be had.
    start_timeout, timeout : float
        Seconds from start to ready, and for the call.
    sgx_device, aesmd_path : str
        The enclave device and the directory of the AESM service's socket on this host.
    """

    name: str
    image: ImageInfo
    body: bytes
    limits: TaskLimits
    runtime: str | None = None
    network: bool = True
    sealed: bool = True
    start_timeout: float = 60.0
    timeout: float = 300.0
    sgx_device: str = "/dev/sgx_enclave"
    aesmd_path: str = "/var/run/aesmd"

    @property
    def request(self) -> tuple[str, str, bytes]:
        """Method, path and body of the call (contract 1, SGX on the client side)."""
        if not self.limits.sgx:
            return "POST", "/", self.body
        if self.body == ATTESTATION.encode():
            return "GET", "/ra", b""
        return "POST", "/run", self.body


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gave, and what it took.

    Parameters
    ----------
    reply : TaskReply
    run_id, container : str
        Of its record, and the name its container had.
    start_seconds : float
        From the order to create the container until it was ready.
    call_seconds : float
        From the request to the whole reply.
    usage : Usage
        Peak memory and processor time, as far as they were seen.
    """

    reply: TaskReply
    run_id: str
    container: str
    start_seconds: float
    call_seconds: float
    usage: Usage


Linger = Callable[[Outcome | LadingError, Running], Awaitable[None]]


class Started:
    """A task that was started for one's own use and is ready; made by :func:`started`.

    Attributes
    ----------
    running : Running
    """

    def __init__(self, running: Running, job: Job) -> None:
        self.running = running
        self._job = job
        self._server = TaskServer(running, image=job.name, max_reply=_MAX_REPLY)

    async def call(self) -> tuple[TaskReply, float]:
        """Send the job's request; may be called again, and several times at once.

        Returns
        -------
        reply : TaskReply
        seconds : float
            From the request to the whole reply.

        Raises
        ------
        TaskFailed, TimedOut, OutOfMemory, ExitedEarly, ContainerLost, ReplyBroken, ReplyTooLarge
            It gave no result.
        """
        job, running = self._job, self.running
        method, path, body = job.request
        began = time.perf_counter()
        try:
            reply = await self._server.call(
                method,
                path,
                body,
                timeout=job.timeout,
                headers=(("content-type", "application/json"), ("x-request-id", running.run_id)),
            )
        except NotSent as error:
            why = await running.explain()
            raise why or ContainerLost(
                f"task {job.name} was ready, but takes no connection any more ({error})",
                logs=running.tail.tail(),
                fix="see its log",
            ) from error
        return reply, time.perf_counter() - began


@contextlib.asynccontextmanager
async def started(
    engine: Engine,
    job: Job,
    *,
    owner: Owner,
    records: Records,
    on_log: Callable[[LogChunk], None] | None = None,
    accounting: bool = False,
    on_wait: OnWait | None = None,
) -> AsyncIterator[Started]:
    """Have a task's container while the block runs; it is removed whatever happens.

    Parameters
    ----------
    engine : Engine
    job : Job
    owner : Owner
        Whose container it is.
    records : Records
        Where the run is written down; it fails with the block.
    on_log : callable or None
        Told of all that the task prints.
    accounting : bool
        Whether what it uses is counted exactly where that is possible, see
        :func:`lading.run.lifecycle.start`.
    on_wait : callable or None
        Told why it does not run yet: on a cluster, that may take long.

    Raises
    ------
    NotSupported, GpuUnavailable
        The engine or the host can't give what the job asks for.
    NotReady, ExitedEarly, OutOfMemory, ContainerLost
        It never came so far as to be called.
    """
    info = await engine.info()
    if job.runtime and job.runtime not in info.runtimes and not info.cluster:
        known = ", ".join(info.runtimes) or "none"
        raise NotSupported(
            f"the container engine has no OCI runtime {job.runtime!r} (it has: {known})",
            fix=f"register {job.runtime!r} with the engine, or leave --runtime out",
        )
    gpus = await lend(job.limits.gpus, info)
    run = _begun(job, owner)
    labels = {**owner.labels(), CONTRACT_LABEL: CONTRACT, TASK_LABEL: job.name}
    async with _network(engine, job, info, labels, run.id) as network:
        running = await start(
            engine,
            _spec(job, labels, network, gpus),
            readiness=Readiness(mark=MARK, port=PORT, timeout=job.start_timeout),
            records=records,
            run=run,
            on_log=on_log,
            accounting=accounting,
            on_wait=on_wait,
        )
        try:
            yield Started(running, job)
        except BaseException as error:
            await running.close(state=_state(error, running), error=_words(error))
            raise
        await running.close(state=RunState.SUCCEEDED)


async def run_once(
    engine: Engine,
    job: Job,
    *,
    owner: Owner,
    records: Records,
    on_log: Callable[[LogChunk], None] | None = None,
    linger: Linger | None = None,
    on_wait: OnWait | None = None,
) -> Outcome:
    """Start a task, call it once, and remove it whatever happens.

    Parameters
    ----------
    engine : Engine
    job : Job
    owner : Owner
        Whose container it is.
    records : Records
        Where the run is written down.
    on_log : callable or None
        Told of all that the task prints.
    linger : callable or None
        Awaited while the container still runs, with the outcome or why there is none.
    on_wait : callable or None
        Told why it does not run yet.

    Raises
    ------
    NotSupported, GpuUnavailable
        The engine or the host can't give what the job asks for.
    NotReady, ExitedEarly, OutOfMemory, ContainerLost
        It never came so far as to be called, or ended in the middle.
    TaskFailed, TimedOut, ReplyBroken, ReplyTooLarge
        It was called, and gave no result.
    """
    async with started(
        engine, job, owner=owner, records=records, on_log=on_log, on_wait=on_wait
    ) as task:
        running = task.running
        try:
            reply, seconds = await task.call()
            outcome = Outcome(
                reply=reply,
                run_id=running.run_id,
                container=running.container.name,
                start_seconds=running.started_seconds,
                call_seconds=seconds,
                usage=await running.usage(),
            )
            if linger is not None:
                await linger(outcome, running)
                outcome = replace(outcome, usage=await running.usage())
        except LadingError as error:
            if linger is not None:
                await linger(error, running)
            raise
    records.update(outcome.run_id, output_bytes=len(outcome.reply.body))
    return outcome


def _begun(job: Job, owner: Owner) -> Run:
    return Run(
        id=new_id(),
        kind=Kind.CONTAINER,
        contract=CONTRACT,
        owner=owner.id,
        name=job.name,
        image=job.image.tags[0] if job.image.tags else job.image.id,
        image_id=job.image.id,
        cpus=job.limits.cpus,
        memory=job.limits.memory,
        input_bytes=len(job.body),
    )


def _spec(
    job: Job, labels: dict[str, str], network: Network | str, gpus: tuple[str, ...]
) -> ContainerSpec:
    sgx = job.limits.sgx
    return ContainerSpec(
        image=job.image.runs_as,
        labels=labels,
        mounts=(Mount(job.aesmd_path, AESM_DIRECTORY),) if sgx else (),
        devices=(Device(job.sgx_device, ENCLAVE_DEVICE),) if sgx else (),
        gpus=Gpu(gpus) if gpus else None,
        limits=Limits(job.limits.cpus, job.limits.memory, _PIDS),
        network=network,
        ports=(PORT,),
        runtime=job.runtime,
        sealed=job.sealed,
    )


@contextlib.asynccontextmanager
async def _network(
    engine: Engine, job: Job, info: EngineInfo, labels: dict[str, str], run_id: str
) -> AsyncIterator[Network | str]:
    """Give the task its network: the usual one, none, or a closed one of its own.

    The last where it can't be reached otherwise: on another host, or in a kernel of its own.
    """
    if job.network:
        yield Network.DEFAULT
    elif (info.local and job.runtime is None) or info.cluster:
        yield Network.NONE
    else:
        name = f"lading-{run_id}"
        await engine.create_network(NetworkSpec(name, labels, internal=True, isolated=True))
        try:
            yield name
        finally:
            await to_the_end(engine.remove_network(name))


def _state(error: BaseException, running: Running) -> RunState:
    if isinstance(error, asyncio.CancelledError):
        return RunState.CANCELLED
    gone = running.exited.done() and not running.exited.cancelled() and running.exited.exception()
    return RunState.LOST if gone else RunState.FAILED


def _words(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "interrupted"
    return error.message if isinstance(error, LadingError) else f"{type(error).__name__}: {error}"
