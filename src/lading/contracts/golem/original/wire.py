"""How a server process asks the process that has the handlers: frames of JSON over a socket.

The two are described in :mod:`lading.contracts.golem.original.inline`. The asking side sends
``{"id", "call", "arguments"}``, ``{"cancel": id}`` and ``{"stopping": true}``, and gets
``{"alive": true}`` first, then ``{"id", "value"}`` or ``{"id", "error"}``.
"""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

__all__ = ["read", "write"]

_LENGTH = struct.Struct(">I")


async def read(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """Read a frame; None at the end."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        found: dict[str, Any] = json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return found


def write(writer: asyncio.StreamWriter, frame: dict[str, Any]) -> None:
    """Send a frame, some time.

    Raises
    ------
    TypeError
        It can't be said in JSON.
    """
    text = json.dumps(frame).encode()
    writer.write(_LENGTH.pack(len(text)) + text)
