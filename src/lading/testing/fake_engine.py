"""An engine without containers: programs are coroutines of the process that tests them.

It keeps every promise of :mod:`lading.engine.base` and passes the conformance tests that real
engines pass, so what is tested with it behaves the same on them; what it can do beyond is to fail
when told to: see :meth:`FakeEngine.go_away` and :meth:`FakeEngine.fail`.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import secrets
import socket
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import Self

from lading.engine.placement import Placement, refuse_volumes
from lading.engine.spec import (
    ContainerInfo,
    ContainerSpec,
    EngineInfo,
    NetworkInfo,
    NetworkSpec,
)
from lading.errors import (
    ContainerNotFound,
    EngineError,
    EngineUnreachable,
    NameTaken,
    NotSupported,
)
from lading.testing.fake_capabilities import capabilities_of
from lading.testing.fake_container import ContainerState
from lading.testing.fake_files import FakeFiles
from lading.testing.fake_handle import FakeContainer
from lading.testing.fake_image import FakeImage, FakeRegistry, normal_reference
from lading.testing.fake_images import Builder, FakeImages
from lading.testing.fake_networks import FakeNetworks

__all__ = ["Builder", "FakeEngine"]

_FIRST_PID = 1 << 22
"""The kernel's PID_MAX_LIMIT: no real process has such a number."""


class _Power:
    """Whether the engine answers; one for all clients of it."""

    def __init__(self) -> None:
        self.on = True


