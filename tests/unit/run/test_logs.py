"""The tail of a log: marks in pieces, endless lines, listeners."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from lading.engine import ContainerSpec, LogChunk
from lading.run.logs import LogTail
from lading.testing import FakeEngine, FakeImage, FakeProcess

MARK = b"meca-init-done"


class Printed:
    """A container of which only the log is of interest."""

    name = "printed"

    def __init__(self, *chunks: tuple[str, bytes]) -> None:
        self.chunks = chunks

    async def logs(
        self, *, follow: bool = False, tail: int | None = None
    ) -> AsyncIterator[LogChunk]:
        for stream, data in self.chunks:
            yield LogChunk(stream, data)


async def follow(*chunks: tuple[str, bytes], keep: int = 65536, mark: bytes = MARK) -> LogTail:
    tail = LogTail(Printed(*chunks), mark=mark, keep=keep)  # type: ignore[arg-type]
    tail.start()
    await tail.ended.wait()
    await tail.close()
    return tail


@given(
    before=st.binary(max_size=30),
    after=st.binary(max_size=30),
    cuts=st.lists(st.integers(0, 80), max_size=8),
    stream=st.sampled_from(["stdout", "stderr"]),
)
async def test_a_mark_is_found_however_it_is_cut(
    before: bytes, after: bytes, cuts: list[int], stream: str
) -> None:
    text = before + MARK + after
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [(stream, text[a:b]) for a, b in itertools.pairwise(edges)]
    other = "stdout" if stream == "stderr" else "stderr"
    mixed = [chunk for piece in pieces for chunk in (piece, (other, b"noise"))]
    assert (await follow(*mixed)).marked.is_set()


async def test_a_mark_in_two_streams_is_none() -> None:
    tail = await follow(("stdout", MARK[:5]), ("stderr", MARK[5:]))
    assert not tail.marked.is_set()


async def test_a_mark_of_one_byte() -> None:
    assert (await follow(("stdout", b"abc"), mark=b"c")).marked.is_set()
    assert not (await follow(("stdout", b"abc"), mark=b"d")).marked.is_set()


async def test_only_the_end_is_kept() -> None:
    tail = await follow(*[("stdout", b"line %d\n" % n) for n in range(1000)], keep=100)
    assert sum(len(chunk.data) for chunk in tail.chunks()) <= 100
    assert tail.tail(2) == "line 998\nline 999"


async def test_a_log_in_tiny_pieces_takes_no_more_memory() -> None:
    pieces = [(("stdout", "stderr")[n % 2], b"%d\n" % (n % 10)) for n in range(5000)]
    tail = await follow(*pieces)
    assert len(tail.chunks()) == 1000
    assert tail.tail(3) == "7\n8\n9"
    assert (await follow(*pieces, keep=4)).chunks() == [
        LogChunk("stdout", b"8\n"),
        LogChunk("stderr", b"9\n"),
    ]


async def test_lines_without_end_and_bytes_that_are_no_text() -> None:
    tail = await follow(("stdout", b"x" * 200_000), ("stdout", b"\xff\xfeend"))
    assert len(tail.tail()) == 8192
    assert tail.tail().endswith("x��end")
    assert sum(len(chunk.data) for chunk in tail.chunks()) <= 65536


async def test_listeners_hear_what_was_and_what_comes() -> None:
    go_on = asyncio.Event()

    async def program(process: FakeProcess) -> None:
        process.write(b"one\n")
        await go_on.wait()
        process.write(b"two\n", "stderr")

    async with FakeEngine([FakeImage("p:1", program)]) as engine:
        container = await engine.create(ContainerSpec("p:1"))
        await container.start()
        tail = LogTail(container)
        tail.start()
        heard: list[bytes] = []
        first = asyncio.Event()
        end_first = tail.subscribe(lambda chunk: first.set())
        await first.wait()
        tail.subscribe(lambda chunk: heard.append(chunk.data))
        end_first()
        end_first()
        go_on.set()
        await tail.ended.wait()
        assert heard == [b"one\n", b"two\n"]
        await container.remove()
        await tail.close()


async def test_a_log_that_breaks_off_has_ended() -> None:
    async def program(process: FakeProcess) -> None:
        process.write(b"one\n")
        await asyncio.Event().wait()

    async with FakeEngine([FakeImage("p:1", program)]) as engine:
        container = await engine.create(ContainerSpec("p:1"))
        await container.start()
        tail = LogTail(container)
        tail.start()
        engine.go_away()
        await tail.ended.wait()
        engine.come_back()
        await container.remove()
        await tail.close()


class Slow(Printed):
    """One that prints now and then, and goes on."""

    async def logs(
        self, *, follow: bool = False, tail: int | None = None
    ) -> AsyncIterator[LogChunk]:
        for stream, data in self.chunks:
            await asyncio.sleep(0.02)
            yield LogChunk(stream, data)
        await asyncio.Event().wait()


async def settle(pause: float, timeout: float) -> str:
    words = [("stderr", f"line {number}\n".encode()) for number in range(10)]
    tail = LogTail(Slow(*words))  # type: ignore[arg-type]
    tail.start()
    await tail.settled(pause, timeout)
    await tail.close()
    return tail.tail()


async def test_what_is_still_coming_is_waited_for() -> None:
    assert (await settle(0.5, 30)).endswith("line 9")


async def test_but_not_for_ever() -> None:
    assert "line 9" not in await settle(30, 0.1)


async def test_an_ended_log_is_settled() -> None:
    async with asyncio.timeout(5):
        await (await follow(("stdout", b"x"))).settled(30, 30)
