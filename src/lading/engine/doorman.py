"""The door: how an executor that is itself a container reaches the others' networks.

Such an executor sees neither their processes nor has the right to enter their namespaces. So it
has one helper container started from its own image, with the host's processes in view; the helper
connects back to a Unix socket of the executor's, through ``/proc/<executor>/root``, and for each
request makes sockets in a container's namespace and hands them over (SCM_RIGHTS, unix(7)). It ends
when that connection does: an executor that is killed leaves no door open.

Run as ``python -m lading.engine.doorman PATH``; knows nothing of engines.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from lading.engine.netns import NamespaceError, close_all, open_namespace, sockets_in
from lading.engine.shield import to_the_end

__all__ = ["Door", "main"]

_MESSAGE = 4096
_FOLDERS = ("/run", "/tmp", "/dev/shm")  # noqa: S108 - whichever can be written


class Door:
    """The executor's end of it.

    Parameters
    ----------
    connection : socket.socket
        To the helper; non-blocking, of type SEQPACKET.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()

    @property
    def open(self) -> bool:
        """Whether the helper was there when last asked."""
        return self._connection.fileno() >= 0

    async def sockets(self, pid: int, container: str) -> tuple[socket.socket, ...]:
        """Have sockets made in a container's network namespace.

        Parameters
        ----------
        pid : int
            Its first process, as the host numbers it.
        container : str
            The engine's id of it.

        Raises
        ------
        NamespaceError
            The helper could not enter it.
        ConnectionError
            The helper is gone.
        """
        made: list[socket.socket] = []
        try:
            await to_the_end(self._ask(pid, container, made))
        except asyncio.CancelledError:
            close_all(made)
            raise
        return tuple(made)

    async def _ask(self, pid: int, container: str, made: list[socket.socket]) -> None:
        async with self._turn:
            try:
                self._connection.send(json.dumps({"pid": pid, "id": container}).encode())
                await self._readable()
                data, fds, _, _ = socket.recv_fds(self._connection, _MESSAGE, 2)
            except OSError as error:
                self.close()
                raise ConnectionResetError(f"the doorman is gone: {error}") from error
            if not data:
                self.close()
                raise ConnectionResetError("the doorman is gone")
        made += [socket.socket(fileno=fd) for fd in fds]
        for sock in made:
            sock.setblocking(False)
        reply: dict[str, Any] = json.loads(data)
        if reply.get("error"):
            raise NamespaceError(str(reply["error"]))

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(self._connection.fileno(), _set, ready)
        try:
            async with asyncio.timeout(10):
                await ready
        finally:
            loop.remove_reader(self._connection.fileno())

    def close(self) -> None:
        """Close it: the helper ends."""
        self._connection.close()


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def listen() -> tuple[socket.socket, Path]:
    """Listen for one helper on a Unix socket that only root can open.

    Returns
    -------
    (socket.socket, Path)
        Non-blocking; the caller closes the one and unlinks the other.

    Raises
    ------
    OSError
        There is no directory to write to.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    for folder in _FOLDERS:
        path = Path(folder) / f"lading-door-{os.getpid()}-{secrets.token_hex(4)}.sock"
        try:
            listener.bind(str(path))
        except OSError as error:
            failure = error
            continue
        path.chmod(0o600)
        listener.listen(1)
        return listener, path
    listener.close()
    raise failure


async def accept(listener: socket.socket) -> Door:
    """Wait for the helper."""
    loop = asyncio.get_running_loop()
    while True:
        connection, _ = await loop.sock_accept(listener)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if struct.unpack("3i", credentials)[1] == 0:
            return Door(connection)
        connection.close()


def main(path: str) -> int:
    """Serve one executor until it closes the connection.

    Parameters
    ----------
    path : str
        Its Unix socket, as this process sees it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(path)
        while request := connection.recv(_MESSAGE):
            made: tuple[socket.socket, ...] = ()
            reply: dict[str, str] = {}
            try:
                wanted = json.loads(request)
                made = _enter(int(wanted["pid"]), str(wanted["id"]))
            except (NamespaceError, OSError, ValueError, KeyError, TypeError) as error:
                reply = {"error": str(error)}
            socket.send_fds(connection, [json.dumps(reply).encode()], [s.fileno() for s in made])
            close_all(made)
    return 0


def _enter(pid: int, container: str) -> tuple[socket.socket, ...]:
    fd = open_namespace(pid, container)
    try:
        return sockets_in(fd)
    finally:
        os.close(fd)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
