from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.conformance.conftest import Make, context
from tests.conformance.differences import Unlike
from tests.support.containers import output

from lading.engine import Mount
from lading.errors import EngineError, NotSupported


def _files(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {
            member.name.rstrip("/"): file.read()
            for member in tar
            if (file := tar.extractfile(member)) is not None
        }


async def test_get_a_file_and_a_directory(make: Make, unlike: Unlike) -> None:
    container = await make("sleep", "60", start=unlike("nothing before the start"))
    assert _files(await container.get("/data/hello.txt")) == {"hello.txt": b"hello\n"}
    assert _files(await container.get("/data")) == {"data/hello.txt": b"hello\n"}


async def test_get_what_is_not_there(make: Make, unlike: Unlike) -> None:
    container = await make("sleep", "60", start=unlike("nothing before the start"))
    with pytest.raises(FileNotFoundError, match="/data/none"):
        await container.get("/data/none")


async def test_put_before_the_start_and_get_after_the_end(make: Make, unlike: Unlike) -> None:
    container = await make("cat", "/data/in/note.txt", start=False)
    if unlike("nothing before the start"):
        with pytest.raises(NotSupported, match="start it first, or mount a directory"):
            await container.put("/data", context({"in/note.txt": "for you\n"}))
        with pytest.raises(NotSupported, match="start it first, or mount a directory"):
            await container.get("/data")
        return
    await container.put("/data", context({"in/note.txt": "for you\n"}))
    await container.start()
    assert (await container.wait()).code == 0
    assert (await output(container))[0] == b"for you\n"
    assert _files(await container.get("/data/in")) == {"in/note.txt": b"for you\n"}


async def test_get_what_a_program_wrote(make: Make, unlike: Unlike) -> None:
    container = await make("write", "/data/out.txt", "result")
    await container.wait()
    if unlike("files while it runs"):
        with pytest.raises(NotSupported, match="only while they do; mount a directory"):
            await container.get("/data/out.txt")
        return
    assert _files(await container.get("/data/out.txt")) == {"out.txt": b"result"}


async def test_put_into_no_directory(make: Make, unlike: Unlike) -> None:
    container = await make("sleep", "60", start=unlike("nothing before the start"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        await container.put("/nowhere", context({"x": ""}))


async def test_a_megabyte_there_and_back(make: Make) -> None:
    container = await make("sleep", "60")
    text = "0123456789abcdef" * 65536
    await container.put("/tmp", context({"big": text}))
    assert _files(await container.get("/tmp/big")) == {"big": text.encode()}


async def test_a_mount_to_read(make: Make, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("input")
    mounts = (Mount(str(tmp_path), "/in"),)
    reader = await make("cat", "/in/in.txt", mounts=mounts)
    writer = await make("write", "/in/new.txt", "x", mounts=mounts)
    assert (await reader.wait()).code == 0
    assert (await output(reader))[0] == b"input"
    assert (await writer.wait()).code == 70
    assert b"Read-only file system" in b"".join(await output(writer))
    assert not (tmp_path / "new.txt").exists()


async def test_a_mount_to_write(make: Make, tmp_path: Path) -> None:
    container = await make(
        "write", "/out/new.txt", "x", mounts=(Mount(str(tmp_path), "/out", read_only=False),)
    )
    assert (await container.wait()).code == 0
    assert (tmp_path / "new.txt").read_text() == "x"


async def test_a_mounted_file(make: Make, tmp_path: Path) -> None:
    source = tmp_path / "config"
    source.write_text("answer: 42")
    container = await make(
        "cat", "/data/hello.txt", mounts=(Mount(str(source), "/data/hello.txt"),)
    )
    await container.wait()
    assert (await output(container))[0] == b"answer: 42"


async def test_a_mount_of_nothing_is_an_error(make: Make, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(EngineError, match="missing"):
        await make("exit", "0", mounts=(Mount(str(missing), "/in"),))
    assert not missing.exists()


@pytest.mark.parametrize("engine_kind", ["docker", "podman"])
async def test_nothing_below_a_read_only_mount_can_be_written(make: Make, tmp_path: Path) -> None:
    """Engines make only the mount itself read-only, not what is mounted below it."""
    below = tmp_path / "below"
    below.mkdir()
    mounting = ["mount", "-t", "tmpfs", "none", str(below)]
    if subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("mounting takes root")
    try:
        container = await make("write", "/in/below/x", "x", mounts=(Mount(str(tmp_path), "/in"),))
        assert (await container.wait()).code == 70
        assert list(below.iterdir()) == []
        mounts = (Mount(str(tmp_path), "/in", read_only=False),)
        container = await make("write", "/in/below/x", "x", mounts=mounts)
        assert (await container.wait()).code == 0
        assert [path.name for path in below.iterdir()] == ["x"]
    finally:
        subprocess.run(["umount", str(below)], check=True)
