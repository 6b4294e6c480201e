"""What a pod writes, as its node keeps it: as text, both streams in one, until the pod is gone.

A log that is followed is cut now and then: by the API server's restart, by whatever is between.
Every line comes with its time, so it goes on where it was: the cluster gives all since that second,
and what was seen of it is left out.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/, "read log of
the specified Pod".
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from lading.engine.kubernetes.api import PODS, Api
from lading.engine.kubernetes.errors import Call
from lading.errors import EngineUnreachable

__all__ = ["LogReader", "follow", "read"]

_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) ")
_PARTS = re.compile(rb"(.{19})(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_LONGEST_TIME = 36
_PART = 16384
"""Bytes in which runtimes hand over a long line; some nodes put a time before each part."""
_MOST_CUTS = 5
"""Cuts one after the other with nothing between; each connection is tried for a while by itself."""


@dataclass
class _Seen:
    """How far a log was read: the last line's time, and how much came with that time."""

    time: bytes = b""
    bytes: int = 0


class LogReader:
    """Takes the times off the lines of a log, over one connection or several."""

    def __init__(self) -> None:
        self._seen = _Seen()
        self._begin()

    def _begin(self) -> None:
        self._left = 0
        self._new_line = True
        self._of_node = False
        self._held = b""
        self._time = b""
        self._of_time = 0

    def again(self) -> str | None:
        """Begin with another connection; says since when it has to be read."""
        self._begin()
        if not self._seen.time:
            return None
        second, _, zone = _parts(self._seen.time)
        return (second + zone).decode()

    def feed(self, data: bytes, *, end: bool = False) -> Iterator[bytes]:
        """Yield what is new in a piece of the log, without times; `end`: nothing comes after it."""
        data = self._held + data
        self._held = b""
        position = 0
        while position < len(data):
            if self._left == 0:
                found = _TIME.match(data, position)
                if found is None and not end and _may_be_time(data[position:]):
                    self._held = data[position:]
                    return
                if found is not None:
                    self._took(data[position : found.end() - 1])
                    position = found.end()
                # "unable to retrieve container logs": the node's words in place of a log.
                self._of_node = found is None and self._new_line
                self._left = _PART
                if position == len(data):
                    return
            line = data.find(b"\n", position) + 1 or len(data)
            until = min(line, position + self._left)
            if not self._of_node and (new := self._new(data[position:until])):
                yield new
            ended = data[until - 1 : until] == b"\n"
            self._left = 0 if ended else self._left - (until - position)
            self._new_line = ended
            position = until

    def rest(self) -> bytes:
        """Give what was held back at the log's end, as it might have been the start of a time."""
        return b"".join(self.feed(b"", end=True))

    def _took(self, time: bytes) -> None:
        if time != self._time:
            self._time, self._of_time = time, 0

    def _new(self, text: bytes) -> bytes:
        """Leave out what an earlier connection brought."""
        seen, start = self._seen, self._of_time
        self._of_time += len(text)
        if _moment(self._time) < _moment(seen.time):
            return b""
        if self._time == seen.time:
            text = text[max(seen.bytes - start, 0) :]
            seen.bytes = max(seen.bytes, self._of_time)
            return text
        self._seen = _Seen(self._time, self._of_time)
        return text


def _may_be_time(text: bytes) -> bool:
    return len(text) < _LONGEST_TIME and text[:4].isdigit()


def _parts(time: bytes) -> tuple[bytes, bytes, bytes]:
    """Take a time apart: up to the second, what is less than one, and its zone."""
    found = _PARTS.fullmatch(time)
    return (found[1], found[2] or b"", found[3]) if found is not None else (b"", b"", b"")


def _moment(time: bytes) -> tuple[bytes, bytes]:
    """Write a time so that later ones are greater; nodes leave out zeros at the end."""
    second, part, zone = _parts(time)
    if zone not in (b"", b"Z"):
        there = datetime.fromisoformat((second + zone).decode())
        second = there.astimezone(UTC).isoformat()[:19].encode()
    return second, part.ljust(9, b"0")


async def read(
    api: Api, namespace: str, pod: str, container: str, call: Call, *, tail: int | None = None
) -> bytes:
    """Read what there is.

    Raises
    ------
    ContainerNotFound, EngineError
    """
    text = await api.read(
        "get",
        PODS,
        call,
        name=pod,
        sub="log",
        namespace=namespace,
        query={"container": container, "tailLines": tail, "timestamps": True},
    )
    return b"".join(LogReader().feed(text, end=True))


async def follow(
    api: Api,
    namespace: str,
    pod: str,
    container: str,
    call: Call,
    *,
    ended: Callable[[], Awaitable[bool]],
    tail: int | None = None,
) -> AsyncIterator[bytes]:
    """Read it as it is written, until the container has ended, however often that is cut.

    Parameters
    ----------
    ended : callable
        Whether the container has ended; asked after a connection's end, may take a moment to know.
    tail : int or None
        Begin with the last lines only.

    Raises
    ------
    ContainerNotFound, EngineError
    """
    reader = LogReader()
    since: str | None = None
    cuts = 0
    while True:
        query: dict[str, str | int | bool | None] = {
            "container": container,
            "follow": True,
            "timestamps": True,
            "sinceTime": since,
            "tailLines": tail if since is None else None,
        }
        cut = False
        try:
            async with api.stream(
                "get", PODS, call, name=pod, sub="log", namespace=namespace, query=query
            ) as response:
                async for piece in response.chunks():
                    cuts = 0
                    for text in reader.feed(piece):
                        yield text
        except EngineUnreachable:
            cut, cuts = True, cuts + 1
            if cuts == _MOST_CUTS:
                raise
        if await ended() and not cut:
            if text := reader.rest():
                yield text
            return
        since = reader.again() or since
