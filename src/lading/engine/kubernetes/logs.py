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

from lading.engine.kubernetes.api import PODS, Api
from lading.engine.kubernetes.errors import Call
from lading.errors import EngineUnreachable

__all__ = ["LogReader", "follow", "read"]

_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) ")
_LONGEST_TIME = 36
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
        self._at_start = True
        self._held = b""
        self._time = b""
        self._of_time = 0

    def again(self) -> str | None:
        """Begin with another connection; says since when it has to be read."""
        self._begin()
        if not self._seen.time:
            return None
        return self._seen.time.partition(b".")[0].decode().removesuffix("Z") + "Z"

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what is new in a piece of the log, without times."""
        data = self._held + data
        self._held = b""
        position = 0
        while position < len(data):
            if self._at_start:
                found = _TIME.match(data, position)
                if found is None and len(data) - position < _LONGEST_TIME:
                    self._held = data[position:]
                    return
                if found is not None:
                    self._took(data[position : found.end() - 1])
                    position = found.end()
                self._at_start = False
                if position == len(data):
                    return
            end = data.find(b"\n", position) + 1 or len(data)
            if new := self._new(data[position:end]):
                yield new
            self._at_start = data[end - 1 : end] == b"\n"
            position = end

    def rest(self) -> bytes:
        """Give what was held back, as it might have been the beginning of a time."""
        held, self._held = self._held, b""
        return self._new(held)

    def _took(self, time: bytes) -> None:
        if time != self._time:
            self._time, self._of_time = time, 0

    def _new(self, text: bytes) -> bytes:
        """Leave out what an earlier connection brought."""
        seen, start = self._seen, self._of_time
        self._of_time += len(text)
        if self._time < seen.time:  # all have the same form, and the same zone
            return b""
        if self._time == seen.time:
            text = text[max(seen.bytes - start, 0) :]
            seen.bytes = max(seen.bytes, self._of_time)
            return text
        self._seen = _Seen(self._time, self._of_time)
        return text


async def read(
    api: Api, namespace: str, pod: str, container: str, call: Call, *, tail: int | None = None
) -> bytes:
    """Read what there is.

    Raises
    ------
    ContainerNotFound, EngineError
    """
    return await api.read(
        "get",
        PODS,
        call,
        name=pod,
        sub="log",
        namespace=namespace,
        query={"container": container, "tailLines": tail},
    )


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
        if text := reader.rest():
            yield text
        if await ended() and not cut:
            return
        since = reader.again() or since
