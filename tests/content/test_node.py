"""Files and folders to a real IPFS node and back; what it makes of them is what we make."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from tests.support import ipfs

from lading.content.adding import add_path
from lading.content.car import CarFile, write_car
from lading.content.cid import DAG_PB, RAW, Cid
from lading.content.fetching import fetch
from lading.content.ipfs import ADD_OPTIONS, Node
from lading.content.unixfs import decode
from lading.errors import ContentError, ContentNotFound, ContentRefused, FolderSharded

pytestmark = [pytest.mark.ipfs, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return ipfs.awkward(tmp_path_factory.mktemp("awkward"))


CASES = [
    "empty", "names", "many", "deep", "sizes", "mixed", "full",
    *(f"{size} bytes" for size in ipfs.SIZES),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_cids_equal_the_nodes(
    case: str, ipfs_api: str, awkward: dict[str, Path], tmp_path: Path
) -> None:
    path = awkward[case]
    ours = await asyncio.to_thread(add_path, path)
    async with Node(ipfs_api) as node:
        assert await node.add(path) == ours  # raises if the node's is another
        told: list[int] = []
        fetched = await fetch(
            node, ours.cid, tmp_path / "back", limit=1 << 30, timeout=60, progress=told.append
        )
    assert (fetched.size, fetched.files) == (ours.size, ours.files)
    assert told == sorted(told)
    assert (await asyncio.to_thread(add_path, tmp_path / "back")).cid == ours.cid
    assert [path.name for path in tmp_path.iterdir()] == ["back"]


async def test_what_the_node_gives_of_a_folder_is_what_was_in_it(
    ipfs_api: str, awkward: dict[str, Path], tmp_path: Path
) -> None:
    async with Node(ipfs_api) as node:
        added = await node.add(awkward["names"])
        await fetch(node, added.cid, tmp_path / "back", limit=1 << 20, timeout=60)
    found = {path.name: path.read_text() for path in (tmp_path / "back").iterdir()}
    assert found == {name: name for name in ipfs.NAMES}


async def test_hidden_files_are_added_when_asked_for(
    ipfs_api: str, awkward: dict[str, Path], tmp_path: Path
) -> None:
    async with Node(ipfs_api) as node:
        added = await node.add(awkward["mixed"], hidden=True)
        await fetch(node, added.cid, tmp_path / "back", limit=1 << 20, timeout=60)
    assert (tmp_path / "back/.hidden").read_text() == ".hidden"
    assert (tmp_path / "back/b/.git/config").is_file()
    assert added.cid != (await asyncio.to_thread(add_path, awkward["mixed"])).cid


async def test_a_folder_that_must_be_sharded_is_left_to_the_node(
    ipfs_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What this node does from there on if its settings say so; Kubo does it by itself.
    monkeypatch.setitem(ADD_OPTIONS, "shard-split-threshold", 1000)
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(1200):
        (folder / f"entry {number} ü").write_text(str(number))
    with pytest.raises(FolderSharded, match="1000 entries or more"):
        await asyncio.to_thread(add_path, folder)
    async with Node(ipfs_api) as node:
        added = await node.add(folder)
        root = decode(added.cid, await node.block(added.cid))
        assert root.kind == "shard"
        fetched = await fetch(node, added.cid, tmp_path / "back", limit=1 << 24, timeout=60)
    assert (fetched.files, fetched.size) == (1200, added.size)
    assert {path.name for path in folder.iterdir()} == {
        path.name for path in (tmp_path / "back").iterdir()
    }
    assert (tmp_path / "back/entry 1199 ü").read_text() == "1199"


async def test_a_cid_that_nobody_has_ends_in_time(ipfs_api: str, tmp_path: Path) -> None:
    nobody = Cid(1, DAG_PB, hashlib.sha256(os.urandom(16)).digest())
    began = time.monotonic()
    async with Node(ipfs_api, timeout=1) as node:
        with pytest.raises(ContentNotFound, match=str(nobody)):
            await node.block(nobody)
        with pytest.raises(ContentNotFound, match=str(nobody)):
            await fetch(node, nobody, tmp_path / "back", limit=1000, timeout=1)
    assert time.monotonic() - began < 60  # this node would look for it for ever
    assert list(tmp_path.iterdir()) == []


async def test_a_symbolic_link_that_the_node_drops_is_noticed(
    ipfs_api: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("here")
    (tmp_path / "link").symlink_to("file")
    async with Node(ipfs_api) as node:
        with pytest.raises(ContentError, match="symbolic links"):
            await node.add(tmp_path)


async def test_a_link_that_leads_outside_is_not_sent(ipfs_api: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    async with Node(ipfs_api) as node:
        with pytest.raises(ContentRefused, match="leads outside, to /etc/passwd"):
            await node.add(tmp_path)


async def test_a_car_file_holds_the_blocks_that_the_node_has(
    ipfs_api: str, awkward: dict[str, Path], tmp_path: Path
) -> None:
    added = await asyncio.to_thread(write_car, awkward["mixed"], tmp_path / "mixed.car")
    async with Node(ipfs_api) as node, CarFile(tmp_path / "mixed.car") as car:
        await node.add(awkward["mixed"])
        assert car.roots == (added.cid,)
        assert await car.block(added.cid) == await node.block(added.cid)


async def test_the_node_takes_our_car_files_and_we_take_its(
    ipfs_api: str, awkward: dict[str, Path], tmp_path: Path
) -> None:
    added = await asyncio.to_thread(write_car, awkward["deep"], tmp_path / "ours.car")
    process = await asyncio.create_subprocess_exec(
        "curl", "-sf", "-F", f"file=@{tmp_path / 'ours.car'}",
        f"{ipfs_api}/api/v0/dag/import?pin-roots=true",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    roots = [json.loads(line)["Root"] for line in said.splitlines()]
    assert [Cid.parse(root["Cid"]["/"]) for root in roots] == [added.cid]
    assert [root["PinErrorMsg"] for root in roots] == [""]
    process = await asyncio.create_subprocess_exec(
        "curl", "-sf", "-X", "POST", "-o", str(tmp_path / "its.car"),
        f"{ipfs_api}/api/v0/dag/export?arg={added.cid}",
    )  # fmt: skip
    assert await process.wait() == 0
    async with CarFile(tmp_path / "its.car") as car:
        assert car.roots == (added.cid,)
        await fetch(car, added.cid, tmp_path / "back", limit=1 << 20, timeout=60)
    assert (await asyncio.to_thread(add_path, tmp_path / "back")).cid == added.cid


async def test_a_block_of_the_node_is_verified(ipfs_api: str) -> None:
    """The node is asked for a block by a CID of another codec: the bytes are the same."""
    async with Node(ipfs_api) as node:
        assert await node.version()
        added = await node.add(Path(__file__))
        assert added.cid.codec == RAW
        assert await node.block(added.cid) == await asyncio.to_thread(Path(__file__).read_bytes)
