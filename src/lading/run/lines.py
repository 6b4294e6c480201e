"""Bytes as they come, cut into lines."""

from __future__ import annotations

from collections.abc import Callable

from lading.engine.spec import LogChunk

__all__ = ["Lines"]


class Lines:
    """Cuts what comes into lines, each stream's by itself.

    Parameters
    ----------
    tell : callable
        Told of each line, without its end.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest: dict[str, bytes] = {}

    def add(self, chunk: LogChunk) -> None:
        """Take some bytes."""
        *lines, rest = (self._rest.get(chunk.stream, b"") + chunk.data).split(b"\n")
        self._rest[chunk.stream] = rest
        for line in lines:
            self._one(line)

    def end(self) -> None:
        """Tell of the lines that were not finished."""
        for rest in self._rest.values():
            if rest:
                self._one(rest)
        self._rest.clear()

    def _one(self, line: bytes) -> None:
        self._tell(line.decode("utf-8", "replace").rstrip())
