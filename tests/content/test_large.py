"""2 GB, and 50,000 files: all of it is streamed. What a process took is asked of the kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

GB = 1 << 30
_TOOK = """
import asyncio, json, os, re, sys
from pathlib import Path
from lading.content import adding, car, cid, fetching, ipfs
from lading.http1 import Client
import tarfile, hashlib
from lading.content.layout import read_layout, write_layout
took = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
path, work = Path(sys.argv[1]), Path(sys.argv[2])
before = took()
{work}
print(json.dumps([(took() - before) / 1024, result]))
"""


def took(work: str, path: Path, folder: Path) -> tuple[float, object]:
    """Run it in a process of its own; how much more memory it had at its most, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", _TOOK.replace("{work}", work), path, folder],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    mebibytes, result = json.loads(done.stdout)
    return float(mebibytes), result


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2 GB and something, of which the disk holds nothing."""
    folder = tmp_path_factory.mktemp("large") / "task"
    folder.mkdir()
    with (folder / "model.bin").open("wb") as file:
        file.truncate(2 * GB + 12_345)
        for number in range(0, 2 * GB, GB // 8):  # not all blocks are one
            file.seek(number)
            file.write(number.to_bytes(8))
    (folder / "Dockerfile").write_text("FROM scratch")
    return folder


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "task"
    for outer in range(100):
        (folder / str(outer)).mkdir(parents=True)
        for inner in range(500):
            (folder / str(outer) / f"file {inner}").write_text(f"{outer} {inner}")
    return folder


THERE_AND_BACK = """
added = car.write_car(path, work / "x.car")
async def main():
    async with car.CarFile(work / "x.car") as file:
        return await fetching.fetch(file, added.cid, work / "back", limit=3 << 30, timeout=60)
fetched = asyncio.run(main())
assert fetched.size == added.size, (fetched, added)
result = [fetched.size, fetched.files, str(added.cid), str(adding.add_path(work / "back").cid)]
"""


def test_2_gb_there_and_back(large: Path, tmp_path: Path) -> None:
    mebibytes, result = took(THERE_AND_BACK, large, tmp_path)
    assert isinstance(result, list)
    size, files, cid, back = result
    assert (size, files, cid) == (2 * GB + 12_345 + 12, 2, back)

    assert mebibytes < 48


def test_50_000_files_there_and_back(many: Path, tmp_path: Path) -> None:
    mebibytes, result = took(THERE_AND_BACK, many, tmp_path)
    assert isinstance(result, list)
    assert (result[1], result[2]) == (50_000, result[3])

    assert mebibytes < 48


SENT = """
async def main():
    async def node(reader, writer):
        await reader.readuntil(b"\\r\\n\\r\\n")
        writer.write(b"HTTP/1.1 200 OK\\r\\nconnection: close\\r\\n\\r\\n")
        rest = b""
        while True:
            data = await reader.read(1 << 20)
            files = data.count(b"octet-stream")
            line = b'{"Name":"root/x","Hash":"bafybeiczsscdsbs7ffqz55asqdf3smv6klcw"}\\n'
            writer.write(line * files)
            rest = (rest + data)[-20:]
            if rest.endswith(b"\\r\\n0\\r\\n\\r\\n"):
                break
        cid = adding.add_path(path).cid
        writer.write(b'{"Name":"root","Hash":"%s"}' % str(cid).encode())
        await writer.drain()
        writer.close()
    server = await asyncio.start_server(node, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with ipfs.Node(f"http://127.0.0.1:{port}") as opened:
        added = await opened.add(path)
    server.close()
    return added.size
result = asyncio.run(main())
"""


def test_2_gb_to_a_node(large: Path, tmp_path: Path) -> None:
    mebibytes, result = took(SENT, large, tmp_path)
    assert result == 2 * GB + 12_345 + 12

    assert mebibytes < 48


def test_50_000_files_to_a_node(many: Path, tmp_path: Path) -> None:
    mebibytes, _ = took(SENT, many, tmp_path)

    assert mebibytes < 48


LAYOUT = """
layer, size = hashlib.sha256(), 0
zeros = bytes(1 << 20)
for _ in range(2048):
    layer.update(zeros)
text = json.dumps({"os": "linux", "rootfs": {"diff_ids": ["sha256:" + layer.hexdigest()]}}).encode()
def head(name, size):
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf()
listed = b'[{"Config": "c", "Layers": ["l"]}]'
async def archive():
    yield head("l", 2 << 30)
    for _ in range(2048):
        yield zeros
    for name, content in (("c", text), ("manifest.json", listed)):
        yield head(name, len(content)) + content + bytes(-len(content) % 512)
    yield bytes(1024)
async def main():
    await write_layout(archive(), work / "layout")
    return sum([len(piece) async for piece in read_layout(work / "layout")])
result = asyncio.run(main())
"""


def test_an_image_of_2_gb(tmp_path: Path) -> None:
    mebibytes, result = took(LAYOUT, tmp_path, tmp_path)
    assert isinstance(result, int)
    assert 2 * GB < result < 2 * GB + 20_000

    assert mebibytes < 48
