"""The engine stopped and started again under a serving executor."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.images.build import ensure_probe
from tests.support import engines
from tests.support.containers import said
from tests.support.executors import executor_process
from tests.support.private_dockerd import private_dockerd

from lading import EngineOptions, open_engine


@pytest.mark.timeout(180)
async def test_engine_stopped_and_started_again(tmp_path: Path) -> None:
    async with private_dockerd() as docker:
        probe = await asyncio.to_thread(ensure_probe, docker.host)
        async with executor_process(docker.host, tmp_path) as executor:
            first = await executor.execute(probe, "before")
            assert first.msg == "before"
            asks = {"say": "at work", "sleep_ms": 60_000}
            working = asyncio.create_task(executor.execute(probe, asks, mem=32))
            async with await open_engine(EngineOptions(engine=docker.host)) as engine:
                warm = await engine.container(first.headers["x-lading-container"])
                await said(warm, b"at work")
            await docker.stop()
            broken = await working
            assert not broken.success
            assert "not sent again" in broken.msg
            away = await executor.execute(probe, "away")
            assert not away.success
            assert docker.host in away.msg
            assert (await executor.ask("GET", "/health")).status == 200
            await docker.start()
            again = await executor.execute(probe, "after")
            assert (again.success, again.msg) == (True, "after")
            assert again.headers["x-lading-container"] != first.headers["x-lading-container"]
        _, left = await asyncio.to_thread(
            engines.call, docker.host, "GET", "/containers/json?all=1"
        )
        assert left == []
