"""Logs that outlive their container: what is written is read, in its order, and nothing twice."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.engine import LogChunk
from lading.errors import RecordError, RecordNotFound
from lading.run.kept_logs import FRAME, POSITION, KeptLog, kept_path, prune
from lading.run.log_reading import follow, is_kept, last_lines, read, run_log
from lading.run.records import Kind, Records, Run, RunState, new_id, records_path
from lading.testing import FakeEngine

OUT, ERR = "stdout", "stderr"
Written = list[tuple[str, bytes]]


def joined(chunks: list[LogChunk]) -> dict[str, bytes]:
    """What each stream got."""
    return {
        stream: b"".join(chunk.data for chunk in chunks if chunk.stream == stream)
        for stream in (OUT, ERR)
    }


async def keep(state: Path, run_id: str, written: Written, **options: int) -> None:
    log = await KeptLog.open(state, run_id, **options)  # type: ignore[arg-type]
    for stream, data in written:
        log.write(LogChunk(stream, data))
    await log.close()
    assert log.error is None


async def read_back(state: Path, run_id: str, tail: int | None = None) -> list[LogChunk]:
    return await asyncio.to_thread(lambda: list(read(state, run_id, tail=tail)))


async def test_both_streams_in_their_order(tmp_path: Path) -> None:
    run_id = new_id()
    await keep(tmp_path, run_id, [(OUT, b"one\n"), (ERR, b"\xff\0"), (OUT, b""), (OUT, b"two")])
    assert await read_back(tmp_path, run_id) == [
        LogChunk(OUT, b"one\n"), LogChunk(ERR, b"\xff\0"), LogChunk(OUT, b"two"),
    ]  # fmt: skip
    path = kept_path(tmp_path, run_id)
    assert path.read_bytes() == (
        FRAME.pack(0, 16) + POSITION.pack(0, 0)
        + FRAME.pack(1, 4) + b"one\n" + FRAME.pack(2, 2) + b"\xff\0" + FRAME.pack(1, 3) + b"two"
    )  # fmt: skip
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


async def test_a_run_that_printed_nothing_has_a_log(tmp_path: Path) -> None:
    run_id = new_id()
    assert not is_kept(tmp_path, run_id)
    await keep(tmp_path, run_id, [])
    assert is_kept(tmp_path, run_id)
    assert await read_back(tmp_path, run_id) == []
    assert [chunk async for chunk in follow(tmp_path, run_id)] == []


async def test_names_that_are_no_run(tmp_path: Path) -> None:
    for name in ("", "../../etc/passwd", "zzzz"):
        with pytest.raises(RecordNotFound):
            await read_back(tmp_path, name)
        with pytest.raises(RecordNotFound):
            [chunk async for chunk in run_log(None, None, tmp_path, name)]


async def test_the_newest_are_kept_and_what_is_missing_is_told(tmp_path: Path) -> None:
    run_id = new_id()
    written = [((OUT, ERR)[n % 2], b"line %04d\n" % n) for n in range(1000)]
    log = await KeptLog.open(tmp_path, run_id, limit=2000)
    for stream, data in written:
        log.write(LogChunk(stream, data))
        await log.flush()  # what waits is bounded as well
    await log.close()
    missing: list[int] = []
    chunks = await asyncio.to_thread(lambda: list(read(tmp_path, run_id, missing=missing.append)))
    whole = [LogChunk(stream, data) for stream, data in written]
    assert chunks == whole[-len(chunks) :]
    assert sum(missing) == 10 * (1000 - len(chunks))
    kept = sum(path.stat().st_size for path in kept_path(tmp_path, run_id).parent.iterdir())
    assert 2000 <= kept <= 4000
    assert (await read_back(tmp_path, run_id, tail=3)) == whole[-3:]


async def test_a_disk_that_is_too_slow_gets_the_newest(tmp_path: Path) -> None:
    run_id = new_id()
    log = await KeptLog.open(tmp_path, run_id, limit=10_000)
    for n in range(5000):  # in one turn of the loop
        log.write(LogChunk(OUT, b"%04d" % n * 256))
    await log.close()
    gaps: list[int] = []
    chunks = await asyncio.to_thread(lambda: list(read(tmp_path, run_id, missing=gaps.append)))
    text = joined(chunks)[OUT]
    assert text.endswith(b"4999" * 256)
    assert len(text) + sum(gaps) == 5000 * 1024


@given(
    written=st.lists(st.tuples(st.sampled_from([OUT, ERR]), st.binary(max_size=40)), max_size=40),
    limit=st.integers(1, 400),
)
async def test_what_is_read_and_what_is_missing_is_all_there_was(
    tmp_path_factory: pytest.TempPathFactory, written: Written, limit: int
) -> None:
    state, run_id = tmp_path_factory.getbasetemp() / "any", new_id()
    await keep(state, run_id, written, limit=limit)
    gaps: list[int] = []
    chunks = await asyncio.to_thread(lambda: list(read(state, run_id, missing=gaps.append)))
    whole = joined([LogChunk(stream, data) for stream, data in written])
    found = joined(chunks)
    assert all(whole[stream].endswith(found[stream]) for stream in whole)
    assert sum(gaps) + sum(map(len, found.values())) == sum(map(len, whole.values()))
    followed = [chunk async for chunk in follow(state, run_id)]
    assert joined(followed) == found


@given(
    pieces=st.lists(
        st.tuples(st.sampled_from([OUT, ERR]), st.sampled_from([b"a", b"b\n", b"\n", b"c\nd\n"])),
        max_size=12,
    ),
    count=st.integers(0, 8),
)
def test_the_last_lines(pieces: Written, count: int) -> None:
    chunks = [LogChunk(stream, data) for stream, data in pieces]
    ends = []  # of every line: where in its stream, in the order in which they came
    sizes = {OUT: 0, ERR: 0}
    for chunk in chunks:
        for at, byte in enumerate(chunk.data):
            if byte == ord("\n"):
                ends.append((chunk.stream, sizes[chunk.stream] + at + 1))
        sizes[chunk.stream] += len(chunk.data)
    last = dict(ends)
    unfinished = sum(sizes[stream] > last.get(stream, 0) for stream in sizes)
    cut = max(len(ends) + unfinished - count, 0)
    begin = dict(ends[:cut])
    whole = joined(chunks)
    wanted = {stream: whole[stream][begin.get(stream, 0) :] for stream in whole}
    if count == 0:
        wanted = {OUT: b"", ERR: b""}
    assert joined(last_lines(chunks, count)) == wanted


async def test_a_log_is_followed_over_its_files_until_its_writer_ends(tmp_path: Path) -> None:
    run_id = new_id()
    log = await KeptLog.open(tmp_path, run_id, limit=3000)
    gaps: list[int] = []
    seen: list[LogChunk] = []
    heard = asyncio.Event()

    async def reader() -> None:
        async for chunk in follow(tmp_path, run_id, missing=gaps.append):
            seen.append(chunk)
            heard.set()

    following = asyncio.create_task(reader())
    for n in range(1000):
        log.write(LogChunk((OUT, ERR)[n % 3 == 0], b"line %04d\n" % n))
        if n % 100 == 0:  # so that it never lags behind by two files
            heard.clear()
            await heard.wait()
    await log.close()
    await following
    assert gaps == []
    assert b"".join(sorted(chunk.data for chunk in seen)) == b"".join(
        b"line %04d\n" % n for n in range(1000)
    )
    assert len(list(kept_path(tmp_path, run_id).parent.iterdir())) == 2


async def test_following_begins_with_the_last_lines(tmp_path: Path) -> None:
    run_id = new_id()
    log = await KeptLog.open(tmp_path, run_id)
    log.write(LogChunk(OUT, b"one\ntwo\nthree\n"))
    await log.flush()
    seen = []
    async for chunk in follow(tmp_path, run_id, tail=1):
        seen.append(chunk.data)
        if len(seen) == 1:
            log.write(LogChunk(OUT, b"four\n"))
            await log.close()
    assert seen == [b"three\n", b"four\n"]


WRITER = """
import asyncio, sys
from pathlib import Path
from lading.engine import LogChunk
from lading.run.kept_logs import KeptLog, kept_path
async def main():
    log = await KeptLog.open(Path(sys.argv[1]), sys.argv[2])
    log.write(LogChunk("stdout", b"whole\\n"))
    await log.flush()
    with kept_path(Path(sys.argv[1]), sys.argv[2]).open("ab") as file:
        file.write(b"\\x02\\0\\0\\0\\x64half")  # as a kill in the middle leaves it
    print("written", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture
def killed_writer(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    run_id = new_id()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), run_id], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        yield run_id, process
        process.kill()


