"""A container that serves the Golem Task API, started and reached the same way for both sides."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

from lading.contracts.golem import CONTRACT
from lading.contracts.golem.constants import PROVIDER_PORT, REQUESTOR_PORT, WORK_DIR
from lading.contracts.golem.driver.relay import Relay
from lading.engine import ContainerSpec, Gpu, Limits, Mount, Network, Placement
from lading.engine.shield import to_the_end
from lading.errors import NotReady
from lading.run.creation import CONTRACT_LABEL, TASK_LABEL
from lading.run.kept_logs import KeptLog
from lading.run.lifecycle import start
from lading.run.readiness import Readiness
from lading.run.records import Kind, Run, RunState, new_id
from lading.units import MIB, format_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from lading.engine import Engine, EngineInfo, ImageInfo
    from lading.engine.base import OnWait
    from lading.errors import LadingError
    from lading.run.lifecycle import Running
    from lading.run.ownership import Owner
    from lading.run.records import Records

__all__ = ["AppContainer", "AppRun", "Circumstances", "Place"]

T = TypeVar("T")

_PIDS = 4096
"""Processes: enough for any app, too few for a fork bomb."""
_START_SECONDS = 60.0
"""From a container's start until its port listens: an app may have much to import."""
_SIDE_LABEL = "lading.golem.side"
_APART = {
    "podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 100,
                "podAffinityTerm": {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {_SIDE_LABEL: "provider"}},
                },
            }
        ]
    }
}
"""On a cluster: providers rather where there are none yet."""
_PORTS = {"requestor": REQUESTOR_PORT, "provider": PROVIDER_PORT}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How an application's containers are run, beyond what it says itself.

    Parameters
    ----------
    network : bool
        Whether they have the engine's usual network; without it, they reach nothing.
    memory : int or None
        Bytes that a provider may use at the most; raised to what the application asks for. None: no
        limit.
    cpus : float or None
        Cores that a provider may use at the most; None: no limit.
    runtime : str or None
        OCI runtime by the name that the engine has it under.
    """

    network: bool = True
    memory: int | None = None
    cpus: float | None = None
    runtime: str | None = None

    def limits(self, min_memory_mib: float) -> Limits:
        """Say what a provider may use, which is never less than the application asks for."""
        memory = self.memory
        if memory is not None:
            memory = max(memory, int(min_memory_mib * MIB))
        return Limits(self.cpus, memory, _PIDS)


@dataclass(frozen=True, slots=True)
class Place:
    """Where containers are made, and for whom.

    Parameters
    ----------
    engine : Engine
    info : EngineInfo
        Of the engine.
    owner : Owner
    records : Records or None
        Where runs are written down; None: nowhere.
    circumstances : Circumstances
    """

    engine: Engine
    info: EngineInfo
    owner: Owner
    records: Records | None
    circumstances: Circumstances = Circumstances()

    @property
    def user(self) -> str:
        """As whom an app runs: files that it makes must be its user's.

        On a rootless engine the container's root is whoever runs the engine.
        """
        return "0" if self.info.rootless else f"{os.getuid()}:{os.getgid()}"

    def copies(self, directory: Path) -> bool:
        """Whether a container's work directory is a copy of this one: on a cluster, often."""
        return not self.info.shares(str(directory))


