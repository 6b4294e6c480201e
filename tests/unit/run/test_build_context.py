"""A folder on its way to a builder: whatever is in it, and never all of it at once."""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import tarfile
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from lading.errors import ConfigError
from lading.run.build_context import Context, archive, stream

MIB = 1 << 20


def entries(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {item.name: item for item in tar}


def test_a_large_file_is_never_in_memory(tmp_path: Path) -> None:
    """2 GiB, sparse on the disk: read and packed like any other."""
    size = 2 << 30
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    with (tmp_path / "model.bin").open("wb") as file:
        file.truncate(size)
    total = largest = 0
    pieces = stream(tmp_path)
    tracemalloc.start()
    try:
        for piece in itertools.islice(pieces, 100):  # it would slow the others down
            total += len(piece)
        assert total > 99 * MIB
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()
    for piece in pieces:
        total += len(piece)
        largest = max(largest, len(piece))
    assert total >= size
    assert largest <= 3 * MIB


@pytest.fixture
def many() -> Iterator[Path]:
    """A folder of 50,000 files; in memory, where there is such a place: disks take a minute."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="lading-many-", dir=shared) as folder:
        for number in range(50):
            inner = Path(folder, f"d{number:02}")
            inner.mkdir()
            for other in range(1000):
                os.close(os.open(f"{inner}/{other:03}", os.O_CREAT | os.O_WRONLY))
        yield Path(folder)


def test_many_files_come_in_few_pieces(many: Path) -> None:
    """None is missing, and a piece for each would be as many turns of the loop."""
    pieces = list(stream(many))
    assert len(pieces) < 50
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert sum(1 for _ in tar) == 50 * 1001


def test_names_in_any_script_and_none(tmp_path: Path) -> None:
    names = ["grün", "数据", "данные", "\N{GRINNING FACE}", "a\nb", "x" * 250, "e\u0301", "'\"$"]
    for name in names:
        (tmp_path / name).write_text(name)
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))).write_text("no UTF-8")
    deep = tmp_path.joinpath(*["deep" * 10] * 20)
    deep.mkdir(parents=True)
    (deep / "leaf").touch()
    found = entries(archive(tmp_path))
    assert set(names) < found.keys()
    assert os.fsdecode(b"\xff\xfe") in found
    assert str((deep / "leaf").relative_to(tmp_path)) in found


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, MIB - 1, MIB, MIB + 1, 3 * MIB])
def test_files_of_every_size_around_a_piece(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(b"after it")
    with tarfile.open(fileobj=io.BytesIO(archive(tmp_path))) as tar:
        for name, expected in (("a", content), ("b", b"after it")):
            file = tar.extractfile(name)
            assert file is not None
            assert file.read() == expected


def test_when_everything_was_changed(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a").touch()
    first = archive(tmp_path, epoch=1_700_000_000)
    assert {item.mtime for item in entries(first).values()} == {1_700_000_000}
    os.utime(tmp_path / "src/a", (1, 1))
    assert archive(tmp_path, epoch=1_700_000_000) == first
    assert entries(archive(tmp_path))["src/a"].mtime == 1


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(bytes(4 * MIB))
    pieces = stream(tmp_path)
    next(pieces)
    os.truncate(file, MIB)
    with pytest.raises(ConfigError, match=r"/a: became shorter"):
        list(pieces)


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        # Nothing is unreadable for root but what goes away between being listed and being read.
        (tmp_path / "a").write_bytes(bytes(2 * MIB))
        (tmp_path / "b").touch()
        pieces = stream(tmp_path)
        next(pieces)
        (tmp_path / "b").unlink()
    else:
        (tmp_path / "b").touch()
        (tmp_path / "b").chmod(0)
        pieces = stream(tmp_path)
    with pytest.raises(ConfigError, match=r"/b: can't be read"):
        list(pieces)


async def test_a_context_is_read_in_threads_and_again(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).write_bytes(bytes(MIB))
    counts: list[int] = []
    context = Context(tmp_path, sent=counts.append)
    first = [piece async for piece in context]
    assert counts[-1] == sum(map(len, first))
    assert counts == sorted(counts)
    again = [piece async for piece in context]
    assert len(first) > 2
    assert b"".join(first) == b"".join(again) == await asyncio.to_thread(archive, tmp_path)


async def test_who_stops_reading_a_context_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(8 * MIB))

    has_begun = asyncio.Event()

    async def read() -> None:
        async for _ in Context(tmp_path):
            has_begun.set()
            await asyncio.Event().wait()

    before = threading.active_count()
    reading = asyncio.create_task(read())
    await has_begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert threading.active_count() <= before + 1  # the loop's own, which waits for more work
