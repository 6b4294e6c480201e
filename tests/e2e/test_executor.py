"""The executor as its callers see it: warm, limited, isolated, and honest."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sqlite3
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Start, Variant, both_engines
from tests.support.executors import ExecutorProcess

from lading.engine import Engine


def records(state: Path) -> list[dict[str, Any]]:
    """All records, read with nothing of ours."""
    with contextlib.closing(sqlite3.connect(state / "records.db")) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM run ORDER BY id")]


async def containers(engine: Engine, executor: ExecutorProcess) -> list[str]:
    """Names of the containers that this executor has now."""
    found = await engine.containers({"lading.contract": "meca"})
    lock = f"{executor.state}/"
    return [item.name for item in found if item.labels.get("lading.lock", "").startswith(lock)]


@both_engines
async def test_cold_then_warm(start: Start, probe: str, engine: Engine) -> None:
    executor = await start()
    first = await executor.execute(probe, {"name": "sbip"})
    assert first.status == 200
    assert first.body == b'{\n    "success": true,\n    "msg": "{\\"name\\": \\"sbip\\"}"\n}'
    assert first.headers["content-type"] == "application/json; charset=utf-8"
    assert first.headers["x-lading-start"] == "cold"
    second = await executor.execute(probe, "again")
    assert (second.success, second.msg) == (True, "again")
    assert second.headers["x-lading-start"] == "warm"
    assert second.headers["x-lading-container"] == first.headers["x-lading-container"]
    names = await containers(engine, executor)
    assert names == [first.headers["x-lading-container"]]
    assert names[0].startswith("mecanywhere_lading-test-probe_1_")
    await executor.end()
    assert await containers(engine, executor) == []
    kinds = [(row["kind"], row["state"]) for row in records(executor.state)]
    assert kinds == [("container", "succeeded"), ("call", "succeeded"), ("call", "succeeded")]


async def test_different_limits_are_different_containers(start: Start, probe: str) -> None:
    executor = await start()
    one = await executor.execute(probe, cpu=0.1, mem=32)
    other = await executor.execute(probe, cpu=0.1, mem=33)
    assert one.headers["x-lading-container"] != other.headers["x-lading-container"]


@both_engines
async def test_a_task_is_sealed(start: Start, probe: str, engine: Engine, tmp_path: Path) -> None:
    executor = await start()
    reply = await executor.execute(probe, "x")
    container = await engine.container(reply.headers["x-lading-container"])
    info = await container.inspect()
    assert info.limits.memory == 32 << 20
    assert info.limits.cpus == 0.1
    assert info.limits.pids == 512
    status = Path(f"/proc/{info.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    mounts = Path(f"/proc/{info.pid}/mounts").read_text()
    assert ".sock" not in mounts
    # Neither the executor's own port, nor the world.
    for target in (f"127.0.0.1:{executor.port}", f"{_own_address()}:{executor.port}", "1.1.1.1:53"):
        assert (await executor.execute(probe, {"connect": target})).msg == "closed", target


def _own_address() -> str:
    return socket.gethostbyname(socket.gethostname())


@both_engines
async def test_tasks_cannot_reach_each_other(start: Start, probe: str, engine: Engine) -> None:
    executor = await start("--network", "bridge")
    one = await executor.execute(probe, "x", mem=32)
    info = await (await engine.container(one.headers["x-lading-container"])).inspect()
    addresses = [address for address in info.networks.values() if address]
    assert addresses, "a bridged task has an address"
    other = await executor.execute(probe, {"connect": f"{addresses[0]}:8080"}, mem=33)
    assert other.msg == "closed"
    assert (await executor.execute(probe, {"connect": "1.1.1.1:53"}, mem=33)).msg == "closed"
    await executor.end()
    names = {network.name for network in await engine.networks()}
    assert "mecanywhere_closed" not in names


async def test_a_shared_network_may_go_with_who_made_it(
    start: Start, probe: str, tmp_path: Path
) -> None:
    first = await start("--network", "bridge")
    second = await start("--network", "bridge", state=tmp_path / "second")
    for executor in (first, second):
        assert (await executor.execute(probe, "x")).success
    await second.ask("POST", "/pause")  # now none of its containers is attached
    await second.ask("POST", "/unpause")
    await first.end()
    assert (await second.execute(probe, "y")).msg == "y"


async def test_v1_execute_is_honest(start: Start, probe: str) -> None:
    executor = await start()
    good = await executor.execute(probe, "bytes", path="/v1/execute")
    assert (good.status, good.body) == (200, b"bytes")
    assert good.headers["content-type"].startswith("text/plain")
    bad = await executor.execute(probe, {"status": 418}, path="/v1/execute")
    assert bad.status == 502
    assert bad.headers["content-type"] == "application/problem+json"
    assert bad.json()["reply"] == {"status": 418, "body": "status 418"}
    assert bad.json()["title"] == "TaskFailed"
    large = await executor.execute(probe, cpu=1000, path="/v1/execute")
    assert (large.status, large.json()["title"]) == (422, "TooLarge")
    wrong = await executor.execute(probe, cpu=-1, path="/v1/execute")
    assert (wrong.status, wrong.json()["field"]) == (400, "resource.cpu")


async def test_refusals_in_the_originals_words(start: Start, probe: str) -> None:
    executor = await start()

    async def message(**kwargs: Any) -> str:
        answer = await executor.execute(probe, **kwargs)
        assert (answer.status, answer.success) == (200, False)
        return answer.msg

    assert await message(cpu=1000) == "resource limit exceeds the maximum"
    assert await message(mem=10**9) == "resource limit exceeds the maximum"
    assert await message(cpu=-1) == "invalid resource limit"
    assert await message(mem=0) == "invalid resource limit"
    gpu = {"use_gpu": True, "gpu_count": 1}
    assert await message(resource=gpu) == "not enough GPU available"
    assert "not configured" in await message(runtime="microVM")
    assert "SGX" in await message(use_sgx=True)
    for body in (b"", b"{", b"[]", b'{"resource": {}}', b'{"id": 3}', b"\xff", b"[" * 10_000_000):
        answer = await executor.ask("POST", "/", body)
        assert (answer.status, answer.body) == (400, b'"Bad execution request"')
        assert answer.headers["x-lading-error"]
    assert (await executor.execute(probe, "still there")).msg == "still there"


async def test_what_strangers_write_forges_nothing(start: Start, variant: Variant) -> None:
    executor = await start()
    image = "task\x01\x1b[31m\n2026-01-01 00:00:00 ERROR forged\r\nX-Forged: yes"
    answer = await executor.execute(image, use_sgx=True)
    assert (answer.status, answer.success) == (200, False)
    assert answer.headers["x-lading-error"].startswith("NotSupported: task task??[31m 2026")
    assert "x-forged" not in answer.headers
    talkative = await variant("lines", "2")
    assert "last lines of its log:\n" in (await executor.execute(talkative)).msg
    await executor.end()
    assert "\x1b" not in "".join(executor.log)
    lines = [line for line in executor.log if not line.startswith("serving on")]
    assert all(line[:2] == "20" and line[10] == " " for line in lines), lines
    assert not [line for line in lines if line.startswith("2026-01-01 00:00:00 ERROR")]


async def test_pause_update_unpause(start: Start, probe: str, engine: Engine) -> None:
    executor = await start("--cpu", "1", "--mem", "256")
    await executor.execute(probe, "x")
    stats = (await executor.ask("GET", "/stats")).json()
    assert (stats["task_cpu"], stats["task_mem"]) == (1, 256)
    assert (stats["task_used_cpu"], stats["task_used_mem"]) == (10, 12.5)
    assert (stats["task_gpu"], stats["task_used_gpu"], stats["gpu_model"]) == (0, 0, "")
    changes = json.dumps({"cpu": 0.5, "mem": 64}).encode()
    early = await executor.ask("POST", "/update-config", changes)
    assert (early.status, early.success) == (200, False)
    paused = await executor.ask("POST", "/pause")
    assert (paused.status, paused.body) == (200, b"")
    assert await containers(engine, executor) == []
    assert (await executor.execute(probe)).msg == "mecanywhere executor not started"
    stats_text = (await executor.ask("GET", "/stats")).msg
    assert stats_text == "failed to retrieve resource stats"
    absurd = b'{"cpu": 1%s, "mem": 1}' % (b"0" * 400)
    for bad in (
        b"", b"{}", b'{"cpu": 1}', b'{"cpu": 0, "mem": 1}', b'{"cpu": 1, "mem": "x"}', absurd,
    ):  # fmt: skip
        answer = await executor.ask("POST", "/update-config", bad)
        assert (answer.status, answer.body) == (400, b'"Bad reconfiguration request"')
        assert answer.headers["x-lading-error"].startswith("InputError: ")
    assert (await executor.ask("POST", "/update-config", changes)).success
    assert (await executor.ask("POST", "/unpause")).body == b""
    stats = (await executor.ask("GET", "/stats")).json()
    assert (stats["task_cpu"], stats["task_mem"]) == (0.5, 64)
    assert (await executor.execute(probe, mem=65)).msg == "resource limit exceeds the maximum"
    assert (await executor.execute(probe, "y")).msg == "y"


async def test_stop_replies_first(start: Start, probe: str, engine: Engine) -> None:
    executor = await start()
    await executor.execute(probe, "x")
    answer = await executor.ask("POST", "/stop")
    assert (answer.status, answer.body) == (200, b"")
    async with asyncio.timeout(20):
        assert await executor.process.wait() == 0
    assert await containers(engine, executor) == []


async def test_idle_containers_are_removed(start: Start, probe: str, engine: Engine) -> None:
    executor = await start("--timeout", "0.005")
    name = (await executor.execute(probe, "x")).headers["x-lading-container"]
    container = await engine.container(name)
    async with asyncio.timeout(20):
        while await containers(engine, executor):
            await asyncio.sleep(0.05)
    del container


@both_engines
async def test_idle_ones_make_room(start: Start, probe: str, engine: Engine) -> None:
    executor = await start("--cpu", "1", "--mem", "512")
    first = await executor.execute(probe, cpu=0.7)
    second = await executor.execute(probe, cpu=0.8)
    assert second.success
    assert await containers(engine, executor) == [second.headers["x-lading-container"]]
    assert first.headers["x-lading-container"] != second.headers["x-lading-container"]


async def test_a_spare_waits_beyond_demand(start: Start, probe: str, engine: Engine) -> None:
    executor = await start("--spares", "1", "--cpu", "1")
    await executor.execute(probe, "x")
    async with asyncio.timeout(20):
        while len(await containers(engine, executor)) < 2:
            await asyncio.sleep(0.05)
    slow = asyncio.create_task(executor.execute(probe, {"sleep_ms": 4000}))
    async with asyncio.timeout(20):
        while sum(row["kind"] == "call" for row in records(executor.state)) < 2:
            await asyncio.sleep(0.02)
    quick = await executor.execute(probe, "quick")
    assert not slow.done()
    assert quick.headers["x-lading-container"] != (await slow).headers["x-lading-container"]


async def test_metrics_docs_and_request_ids(start: Start, probe: str) -> None:
    executor = await start()
    await executor.execute(probe, "x")
    await executor.execute(probe, {"status": 500})
    text = (await executor.ask("GET", "/metrics")).body.decode()
    assert 'lading_executions_total{outcome="success"} 1.0' in text
    assert 'lading_executions_total{outcome="TaskFailed"} 1.0' in text
    assert 'lading_containers{state="idle"} 1.0' in text
    assert (await executor.ask("GET", "/docs")).status == 200
    paths = (await executor.ask("GET", "/openapi.json")).json()["paths"]
    assert set(paths) >= {
        "/", "/v1/execute", "/stats", "/health", "/pause", "/unpause", "/update-config", "/stop",
        "/metrics",
    }  # fmt: skip
    health = await executor.ask("GET", "/health", headers={"X-Request-Id": "abc-1"})
    assert health.json() == {"status": "ok"}
    assert health.headers["x-request-id"] == "abc-1"
    assert (await executor.ask("GET", "/health")).headers["x-request-id"]


async def test_token(start: Start, probe: str) -> None:
    executor = await start(env={"LADING_TOKEN": "secret"})
    assert (await executor.ask("GET", "/health")).status == 200
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
        assert (await executor.ask("GET", "/stats", headers=headers)).status == 401
        assert (await executor.ask("POST", "/", b"{}", headers)).status == 401
    right = {"Authorization": "Bearer secret"}
    assert (await executor.ask("GET", "/stats", headers=right)).status == 200


async def test_web_pages_may_not_use_it(start: Start) -> None:
    executor = await start()
    for origin in ("https://evil.example", "null", "http://["):
        evil = await executor.ask("POST", "/stop", headers={"Origin": origin})
        assert evil.status == 403, origin
    rebound = {"Host": f"evil.example:{executor.port}"}
    assert (await executor.ask("POST", "/stop", headers=rebound)).status == 403
    assert (await executor.ask("GET", "/health")).status == 200
