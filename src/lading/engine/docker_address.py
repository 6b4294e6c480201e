"""From an engine's address to a way of dialling it."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lading.errors import ConfigError, NotSupported
from lading.http1 import Connection, open_socket, open_tcp

if TYPE_CHECKING:
    import ssl

__all__ = ["TcpDial", "Tls", "UnixDial", "dialler"]

_PLAIN_PORT, _TLS_PORT = 2375, 2376  # IANA's for the Docker Engine API
_CONNECT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Tls:
    """Where the certificates are (``ca.pem``, ``cert.pem``, ``key.pem``), and whether to verify."""

    folder: Path
    verify: bool


class UnixDial:
    """Opens connections to a Unix socket.

    Attributes
    ----------
    peer : int
        The process behind it, as this process' PID namespace numbers it; 0 if it is in another
        one (then its containers' processes are, too), or before the first connection.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.peer = 0

    async def __call__(self) -> Connection:
        """Open one."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self._path)
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            self.peer = int(struct.unpack("3i", credentials)[0])
            return await open_socket(sock)
        except BaseException:
            sock.close()
            raise


class TcpDial:
    """Opens connections to a TCP port.

    Attributes
    ----------
    here : bool
        Whether it is a port of this machine, as far as the last connection shows: one whose both
        ends have the same address.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._place = host, port, context
        self.here = False

    async def __call__(self) -> Connection:
        """Open one."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                connection = await open_tcp(*self._place)
        except TimeoutError as error:
            raise ConnectionError(f"no connection within {_CONNECT_SECONDS} s") from error
        ours, theirs = (connection.endpoint(name) for name in ("sockname", "peername"))
        self.here = ours is not None and theirs is not None and ours[0] == theirs[0]
        return connection


def dialler(address: str, tls: Tls | None) -> UnixDial | TcpDial:
    """Make what opens a connection to an engine.

    Parameters
    ----------
    address : str
        ``unix:///path``, ``tcp://host:port``, ``http://`` or ``https://``.
    tls : Tls or None

    Raises
    ------
    NotSupported
        It is at an address of another kind; the message names an alternative.
    ConfigError
        The address can't be read, or a certificate can't.
    """
    scheme, _, rest = address.partition("://")
    if scheme == "unix":
        return UnixDial(rest)
    if scheme == "ssh":
        raise NotSupported(
            f"engines behind ssh are not supported ({address})",
            fix="forward its socket (ssh -nNT -L /tmp/engine.sock:/var/run/docker.sock "
            f"{rest.partition('/')[0]}) and use unix:///tmp/engine.sock",
        )
    if scheme not in ("tcp", "http", "https"):
        raise NotSupported(
            f"engines at {scheme}:// are not supported ({address})",
            fix="use unix:///path/of/socket or tcp://host:port",
        )
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise ConfigError("engine", f"{address!r} has no host and port", fix="tcp://host:port")
    if tls is None:
        return TcpDial(host, port or _PLAIN_PORT, None)
    return TcpDial(host, port or _TLS_PORT, _context(tls))


def _context(tls: Tls) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - 10 ms that most users don't need

    if not tls.folder.is_dir():
        raise ConfigError(
            "DOCKER_CERT_PATH",
            f"there is no folder {tls.folder} with certificates",
            fix="name the one that has ca.pem, cert.pem and key.pem",
        )
    try:
        ca = tls.folder / "ca.pem"
        context = ssl.create_default_context(cafile=str(ca) if ca.exists() else None)
        if not tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if (tls.folder / "cert.pem").exists():
            context.load_cert_chain(tls.folder / "cert.pem", tls.folder / "key.pem")
    except OSError as error:  # ssl.SSLError is one, too
        raise ConfigError(
            str(tls.folder), f"its certificates can't be used: {error}", fix="make them anew"
        ) from error
    return context
