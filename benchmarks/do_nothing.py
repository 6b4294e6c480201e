"""The do-nothing application: what uvicorn itself can serve to a POST with a small JSON reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

_REPLY = b'{"success": true, "msg": "hello"}'
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_REPLY)).encode()),
]


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Read the request and reply."""
    if scope["type"] == "http":
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _REPLY})
