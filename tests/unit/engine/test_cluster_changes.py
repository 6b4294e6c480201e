"""What has changed below a directory, as a real busybox tells it."""

from __future__ import annotations

import asyncio
import io
import shutil
import tarfile
from pathlib import Path

import pytest

from lading.engine.kubernetes.changes import changed
from lading.engine.kubernetes.streams import Executed

pytestmark = pytest.mark.skipif(not shutil.which("busybox"), reason="busybox is not installed")


async def execute(command: list[str], stdin: bytes) -> Executed:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate(stdin)
    assert process.returncode is not None
    return Executed(process.returncode, stdout, stderr)


def names(archive: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive), ignore_zeros=True) as tar:
        for item in tar:
            file = tar.extractfile(item)
            found[item.name.removeprefix("./")] = file.read() if file is not None else b""
    return found


async def look(
    folder: Path, known: dict[str, str] | None = None
) -> tuple[dict[str, str], dict[str, bytes]]:
    found = await changed(execute, str(folder), known or {})
    assert found is not None
    states, archive = found
    return states, names(archive) if archive else {}


async def test_all_at_first_and_then_what_is_new(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b/old").write_text("old")
    (tmp_path / "link").symlink_to("a b")
    states, got = await look(tmp_path)
    assert set(states) == {"a b", "a b/old", "link"}
    assert got == {"a b": b"", "a b/old": b"old", "link": got["link"]}
    cold = {path: state.removeprefix("hot ") for path, state in states.items()}
    (tmp_path / "a b/new").write_text("new")
    states, got = await look(tmp_path, cold)
    assert set(states) == {"a b", "a b/old", "a b/new", "link"}
    assert got["a b/new"] == b"new"


async def test_what_changes_twice_within_a_second_is_fetched_twice(tmp_path: Path) -> None:
    (tmp_path / "task.db").write_text("1")
    states, _ = await look(tmp_path)
    (tmp_path / "task.db").write_text("2")  # the same size, inode, and maybe second
    _, got = await look(tmp_path, states)
    assert got["task.db"] == b"2"


async def test_what_is_not_new_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(1000))
    states, _ = await look(tmp_path)
    async with asyncio.timeout(30):
        while any(state.startswith("hot ") for state in states.values()):
            await asyncio.sleep(0.2)
            states, _ = await look(tmp_path, states)
    assert (await look(tmp_path, states))[1] == {}
    (tmp_path / "large").unlink()
    assert await look(tmp_path, states) == ({}, {})


async def test_more_than_fits_into_one_command(tmp_path: Path) -> None:
    for number in range(1500):
        (tmp_path / f"{number:0200d}").write_text(str(number))
    _, got = await look(tmp_path)
    assert len(got) == 1500


async def test_names_that_can_not_be_told(tmp_path: Path) -> None:
    (tmp_path / "two\nlines").write_text("x")
    assert await changed(execute, str(tmp_path), {}) is None
