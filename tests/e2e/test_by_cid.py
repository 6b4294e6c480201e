"""Tasks by their CIDs: fetched, verified, built or loaded by an executor, whatever happens."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.e2e.conftest import Start, archive, both_engines
from tests.support import ipfs
from tests.support.by_cid import ask, images, left, remove_images
from tests.support.staged_node import StagedNode

from lading.content.cid import Cid
from lading.content.ipfs import Node
from lading.content.layout import write_layout
from lading.contracts.meca.addresses import image_name, short_name
from lading.engine import Engine

V1 = "/v1/execute"
NOBODY = str(Cid.of(os.urandom(32)))


@pytest.fixture
def real_node() -> str:
    """The interface of a real node."""
    return ipfs.api_or_skip()


@pytest.fixture
def folder(cid_folder: Path) -> Path:
    """A task folder that no other test has."""
    return cid_folder


# It works.


@pytest.mark.ipfs
@both_engines
async def test_fetched_built_and_run_under_its_own_limits(
    start: Start, folder: Path, engine: Engine, engine_host: str, real_node: str, tmp_path: Path
) -> None:
    async with Node(real_node) as real:
        cid = (await real.add(folder)).cid
    executor = await start("--ipfs-api", real_node)
    first = await ask(executor, f"ipfs://{cid}", "by address")
    assert (first.status, first.body) == (200, b"by address"), first.body
    assert first.headers["x-lading-start"] == "cold"
    info = await (await engine.container(first.headers["x-lading-container"])).inspect()
    assert (info.limits.cpus, info.limits.memory) == (0.25, 40 << 20)
    second = await ask(executor, cid)
    assert second.headers["x-lading-container"] == first.headers["x-lading-container"]
    old = await executor.execute(short_name(cid), "the contract's name", cpu=0.25, mem=40)
    assert (old.success, old.msg) == (True, "the contract's name")
    image = await engine.image(image_name(cid))
    assert image.labels["lading.cid"] == str(cid)
    assert image.labels["lading.contract"] == "meca"
    assert left(executor) == []
    await executor.end()
    # What was made is known after a restart: no node is needed, nor allowed.
    other = await start(state=tmp_path / "other")
    assert (await ask(other, cid, "again")).body == b"again"


async def test_limits_of_a_request_go_before_its_own(
    start: Start, folder: Path, engine: Engine, node: StagedNode
) -> None:
    cid = await node.add(folder)
    executor = await start("--ipfs-api", node.api)
    answer = await ask(executor, cid, resource={"mem": 50})
    info = await (await engine.container(answer.headers["x-lading-container"])).inspect()
    assert (info.limits.cpus, info.limits.memory) == (0.25, 50 << 20)
    small = await ask(executor, cid, resource={"cpu": 500})
    assert (small.status, small.json()["title"]) == (422, "TooLarge")


@both_engines
async def test_an_image_as_a_layout_is_loaded(
    start: Start,
    engine: Engine,
    engine_host: str,
    node: StagedNode,
    tmp_path: Path,
    variant: object,
) -> None:
    text = f'FROM lading-test/probe:1\nLABEL test={tmp_path.name} lading.config="'
    text += '{\\"resource\\": {\\"cpu\\": 0.5, \\"mem\\": 44}}"\n'
    tag = f"lading-test/layout-{tmp_path.name.lower().strip('_')}:1"
    await engine.build(archive(text), tag)
    layout = tmp_path / "layout"
    async with engine.save(tag) as saved:
        await write_layout(saved, layout, {})
    await engine.remove_image(tag)
    cid = await node.add(layout)
    try:
        executor = await start("--ipfs-api", node.api, "--build", "never")
        answer = await ask(executor, cid, "loaded")
        assert (answer.status, answer.body) == (200, b"loaded"), answer.body
        info = await (await engine.container(answer.headers["x-lading-container"])).inspect()
        assert (info.limits.cpus, info.limits.memory) == (0.5, 44 << 20)
        names = images(engine_host, cid)
        assert {name.partition("/")[2] or name for name in names} >= {f"{cid}:latest"}
        assert not [name for name in names if "layout-" in name], "an archive names nothing"
        assert left(executor) == []
    finally:
        remove_images(engine_host, cid)


async def test_twenty_at_once_are_one_fetch_and_one_build(
    start: Start, folder: Path, node: StagedNode
) -> None:
    cid = await node.add(folder)
    executor = await start("--ipfs-api", node.api)
    node.gate.clear()
    all_of_them = [asyncio.create_task(ask(executor, cid, str(n))) for n in range(20)]
    await node.waiting.wait()
    node.gate.set()
    answers = await asyncio.gather(*all_of_them)
    assert [answer.body for answer in answers] == [str(n).encode() for n in range(20)]
    assert set(node.asked) == set(node.blocks)
    # The first block is asked for once to see whether anybody has it, then to be read.
    assert max(node.asked[name] for name in node.asked if name != str(cid)) == 1
    assert node.asked[str(cid)] <= 2
    assert len([line for line in executor.log if "fetching" in line]) == 1


# It does not.


async def test_what_nobody_has_is_404_and_others_are_served(
    start: Start, probe: str, folder: Path, node: StagedNode
) -> None:
    there = await node.add(folder)
    node.hangs.add(NOBODY)
    executor = await start("--ipfs-api", node.api, "--fetch-timeout", "3")
    missing = [asyncio.create_task(ask(executor, NOBODY)) for _ in range(12)]
    await node.waiting.wait()
    assert (await executor.execute(probe, "served")).msg == "served"
    assert (await ask(executor, there, "served, too")).body == b"served, too"
    assert not any(task.done() for task in missing)
    for answer in await asyncio.gather(*missing):
        assert (answer.status, answer.json()["title"]) == (404, "ContentNotFound")
        assert NOBODY in answer.json()["detail"]
    assert left(executor) == []


@pytest.mark.ipfs
async def test_a_real_node_that_has_it_not(start: Start, real_node: str) -> None:
    executor = await start("--ipfs-api", real_node, "--fetch-timeout", "2")
    began = time.monotonic()
    answer = await ask(executor, str(Cid.of(os.urandom(32))))
    assert (answer.status, answer.json()["title"]) == (404, "ContentNotFound")
    assert time.monotonic() - began < 30


async def test_a_wrong_block_is_refused_and_nothing_is_left(
    start: Start, folder: Path, node: StagedNode, engine_host: str
) -> None:
    cid = await node.add(folder)
    name = next(name for name, block in node.blocks.items() if block == b"nothing to build")
    node.blocks[name] = b"something else! "
    executor = await start("--ipfs-api", node.api)
    answer = await ask(executor, cid)
    assert (answer.status, answer.json()["title"]) == (422, "ContentRefused")
    assert name in answer.json()["detail"]
    assert images(engine_host, cid) == []
    assert left(executor) == []
    node.blocks[name] = b"nothing to build"
    assert (await ask(executor, cid, "now")).body == b"now"


@pytest.mark.parametrize("place", ["the first block", "a later block"])
async def test_a_node_that_hangs(
    start: Start, folder: Path, node: StagedNode, place: str, engine_host: str
) -> None:
    cid = await node.add(folder)
    node.hangs.add(str(cid) if place == "the first block" else next(iter(node.blocks)))
    executor = await start("--ipfs-api", node.api, "--fetch-timeout", "1")
    answer = await ask(executor, cid)
    assert (answer.status, answer.json()["title"]) == (404, "ContentNotFound")
    assert images(engine_host, cid) == []
    assert left(executor) == []


async def test_a_fetch_that_would_take_for_ever(
    start: Start, folder: Path, node: StagedNode, engine_host: str
) -> None:
    cid = await node.add(folder)
    executor = await start("--ipfs-api", node.api, "--build-timeout", "1")
    node.gate.clear()  # the first block comes, and no other
    answer = await ask(executor, cid)
    assert (answer.status, answer.json()["title"]) == (504, "TimedOut")
    assert "was not fetched within 1.0 s" in answer.json()["detail"]
    assert left(executor) == []
    node.gate.set()
    await executor.end()
    patient = await start("--ipfs-api", node.api)  # no engine promises to build within a second
    assert (await ask(patient, cid, "now")).body == b"now"


async def test_a_node_that_is_not_there(start: Start) -> None:
    executor = await start("--ipfs-api", "http://127.0.0.1:1")
    answer = await ask(executor, NOBODY)
    assert (answer.status, answer.json()["title"]) == (503, "NodeUnreachable")
    assert left(executor) == []


async def test_what_is_no_task(start: Start, node: StagedNode, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/Readme").write_text("no task")
    (tmp_path / "file").write_text("a file")
    executor = await start("--ipfs-api", node.api)
    for path in (tmp_path / "notes", tmp_path / "file"):
        answer = await ask(executor, await node.add(path))
        assert (answer.status, answer.json()["title"]) == (422, "ContentRefused"), answer.body
        assert "has no Dockerfile, and is no OCI image layout" in answer.json()["detail"]
    assert left(executor) == []


async def test_a_file_of_the_folder_that_cannot_be_used(
    start: Start, folder: Path, node: StagedNode
) -> None:
    (folder / "config.json").write_text('{"resource": {"cpu": -1}}')
    executor = await start("--ipfs-api", node.api)
    answer = await ask(executor, await node.add(folder))
    assert (answer.status, answer.json()["title"]) == (422, "ContentRefused")
    detail = answer.json()["detail"]
    assert "config.json:1: resource.cpu: must be at least 0.01" in detail
    assert str(executor.state) not in detail


async def test_a_folder_that_is_too_large(
    start: Start, folder: Path, node: StagedNode, engine_host: str
) -> None:
    (folder / "src/large.bin").write_bytes(os.urandom(2 << 20))
    cid = await node.add(folder)
    executor = await start("--ipfs-api", node.api, "--max-task", "1")
    answer = await ask(executor, cid)
    assert (answer.status, answer.json()["title"]) == (422, "ContentRefused")
    assert "larger than the limit of 1 MiB" in answer.json()["detail"]
    assert left(executor) == []


async def test_a_build_that_fails_names_the_step(
    start: Start, folder: Path, probe: str, node: StagedNode, engine_host: str
) -> None:
    (folder / "Dockerfile").write_text(f'FROM {probe}\nRUN ["/probe", "exit", "3"]\n')
    executor = await start("--ipfs-api", node.api)
    cid = await node.add(folder)
    for _ in range(2):
        answer = await ask(executor, cid)
        assert (answer.status, answer.json()["title"]) == (422, "BuildFailed")
        assert 'RUN ["/probe", "exit", "3"]' in answer.json()["detail"]
    assert left(executor) == []
    remove_images(engine_host, cid)


async def test_what_the_operator_does_not_allow(
    start: Start, folder: Path, node: StagedNode, tmp_path: Path
) -> None:
    cid = await node.add(folder)
    executor = await start()
    answer = await ask(executor, cid)
    assert (answer.status, answer.json()["title"]) == (501, "NotSupported")
    assert "ipfs_api" in answer.json()["fix"]
    other = await start("--ipfs-api", node.api, "--build", "never", state=tmp_path / "other")
    answer = await ask(other, cid)
    assert (answer.status, answer.json()["title"]) == (501, "NotSupported")
    assert "builds nothing" in answer.json()["detail"]
    assert left(other) == []


async def test_ids_that_are_no_addresses(start: Start) -> None:
    executor = await start()
    for wrong in ("ipfs://", "ipfs://nonsense", f"ipfs://{NOBODY}x", f"ipfs://{NOBODY}/src"):
        answer = await ask(executor, wrong)
        assert (answer.status, answer.json()["field"]) == (400, "id"), wrong


async def test_steps_have_no_network_unless_the_operator_allows_it(
    start: Start, folder: Path, probe: str, node: StagedNode, tmp_path: Path, engine_host: str
) -> None:
    address = subprocess.run(
        ["ip", "-4", "route", "get", "192.0.2.1"], capture_output=True, text=True, check=True
    ).stdout.partition(" src ")[2].split()[0]  # fmt: skip
    async with await asyncio.start_server(_close, address, 0) as server:
        port = server.sockets[0].getsockname()[1]
        (folder / "Dockerfile").write_text(
            f'FROM {probe}\nRUN ["/probe", "connect", "{address}", "{port}"]\n'
        )
        cid = await node.add(folder)
        offline = await start("--ipfs-api", node.api)
        answer = await ask(offline, cid)
        assert (answer.status, answer.json()["title"]) == (422, "BuildFailed"), answer.body
        assert "sets build to network" in answer.json()["fix"]
        online = await start(
            "--ipfs-api", node.api, "--build", "network", state=tmp_path / "online"
        )
        assert (await ask(online, cid, "built")).body == b"built"


async def test_nor_does_the_engine_fetch_for_them(
    start: Start, folder: Path, probe: str, node: StagedNode, engine_host: str
) -> None:
    came = asyncio.Event()

    async def arrived(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        writer.close()

    async with await asyncio.start_server(arrived, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        (folder / "Dockerfile").write_text(f"FROM {probe}\nADD http://127.0.0.1:{port}/x /x\n")
        executor = await start("--ipfs-api", node.api)
        answer = await ask(executor, await node.add(folder))
        assert (answer.status, answer.json()["title"]) == (501, "NotSupported")
        assert f"Dockerfile:2: ADD http://127.0.0.1:{port}/x" in answer.json()["detail"]
        assert not came.is_set()
    assert left(executor) == []


async def _close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def test_an_argument_that_the_operator_gives(
    start: Start, folder: Path, probe: str, node: StagedNode
) -> None:
    (folder / "Dockerfile").write_text("ARG BASE=registry.invalid/none:1\nFROM ${BASE}\n")
    executor = await start("--ipfs-api", node.api, "--build-args", f"BASE={probe} OTHER=x")
    assert (await ask(executor, await node.add(folder), "mirrored")).body == b"mirrored"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
async def test_a_full_disk(start: Start, folder: Path, node: StagedNode, tmp_path: Path) -> None:
    (folder / "src/large.bin").write_bytes(os.urandom(3 << 20))
    cid = await node.add(folder)
    place = tmp_path / "state/fetched"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], check=True)
    try:
        executor = await start("--ipfs-api", node.api, state=tmp_path / "state")
        answer = await ask(executor, cid)
        assert (answer.status, answer.json()["title"]) == (502, "ContentError"), answer.body
        assert "No space left on device" in answer.json()["detail"]
        assert left(executor) == []
        await executor.end()
    finally:
        subprocess.run(["umount", place], check=True)
