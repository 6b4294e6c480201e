"""Sockets in the network namespace of a container, made by a thread that goes there and back.

A TCP socket belongs for ever to the namespace it was made in, whoever uses it. So a container
that has only a loopback interface can still be reached from its host: by root, on the same
kernel. See setns(2), network_namespaces(7).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import ctypes
import functools
import os
import socket
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

__all__ = ["Namespace", "NamespaceError", "Traveller", "dial", "privileged", "sockets_in"]

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
_CAPABILITIES = (1 << 21) | (1 << 19)  # CAP_SYS_ADMIN, CAP_SYS_PTRACE: capabilities(7)

LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


class NamespaceError(Exception):
    """The namespace can't be entered; the message says why.

    Parameters
    ----------
    foreign : bool
        Whether it never will be: the container's processes are not in our view.
    elsewhere : bool
        Whether they are on another machine: then its addresses are other containers' here.
    """

    def __init__(self, message: str, *, foreign: bool = False, elsewhere: bool = False) -> None:
        super().__init__(message)
        self.foreign = foreign
        self.elsewhere = elsewhere


def privileged() -> bool:
    """Whether this process may enter the namespaces of others."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16) & _CAPABILITIES == _CAPABILITIES
    return False


class StrayedError(Exception):
    """A thread could not come back: it must end, as it would work in a stranger's network."""


class Traveller:
    """The thread that enters namespaces, so that the event loop's never has to."""

    def __init__(self) -> None:
        self._thread: concurrent.futures.ThreadPoolExecutor | None = None

    def submit(self, work: Callable[[], T]) -> concurrent.futures.Future[T]:
        """Have something done there."""
        if self._thread is None:
            self._thread = concurrent.futures.ThreadPoolExecutor(
                1, thread_name_prefix="lading-netns"
            )
        return self._thread.submit(work)

    async def go(self, work: Callable[[], tuple[socket.socket, ...]]) -> tuple[socket.socket, ...]:
        """Have sockets made there; when cancelled, they are closed."""
        future = self.submit(work)
        try:
            return await asyncio.wrap_future(future)
        except StrayedError as error:
            self.close()
            raise NamespaceError("the way back from the container's network failed") from error
        except asyncio.CancelledError:
            future.add_done_callback(_close_result)
            raise

    def close(self) -> None:
        """Let the thread end once it has done what it was given."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None


class Namespace:
    """The network namespace of one container, held open so that its number can't be mistaken.

    Parameters
    ----------
    pid : int
        The container's first process.
    container : str
        The engine's id of the container.
    traveller : Traveller
        Goes there.
    """

    def __init__(self, pid: int, container: str, traveller: Traveller) -> None:
        self._traveller = traveller
        self._pid = pid
        self._container = container
        self._fd = -1
        self._inode = 0
        self._closed = False

    async def sockets(self) -> tuple[socket.socket, ...]:
        """Make sockets inside; see :func:`sockets_in`. Cancelling it leaves none behind.

        Raises
        ------
        NamespaceError
            There is no such process (any more), we may not look into it, or it is not that
            container's.
        """
        return await self._traveller.go(self._make)

    def close(self) -> None:
        """Let go of it."""
        self._closed = True
        self._traveller.submit(self._close)

    def _make(self) -> tuple[socket.socket, ...]:
        if self._closed:
            raise NamespaceError("the container was removed")
        if self._fd < 0:
            self._fd = open_namespace(self._pid, self._container)
            self._inode = os.fstat(self._fd).st_ino
        try:
            lives = Path(f"/proc/{self._pid}/ns/net").stat().st_ino == self._inode
        except OSError:
            lives = False
        if not lives:
            raise NamespaceError(f"process {self._pid} of the container has ended")
        return sockets_in(self._fd)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_namespace(pid: int, container: str) -> int:
    """Open the network namespace of a container's process.

    Returns
    -------
    int
        A file descriptor, the caller's to close.

    Raises
    ------
    NamespaceError
        It can't be opened, or the process is not that container's.
    """
    try:
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NamespaceError(f"process {pid} of the container has ended") from None
    except OSError as error:
        raise NamespaceError(
            f"process {pid} of the container can't be looked into: {error.strerror}", foreign=True
        ) from None
    try:
        # Read after opening: had the number passed to another process before, this shows it.
        group = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        group = ""
    if container in group:
        return fd
    os.close(fd)
    if not group:
        raise NamespaceError(f"process {pid} of the container has ended")
    raise NamespaceError(
        f"process {pid} on this machine is not the container's: the engine runs elsewhere",
        foreign=True,
        elsewhere=True,
    )


def sockets_in(fd: int) -> tuple[socket.socket, ...]:
    """Make a TCP socket of each family inside a namespace; the calling thread goes there.

    Returns
    -------
    tuple of socket.socket
        Non-blocking, not connected; in the order of :data:`LOOPBACK`; the second is missing where
        the kernel has no IPv6.

    Raises
    ------
    NamespaceError
        The namespace can't be entered.
    StrayedError
        The thread could not come back.
    """
    libc = _libc()
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    made: list[socket.socket] = []
    try:
        if libc.setns(fd, CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise NamespaceError(f"entering the namespace: {os.strerror(error)}", foreign=True)
        try:
            for family, _ in LOOPBACK:
                try:
                    made.append(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
                except OSError:
                    if not made:
                        raise
        finally:
            if libc.setns(own, CLONE_NEWNET) != 0:
                raise StrayedError
    finally:
        os.close(own)
    return tuple(made)


def _close_result(future: concurrent.futures.Future[tuple[socket.socket, ...]]) -> None:
    if not future.cancelled() and future.exception() is None:
        close_all(future.result())


async def dial(made: tuple[socket.socket, ...], port: int) -> socket.socket:
    """Connect one of the sockets of a namespace to a port on its loopback interface.

    Parameters
    ----------
    made : tuple of socket.socket
        As :func:`sockets_in` gave them; those not returned are closed.

    Raises
    ------
    ConnectionError
        Nothing listens there, or there is no loopback interface (yet).
    """
    loop = asyncio.get_running_loop()
    chosen: socket.socket | None = None
    failure: OSError = ConnectionRefusedError(f"nothing listens on port {port}")
    try:
        for sock, (_, host) in zip(made, LOOPBACK, strict=False):
            try:
                # Our own port may be the one that a server is about to take: let it.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                await loop.sock_connect(sock, (host, port))
                itself = _is_its_own_peer(sock)  # fails where the other end is gone again
            except OSError as error:
                failure = error if sock is made[0] else failure  # IPv4's reason is the clearer
            else:
                if not itself:
                    chosen = sock
                    return sock
    finally:
        close_all(sock for sock in made if sock is not chosen)
    if isinstance(failure, ConnectionError):
        raise failure
    raise ConnectionRefusedError(f"port {port} can't be reached: {failure}") from failure


def _is_its_own_peer(sock: socket.socket) -> bool:
    """Whether nobody listened, and the kernel connected a socket with itself.

    It chooses our port from those above 32767, where a server's may be, too; and a TCP socket that
    connects to its own address and port succeeds. Such a socket is made to vanish when closed.
    """
    if sock.getsockname() != sock.getpeername():
        return False
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return True


def close_all(made: Iterable[socket.socket]) -> None:
    """Close sockets."""
    for sock in made:
        sock.close()


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
