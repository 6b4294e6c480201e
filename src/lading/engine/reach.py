"""How a container's ports are reached from here: the best of the ways that there are.

1. Its network namespace, entered by a thread of ours (:mod:`lading.engine.netns`): works without
   any network, for root on the engine's own machine.
2. The same through a helper (:mod:`lading.engine.doorman`), where we are a container ourselves.
3. A port that the engine published for it on the loopback interface, where it was asked to.
4. Its address on a network that we are on, too.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lading.engine.docker_wire import container_info, published, subnets
from lading.engine.netns import Namespace, NamespaceError, Traveller, dial, privileged
from lading.errors import NotSupported

if TYPE_CHECKING:
    from lading.engine.docker_door import DoorKeeper

__all__ = ["Reach", "obstacle"]

Look = Callable[[], Awaitable[dict[str, Any]]]
"""Inspects the container."""

_CONNECT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class _Way:
    """What is known of a container that was connected to."""

    name: str
    pid: int
    namespace: Namespace | None
    found: dict[str, Any]


class Reach:
    """Connects to containers of one engine.

    Parameters
    ----------
    keeper : callable
        Makes who opens the door, where there has to be one.
    obstacle : str
        Why we can't enter the containers' namespaces ourselves; empty if we can.
    here : bool
        Whether the engine's loopback interface is ours, too.
    """

    def __init__(
        self, keeper: Callable[[], DoorKeeper], obstacle: str, *, here: bool = True
    ) -> None:
        self._keeper = keeper
        self._doors: DoorKeeper | None = None
        self.obstacle = obstacle
        self._here = here
        self._traveller = Traveller()
        self._ways: dict[str, _Way] = {}
        self._closed = False

    @property
    def doors(self) -> DoorKeeper:
        """Who opens the door; nobody is made before."""
        if self._doors is None:
            self._doors = self._keeper()
        return self._doors

    async def connect(self, container: str, port: int, look: Look) -> socket.socket:
        """Open a connection, see :meth:`lading.engine.base.Container.connect`."""
        way = self._ways.get(container)
        if way is not None:
            try:
                return await self._take(container, way, port)
            except (NotSupported, NamespaceError):
                self._forget(container, way)  # it was started anew, or has ended: look again
        found = await self._find(container, look)
        if self._closed:
            raise ConnectionResetError("the connection to the engine was closed")
        # Somebody else may have found it meanwhile: only what is kept here is ever closed.
        way = self._ways.setdefault(container, found)
        try:
            return await self._take(container, way, port)
        except NamespaceError as error:
            self._forget(container, way)
            raise ConnectionRefusedError(f"container {way.name} ended: {error}") from error

    async def _find(self, container: str, look: Look) -> _Way:
        found = await look()
        info = container_info(found)
        if info.pid is None:
            raise ConnectionRefusedError(f"container {info.name} does not run")
        namespace = None if self.obstacle else Namespace(info.pid, container, self._traveller)
        return _Way(info.name, info.pid, namespace, found)

    async def _take(self, container: str, way: _Way, port: int) -> socket.socket:
        failure: ConnectionError | NamespaceError | NotSupported
        try:
            return await self._inside(container, way, port)
        except NamespaceError as error:
            if not error.foreign:
                raise
            failure = error
        except (ConnectionError, NotSupported) as error:
            failure = error
        # Also after a refusal inside: gVisor's network is not the kernel's.
        near = [address for address in subnets(way.found) if _on_link(*address)]
        place = published(way.found, port) if self._here else None
        if isinstance(failure, NamespaceError) and failure.elsewhere:
            near, place = [], None  # whoever has that address or port here is somebody else
        for host, number in [*([place] if place else []), *((ip, port) for ip, _ in near)]:
            try:
                return await _plain(host, number)
            except OSError as error:
                if not isinstance(failure, ConnectionError):
                    failure = ConnectionRefusedError(f"{host}:{number}: {error}")
        if isinstance(failure, ConnectionError):
            raise ConnectionRefusedError(
                f"nothing listens on port {port} of container {way.name}"
            ) from failure
        raise NotSupported(
            f"container {way.name} can't be reached from here: it is on no network that we are "
            f"on, and {failure}",
            fix="give it a network, or run as root on the engine's own machine",
        ) from failure

    async def _inside(self, container: str, way: _Way, port: int) -> socket.socket:
        if way.namespace is not None:
            return await dial(await way.namespace.sockets(), port)
        door = await self.doors.door()
        return await dial(await door.sockets(way.pid, container), port)

    def forget(self, container: str) -> None:
        """Let go of what is kept for a container, which is gone."""
        if (way := self._ways.get(container)) is not None:
            self._forget(container, way)

    def _forget(self, container: str, way: _Way) -> None:
        if self._ways.get(container) is way:
            del self._ways[container]
            if way.namespace is not None:
                way.namespace.close()

    def close(self) -> None:
        """Let go of everything."""
        self._closed = True
        for container in list(self._ways):
            self.forget(container)
        self._traveller.close()
        if self._doors is not None:
            self._doors.close()


def _on_link(address: str, prefix: int) -> bool:
    """Whether we have an address in that network ourselves.

    If not, packets would go to the default router, and whoever answers there is not the
    container. Nothing is sent: connecting a datagram socket only chooses its address.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect((address, 9))
        except OSError:
            return False
        own = probe.getsockname()[0]
    ours, theirs = (int.from_bytes(socket.inet_aton(ip), "big") for ip in (own, address))
    return (ours ^ theirs) >> (32 - prefix) == 0


async def _plain(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def obstacle(address: str, peer: int) -> str:
    """Say why the namespaces of an engine's containers can't be entered; empty if they can.

    Parameters
    ----------
    address : str
        The engine's.
    peer : int
        The process behind its Unix socket, 0 if that is in another PID namespace.
    """
    if not address.startswith("unix://"):
        return f"the engine at {address} may be on another machine"
    if not peer:
        return "the engine is outside the container that we run in"
    if not privileged():
        return "entering its network takes root"
    return ""
