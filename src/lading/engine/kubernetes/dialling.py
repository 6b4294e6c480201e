"""Connections to an API server: TLS by what the kubeconfig says, and a client certificate."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from importlib.util import find_spec
from urllib.parse import urlsplit

from lading.engine.kubernetes.auth import Credential
from lading.engine.kubernetes.config import Access, Tls
from lading.errors import ConfigError, EngineUnreachable, NotSupported, how_to_install
from lading.http1 import Connection, open_tcp

__all__ = ["ALIVE", "Dial", "must_stream", "no_library", "tls_context", "unreachable"]

_CONNECT_SECONDS = 15
ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A watch is silent for minutes: what lies between must not forget it, nor we wait for the dead."""


class Dial:
    """Opens connections to the API server of `access`, with the credential of `present`.

    Attributes
    ----------
    credential : Credential
        Whose certificate, if it has one, is shown; set before the first connection.
    """

    def __init__(self, access: Access) -> None:
        parts = urlsplit(access.server)
        default = 443 if parts.scheme == "https" else 80
        try:
            self._place = parts.hostname or "", parts.port or default
        except ValueError as error:
            raise ConfigError(
                access.source, f"{access.server} is no address", fix="write https://host:port"
            ) from error
        self._access = access
        self.credential = Credential()
        self._context: ssl.SSLContext | None = None
        self._made_for: tuple[bytes, bytes] | None = None

    async def __call__(self) -> Connection:
        """Open one."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                context, name = await self.context()
                connection = await open_tcp(*self._place, context, server_name=name)
        except TimeoutError as error:
            raise ConnectionError(f"no connection within {_CONNECT_SECONDS} s") from error
        connection.set_options(ALIVE)
        return connection

    async def context(self) -> tuple[ssl.SSLContext | None, str | None]:
        """Have what TLS is spoken with, and whose certificate is expected; None without TLS."""
        tls = self._access.tls
        if tls is None:
            return None, None
        wanted = self.credential.certificate, self.credential.key
        if self._context is None or wanted != self._made_for:
            self._context = await asyncio.to_thread(
                tls_context, tls, self.credential, self._access.source
            )
            self._made_for = wanted
        return self._context, tls.server_name or None


def tls_context(tls: Tls, credential: Credential, source: str) -> ssl.SSLContext:
    """Make what speaks TLS; reads the system's authorities, so not on the event loop.

    Raises
    ------
    ConfigError
        The certificates that are configured are none.
    """
    try:
        authorities = tls.authorities.decode("ascii") if tls.authorities else None
        context = ssl.create_default_context(cadata=authorities)
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(
            source, "its certificate-authority holds no certificate in PEM", fix="copy it anew"
        ) from error
    # Authorities that clusters make for themselves need not be as RFC 5280 wants them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if credential.certificate:
        # Only files can be loaded: one that is in memory alone.
        memory = os.memfd_create("lading-client-certificate", os.MFD_CLOEXEC)
        try:
            os.write(memory, credential.certificate + b"\n" + credential.key)
            context.load_cert_chain(f"/proc/self/fd/{memory}")
        except OSError as error:  # ssl.SSLError is one, too
            raise ConfigError(
                source,
                f"the client certificate or its key can't be used: {error}",
                fix="log in again, or copy them anew",
            ) from error
        finally:
            os.close(memory)
    return context


def unreachable(access: Access, what: str, error: OSError) -> EngineUnreachable:
    """Say why a cluster can't be reached, and what helps."""
    fix = (
        "see whether it is up (kubectl cluster-info), or name another context with "
        "--engine kubernetes://CONTEXT"
    )
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"its certificate is not to be trusted: {error.verify_message}"
        if "ostname mismatch" in error.verify_message or "IP address mis" in error.verify_message:
            fix = "name the server as its certificate does (server, or tls-server-name)"
        else:
            fix = f"see whether certificate-authority is this cluster's, in {access.source}"
    elif isinstance(error, ssl.SSLError) and "WRONG_VERSION_NUMBER" in str(error):
        reason = "what answers there does not speak TLS"
        fix = f"see whether it is the API server's address, in {access.source}"
    elif isinstance(error, socket.gaierror):
        reason = f"no address is known for that name: {error.strerror}"
    else:
        # asyncio replaces the system's words by its own; TLS has numbers of its own.
        system = error.errno if isinstance(error, ConnectionError) else None
        reason = os.strerror(system) if system else str(error) or type(error).__name__
    return EngineUnreachable(
        f"{what}: the cluster at {access.server} is not reachable: {reason}", fix=fix
    )


async def must_stream(doing: str) -> None:
    """See that programs and ports of pods can be reached, before one is made.

    Raises
    ------
    NotSupported
        A library is not installed.
    """
    if await asyncio.to_thread(find_spec, "websockets") is None:
        raise no_library(doing)


def no_library(doing: str) -> NotSupported:
    """Say that this is not installed."""
    return NotSupported(
        f"{doing} failed: it takes the library websockets, which is not installed",
        fix=f"install it with Lading: {how_to_install('kubernetes')}",
    )
