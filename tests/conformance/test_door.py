"""An executor that is a container itself reaches tasks without a network through its door."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from tests.images.build import ensure_probe
from tests.support import engines
from tests.support.containers import output

from lading.engine import ContainerSpec, Limits, Mount, Network
from lading.engine.discovery import open_engine
from lading.engine.docker_address import UnixDial
from lading.engine.docker_api import Api, Reply
from lading.engine.docker_door import DoorKeeper
from lading.errors import EngineUnreachable
from lading.http1 import Client
from lading.settings import EngineOptions

ROOT = Path(__file__).parents[2]

INSIDE = """
import asyncio, json, sys
from lading.engine import ContainerSpec, Network
from lading.engine.discovery import open_engine
from lading.http1 import open_socket
from lading.settings import EngineOptions

async def main(labels):
    async with await open_engine(EngineOptions("unix:///engine.sock")) as engine:
        print((await engine.info()).local, flush=True)
        task = await engine.create(ContainerSpec(
            "lading-test/probe:1", network=Network.NONE, ports=(8080,), labels=labels, sealed=True))
        try:
            await task.start()
            async for chunk in task.logs(follow=True):
                if b"meca-init-done" in chunk.data:
                    break
            await engine.open_door(labels)
            for text in (b"first", b"second"):
                connection = await open_socket(await task.connect(8080))
                reply = await connection.send("POST", "/", [("host", "task")], text)
                print((await reply.read()).decode(), flush=True)
                connection.close()
            try:
                await task.connect(8081)
            except ConnectionError:
                print("refused", flush=True)
            doors = [c for c in await engine.containers(labels) if "lading.doorman" in c.labels]
            print(len(doors), flush=True)
            if sys.argv[2] == "stay":
                await asyncio.Event().wait()
        finally:
            await task.remove()

asyncio.run(main(json.loads(sys.argv[1])))
"""


on_each_engine = pytest.mark.parametrize("engine_host", ["docker", "podman"], indirect=True)


@pytest.fixture
def python_image(engine_host: str) -> str:
    """An image with Python, as the executor's own is."""
    done = subprocess.run(
        [ROOT / "scripts/base-image"],
        env={**os.environ, "DOCKER_HOST": engine_host},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no image with Python: {done.stderr.strip()}")
    return done.stdout.strip()


def _spec(image: str, host: str, labels: dict[str, str], then: str) -> ContainerSpec:
    assert sys.version_info[:2] == (3, 11), "httptools is mounted into the image's Python 3.11"
    socket_path = os.path.realpath(host.removeprefix("unix://"))
    return ContainerSpec(
        image,
        command=("python3", "-c", INSIDE, json.dumps(labels), then),
        env={"PYTHONPATH": "/code:/packages"},
        labels=labels,
        mounts=(
            Mount(str(ROOT / "src"), "/code"),
            Mount(sysconfig.get_path("platlib"), "/packages"),
            Mount(socket_path, "/engine.sock", read_only=False),
        ),
        limits=Limits(memory=256 << 20),
        network=Network.NONE,
    )


@on_each_engine
async def test_reached_through_the_door(
    engine_host: str, python_image: str, test_labels: dict[str, str]
) -> None:
    ensure_probe(engine_host)
    async with await open_engine(EngineOptions(engine_host)) as engine:
        executor = await engine.create(_spec(python_image, engine_host, test_labels, "end"))
        try:
            await executor.start()
            end = await executor.wait()
            out, err = await output(executor)
            assert end.code == 0, err.decode()
            assert out.decode().split() == ["False", "first", "second", "refused", "1"]
        finally:
            await executor.remove()
        await _doors_closed(engine_host, test_labels)


@on_each_engine
async def test_a_killed_executor_leaves_no_door(
    engine_host: str, python_image: str, test_labels: dict[str, str]
) -> None:
    ensure_probe(engine_host)
    async with await open_engine(EngineOptions(engine_host)) as engine:
        executor = await engine.create(_spec(python_image, engine_host, test_labels, "stay"))
        try:
            await executor.start()
            said = b""
            async for chunk in executor.logs(follow=True):
                said += chunk.data
                if said.endswith(b"refused\n1\n"):
                    break
            await executor.kill()
            await executor.wait()
        finally:
            await executor.remove()
        await _doors_closed(engine_host, test_labels)
        for left in await engine.containers(test_labels):  # the task, which nobody swept
            await (await engine.container(left.id)).remove()


class _Watched(Api):
    """Tells when a call is about to be made."""

    awaited = ""

    async def call(self, method: str, path: str, *args: Any, **kwargs: Any) -> Reply:
        if path == self.awaited:
            self.seen.set()
        return await super().call(method, path, *args, **kwargs)

    def watch(self, path: str) -> asyncio.Event:
        self.awaited, self.seen = path, asyncio.Event()
        return self.seen


def _api(host: str) -> _Watched:
    dial = UnixDial(host.removeprefix("unix://"))
    return _Watched(Client(dial, host="engine", idle=1.0), host, 10.0)


@on_each_engine
async def test_cancelled_while_it_is_opened(
    engine_host: str, test_labels: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_probe(engine_host)
    async with await open_engine(EngineOptions(engine_host)) as engine:
        # Any container does for the one that we would run in.
        task = await engine.create(
            ContainerSpec("lading-test/probe:1", labels=test_labels, network=Network.NONE)
        )
        api = _api(engine_host)
        try:
            await task.start()
            monkeypatch.setattr("lading.engine.docker_door.own_container", lambda: task.id)
            keeper = DoorKeeper(api)
            keeper.labels = test_labels
            created = api.watch("/containers/create")
            opening = asyncio.create_task(keeper.door())
            await created.wait()
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            assert [info.id for info in await engine.containers(test_labels)] == [task.id]
        finally:
            api.close()
            await task.remove()


async def test_an_engine_that_is_away_refuses_no_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lading.engine.docker_door.own_container", lambda: "f" * 64)
    keeper = DoorKeeper(_api(f"unix://{tmp_path}/absent.sock"))
    with pytest.raises(EngineUnreachable):
        await keeper.door()


async def _doors_closed(host: str, labels: dict[str, str]) -> None:
    """Wait for the helper's end; the engine removes it after that."""
    async with await open_engine(EngineOptions(host)) as engine:
        for info in await engine.containers(labels):
            if "lading.doorman" in info.labels:
                # Asked of the engine itself: 404 says that it is gone by now.
                path = f"/containers/{info.id}/wait?condition=removed"
                status, _ = await asyncio.to_thread(engines.call, host, "POST", path)
                assert status in (200, 404)
