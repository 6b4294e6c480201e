"""The end of a log that Podman does not tell, which a real one does in one of a hundred only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast

import pytest

from lading.engine import LogChunk, podman_logs
from lading.engine.podman_logs import follow_to_the_end

OUT, ERR = "stdout", "stderr"
WHOLE = [LogChunk(OUT, b"one\ntwo\n"), LogChunk(ERR, b"oops\n"), LogChunk(OUT, b"three\n")]


class Ended:
    """A container that has ended, and what it wrote."""

    def __init__(self) -> None:
        self.read = 0

    async def wait(self) -> None:
        await asyncio.sleep(0)

    async def logs(self) -> AsyncIterator[LogChunk]:
        self.read += 1
        for chunk in WHOLE:
            yield chunk


async def told(end: str) -> AsyncGenerator[LogChunk, None]:
    """Tell the beginning, and end in some way."""
    yield LogChunk(OUT, b"one\nt")
    if end == "silence":
        await asyncio.Event().wait()
    if end == "an error":
        raise ValueError("not a log frame")
    yield LogChunk(OUT, b"wo\n")


async def followed(end: str, *, whole: bool = True) -> tuple[bytes, bytes, int]:
    container = Ended()
    chunks = follow_to_the_end(cast(Any, container), told(end), whole=whole)
    found = [chunk async for chunk in chunks]
    streams = (b"".join(c.data for c in found if c.stream == name) for name in (OUT, ERR))
    out, err = streams
    return out, err, container.read


@pytest.mark.parametrize("end", ["silence", "an error"])
async def test_what_is_missing_is_read_once_more(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podman_logs, "_QUIET", 0.05)
    assert await followed(end) == (b"one\ntwo\nthree\n", b"oops\n", 1)


async def test_from_the_middle_on_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent of it can't be told from what was left out."""
    monkeypatch.setattr(podman_logs, "_QUIET", 0.05)
    assert await followed("silence", whole=False) == (b"one\nt", b"", 0)


async def test_an_end_that_is_told_is_believed() -> None:
    assert await followed("told") == (b"one\ntwo\n", b"", 0)


async def test_who_stops_in_the_middle_leaves_nothing_running() -> None:
    before = asyncio.all_tasks()
    chunks = follow_to_the_end(cast(Any, Ended()), told("silence"), whole=True)
    assert (await anext(chunks)).data == b"one\nt"
    await chunks.aclose()
    assert asyncio.all_tasks() == before
