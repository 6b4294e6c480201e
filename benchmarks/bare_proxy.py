"""The bare proxy: unwrap `input`, pass it to the one task there is, wrap its reply; nothing else.

What it takes from the environment: the task's address and port, or the pid whose network namespace
the task listens in (BENCH_TASK=ADDRESS:PORT or pid:PID:PORT).
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lading.http1 import Client, Connection, open_socket

_WHERE, _, _PORT = os.environ["BENCH_TASK"].rpartition(":")
_NEW_NETWORK = 0x40000000


def _connect(into: list[socket.socket]) -> None:
    """Connect; in a thread of its own, because a thread that has moved does not come back."""
    address = _WHERE
    if _WHERE.startswith("pid:"):
        with Path(f"/proc/{_WHERE[4:]}/ns/net").open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns")
        address = "127.0.0.1"
    into.append(socket.create_connection((address, int(_PORT))))


async def _dial() -> Connection:
    made: list[socket.socket] = []
    thread = threading.Thread(target=_connect, args=(made,))
    thread.start()
    thread.join()
    made[0].setblocking(False)
    return await open_socket(made[0])


_client = Client(_dial, host="localhost:8080", idle=60.0)


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Pass one request on."""
    body = b""
    while scope["type"] == "http":
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    _, reply = await _client.request("POST", "/", body=json.loads(body)["input"].encode())
    text = json.dumps({"success": True, "msg": reply.decode()}, indent=4).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(text)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})
