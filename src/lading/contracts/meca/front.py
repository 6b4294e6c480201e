"""The door of the HTTP interface: who may come in, and the request id on every reply.

Pure ASGI, around everything else, because it runs for every call.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import json
import secrets
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lading.contracts.meca.tokens import ANYBODY, OPERATOR, Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Front", "is_loopback"]

_OPEN_PATHS = frozenset({"/health", "/ready", "/docs", "/openapi.json", "/v1/key", "/v1/keys"})
"""What a probe may ask, a browser may read, and a receipt is verified by, without a token."""
_CLIENT_PATHS = frozenset({"/", "/v1/execute", "/v1/tasks", "/stats"})
"""What a client may do, who is not the operator."""

_MAX_ID = 128


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@functools.lru_cache(maxsize=64)
def _is_plain(host: bytes) -> bool:
    """Whether a Host header is ``localhost`` or an address, with or without a port.

    Remembered, because a caller sends the same one with every call.
    """
    try:
        name = (urlsplit(b"//" + host).hostname or b"").decode("latin-1")
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _is_same(origin: bytes, host: bytes) -> bool:
    """Whether a web page's origin is the host that it talks to."""
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False


class Front:
    """Lets in who may come in.

    Parameters
    ----------
    app : ASGI application
    direct : mapping of str to ASGI application
        Paths whose POST goes straight to what answers it, past everything that `app` does for a
        request in general: the hot ones.
    tokens : Tokens
    guard_host : bool
        Refuse host names other than ``localhost``: without a token, a web page that has its name
        resolve to 127.0.0.1 (DNS rebinding) would otherwise reach what listens on loopback.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        direct: Mapping[str, ASGIApp] = MappingProxyType({}),
        tokens: Tokens,
        guard_host: bool,
    ) -> None:
        self._app = app
        self._direct = direct
        self._tokens = tokens
        self._guard_host = guard_host
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the request's head and pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = key = b""
        authorization = origin = host = b""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                request_id = value
            elif name == b"authorization":
                authorization = value
            elif name == b"idempotency-key":
                key = value
            elif name == b"origin":
                origin = value
            elif name == b"host":
                host = value
        if not request_id or len(request_id) > _MAX_ID or not request_id.isascii():
            request_id = f"{self._prefix}-{next(self._numbers):x}".encode()
        scope["lading.request_id"] = request_id.decode("ascii")
        scope["lading.key"] = key.decode("latin-1")
        client = self._tokens.who(authorization) if self._tokens.needed else ANYBODY
        scope["lading.client"] = client

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        path = scope["path"]
        if refusal := self._refusal(path, client, origin, host):
            await _refuse(*refusal, send_with_id)
            return
        app = self._direct.get(path) if scope["method"] == "POST" else None
        await (app or self._app)(scope, receive, send_with_id)

    def _refusal(
        self, path: str, client: str, origin: bytes, host: bytes
    ) -> tuple[int, str] | None:
        if self._tokens.needed:
            return _unknown(path, client)
        if origin and not _is_same(origin, host):
            return 403, "a web page of another origin may not use this executor"
        if self._guard_host and host and not _is_plain(host):
            text = host.decode("latin-1")
            return 403, f"this executor answers to localhost or an address, not to {text!r:.300}"
        return None


def _unknown(path: str, client: str) -> tuple[int, str] | None:
    if client == OPERATOR or path in _OPEN_PATHS:
        return None
    if not client:
        return 401, "this executor wants its token: send 'Authorization: Bearer TOKEN'"
    if path not in _CLIENT_PATHS:
        return 403, "this takes the operator's token: clients may have tasks executed"
    return None


async def _refuse(status: int, detail: str, send: Send) -> None:
    body = json.dumps({"title": "refused", "status": status, "detail": detail}).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