@dataclass(frozen=True, slots=True)
class AppRun:
    """A container of an application that is to be run.

    Parameters
    ----------
    side : str
        ``requestor`` or ``provider``.
    image : ImageInfo
        One that the engine has; its entrypoint is the app.
    image_name : str
        What its user, or the application, called the image.
    directory : Path
        Its work directory, absolute.
    name : str
        What errors and records call it.
    detail : mapping
        What its record tells besides: ``golem_task`` and the like.
    limits : Limits
        What it may use.
    memory_request : int or None
        Bytes that it should get when others want memory as well.
    gpus : tuple of str
        Devices that are lent to it.
    env : mapping
        Variables that it gets besides its image's.
    """

    side: str
    image: ImageInfo
    image_name: str
    directory: Path
    name: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=lambda: Limits(pids=_PIDS))
    memory_request: int | None = None
    gpus: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """Where it listens."""
        return _PORTS[self.side]

    def spec(self, place: Place) -> ContainerSpec:
        """Decide everything about its container."""
        return ContainerSpec(
            image=self.image.runs_as,
            args=(self.side, str(self.port)),
            env=self.env,
            labels={
                **place.owner.labels(),
                CONTRACT_LABEL: CONTRACT,
                TASK_LABEL: str(self.detail.get("golem_task", self.name)),
                _SIDE_LABEL: self.side,
            },
            mounts=(Mount(str(self.directory), f"/{WORK_DIR}", read_only=False, returns=False),),
            gpus=Gpu(self.gpus) if self.gpus else None,
            limits=self.limits,
            requests=Limits(memory=self.memory_request),
            network=Network.DEFAULT if place.circumstances.network else Network.NONE,
            ports=(self.port,),
            runtime=place.circumstances.runtime,
            user=place.user,
            sealed=True,
            placement=Placement(affinity=_APART) if self.side == "provider" else None,
        )

    def record(self, place: Place) -> Run:
        """Make its record."""
        return Run(
            id=new_id(),
            kind=Kind.CONTAINER,
            contract=CONTRACT,
            owner=place.owner.id,
            name=self.name,
            image=self.image_name,
            image_id=self.image.id,
            cpus=self.limits.cpus,
            memory=self.limits.memory,
            detail=json.dumps({**self.detail, "side": self.side}),
        )


class AppContainer:
    """An application's container that runs, and the address of its port; see :meth:`start`.

    Attributes
    ----------
    running : Running
    """

    def __init__(self, running: Running, relay: Relay, log: KeptLog | None) -> None:
        self.running = running
        self._relay = relay
        self._log = log

    @classmethod
    async def start(cls, place: Place, wanted: AppRun, *, on_wait: OnWait | None = None) -> Self:
        """Start it; leaves nothing behind if that fails or is cancelled.

        Parameters
        ----------
        on_wait : callable or None
            Told why it does not run yet: on a cluster, that may take long.

        Raises
        ------
        EngineError
            The engine refused.
        RecordError
            It can't be written down, so it is not begun.
        """
        run = wanted.record(place)
        log = None
        if place.records is not None:
            log = await KeptLog.open(place.records.path.parent, run.id)
        try:
            running = await start(
                place.engine,
                wanted.spec(place),
                records=place.records,
                run=run,
                on_log=log.write if log is not None else None,
                readiness=Readiness(),  # that of a server: it is not looked at all the time
                accounting=True,
                on_wait=on_wait,
            )
        except BaseException:
            if log is not None:
                await log.close()
            raise
        connect = Relay(lambda: running.connect(wanted.port), rare=place.info.cluster)
        it = cls(running, connect, log)
        try:
            await it._relay.__aenter__()
        except BaseException:
            await it.close(state=RunState.FAILED)
            raise
        return it

    @property
    def target(self) -> str:
        """What gRPC connects to."""
        return self._relay.target

    async def until_listening(self, not_before: float = 0.0) -> None:
        """Wait until its port accepts connections.

        Parameters
        ----------
        not_before : float
            Seconds in which it will not, so that one need not look.

        Raises
        ------
        NotReady
            It takes too long.
        RunError
            It ended before.
        """
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self.while_it_runs(self._relay.until_listening(not_before))
        except TimeoutError:
            raise NotReady(
                f"{self.running.task} is not ready: nothing listens on its port after "
                f"{format_seconds(_START_SECONDS)}",
                logs=self.running.tail.tail(),
                fix="see its log",
            ) from None

    async def while_it_runs(self, call: Coroutine[Any, Any, T]) -> T:
        """Await something of it, and give up as soon as it has ended.

        Raises
        ------
        RunError
            It has ended: why.
        """
        asked: asyncio.Task[T] = asyncio.ensure_future(call)
        either: set[asyncio.Future[Any]] = {asked, self.running.exited}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                return asked.result()
        finally:
            if not asked.done():
                asked.cancel()
                await asyncio.wait({asked})
        why = await self.why()
        assert why is not None
        raise why

    async def why(self) -> LadingError | None:
        """Say why it has ended, if it has or does in this moment."""
        return await self.running.explain()

    async def close(self, *, state: RunState | None = None, error: str = "") -> None:
        """Remove it; not to be cancelled."""
        await to_the_end(self._close(state, error))

    async def _close(self, state: RunState | None, error: str) -> None:
        try:
            await self._relay.close()
        finally:
            try:
                await self.running.close(state=state, error=error)
            finally:
                if self._log is not None:
                    await self._log.close()
