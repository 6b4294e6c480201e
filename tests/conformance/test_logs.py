from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from tests.conformance.conftest import Make
from tests.conformance.differences import Unlike
from tests.support.containers import call, output, ready

from lading.engine import Container, LogChunk, Mount, State
from lading.errors import ContainerNotFound


async def test_streams_are_kept_apart(make: Make, unlike: Unlike) -> None:
    out = await make("echo", "to", "stdout")
    err = await make("err", "to", "stderr")
    await out.wait()
    await err.wait()
    assert await output(out) == (b"to stdout\n", b"")
    words = b"to stderr\n"
    assert await output(err) == ((words, b"") if unlike("one stream") else (b"", words))


async def test_a_container_that_says_nothing(make: Make) -> None:
    container = await make("exit", "0")
    await container.wait()
    assert await output(container) == (b"", b"")
    assert await output(container, follow=True) == (b"", b"")


async def test_logs_before_the_start(make: Make) -> None:
    container = await make("echo", "x", start=False)
    assert await output(container) == (b"", b"")


async def test_follow_until_the_end_of_what_comes_slowly(make: Make) -> None:
    container = await make("lines", "4", "150")
    assert await output(container, follow=True) == (b"line 1\nline 2\nline 3\nline 4\n", b"")
    assert (await container.inspect()).state is State.EXITED


async def test_before_the_start_there_is_nothing_to_follow(make: Make) -> None:
    container = await make("lines", "2", "50", start=False)
    assert await output(container, follow=True) == (b"", b"")
    await container.start()
    assert (await output(container, follow=True))[0] == b"line 1\nline 2\n"


async def test_follow_what_has_ended(make: Make) -> None:
    container = await make("echo", "x")
    await container.wait()
    assert await output(container, follow=True) == (b"x\n", b"")


async def test_a_last_line_that_does_not_end(make: Make, tmp_path: Path) -> None:
    """Written as the container ends: Docker 20.10 drops it in one of five, where many run."""

    async def one(number: int) -> None:
        text = f"no newline after {number}"
        words = tmp_path / f"words-{number}"
        words.write_text(text)
        container = await make("cat", "/words", mounts=(Mount(str(words), "/words"),))
        assert await output(container, follow=True) == (text.encode(), b"")

    for _ in range(4):
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(one(number))


async def test_each_line_comes_when_it_is_written(make: Make, unlike: Unlike) -> None:
    """The next line is only asked for when the last has come: no buffering, no polling."""
    container = await make("serve", "--stderr")
    logs = container.logs(follow=True)
    stream = "stdout" if unlike("one stream") else "stderr"
    assert await _line(logs) == LogChunk(stream, b"meca-init-done\n")
    for word in ("one", "two", "three"):
        assert await call(container, {"say": word, "status": 200}) == (200, b"status 200")
        assert await _line(logs) == LogChunk("stdout", f"{word}\n".encode())
    await container.kill()
    with pytest.raises(StopAsyncIteration):
        await anext(logs)


async def _line(logs: object) -> LogChunk:
    """The next line, of however many chunks."""
    chunk: LogChunk = await anext(logs)  # type: ignore[call-overload]
    while not chunk.data.endswith(b"\n"):
        more: LogChunk = await anext(logs)  # type: ignore[call-overload]
        chunk = LogChunk(chunk.stream, chunk.data + more.data)
    return chunk


@pytest.mark.parametrize(
    ("tail", "expected"), [(0, b""), (2, b"line 4\nline 5\n"), (9, None), (None, None)]
)
async def test_tail(make: Make, tail: int | None, expected: bytes | None) -> None:
    container = await make("lines", "5", "0")
    await container.wait()
    everything = b"".join(b"line %d\n" % number for number in range(1, 6))
    assert (await output(container, tail=tail))[0] == (everything if expected is None else expected)


