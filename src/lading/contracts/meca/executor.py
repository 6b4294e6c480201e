"""The executor: strangers' tasks, kept warm on this host, within what the operator lends.

A request's way: limits are checked, its image is there or is pulled, the pool leases a warm
container or starts one when admission has room, the task is called, the records are written.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from lading.contracts.meca import MARK, PORT
from lading.contracts.meca.addresses import is_address
from lading.contracts.meca.fetched import FetchedTasks, declared
from lading.contracts.meca.launch import CONTRACT, Launcher, TaskKey
from lading.contracts.meca.metrics import Metrics
from lading.contracts.meca.networks import Networks
from lading.contracts.meca.stats import host_stats
from lading.contracts.meca.task import NotSent, TaskReply, TaskServer
from lading.engine.shield import to_the_end
from lading.errors import (
    ContainerLost,
    LadingError,
    NetworkNotFound,
    NotAccepting,
    NotSupported,
    ReplyTooLarge,
    TaskFailed,
)
from lading.host.admission import Admission
from lading.host.capacity import Capacity, Reservation, Resources
from lading.host.gpus import GpuMonitor, Inventory, inventory
from lading.host.pool import Pool, PoolOptions, Want
from lading.run.images import Images
from lading.run.lifecycle import start
from lading.run.readiness import Readiness
from lading.run.records import Kind, Run, RunState, new_id
from lading.units import MIB

if TYPE_CHECKING:
    from lading.contracts.meca.options import ExecutorOptions
    from lading.contracts.meca.request import Request, TaskLimits
    from lading.engine import Engine, EngineInfo, ImageInfo, PullStatus
    from lading.run.ownership import Owner
    from lading.run.records import Records

__all__ = ["Executor", "OnCall", "Reply"]

log = logging.getLogger("lading.meca")

OnCall = Callable[["Request", str], None]
HOST_SHARE = 0.8
"""The most of the host's memory that tasks ever get (contract 1)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A task's answer, and how it was got."""

    body: bytes
    content_type: str
    cold: bool
    container: str
    seconds: float


class Executor:
    """Executes requests on an engine, within what the operator lends.

    An asynchronous context manager: what it started is gone when the block ends.

    Parameters
    ----------
    engine : Engine
    options : ExecutorOptions
    records : Records
        Where every run and every call is written down.
    owner : Owner
        Whose containers they are.
    """

    def __init__(
        self, engine: Engine, options: ExecutorOptions, *, records: Records, owner: Owner
    ) -> None:
        self.options = options
        self._engine = engine
        self._records = records
        self._owner = owner
        self._images = Images(engine, limit=options.queue)
        self._fetched = FetchedTasks(engine, options, owner)
        self._paused = False
        self._stopping = False
        self._networks = Networks(engine)

    async def __aenter__(self) -> Self:
        """Look at the engine and the GPUs, and open the pool."""
        options = self.options
        self._info = await self._engine.info()
        self._gpus = await self._lendable() if options.has_gpu else Inventory()
        if options.has_gpu and not self._gpus.gpus:
            log.warning("has_gpu is set, but there is no GPU to lend: %s", self._gpus.reason)
        self._monitor = GpuMonitor(self._gpus.gpus)
        self._capacity = Capacity(self._lent(options), self._monitor.idle)
        self._admission = Admission(
            self._capacity, limit=options.queue, patience=options.patience, gpus=self._monitor
        )
        self._pool = Pool(self._admission, _pool_options(options))
        self.metrics = Metrics(self._pool, self._capacity)
        self._sealed = await self._can_seal()
        self._launcher = self._make_launcher()
        self._log_start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Take no new work, let what runs finish within ``drain`` seconds, remove everything."""
        self.stop_accepting()
        await self._pool.close(self.options.drain)
        await self._networks.close()

    def _make_launcher(self) -> Launcher:
        return Launcher(self.options, self._info, self._owner.labels(), sealed=self._sealed)

    async def _lendable(self) -> Inventory:
        """Look for the GPUs of the machine on which tasks run."""
        if self._info.cluster:
            return Inventory(reason="which of a cluster's are idle can't be seen from here")
        return await asyncio.to_thread(inventory)

    async def _can_seal(self) -> bool:
        """Find out whether tasks without any network can be reached."""
        if self.options.network == "bridge":
            return False
        try:
            await self._engine.open_door(self._owner.labels())
        except NotSupported as error:
            if self.options.network == "sealed":
                raise
            log.warning("tasks are not sealed, but on a closed network: %s", error)
            return False
        return True

    def _log_start(self) -> None:
        info, lent = self._info, self._capacity.total
        log.info("engine: %s %s at %s", info.kind, info.version, info.address)
        log.info("lends: %s", lent)
        log.info(
            "tasks reach %s",
            "the network (egress)" if self.options.egress else "nothing outside themselves",
        )

    def _lent(self, options: ExecutorOptions) -> Resources:
        info = self._info
        return Resources(
            cpus=min(options.cpu, info.cpus or options.cpu),
            memory=min(options.mem * MIB, int(info.memory * HOST_SHARE) or options.mem * MIB),
            gpus=len(self._gpus.gpus) if options.has_gpu else 0,
        )

    # Steering.

    @property
    def stopping(self) -> bool:
        """Whether the end has begun."""
        return self._stopping

    @property
    def ready(self) -> bool:
        """Whether it takes work: it is neither paused nor ending."""
        return not self._paused and not self._stopping

    def stop_accepting(self) -> None:
        """Refuse new work, and what waits for room, from now on; what is running goes on."""
        self._stopping = True
        self._admission.pause()

    async def pause(self) -> None:
        """Refuse new work and remove the warm containers; busy ones when they are done."""
        self._paused = True
        self._admission.pause()
        await self._pool.clear()

    async def unpause(self) -> None:
        """Take work again."""
        if self._paused and not self._stopping:
            self._paused = False
            self._admission.resume()

    async def update(self, changes: dict[str, Any]) -> str:
        """Change what tasks may use.

        Parameters
        ----------
        changes : dict
            Option name to value; what isn't named stays as it is.

        Returns
        -------
        str
            What holds now, for a person.

        Raises
        ------
        NotAccepting
            It is not paused.
        """
        if not self._paused:
            raise NotAccepting(
                "the executor must be paused before its configuration changes",
                fix="POST /pause, then /update-config, then /unpause",
            )
        if changes.get("has_gpu") and not self.options.has_gpu:
            self._gpus = await self._lendable()
            self._monitor.watch(self._gpus.gpus)
        options = dataclasses.replace(self.options, **changes)
        self.options = options
        self._pool.reconfigure(total=self._lent(options), options=_pool_options(options))
        self._launcher = self._make_launcher()
        return f"configuration updated: tasks may use {self._capacity.total}"

    async def stats(self) -> dict[str, object] | None:
        """Collect the figures of ``GET /stats``; None while no work is taken."""
        if not self.ready:
            return None
        return host_stats(self._info, self._capacity, self._gpus.gpus)

    # Executing.

    async def execute(
        self, request: Request, request_id: str, on_call: OnCall = lambda _request, _id: None
    ) -> Reply:
        """Execute one request.

        Parameters
        ----------
        request : Request
        request_id : str
            Passed on to the task, and kept in the record.
        on_call : callable
            Told the request, with the limits that hold, and its image's id, once a task is about
            to be called: until then nothing is executed.

        Raises
        ------
        LadingError
            Why it was refused, or failed.
        """
        began = time.perf_counter()
        try:
            reply = await self._execute(request, request_id, began, on_call)
        except BaseException as error:
            self.metrics.failed(error)
            raise
        self.metrics.succeeded(reply.seconds, cold=reply.cold)
        return reply

    async def _execute(
        self, request: Request, request_id: str, began: float, on_call: OnCall
    ) -> Reply:
        request, image = await self._resolve(request)
        want = self._want(request, image)
        tries = 2  # a request that no task can have seen is sent once more
        while True:
            tries -= 1
            async with self._pool.lease(want, timeout=self.options.queue_timeout) as lease:
                server: TaskServer = lease.warm
                on_call(request, image.id)
                try:
                    reply = await self._call(server, request, request_id)
                except NotSent as error:
                    lease.discard()
                    if not tries:
                        raise ContainerLost(
                            f"the container of task {request.image} was gone before the request "
                            f"could be sent, twice ({error})",
                            fix="send it again; somebody may be removing containers on this host",
                        ) from error
                    continue
                except (TaskFailed, ReplyTooLarge):
                    raise  # it has answered, and can take the next request
                except (LadingError, asyncio.CancelledError):
                    lease.discard()  # it may still be busy with this one, or be broken
                    raise
                seconds = time.perf_counter() - began
                return Reply(reply.body, reply.content_type, lease.cold, server.name, seconds)

    async def _resolve(self, request: Request) -> tuple[Request, ImageInfo]:
        """Find what is asked for; a task by its CID has limits of its own."""
        if not self.ready:
            raise NotAccepting("the executor takes no work: it is paused or stopping")
        if is_address(request.image):
            image = await self._fetched.have(request.image)
            request = request.over(declared(image))
            self._check(request)
            return request, image
        self._check(request)
        return request, self._images.known(request.image) or await self._have(request.image)

    def _check(self, request: Request) -> None:
        """Refuse what this host can't do, or not with what it lends."""
        limits = request.limits
        self._capacity.fits_ever(_resources(limits))
        self._launcher.check(request)
        if limits.gpus and not self._info.gpu_driver:
            raise _no_gpu_driver(self._info)

    def _want(self, request: Request, image: ImageInfo) -> Want:
        limits = request.limits
        key = TaskKey(request.image, image.id, request.micro_vm, limits)

        async def begin(reservation: Reservation) -> TaskServer:
            return await self._start(key, image, reservation.gpus)

        return Want(key, _resources(limits), begin)

    async def _have(self, ref: str) -> ImageInfo:
        """Find or pull an image; a pull has no deadline but the caller's patience, and is told."""
        told = False

        def tell(status: PullStatus) -> None:
            nonlocal told
            if not told:
                told = True
                log.info("pulling %s: %s", ref, status.text)

        image = await self._images.have(ref, tell)
        if told:
            log.info("pulled %s: %s", ref, image.id)
        return image

    async def _start(
        self, key: TaskKey, image: ImageInfo, gpus: tuple[str, ...], *, again: bool = True
    ) -> TaskServer:
        attachment = await self._networks.attach(self._launcher.network(micro_vm=key.micro_vm))
        try:
            running = await start(
                self._engine,
                self._launcher.spec(key, image, attachment.network, gpus),
                readiness=Readiness(mark=MARK, port=PORT, timeout=self.options.start_timeout),
                records=self._records,
                run=self._run(
                    Kind.CONTAINER,
                    key.image,
                    image_id=image.id,
                    cpus=key.limits.cpus,
                    memory=key.limits.memory,
                ),
                on_wait=lambda text: log.info("%s waits: %s", key, text) if text else None,
            )
        except BaseException as error:
            await to_the_end(self._networks.release(attachment))
            if again and not attachment.own and isinstance(error, NetworkNotFound):
                self._networks.forget(attachment)
                return await self._start(key, image, gpus, again=False)
            raise
        return TaskServer(
            running,
            image=key.image,
            max_reply=self.options.max_output * MIB,
            on_gone=lambda: self._networks.release(attachment),
        )

    def _run(self, kind: Kind, image: str, **columns: Any) -> Run:
        return Run(
            id=new_id(),
            kind=kind,
            contract=CONTRACT,
            owner=self._owner.id,
            name=image,
            image=image,
            **columns,
        )

    async def _call(self, server: TaskServer, request: Request, request_id: str) -> TaskReply:
        if request.attestation:
            method, path, body = "GET", "/ra", b""
        else:
            method, path, body = "POST", "/run" if request.limits.sgx else "/", request.body
        run = self._run(
            Kind.CALL,
            request.image,
            state=RunState.RUNNING,
            parent=server.run_id,
            input_bytes=len(request.body),
        )
        self._records.begin(run)
        most = self.options.request_timeout
        headers = (("content-type", "application/json"), ("x-request-id", request_id))
        try:
            reply = await server.call(
                method,
                path,
                body,
                timeout=min(request.timeout or most, most),
                headers=headers,
            )
        except asyncio.CancelledError:
            why = "the executor ended" if self._stopping else "the caller left"
            self._records.finish(run.id, RunState.CANCELLED, error=why)
            raise
        except Exception as error:
            self._records.finish(run.id, RunState.FAILED, error=str(error)[:1000])
            raise
        size = len(reply.body)
        await self._records.finish_together(run.id, RunState.SUCCEEDED, output_bytes=size)
        return reply


def _resources(limits: TaskLimits) -> Resources:
    return Resources(limits.cpus, limits.memory, limits.gpus)


def _pool_options(options: ExecutorOptions) -> PoolOptions:
    return PoolOptions(
        idle_timeout=options.timeout * 60,
        concurrency=options.concurrency,
        spares=options.spares,
    )


def _no_gpu_driver(info: EngineInfo) -> NotSupported:
    return NotSupported(
        f"the container engine ({info.kind} {info.version}) has no driver to hand out GPUs",
        fix="the operator installs the NVIDIA container toolkit",
    )
