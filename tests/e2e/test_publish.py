"""Tasks published and run by their addresses: a real node, a real registry, executors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.e2e.conftest import Start, both_engines
from tests.support import engines, ipfs
from tests.support.command_line import Cli, Done, documented, failed
from tests.support.docker_registry import docker_registry, log_in
from tests.support.printed import ROOT

from lading.content.adding import PROFILE, add_path
from lading.content.cid import Cid
from lading.contracts.meca.addresses import image_name, short_name
from lading.run.build_context import trial_tag

Write = Callable[..., Path]


@pytest.fixture
def real_node() -> str:
    """The interface of a real node."""
    return ipfs.api_or_skip()


@pytest.fixture
def base(engine_host: str) -> str:
    """An image with Python, as most tasks are made of."""
    done = subprocess.run(
        [ROOT / "scripts/base-image"],
        env={**os.environ, "DOCKER_HOST": engine_host},
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def market(tmp_path: Path) -> str:
    """A catalogue and a ledger that a developer and an executor share."""
    return str(tmp_path / "market.sqlite")


@pytest.fixture
def forget(engine_host: str) -> Iterator[Callable[[str], None]]:
    """Removes images with the test, by name."""
    names: list[str] = []
    yield names.append
    for name in names:
        with contextlib.suppress(Exception):
            engines.call(engine_host, "DELETE", f"/images/{quote(name, safe='')}?force=1")


@pytest.fixture
def folder(
    tmp_path: Path, probe: str, test_id: str, forget: Callable[[str], None]
) -> Iterator[Path]:
    """A task folder without a fault that no other test has; its images go with the test."""
    made = tmp_path / f"task-{test_id}"
    (made / "src").mkdir(parents=True)
    (made / "src/notes.txt").write_text("meca-init-done is printed by the probe")
    lines = [f"FROM {probe}", "COPY src/ /src/", "USER 65534", "EXPOSE 8080", 'CMD ["serve"]']
    (made / "Dockerfile").write_text("\n".join(lines) + "\n")
    (made / "name.txt").write_text(f"{made.name}\n")
    (made / "description.txt").write_text("Echoes.\n")
    (made / "example_input.bin").write_bytes(b'{"an": "example"}')
    (made / "example_output.bin").write_bytes(b'{"an": "example"}')
    (made / "config.json").write_text('{"resource": {"cpu": 0.25, "mem": 40}}')
    yield made
    forget(trial_tag(made.name))
    forget_cid(forget, add_path(made).cid)


def forget_cid(forget: Callable[[str], None], cid: Cid) -> None:
    forget(short_name(cid))
    forget(image_name(cid))


async def do(cli: Cli, *arguments: str, stdin: bytes = b"") -> Done:
    return await asyncio.to_thread(cli, *arguments, stdin=stdin)


async def shown(cli: Cli, *arguments: str) -> Any:
    return await asyncio.to_thread(cli.json, *arguments)


@pytest.mark.ipfs
@pytest.mark.timeout(300)
async def test_five_commands_from_an_empty_directory_to_the_ledger(
    start: Start,
    lading: Cli,
    real_node: str,
    market: str,
    tmp_path: Path,
    test_id: str,
    base: str,
    forget: Callable[[str], None],
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    shared = {"LADING_MARKET": market}
    more = {**shared, "LADING_IPFS_API": real_node}
    me = replace(lading, folder=empty, more=more)
    name = f"five-{test_id}"
    forget(trial_tag(name))
    # Another executor: another state directory, and nothing of the folder's but its CID.
    host = await start(
        "--ipfs-api", real_node, "--build-args", f"BASE={base}",
        state=tmp_path / "host", env=shared,
    )  # fmt: skip
    url = f"http://{host.host}:{host.port}"

    made = await do(me, "new", "meca", name)
    tested = await do(me, "test", name, "--build-arg", f"BASE={base}")
    pushed = await do(me, "push", name, "--to", "ipfs://", "--fee", "0.25", "--developer", "ada")
    address = pushed.stdout.decode().strip()
    ran = await do(
        me, "run", address, "--on", url, "--input", '{"text": "by its CID"}',
        "--receipt", "receipt", "--idempotency-key", "one",
    )  # fmt: skip
    (entry,) = await shown(me, "ledger")

    for done in (made, tested, pushed, ran):
        assert done.returncode == 0, done.stderr
    cid = Cid.parse(address)
    forget_cid(forget, cid)
    assert (await asyncio.to_thread(add_path, empty / name)).cid == cid
    assert json.loads(ran.stdout) == {"words": 3, "different": 3}
    assert (entry["task"], entry["developer"], entry["fee"]) == (str(cid), "ada", "0.250000")
    assert (entry["success"], entry["owed"]) == (True, "0.250000")
    # And what goes with it: the receipt is genuine, and the same key is not billed twice.
    assert (await do(me, "receipt", "verify", "receipt", "--key", url)).returncode == 0
    again = await do(
        me, "run", address, "--on", url, "--input", '{"text": "by its CID"}',
        "--idempotency-key", "one",
    )  # fmt: skip
    assert again.stdout == ran.stdout
    assert b"as before" in again.stderr
    assert len(await shown(me, "ledger")) == 1
    assert (await do(me, "ledger", "verify")).returncode == 0
    (listing,) = await shown(me, "tasks", "list")
    assert (listing["cid"], listing["name"]) == (str(cid), name)
    # The folder stands for its CID, with its example.
    example = await do(me, "run", name, "--on", url)
    assert example.stdout == (empty / name / "example_output.bin").read_bytes(), example.stderr
    assert f"the folder is ipfs://{cid}".encode() in example.stderr


# To IPFS.


@pytest.mark.ipfs
@both_engines
async def test_a_folder_and_its_image_each_with_a_cid(
    start: Start, lading: Cli, folder: Path, real_node: str, market: str, tmp_path: Path,
    forget: Callable[[str], None],
) -> None:  # fmt: skip
    more = {"LADING_MARKET": market, "LADING_IPFS_API": real_node}
    me = replace(lading, more=more)
    value = await shown(
        me, "push", str(folder), "--to", "ipfs://", "--image", "--fee", "1", "--developer", "bo"
    )
    assert value["cid"] == str((await asyncio.to_thread(add_path, folder)).cid)
    assert value["listing"]["id"] == value["cid"]
    assert set(value) == documented("push") - {"image", "image_id"}
    for_image = Cid.parse(value["image_address"])
    forget_cid(forget, for_image)
    (listing,) = await shown(me, "tasks", "list")
    assert (listing["image"], listing["digest"]) == (str(for_image), value["digest"])
    assert not list((me.state / "fetched").glob("*"))
    # An executor that builds nothing runs the image all the same, and owes the same.
    host = await start(
        "--ipfs-api", real_node, "--build", "never", "--listed-only",
        state=tmp_path / "host", env={"LADING_MARKET": market},
    )  # fmt: skip
    url = f"http://{host.host}:{host.port}"
    done = await do(me, "run", value["image_address"], "--on", url, "--input", "an image")
    assert done.stdout == b"an image", done.stderr
    (entry,) = await shown(me, "ledger")
    assert (entry["task"], entry["owed"]) == (value["cid"], "1.000000")
    failed(await do(me, "run", value["address"], "--on", url, "-i", "x"), 69, "builds nothing")


@both_engines
def test_a_car_file_needs_no_node(lading: Cli, folder: Path, tmp_path: Path) -> None:
    me = replace(lading, more={"LADING_IPFS_API": "http://127.0.0.1:1"})
    car = str(tmp_path / "task.car")
    pushed = me("push", str(folder), "--to", "ipfs://", "--car", car)
    address = pushed.stdout.decode().strip()
    assert address == f"ipfs://{add_path(folder).cid}", pushed.stderr
    # By which options its address was computed is listed with it.
    assert me.json("tasks", "show", address)["profile"] == {**PROFILE, "hidden": False}
    # Fetched from it.
    got = tmp_path / "got"
    done = me("pull", address, "--car", car, "--output", str(got))
    assert (done.returncode, done.stdout.decode().strip()) == (0, str(got)), done.stderr
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert len(names) == 7
    for name in names:
        assert (got / name).read_bytes() == (folder / name).read_bytes()
    failed(me("pull", address, "--car", car, "--output", str(got)), 2, "is there already")
    # And run: its example, under its own limits.
    ran = me("run", address, "--car", car)
    assert (ran.returncode, ran.stdout) == (0, b'{"an": "example"}'), ran.stderr
    assert b" of 40 MiB" in ran.stderr
    # What was built is known: neither node nor file is needed for another input.
    known = me("run", address, "-i", "again", "-q", "--memory", "48Mi")
    assert known.stdout == b"again", known.stderr
    failed(me("run", address), 69, "127.0.0.1:1")
    assert not list((me.state / "fetched").glob("*"))


def test_what_a_car_file_may_be_instead(lading: Cli, folder: Path, tmp_path: Path) -> None:
    car = tmp_path / "task.car"
    address = (
        lading("push", str(folder), "--to", "ipfs://", "--car", str(car)).stdout.decode().strip()
    )
    whole = car.read_bytes()
    run = ("run", address, "--car", str(car), "-i", "x")
    car.write_bytes(whole.replace(b"is printed by", b"IS PRINTED BY"))
    failed(lading(*run), 65)
    car.write_bytes(whole[: len(whole) // 2])
    failed(lading(*run), 65)
    car.write_bytes(b"no CAR file at all")
    failed(lading(*run), 65, "no CAR file")
    car.unlink()
    failed(lading(*run), 2, "no such file")
    (folder / "src/notes.txt").write_text("another folder")
    lading("push", str(folder), "--to", "ipfs://", "--car", str(car))
    failed(lading(*run), 66, "does not hold block")
    assert not list((lading.state / "fetched").glob("*"))


@pytest.mark.ipfs
def test_what_nobody_has(lading: Cli, real_node: str, tmp_path: Path) -> None:
    me = replace(lading, more={"LADING_IPFS_API": real_node, "LADING_FETCH_TIMEOUT": "2"})
    nobody = f"ipfs://{Cid.of(os.urandom(32))}"
    target = tmp_path / "target"
    failed(me("pull", nobody, "-o", str(target)), 66, nobody.removeprefix("ipfs://"))
    failed(me("run", nobody, "-i", "x"), 66, nobody.removeprefix("ipfs://"))
    assert not target.exists()
    assert not list((me.state / "fetched").glob("*"))


# To a registry.


@both_engines
async def test_an_image_at_a_registry(
    start: Start, lading: Cli, folder: Path, market: str, tmp_path: Path, engine_host: str,
    forget: Callable[[str], None], test_id: str,
) -> None:  # fmt: skip
    async with docker_registry() as registry:
        ref = f"{registry.host}/tasks/{test_id}:1"
        forget(ref)
        me = replace(lading, more={"LADING_MARKET": market})
        value = await shown(
            me, "push", str(folder), "--to", f"registry://{ref}", "--fee", "2", "--developer", "cy"
        )
        digest, _ = await asyncio.to_thread(registry.manifest, f"tasks/{test_id}", "1")
        assert (value["digest"], value["image"]) == (digest, ref)
        assert set(value) == {"address", "digest", "image", "image_id", "listing"}
        assert value["address"] == f"{registry.host}/tasks/{test_id}@{digest}"
        (listing,) = await shown(me, "tasks", "list")
        assert (listing["image"], listing["digest"]) == (ref, digest)
        assert (listing["resource"]["cpu"], listing["resource"]["mem"]) == (0.25, 40.0)
        for name in (ref, trial_tag(folder.name)):
            engines.call(engine_host, "DELETE", f"/images/{quote(name, safe='')}?force=1")
        pulled = await do(me, "pull", f"registry://{ref}")
        assert (pulled.returncode, pulled.stdout.decode().strip()) == (0, ref), pulled.stderr
        of_registry = await shown(me, "pull", f"registry://{ref}")
        assert of_registry["digests"] == [value["address"]]
        assert documented("pull") == {"address", "folder", *of_registry}
        host = await start(state=tmp_path / "host", env={"LADING_MARKET": market})
        url = f"http://{host.host}:{host.port}"
        ran = await do(me, "run", ref, "--on", url, "-i", "pulled", "--memory", "40Mi")
        assert ran.stdout == b"pulled", ran.stderr
        (entry,) = await shown(me, "ledger")
        assert (entry["owed"], entry["developer"]) == ("2.000000", "cy")


async def test_a_registry_that_wants_credentials(
    lading: Cli, folder: Path, tmp_path: Path, test_id: str, market: str,
    forget: Callable[[str], None],
) -> None:  # fmt: skip
    async with docker_registry(login=True) as registry:
        ref = f"{registry.host}/tasks/{test_id}:1"
        forget(ref)
        (tmp_path / "docker").mkdir()
        me = replace(
            lading, more={"LADING_MARKET": market, "DOCKER_CONFIG": str(tmp_path / "docker")}
        )
        push = ("push", str(folder), "--to", f"registry://{ref}", "-q")
        failed(await do(me, *push), 77, registry.host)
        assert (await shown(me, "tasks", "list")) == [], "what is not there is not offered"
        log_in(tmp_path / "docker", registry)
        done = await do(me, *push)
        assert done.returncode == 0, done.stderr
        assert registry.tags(f"tasks/{test_id}") == ["1"]


def test_a_registry_that_is_not_there(lading: Cli, folder: Path, market: str) -> None:
    me = replace(lading, more={"LADING_MARKET": market})
    done = me("push", str(folder), "--to", "registry://127.0.0.1:1/x:1", "-q")
    failed(done, 69, "127.0.0.1:1", "tried 4 times")
    assert me.json("tasks", "list") == []


# What is refused.


def test_places_that_are_none(lading: Cli, folder: Path) -> None:
    for place in (
        "registy://127.0.0.1:5000/x:1", "ipfs:", "ipfs", "IPFS://", "http://x/y", "x/y:1", "",
        "registry://", "registry://name:1", "registry://docker/x", "registry://h.example/UPPER",
    ):  # fmt: skip
        failed(lading("push", str(folder), "--to", place), 2, "--to")
    failed(lading("push", str(folder)), 2, "--to: is missing", "ipfs:// or registry://")
    failed(lading("push", str(folder), "--to", "ipfs://bafyx"), 2, "has a CID already")
    ref = "registry://127.0.0.1:1/x:1"
    failed(lading("push", str(folder), "--to", ref, "--car", "x.car"), 2, "--car", "ipfs://")
    failed(lading("push", str(folder), "--to", ref, "--image"), 2, "--image")
    failed(lading("push", str(folder), "--to", "ipfs://", "--tag", "x"), 2, "add --image")
    failed(lading("push", str(folder / "absent"), "--to", "ipfs://"), 2, "no such folder")
    failed(lading("pull", "ipfs://nonsense"), 2, "no CID")
    failed(lading("pull", "somewhere"), 2, "registry://")
    failed(lading("pull", "registry://127.0.0.1:1/x:1", "-o", "x"), 2, "--output")


def test_a_folder_with_errors_is_not_published(
    lading: Cli, folder: Path, tmp_path: Path, market: str
) -> None:
    me = replace(lading, more={"LADING_MARKET": market})
    (folder / "src/.env").write_text("x")
    (folder / "example_input.bin").write_text("no JSON")
    (folder / "description.txt").unlink()
    car = tmp_path / "task.car"
    push = ("push", str(folder), "--to", "ipfs://", "--car", str(car))
    done = me(*push)
    failed(done, 65, "is not published", "description.txt", "--force")
    assert not car.exists()
    assert me.json("tasks", "list") == []
    forced = me(*push, "--force")
    assert forced.returncode == 0, forced.stderr
    assert b"published all the same" in forced.stderr
    assert car.exists()


def test_an_image_that_does_not_build_publishes_nothing(
    lading: Cli, folder: Path, tmp_path: Path, market: str
) -> None:
    me = replace(lading, more={"LADING_MARKET": market})
    text = (folder / "Dockerfile").read_text()
    (folder / "Dockerfile").write_text(text.replace("USER", 'RUN ["/probe", "exit", "3"]\nUSER'))
    car = tmp_path / "task.car"
    done = me("push", str(folder), "--to", "ipfs://", "--car", str(car), "--image")
    failed(done, 65, 'RUN ["/probe", "exit", "3"]')
    assert not car.exists()
    assert me.json("tasks", "list") == []
    assert not list((me.state / "fetched").glob("*"))


def test_fees(lading: Cli, folder: Path, tmp_path: Path, market: str) -> None:
    me = replace(lading, more={"LADING_MARKET": market})
    car = tmp_path / "task.car"
    push = ("push", str(folder), "--to", "ipfs://", "--car", str(car))
    failed(me(*push, "--fee", "0.1"), 2, "--developer")
    for wrong in ("-1", "much", "0.0000001", "nan"):
        failed(me(*push, "--fee", wrong, "--developer", "ada"), 2, "--fee")
    failed(me(*push, "--fee", "1", "--market", "none"), 2, "--market is none")
    assert not car.exists(), "nothing is published that can't be listed"
    me(*push, "--fee", "0.1", "--developer", "ada")
    car.unlink()
    again = json.loads(me(*push, "--json").stdout)
    assert again["listing"]["fee"] == "0.100000", "a fee stays what it was"
    assert again["listing"]["developer"] == "ada"
    car.unlink()
    other = replace(me, more={**me.more, "LADING_DEVELOPER": "bo"})
    changed = json.loads(other(*push, "--json", "--fee", "0").stdout)
    assert (changed["listing"]["fee"], changed["listing"]["developer"]) == ("0.000000", "bo")
    car.unlink()
    unlisted = json.loads(me(*push, "--json", "--market", "none").stdout)
    assert unlisted["listing"] is None
