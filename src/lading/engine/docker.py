"""The Docker Engine API driver, for Docker and for Podman.

Source: Docker Engine API 1.40 to 1.43, https://docs.docker.com/reference/api/engine/.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from lading.engine import podman_wire
from lading.engine.docker_address import Tls, UnixDial, dialler
from lading.engine.docker_api import Api
from lading.engine.docker_build import DockerBuilds
from lading.engine.docker_container import DockerContainer
from lading.engine.docker_errors import Call, Thing
from lading.engine.docker_host import Identity, engine_info, identify
from lading.engine.docker_networks import DockerNetworks
from lading.engine.docker_wire import (
    container_listed,
    create_body,
    label_filter,
    query,
    segment,
)
from lading.engine.image_files import read_member
from lading.engine.oom import OomJudge
from lading.engine.placement import Placement, refuse_volumes
from lading.engine.reach import Reach, obstacle
from lading.engine.reference import is_image_id, parse
from lading.engine.shield import keep_or_undo
from lading.engine.spec import (
    ContainerInfo,
    ContainerSpec,
    EngineInfo,
    Network,
)
from lading.errors import (
    EngineError,
    NotSupported,
)
from lading.http1 import Client

if TYPE_CHECKING:
    from lading.engine.docker_door import DoorKeeper

__all__ = ["DockerEngine"]

_IDLE_SECONDS = 30.0
_INFO_SECONDS = 10.0
_LISTINGS = 5
"""Tries to list what there is while others end."""


class DockerEngine(DockerBuilds, DockerNetworks):
    """A Docker or Podman engine, see :class:`~lading.engine.base.Engine`; made by :meth:`open`."""

    def __init__(
        self,
        api: Api,
        identity: Identity,
        reach: Reach,
        *,
        env: Mapping[str, str],
        in_the_way: str,
        peer: int,
    ) -> None:
        self._api = api
        self._identity = identity
        self._reach = reach
        self._env = env
        self._in_the_way = in_the_way
        self._peer = peer
        self._podman = api.podman
        self._judge = OomJudge(api, counts=not self._podman, local=not reach.obstacle)
        self._info: tuple[float, EngineInfo] | None = None

    @classmethod
    async def open(
        cls, address: str, *, timeout: float, env: Mapping[str, str], tls: Tls | None = None
    ) -> Self:
        """Connect to an engine, and see that it is new enough.

        Parameters
        ----------
        address : str
            ``unix:///path`` or ``tcp://host:port``.
        timeout : float
            Seconds for one call.
        env : mapping
            The environment: where registry credentials are found.
        tls : Tls or None

        Raises
        ------
        EngineUnreachable, EngineTooOld, NotSupported, ConfigError, EngineError
            It does not answer; or can't be used, for the reason in the message.
        """
        dial = await asyncio.to_thread(dialler, address, tls) if tls else dialler(address, None)
        client = Client(dial, host="engine", idle=_IDLE_SECONDS)
        api = Api(client, address, timeout)
        try:
            reply = await api.call("GET", "/version", Call("connecting"))
            identity = identify(address, reply.json())
        except BaseException:
            api.close()
            raise
        api.prefix, api.podman = identity.prefix, identity.kind == "podman"
        peer, here = (dial.peer, True) if isinstance(dial, UnixDial) else (0, dial.here)
        in_the_way = obstacle(address, peer)
        reach = Reach(lambda: _door_keeper(api), in_the_way, here=here)
        return cls(api, identity, reach, env=env, in_the_way=in_the_way, peer=peer)

    async def info(self) -> EngineInfo:
        """What it is and has; what was true in the last ten seconds may be given."""
        now = asyncio.get_running_loop().time()
        if self._info is None or now - self._info[0] > _INFO_SECONDS:
            reply = await self._api.call("GET", "/info", Call("asking the engine about itself"))
            local = not self._reach.obstacle
            read = engine_info(
                self._identity, self._api.address, reply.json(), local=local, peer=self._peer
            )
            self._info = (now, await asyncio.to_thread(read))
        return self._info[1]

    async def read_file(
        self, image: str, path: str, *, labels: Mapping[str, str] | None = None
    ) -> bytes:
        """Read one file out of an image without running it."""
        # A command, for images that name none; it never runs.
        container = await self.create(
            ContainerSpec(image, command=("/never",), labels=labels or {}, network=Network.NONE)
        )
        try:
            return await read_member(container, image, path)
        finally:
            await container.remove()

    async def create(self, spec: ContainerSpec) -> DockerContainer:
        """Make a container; it does not run yet."""
        if not is_image_id(spec.image):
            parse(spec.image)
        refuse_volumes(spec.volumes, self._identity.kind)
        return await keep_or_undo(self._create(spec), _remove_container)

    async def _create(self, spec: ContainerSpec) -> DockerContainer:
        if spec.name is None:  # ours to choose: the engine's choice would take a call to learn
            spec = replace(spec, name=f"lading-{secrets.token_hex(6)}")
        call = Call(f"creating container {spec.name}", Thing.CONTAINER, spec.image)
        publish = bool(spec.ports) and await self._must_publish(spec)
        if spec.runtime is not None and self._podman:
            await self._check_podman_runtime(spec.runtime)
        try:
            if self._podman:
                body = podman_wire.create_body(spec, publish=publish)
                reply = await self._api.call(
                    "POST", podman_wire.CREATE, call, body=body, absolute=True
                )
            else:
                path = f"/containers/create{query(name=spec.name)}"
                body = create_body(spec, publish=publish)
                reply = await self._api.call("POST", path, call, body=body)
        except NotSupported as error:
            if spec.runtime is None:
                raise
            raise await self._no_runtime(spec.runtime, error) from error
        assert spec.name is not None
        return self._handle(str(reply.json()["Id"]), spec.name)

    async def _must_publish(self, spec: ContainerSpec) -> bool:
        if spec.network == Network.NONE or not self._reach.obstacle:
            return False
        if not self._api.address.startswith("unix://"):
            return True
        return (await self.info()).rootless

    async def _check_podman_runtime(self, runtime: str) -> None:
        # Podman's service ignores the wish without a word: a container that should have been
        # confined by another runtime would run unconfined.
        if runtime != (await self.info()).default_runtime:
            raise await self._no_runtime(runtime, None)

    async def _no_runtime(self, runtime: str, error: EngineError | None) -> NotSupported:
        info = await self.info()
        fix = (
            'set it as runtime = "..." in containers.conf and restart the service, '
            "or use an engine that offers it"
            if self._podman
            else "register it in the engine's daemon.json (see its documentation under "
            "'alternative runtimes'), or choose one of these"
        )
        return NotSupported(
            f"OCI runtime {runtime!r} can't be had from {info.kind} at {info.address}: "
            f"it offers {', '.join(info.runtimes) or 'none'}",
            status=error.status if error else None,
            fix=fix,
        )

    async def container(self, id_or_name: str) -> DockerContainer:
        """Find a container."""
        call = Call(f"looking for container {id_or_name}", Thing.CONTAINER)
        reply = await self._api.call("GET", f"/containers/{segment(id_or_name)}/json", call)
        found = reply.json()
        return self._handle(found["Id"], found["Name"].removeprefix("/"))

    async def containers(self, labels: Mapping[str, str]) -> list[ContainerInfo]:
        """All containers, running or not, that carry all these labels (an empty value: any)."""
        path = f"/containers/json{query(all=1, filters=label_filter(labels))}"
        for left in reversed(range(_LISTINGS)):
            try:
                reply = await self._api.call("GET", path, Call("listing containers"))
            except EngineError as error:
                # Podman 4 looks at the processes of each, and fails if one ends meanwhile.
                if not left or "no such process" not in error.message:
                    raise
            else:
                return [container_listed(found) for found in reply.json() or ()]
        raise AssertionError  # the last try returned or raised

    def placed(self, placement: Placement) -> Self:  # noqa: ARG002
        """Return itself: images are in one place here."""
        return self

    async def open_door(self, labels: Mapping[str, str]) -> None:
        """See to it that containers without a network can be reached, also from in a container."""
        doors = self._reach.doors
        doors.labels = dict(labels)
        if self._reach.obstacle:
            await doors.door()

    async def close(self) -> None:
        """Let go of every connection; containers are not touched."""
        self._info = None
        self._reach.close()
        self._api.close()
        await asyncio.sleep(0)  # a turn of the loop, in which transports close their sockets

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def _handle(self, identity: str, name: str) -> DockerContainer:
        return DockerContainer(self._api, self._reach, self._judge, identity, name)


async def _remove_container(made: DockerContainer) -> None:
    await made.remove()


def _door_keeper(api: Api) -> DoorKeeper:
    from lading.engine.docker_door import DoorKeeper  # noqa: PLC0415  # few need a door

    return DoorKeeper(api)
