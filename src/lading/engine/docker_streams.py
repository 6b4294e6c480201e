"""What the Docker Engine API sends piece by piece: multiplexed logs, and progress in JSON.

Source: Docker Engine API 1.43, "Attach to a container, stream format", "Create an image" and
"Build an image".
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from lading.engine.spec import LogChunk, PullStatus

__all__ = ["FrameSplitter", "json_values", "pull_status", "stream_error"]

_STREAMS = {0: "stdout", 1: "stdout", 2: "stderr"}
_HEADER = 8


class FrameSplitter:
    """Cuts a log stream into what each of stdout and stderr wrote.

    A frame is one byte for the stream, three zeros, the length as a big-endian 32-bit number,
    and that many bytes; the pieces that arrive are cut anywhere.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._stream = ""
        self._left = 0

    def feed(self, data: bytes) -> Iterator[LogChunk]:
        """Take what came, and give what it holds; a frame that is not whole is not held back.

        Raises
        ------
        ValueError
            This is no such stream.
        """
        view = memoryview(data)
        while view:
            if self._left:
                part = bytes(view[: self._left])
                self._left -= len(part)
                view = view[len(part) :]
                yield LogChunk(self._stream, part)
                continue
            need = _HEADER - len(self._pending)
            self._pending += view[:need]
            view = view[need:]
            if len(self._pending) < _HEADER:
                return
            if self._pending[0] not in _STREAMS or any(self._pending[1:4]):
                raise ValueError(f"not a log frame: {bytes(self._pending)!r}")
            self._stream = _STREAMS[self._pending[0]]
            self._left = int.from_bytes(self._pending[4:8], "big")
            self._pending.clear()


async def json_values(chunks: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """Yield the JSON objects of a stream, one to a line, wherever the pieces are cut."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)
    if rest.strip():
        yield json.loads(rest)


def stream_error(value: dict[str, Any]) -> str:
    """Find the engine's words in an object that says the call failed; empty if it doesn't."""
    detail = value.get("errorDetail")
    text = detail.get("message") if isinstance(detail, dict) else ""
    return str(text or value.get("error") or "")


def pull_status(value: dict[str, Any]) -> PullStatus | None:
    """Read one step of a pull; None if it tells nothing."""
    text = str(value.get("status") or value.get("stream") or "").strip()
    if not text:
        return None
    detail = value.get("progressDetail") or {}
    return PullStatus(
        text,
        layer=str(value.get("id") or ""),
        current=int(detail.get("current") or 0),
        total=int(detail.get("total") or 0),
    )