class FakeEngine(FakeImages):
    """A container engine inside the process.

    Parameters
    ----------
    images : iterable of FakeImage
        What it has.
    registry : FakeRegistry
        Where it pulls from; by default an empty one.
    builder : callable
        Stands for building a ``Dockerfile``.
    runtimes : tuple of str
        OCI runtimes it says it knows; the first is the default.
    gpu_driver : bool
        Whether it can hand out GPUs; which ones a container got is in its
        ``spec.gpus`` (:meth:`spec_of`).
    cpus, memory : int
        Cores and bytes of its host.
    create_seconds, start_seconds, remove_seconds : float
        How long these calls take.

    Attributes
    ----------
    calls : collections.Counter
        How often each verb was called: ``engine.calls["start"]``.

    Examples
    --------
    >>> import asyncio
    >>> from lading.engine import ContainerSpec
    >>> from lading.testing import FakeEngine, FakeImage, FakeProcess
    >>> async def shout(process: FakeProcess) -> int:
    ...     process.write(" ".join(process.argv[1:]).upper().encode())
    ...     return 3
    >>> async def main() -> None:
    ...     async with FakeEngine([FakeImage("shout:1", shout)]) as engine:
    ...         container = await engine.create(ContainerSpec("shout:1", args=("hello", "you")))
    ...         await container.start()
    ...         end = await container.wait()
    ...         async for chunk in container.logs():
    ...             print(chunk.stream, chunk.data, end.code)
    ...         await container.remove()
    >>> asyncio.run(main())
    stdout b'HELLO YOU' 3
    """

    def __init__(
        self,
        images: Iterable[FakeImage] = (),
        *,
        registry: FakeRegistry | None = None,
        builder: Builder | None = None,
        runtimes: tuple[str, ...] = ("default",),
        gpu_driver: bool = False,
        cpus: int = 8,
        memory: int = 16 << 30,
        create_seconds: float = 0.0,
        start_seconds: float = 0.0,
        remove_seconds: float = 0.0,
    ) -> None:
        self.registry = registry or FakeRegistry()
        self.runtimes = runtimes
        self.gpu_driver = gpu_driver
        self.cpus = cpus
        self.memory = memory
        self.create_seconds = create_seconds
        self.start_seconds = start_seconds
        self.remove_seconds = remove_seconds
        self.calls: Counter[str] = Counter()
        self._builder = builder
        self._tags: dict[str, FakeImage] = {}
        self._digests: dict[str, FakeImage] = {}
        self._nameless: dict[str, FakeImage] = {}
        self._containers: dict[str, ContainerState] = {}
        self._networks = FakeNetworks()
        self._failures: dict[str, deque[EngineError]] = defaultdict(deque)
        self._pids = itertools.count(_FIRST_PID)
        self._power = _Power()
        self._closed = False
        for image in images:
            self.add_image(image)

    # What tests call.

    def add_image(self, image: FakeImage) -> None:
        """Let the engine have an image; one of the same name loses the name."""
        self._tags[normal_reference(image.ref)] = image

    def another(self) -> FakeEngine:
        """A second client of the same engine: same images, containers, networks and counters."""
        twin = copy.copy(self)
        twin.reopen()
        return twin

    def reopen(self) -> None:
        """Take calls again after :meth:`close`."""
        self._closed = False

    def go_away(self, *, kill_containers: bool = False) -> None:
        """Stop answering: every call raises, and what waits or follows breaks off.

        Parameters
        ----------
        kill_containers : bool
            Whether the containers end with it, as those of some engines do.
        """
        self._power.on = False
        for state in self._containers.values():
            if kill_containers and state.process is not None:
                state.process.deliver("SIGKILL")
            state.bell.ring()

    def come_back(self) -> None:
        """Answer again."""
        self._power.on = True

    def fail(self, verb: str, error: EngineError, times: int = 1) -> None:
        """Let the next `times` calls of a verb (``"start"``) raise an error."""
        self._failures[verb].extend([error] * times)

    def spec_of(self, id_or_name: str) -> ContainerSpec:
        """What a container was made from: its mounts, devices, GPUs."""
        return self._find(id_or_name).spec

    # The contract.

    async def info(self) -> EngineInfo:
        """What it is and has."""
        await self.enter("info")
        return EngineInfo(
            kind="fake",
            address="fake://",
            version="1.0",
            api_version="1.0",
            runtimes=self.runtimes,
            default_runtime=self.runtimes[0],
            cgroup_version=0,
            gpu_driver=self.gpu_driver,
            cpus=self.cpus,
            memory=self.memory,
            rootless=False,
            local=False,
        )

    async def create(self, spec: ContainerSpec) -> FakeContainer:
        """Make a container."""
        await self.enter("create", self.create_seconds)
        image = self._image(spec.image)
        container_id = secrets.token_hex(32)
        name = spec.name or f"fake_{container_id[:12]}"
        if any(state.name == name for state in self._containers.values()):
            raise NameTaken(
                f"the container name {name!r} is taken",
                status=409,
                fix="remove it, or choose another",
            )
        if spec.runtime is not None and spec.runtime not in self.runtimes:
            known = ", ".join(self.runtimes)
            raise NotSupported(
                f"unknown runtime {spec.runtime!r}", status=400, fix=f"this engine knows {known}"
            )
        refuse_volumes(spec.volumes, "the fake engine")
        capabilities_of(spec)
        self._networks.check(spec.network)
        await FakeFiles.check_mounts(spec.mounts)
        self.check()
        state = ContainerState(container_id, name, spec, image, spec.image)
        self._containers[container_id] = state
        return FakeContainer(self, state)

    async def container(self, id_or_name: str) -> FakeContainer:
        """Find a container."""
        await self.enter("container")
        return FakeContainer(self, self._find(id_or_name))

    async def containers(self, labels: Mapping[str, str]) -> list[ContainerInfo]:
        """All containers with these labels."""
        await self.enter("containers")
        found = [state.info() for state in self._containers.values()]
        return [info for info in found if _carries(info.labels, labels)]

    async def create_network(self, spec: NetworkSpec) -> NetworkInfo:
        """Make a network."""
        await self.enter("create_network")
        return self._networks.create(spec)

    async def networks(self, labels: Mapping[str, str] | None = None) -> list[NetworkInfo]:
        """All networks with these labels."""
        await self.enter("networks")
        found = self._networks.list(self._containers.values())
        return [info for info in found if _carries(info.labels, labels or {})]

    async def remove_network(self, name: str) -> None:
        """Remove a network."""
        await self.enter("remove_network")
        self._networks.remove(name, self._containers.values())

    def placed(self, placement: Placement) -> Self:  # noqa: ARG002
        """Return itself: images are in one place here."""
        return self

    async def open_door(self, labels: Mapping[str, str]) -> None:  # noqa: ARG002
        """Do nothing: every container can be reached."""
        await self.enter("open_door")

    async def close(self) -> None:
        """Refuse further calls of this client; containers run on."""
        self._closed = True
        for state in self._containers.values():
            state.bell.ring()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # What its containers call.

    async def enter(self, verb: str, seconds: float = 0.0) -> None:
        """Count a call, let it take its time, and raise what it was told to raise."""
        self.calls[verb] += 1
        self.check()
        await asyncio.sleep(seconds)
        self.check()
        if failures := self._failures[verb]:
            raise failures.popleft()

    def check(self) -> None:
        """Raise if this client is closed or the engine does not answer."""
        if self._closed:
            raise EngineUnreachable("this client of the fake engine is closed", fix="open another")
        if not self._power.on:
            raise EngineUnreachable(
                "nothing answers at fake://", fix="see that the engine is running"
            )

    def launch(self, state: ContainerState) -> None:
        """Start a container: attach it to its network, run its program."""
        spec = state.spec
        if spec.gpus is not None and not self.gpu_driver:
            raise NotSupported(
                f"could not select a device driver {spec.gpus.driver!r} for GPUs",
                status=500,
                fix="install the driver's container toolkit, or run without GPUs",
            )
        self._networks.attach(state)

        async def dial(host: str, port: int) -> socket.socket:
            target = self._networks.route(state, host, self._containers.values())
            if target.process is None:
                raise ConnectionRefusedError(f"{host} does not run")
            return await target.process.accept(port)

        try:
            state.start(next(self._pids), dial, on_end=lambda: self._networks.detach(state))
        except BaseException:
            self._networks.detach(state)
            raise

    def forget(self, state: ContainerState) -> None:
        """Let a removed container's name go."""
        self._containers.pop(state.id, None)

    def _find(self, id_or_name: str) -> ContainerState:
        for state in self._containers.values():
            if state.name == id_or_name or (
                len(id_or_name) >= 12 and state.id.startswith(id_or_name)
            ):
                return state
        raise ContainerNotFound(f"no such container: {id_or_name}", status=404)


def _carries(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(key in labels and value in ("", labels[key]) for key, value in wanted.items())