async def test_tail_and_follow(make: Make) -> None:
    container = await make("serve")
    await ready(container)
    first = container.logs(follow=True)
    await call(container, {"say": "one"})
    while (await _line(first)).data != b"one\n":
        pass  # the reply may come before the engine has read what was said
    await first.aclose()  # type: ignore[attr-defined]
    logs = container.logs(follow=True, tail=1)
    assert await _line(logs) == LogChunk("stdout", b"one\n")
    line = asyncio.create_task(_line(logs))
    # Podman 4 may miss a write as it begins to watch the file, and then sees it with the next.
    while not line.done():
        await call(container, {"say": "two"})
        await asyncio.wait({line}, timeout=5)
    assert line.result() == LogChunk("stdout", b"two\n")
    await logs.aclose()  # type: ignore[attr-defined]


async def test_two_follow_at_once(make: Make) -> None:
    container = await make("lines", "3", "50")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(output(container, follow=True)) for _ in range(2)]
    assert {task.result()[0] for task in tasks} == {b"line 1\nline 2\nline 3\n"}


async def test_a_cancelled_follow_harms_nobody(make: Make) -> None:
    container = await make("serve")
    arrived = asyncio.Event()

    async def follow(container: Container) -> None:
        async for _ in container.logs(follow=True):
            arrived.set()

    task = asyncio.create_task(follow(container))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await output(container))[0] == b"meca-init-done\n"
    assert (await container.inspect()).state is State.RUNNING


async def test_much_output_comes_whole_and_in_order(make: Make) -> None:
    container = await make("lines", "20000", "0")
    expected = b"".join(b"line %d\n" % number for number in range(1, 20001))
    assert (await output(container, follow=True))[0] == expected


async def test_a_line_longer_than_any_buffer(make: Make, tmp_path: Path) -> None:
    content = (b"0123456789abcdef" * 8192 + b"\n") * 2 + b"x" * 40_000 + b"\n"
    (tmp_path / "line").write_bytes(content)
    container = await make("cat", "/line", mounts=(Mount(str(tmp_path / "line"), "/line"),))
    assert await output(container, follow=True) == (content, b"")
    assert await output(container) == (content, b"")


async def test_removal_ends_a_follow(make: Make) -> None:
    container = await make("serve")
    logs = container.logs(follow=True)
    assert (await _line(logs)).data == b"meca-init-done\n"
    await container.remove()
    with pytest.raises(StopAsyncIteration):
        await anext(logs)


async def heard(container: Container) -> tuple[bytes, bytes]:
    """Everything that somebody hears who listened before the start."""
    streams = {"stdout": b"", "stderr": b""}
    async with container.attached() as chunks:
        await container.start()
        async for chunk in chunks:
            streams[chunk.stream] += chunk.data
    return streams["stdout"], streams["stderr"]


async def test_who_listens_hears_all_from_the_start(make: Make, unlike: Unlike) -> None:
    out = await make("echo", "to", "stdout", start=False)
    err = await make("err", "to", "stderr", start=False)
    lines = await make("lines", "3", "50", start=False)
    silent = await make("exit", "3", start=False)
    assert await heard(out) == (b"to stdout\n", b"")
    words = b"to stderr\n"
    assert await heard(err) == ((words, b"") if unlike("one stream") else (b"", words))
    assert await heard(lines) == (b"line 1\nline 2\nline 3\n", b"")
    assert await heard(silent) == (b"", b"")
    assert (await silent.wait()).code == 3


async def test_who_listens_hears_every_byte(make: Make, tmp_path: Path, unlike: Unlike) -> None:
    """Logs of engines are text, and what is followed may lack what was written last."""
    content = bytes(range(256)) * 4096 + b"\xff no end"
    if unlike("text"):
        content = "".join(map(chr, range(256))).encode() * 4096 + "\xff no end".encode()
    (tmp_path / "bytes").write_bytes(content)
    for _ in range(3):
        mount = Mount(str(tmp_path / "bytes"), "/bytes")
        container = await make("cat", "/bytes", start=False, mounts=(mount,))
        assert await heard(container) == (content, b"")


async def test_who_listens_may_leave(make: Make) -> None:
    container = await make("sleep", "0.2", start=False)
    async with container.attached():
        await container.start()
    assert (await container.wait()).code == 0


async def test_who_listens_hears_the_removal(make: Make) -> None:
    container = await make("sleep", "60", start=False)
    async with container.attached() as chunks:
        await container.start()
        await container.remove()
        with contextlib.suppress(ContainerNotFound):
            assert [chunk async for chunk in chunks] == []