async def test_a_writer_that_is_killed_leaves_what_it_wrote(
    tmp_path: Path, killed_writer: tuple[str, subprocess.Popen[bytes]]
) -> None:
    run_id, process = killed_writer
    seen = []
    async for chunk in follow(tmp_path, run_id):
        seen.append(chunk)
        process.kill()
    assert seen == [LogChunk(OUT, b"whole\n"), LogChunk(ERR, b"half")]
    assert await read_back(tmp_path, run_id) == seen


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
async def test_a_full_disk_ends_the_log_and_not_the_run(tmp_path: Path) -> None:
    run_id, disk = new_id(), tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    await asyncio.to_thread(subprocess.run, mount, check=True)
    try:
        told: list[RecordError] = []
        log = await KeptLog.open(disk, run_id, on_error=told.append)
        for n in range(100):
            log.write(LogChunk(OUT, b"%04d" % n * 1000))
            await log.flush()
        await log.close()
        (problem,) = told
        assert log.error is problem
        assert "is not kept any further: No space left on device" in problem.message
        assert "make room" in problem.fix
        text = joined(await read_back(disk, run_id))[OUT]
        assert b"".join(b"%04d" % n * 1000 for n in range(100)).startswith(text)
        assert len(text) > 30_000
        # There is no room to begin one either.
        told.clear()
        (disk / "rest").write_bytes(b"x" * (os.statvfs(disk).f_bfree * 4096))
        another = await KeptLog.open(disk, new_id(), on_error=told.append)
        another.write(LogChunk(OUT, b"x"))
        await another.close()
        assert len(told) == 1
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", str(disk)], check=True)


