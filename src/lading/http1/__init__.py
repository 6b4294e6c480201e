"""A small HTTP/1.1 client over asyncio: to the engine's socket and to warm containers.

One client for both, because both need what general ones don't give together: Unix sockets, sockets
that somebody else opened (in another network namespace), streams that go on for days, an import of
one millisecond, and some 60 microseconds a call.
"""

from __future__ import annotations

from lading.http1.client import Client, open_socket, open_tcp, open_unix
from lading.http1.connection import Body, Connection, Response

__all__ = ["Body", "Client", "Connection", "Response", "open_socket", "open_tcp", "open_unix"]
