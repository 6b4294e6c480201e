"""Connections that break, and an API server that is away or restarted; what many ask of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import cluster
from tests.support.cluster import (
    ask,
    has_ended,
    pods_of,
    status_of,
    under_the_hood,
    until_seen,
)
from tests.support.cut_off import Between

from lading.engine import Container, Engine, Mount
from lading.errors import (
    ContainerNotFound,
)

pytestmark = pytest.mark.kubernetes

_SLOW = ("sh", "-c", "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; sleep 0.1; done")


async def test_a_follow_and_a_wait_that_are_cut_again_and_again(
    proxied: tuple[Engine, Between], make_on: Callable[..., Any], made: list[Container]
) -> None:
    engine, proxy = proxied
    container = await make_on(engine, *_SLOW)
    made.append(container)
    await container.start()
    waiting = asyncio.create_task(container.wait())
    text, cuts = b"", 0
    async for chunk in container.logs(follow=True):
        text += chunk.data
        if text.count(b"\n") >= 8 * (cuts + 1):
            cuts += 1
            if cuts == 3:  # the API server is restarted
                proxy.leave()
                returning = asyncio.create_task(_come_back(proxy))
            else:
                proxy.cut()
    assert text.decode().splitlines() == [f"line {number}" for number in range(1, 41)]
    assert cuts == 5
    await returning
    assert (await waiting).code == 0


async def _come_back(proxy: Between) -> None:
    await asyncio.sleep(1)  # as long as a server is away that is started again
    await proxy.listen()


async def test_an_end_while_the_cluster_is_away(
    proxied: tuple[Engine, Between],
    make_on: Callable[..., Any],
    made: list[Container],
    kubernetes_host: str,
) -> None:
    engine, proxy = proxied
    container = await make_on(engine, "sh", "-c", "sleep 5; exit 7")
    made.append(container)
    await container.start()
    waiting = asyncio.create_task(container.wait())
    proxy.leave()
    await until_seen(kubernetes_host, container.name, has_ended)
    assert not waiting.done()
    await proxy.listen()
    assert (await waiting).code == 7


async def test_a_pod_that_is_deleted_while_the_cluster_is_away(
    proxied: tuple[Engine, Between],
    make_on: Callable[..., Any],
    made: list[Container],
    kubernetes_host: str,
) -> None:
    engine, proxy = proxied
    container = await make_on(engine)
    made.append(container)
    await container.start()
    waiting = asyncio.create_task(container.wait())
    proxy.leave()
    await ask("DELETE", pods_of(kubernetes_host, container.name), {"gracePeriodSeconds": 0})
    await proxy.listen()
    with pytest.raises(ContainerNotFound, match="removed meanwhile"):
        await waiting


async def test_a_version_that_the_cluster_has_forgotten(
    proxied: tuple[Engine, Between],
    make_on: Callable[..., Any],
    made: list[Container],
    kubernetes_host: str,
) -> None:
    """410, from the API server itself: the watch is told to go on from the first version."""
    engine, proxy = proxied
    container = await make_on(engine, "sh", "-c", "sleep 3; exit 3")
    made.append(container)
    await container.start()
    waiting = asyncio.create_task(container.wait())
    api = under_the_hood(engine)
    lists = api.calls["list", "pods"]
    engine._pods._watches[api.access.namespace]._listed = "1"  # type: ignore[attr-defined]
    proxy.cut()
    assert (await waiting).code == 3
    assert api.calls["list", "pods"] == lists + 1


async def test_results_that_are_cut_on_their_way_back(
    proxied: tuple[Engine, Between],
    make_on: Callable[..., Any],
    made: list[Container],
    tmp_path: Path,
) -> None:
    engine, proxy = proxied
    results = tmp_path / "results"
    await asyncio.to_thread(results.mkdir)
    container = await make_on(
        engine,
        "sh",
        "-c",
        "head -c 40000000 /dev/zero >/results/large",
        mounts=(Mount(str(results), "/results", read_only=False),),
    )
    made.append(container)
    await container.start()
    api = under_the_hood(engine)
    programs = api.calls["get", "pods/exec"]
    waiting = asyncio.create_task(container.wait())
    while api.calls["get", "pods/exec"] == programs:
        await asyncio.sleep(0.01)
    proxy.cut()  # before anything came
    passed = proxy.passed
    while proxy.passed < passed + 5_000_000 and not waiting.done():
        await asyncio.sleep(0.01)
    proxy.cut()  # in the middle of it
    assert (await waiting).code == 0
    assert api.calls["get", "pods/exec"] >= programs + 3
    assert await asyncio.to_thread((results / "large").read_bytes) == bytes(40_000_000)


async def test_a_removal_while_the_cluster_is_away(
    proxied: tuple[Engine, Between], make_on: Callable[..., Any], kubernetes_host: str
) -> None:
    engine, proxy = proxied
    container = await make_on(engine)
    await container.start()
    proxy.leave()
    removing = asyncio.create_task(container.remove())
    await asyncio.sleep(0)
    await proxy.listen()
    await removing
    assert await asyncio.to_thread(status_of, pods_of(kubernetes_host, container.name)) == 404


async def test_what_many_at_once_ask_of_the_api(
    engine: Engine, make_on: Callable[..., Any]
) -> None:
    """One list and one watch for all of them, and at most six calls for each."""
    many = 12
    api = under_the_hood(engine)
    before = api.calls.copy()

    async def run(number: int) -> bytes:
        container = await make_on(engine, "sh", "-c", f"echo {number}")
        try:
            await container.start()
            waiting = asyncio.create_task(container.wait())
            text = b"".join([chunk.data async for chunk in container.logs(follow=True)])
            assert (await waiting).code == 0
            return text
        finally:
            await container.remove()

    texts = await asyncio.gather(*(run(number) for number in range(many)))
    assert texts == [f"{number}\n".encode() for number in range(many)]
    calls = api.calls - before
    assert (calls["list", "pods"], calls["watch", "pods"]) == (1, 1), dict(calls)
    assert sum(calls.values()) - 2 <= 6 * many, dict(calls)


async def test_the_api_server_is_restarted(
    engine: Engine,
    make_on: Callable[..., Any],
    made: list[Container],
    kubeconfig: Path,
) -> None:
    """For real, where its process is ours to restart: that of `cluster up`."""
    pid_file = kubeconfig.parent / "apiserver.pid"
    if not await asyncio.to_thread(pid_file.exists):
        pytest.skip("the API server is not a process of this machine")
    container = await make_on(engine, *_SLOW)
    made.append(container)
    await container.start()
    waiting = asyncio.create_task(container.wait())
    text, restarting = b"", None
    async for chunk in container.logs(follow=True):
        text += chunk.data
        if restarting is None and text.count(b"\n") >= 5:
            restarting = asyncio.create_task(asyncio.to_thread(_restart, pid_file))
    assert restarting is not None
    await restarting
    assert text.decode().splitlines() == [f"line {number}" for number in range(1, 41)]
    assert (await waiting).code == 0


def _restart(pid_file: Path) -> None:
    pid = int(pid_file.read_text())
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        time.sleep(0.05)
    # As `cluster up` does, so that it outlives us.
    script = 'log=$1 pid=$2; shift 2; setsid "$@" >>"$log" 2>&1 </dev/null & echo $! >"$pid"'
    log = pid_file.parent / "apiserver.log"
    subprocess.run(["sh", "-c", script, "sh", str(log), str(pid_file), *command], check=True)
    while True:
        with contextlib.suppress(OSError):
            if cluster.call("GET", "/readyz")[0] == 200:
                return
        time.sleep(0.1)
