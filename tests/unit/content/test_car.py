"""CAR files: written, read, cut off and changed."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.content.adding import CHUNK, add_path
from lading.content.car import CarFile, write_car
from lading.content.cid import Cid, varint
from lading.content.fetching import fetch
from lading.content.stoppable import in_thread
from lading.errors import (
    ContentError,
    ContentNotFound,
    ContentRefused,
    FileMissing,
    FolderSharded,
    InputError,
)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("car") / "task"
    (folder / "src").mkdir(parents=True)
    (folder / "src/app.py").write_text("print('meca-init-done')")
    (folder / "same").write_text("print('meca-init-done')")
    (folder / "empty").touch()
    (folder / "link").symlink_to("src")
    return folder


@pytest.fixture(scope="module")
def car(task: Path) -> Path:
    write_car(task, task.parent / "task.car")
    return task.parent / "task.car"


async def test_it_holds_everything(task: Path, car: Path, tmp_path: Path) -> None:
    cid = (await asyncio.to_thread(add_path, task)).cid
    async with CarFile(car) as opened:
        assert opened.roots == (cid,)
        await fetch(opened, cid, tmp_path / "back", limit=1 << 20, timeout=5)
        with pytest.raises(ContentNotFound, match="does not hold block"):
            await opened.block(Cid.of(b"another"))
    done = subprocess.run(["diff", "-r", "--no-dereference", task, tmp_path / "back"], check=False)
    assert done.returncode == 0


async def test_a_block_that_was_changed_is_not_given(car: Path, tmp_path: Path) -> None:
    """Whoever reads it: that `fetch` would notice as well is no excuse."""
    wanted = Cid.of(b"print('meca-init-done')")
    changed = tmp_path / "changed.car"
    changed.write_bytes(car.read_bytes().replace(b"meca-init-done", b"meca-init-dont"))
    async with CarFile(changed) as opened:
        with pytest.raises(ContentRefused, match="another hash"):
            await opened.block(wanted)


def test_it_is_the_same_every_time(task: Path, car: Path, tmp_path: Path) -> None:
    added = write_car(task, tmp_path / "again.car")
    assert (tmp_path / "again.car").read_bytes() == car.read_bytes()
    assert added == add_path(task)
    # Equal blocks are in it once.
    assert car.read_bytes().count(b"print('meca-init-done')") == 1
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "again.car").stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_other_programs_expect(task: Path, tmp_path: Path) -> None:
    """The example of the specification: a header of 58 bytes, then length, CID, block."""
    (tmp_path / "file").write_bytes(b"hello")
    cid = write_car(tmp_path / "file", tmp_path / "file.car").cid
    header = bytes.fromhex("3aa265726f6f747381d82a582500") + cid.to_bytes()
    header += bytes.fromhex("6776657273696f6e01")
    assert (tmp_path / "file.car").read_bytes() == (
        header + varint(36 + 5) + cid.to_bytes() + b"hello"
    )


async def everything(path: Path, cid: Cid, into: Path) -> None:
    async with CarFile(path) as opened:
        await fetch(opened, cid, into, limit=1 << 20, timeout=5)


async def test_cut_off_anywhere(task: Path, car: Path, tmp_path: Path) -> None:
    data, cid = car.read_bytes(), (await asyncio.to_thread(add_path, task)).cid
    cut = tmp_path / "cut.car"
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        # Cut between two blocks it is a good file that lacks some.
        with pytest.raises((ContentRefused, ContentNotFound)):
            await everything(cut, cid, tmp_path / "into")
        assert [path.name for path in tmp_path.iterdir()] == ["cut.car"]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
async def test_one_byte_that_is_another(
    data: st.DataObject, task: Path, car: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    good, cid = car.read_bytes(), (await asyncio.to_thread(add_path, task)).cid
    at = data.draw(st.integers(0, len(good) - 1))
    changed = bytearray(good)
    changed[at] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("changed")
    (folder / "changed.car").write_bytes(changed)
    try:
        await everything(folder / "changed.car", cid, folder / "into")
    except (ContentRefused, ContentNotFound):
        assert not (folder / "into").exists()
        return
    # A root in the header, or the codec before a block, which nobody asks for by it.
    assert (await asyncio.to_thread(add_path, folder / "into")).cid == cid


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
async def test_no_bytes_break_it(data: bytes) -> None:
    path = Path(os.environ["TMPDIR"], "any.car")
    path.write_bytes(data)
    try:
        async with CarFile(path):
            pass
    except ContentRefused as error:
        assert "is no CAR file" in error.message
    finally:
        path.unlink()


async def test_version_2(task: Path, car: Path, tmp_path: Path) -> None:
    inner = car.read_bytes()
    header = bytes(16) + b"".join(
        number.to_bytes(8, "little") for number in (51 + 7, len(inner), 51 + 7 + len(inner))
    )
    path = tmp_path / "two.car"
    path.write_bytes(
        bytes.fromhex("0aa16776657273696f6e02") + header + bytes(7) + inner + b"an index"
    )
    cid = (await asyncio.to_thread(add_path, task)).cid
    await everything(path, cid, tmp_path / "back")
    assert (await asyncio.to_thread(add_path, tmp_path / "back")).cid == cid


async def test_a_block_that_is_too_large(tmp_path: Path, car: Path) -> None:
    block = bytes(3 << 20)
    address = Cid.of(block).to_bytes()
    head = car.read_bytes()[:59]
    (tmp_path / "large.car").write_bytes(head + varint(len(address + block)) + address + block)
    with pytest.raises(ContentRefused, match="is larger than 2097152 bytes"):
        async with CarFile(tmp_path / "large.car"):
            pass


async def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match="no such file"):
        async with CarFile(tmp_path / "no.car"):
            pass
    with pytest.raises(InputError, match="can't be read: Is a directory"):
        async with CarFile(tmp_path):
            pass


def test_nothing_is_left_of_one_that_fails(tmp_path: Path) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(1000):
        (folder / str(number)).touch()
    with pytest.raises(FolderSharded):
        write_car(folder, tmp_path / "x.car")
    with pytest.raises(FileMissing):
        write_car(tmp_path / "nothing", tmp_path / "x.car")
    with pytest.raises(ContentError, match="can't be written: No such file"):
        write_car(Path(__file__), tmp_path / "no/x.car")
    assert [path.name for path in tmp_path.iterdir()] == ["large"]


def test_one_that_was_there_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "x.car"
    target.write_bytes(b"old")
    with pytest.raises(FileMissing):
        write_car(tmp_path / "nothing", target)
    assert target.read_bytes() == b"old"
    write_car(Path(__file__), target)
    assert target.read_bytes() != b"old"


async def test_nothing_is_left_when_its_caller_leaves(tmp_path: Path) -> None:
    """What could write on in a thread is stopped, and waited for."""
    (tmp_path / "large").write_bytes(bytes(256 << 20))
    task = asyncio.create_task(in_thread(write_car, tmp_path / "large", tmp_path / "x.car"))
    while len(list(tmp_path.iterdir())) < 2 and not task.done():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [path.name for path in tmp_path.iterdir()] == ["large"]


def test_a_disk_that_is_full(small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(8 * CHUNK))
    with pytest.raises(ContentError, match="can't be written: No space left"):
        write_car(tmp_path / "large", small_disk / "x.car")
    assert list(small_disk.iterdir()) == []
