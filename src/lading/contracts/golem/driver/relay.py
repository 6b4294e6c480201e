"""An address for a port of a container: a Unix socket that leads there.

gRPC connects by itself and wants an address. A container's port has none that holds on every
engine, but anybody can have a socket that is connected to it
(:meth:`lading.engine.base.Container.connect`). So whoever connects to the Unix socket is joined
with a connection of ours to the container, byte for byte.

The socket's name is in no file system (unix(7), "abstract"): nothing is left of it, however the
process ends. Such a name has no permissions, so the kernel is asked who connects: only processes of
our own user get anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Self, cast

from lading.engine.shield import to_the_end
from lading.errors import EngineError

__all__ = ["Connect", "Relay"]

Connect = Callable[[], Awaitable[socket.socket]]
"""Opens a connection to the container; raises ConnectionError while nothing listens."""

_PEER = struct.Struct("3i")
"""What the kernel tells of who connects: process, user, group."""
_WAITING = 1 << 20
"""Bytes that may wait for a reader before the writer has to."""
_FIRST_WAIT, _LONGEST_WAIT = 0.002, 0.02
_RARE = (0.1, 0.5)


class Relay:
    """A Unix socket that leads to a port; used as ``async with Relay(connect) as relay``.

    Parameters
    ----------
    connect : callable
        Opens one more connection to the port.
    rare : bool
        Whether to try less often while nobody listens, because every try is a call of a cluster.
    """

    def __init__(self, connect: Connect, *, rare: bool = False) -> None:
        self._connect = connect
        self._waits = _RARE if rare else (_FIRST_WAIT, _LONGEST_WAIT)
        self._name = f"lading-{uuid.uuid4().hex}"
        self._server: asyncio.Server | None = None
        self._joining: set[asyncio.Task[None]] = set()
        self._ends: set[_End] = set()
        self._first: socket.socket | None = None

    @property
    def target(self) -> str:
        """What gRPC connects to."""
        return f"unix-abstract:{self._name}"

    async def __aenter__(self) -> Self:
        """Begin to listen.

        Raises
        ------
        OSError
            There can be no socket.
        """
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: _End(self), f"\0{self._name}"
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await to_the_end(self.close())

    async def until_listening(self, not_before: float = 0.0) -> None:
        """Wait until somebody listens on the port; the connection serves who comes first.

        Parameters
        ----------
        not_before : float
            Seconds in which nobody will listen yet, so that one need not look.

        Raises
        ------
        EngineError
            The engine can't be asked.
        """
        await asyncio.sleep(not_before)
        wait, longest = self._waits
        while self._first is None:
            try:
                self._first = await self._connect()
            except ConnectionError:
                await asyncio.sleep(wait)
                wait = min(wait * 1.3, longest)

    async def close(self) -> None:
        """Break every connection and leave nothing behind; may be called again."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._joining:
            task.cancel()
        if self._joining:
            await asyncio.wait(self._joining)
        lost = [end.lost for end in self._ends]
        for end in tuple(self._ends):
            end.abort()
        if lost:
            await asyncio.wait(lost)
        if self._first is not None:
            self._first.close()
            self._first = None

    # For the ends.

    def came(self, end: _End) -> None:
        """Note that somebody has connected, and connect them with the container."""
        task = asyncio.create_task(self._join(end), name="golem relay")
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    def opened(self, end: _End) -> None:
        """Note an end that has to be closed."""
        self._ends.add(end)

    def closed(self, end: _End) -> None:
        """Note that it is."""
        self._ends.discard(end)

    async def _join(self, near: _End) -> None:
        try:
            sock, self._first = self._first, None
            if sock is None:
                sock = await self._connect()
            try:
                _, far = await asyncio.get_running_loop().create_connection(
                    lambda: _End(self, near), sock=sock
                )
            except BaseException:
                sock.close()
                raise
        except (OSError, EngineError):
            near.abort()  # the client sees a broken connection, as it would of the container
        except BaseException:
            near.abort()
            raise
        else:
            near.join(far)


class _End(asyncio.Protocol):
    """One of two ends that pass on to each other what they read.

    Parameters
    ----------
    relay : Relay
    peer : _End or None
        The other end; the near one gets to know it later, and keeps what it reads until then.
    """

    def __init__(self, relay: Relay, peer: _End | None = None) -> None:
        self._relay = relay
        self._peer = peer
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._read_all = False
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_WAITING)
        self._relay.opened(self)
        if self._peer is None:
            # Not obeyed this early by some Pythons (3.11.2, which is Debian 12's).
            self._transport.pause_reading()
            if _is_ours(self._transport.get_extra_info("socket")):
                self._relay.came(self)
            else:
                self._transport.abort()
        elif self._peer.lost.done():
            self._transport.abort()

    def join(self, peer: _End) -> None:
        """Pass on what was read until now, and read on."""
        self._peer = peer
        if self.lost.done():
            peer.abort()
        elif self._transport is not None and not self._transport.is_closing():
            early, self._early = self._early, []
            for data in early:
                self.data_received(data)
            if self._read_all:
                self.eof_received()
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._peer is None:
            self._early.append(data)
        elif (to := self._to) is not None:
            to.write(data)

    def eof_received(self) -> bool:
        """Pass on that nothing more will come; the other direction stays open."""
        self._read_all = True
        peer, to = self._peer, self._to
        if peer is None:
            return True
        if to is None or peer._read_all:  # noqa: SLF001 - two ends of one thing
            if to is not None:
                to.close()
            return False
        with contextlib.suppress(OSError):
            to.write_eof()
        return True

    def pause_writing(self) -> None:
        self._steer("pause_reading")

    def resume_writing(self) -> None:
        self._steer("resume_reading")

    def connection_lost(self, exc: Exception | None) -> None:
        self._relay.closed(self)
        if not self.lost.done():
            self.lost.set_result(None)
        if (to := self._to) is not None:
            if exc is None:
                to.close()
            else:
                to.abort()

    def abort(self) -> None:
        """Break the connection."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def _to(self) -> asyncio.Transport | None:
        """Where to write, unless that is closed."""
        to = self._peer._transport if self._peer is not None else None  # noqa: SLF001 - as above
        return to if to is not None and not to.is_closing() else None

    def _steer(self, what: str) -> None:
        to: Any = self._to
        if to is not None:
            getattr(to, what)()


def _is_ours(sock: socket.socket) -> bool:
    """Whether who connects is our user, or root, whom nothing could keep out anyway."""
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, user, _ = _PEER.unpack(found)
    return user in (0, os.getuid())