async def test_a_run_keeps_one_log(tmp_path: Path) -> None:
    run_id = new_id()
    await keep(tmp_path, run_id, [(OUT, b"first")])
    told: list[RecordError] = []
    again = await KeptLog.open(tmp_path, run_id, on_error=told.append)
    again.write(LogChunk(OUT, b"second"))
    await again.close()
    assert len(told) == 1
    assert joined(await read_back(tmp_path, run_id))[OUT] == b"first"


async def test_who_is_cancelled_while_it_begins_leaves_it_closed(tmp_path: Path) -> None:
    run_id = new_id()
    opening = asyncio.create_task(KeptLog.open(tmp_path, run_id))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert [chunk async for chunk in follow(tmp_path, run_id)] == [], "nobody holds its lock"


async def test_a_file_that_a_disk_broke_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    run_id = new_id()
    await keep(tmp_path, run_id, [(OUT, b"good\n")])
    with kept_path(tmp_path, run_id).open("ab") as file:
        file.write(b"\x77garbage")
    assert joined(await read_back(tmp_path, run_id))[OUT] == b"good\n"


# Pruning.


def record(run_id: str) -> Run:
    return Run(id=run_id, kind=Kind.CONTAINER, contract="x", owner="o", name="n", image="i")


async def test_logs_of_forgotten_runs_and_old_ones_go(tmp_path: Path) -> None:
    records = await asyncio.to_thread(Records, records_path(tmp_path))
    try:
        known, old, forgotten, fresh, live = (new_id() for _ in range(5))
        for run_id in (known, old, live):
            records.begin(record(run_id))
            records.finish(run_id, RunState.SUCCEEDED)
        for run_id in (known, old, forgotten, fresh):
            await keep(tmp_path, run_id, [(OUT, b"x" * 100)] * 4, limit=200)
        log = await KeptLog.open(tmp_path, live)
        folder = kept_path(tmp_path, known).parent
        for name, days in ((known, 2), (old, 31), (forgotten, 2), (live, 31)):
            for path in folder.glob(f"{name}.*"):
                os.utime(path, ns=(0, path.stat().st_mtime_ns - days * 86_400 * 10**9))
        assert await prune(tmp_path, records) == 2
        assert {path.name.partition(".")[0] for path in folder.glob("*.log*")} == {
            known, fresh, live,
        }  # fmt: skip
        await log.close()
        assert await prune(tmp_path, records) == 0, "it was done today"
        assert await prune(tmp_path, records, every=0, older_than=-1) == 3
        assert list(folder.glob("*.log*")) == []
    finally:
        records.close()


async def test_pruning_where_nothing_was_kept(tmp_path: Path) -> None:
    records = await asyncio.to_thread(Records, records_path(tmp_path))
    try:
        assert await prune(tmp_path, records) == 0
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    finally:
        records.close()


async def test_an_engine_that_has_no_such_container_any_more(tmp_path: Path) -> None:
    from tests.support.fake_probe import probe_image  # noqa: PLC0415

    from lading.engine import ContainerSpec  # noqa: PLC0415

    run_id = new_id()
    await keep(tmp_path, run_id, [(OUT, b"kept\n")])
    async with FakeEngine([probe_image()]) as engine:
        container = await engine.create(ContainerSpec("lading-test/probe:1", args=("echo", "x")))
        info = await container.inspect()
        await container.remove()  # after somebody looked
        chunks = [chunk async for chunk in run_log(engine, info, tmp_path, run_id)]
    assert chunks == [LogChunk(OUT, b"kept\n")]
