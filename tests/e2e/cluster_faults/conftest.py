"""Engines of a real cluster, and what lies between them and its API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from tests.support.cluster import (
    TOOLS,
)
from tests.support.cut_off import Between, between, kubeconfig_by_way_of

from lading.engine import Container, ContainerSpec, Engine
from lading.engine.discovery import open_engine
from lading.settings import engine_options, environment

_WAITS = ("sleep", "600")


@pytest.fixture
def kubeconfig(kubernetes_host: str) -> Path:
    return Path(environment()["KUBECONFIG"])


@pytest.fixture
async def open_by(kubernetes_host: str) -> AsyncIterator[Callable[..., Any]]:
    """Opens engines by kubeconfigs; closes them after the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(kubeconfig: Path, host: str = "", **options: Any) -> Engine:
            chosen = engine_options({"engine": host or kubernetes_host, **options})
            env = {**environment(), "KUBECONFIG": str(kubeconfig)}
            return await stack.enter_async_context(await open_engine(chosen, env))

        yield open_one


@pytest.fixture
async def engine(open_by: Callable[..., Any], kubeconfig: Path) -> Engine:
    found: Engine = await open_by(kubeconfig)
    return found


@pytest.fixture
def make_on(test_labels: dict[str, str]) -> Callable[..., Any]:
    async def make_one(engine: Engine, *command: str, **spec: Any) -> Container:
        values = {"image": TOOLS, "command": command or _WAITS, **spec}
        return await engine.create(ContainerSpec(labels=test_labels, **values))

    return make_one


@pytest.fixture
async def made() -> AsyncIterator[list[Container]]:
    """Containers that are removed after the test."""
    listed: list[Container] = []
    yield listed
    for container in listed:
        await container.remove()


@pytest.fixture
async def proxied(
    kubeconfig: Path, tmp_path: Path, open_by: Callable[..., Any]
) -> AsyncIterator[tuple[Engine, Between]]:
    """An engine, and what lies between it and its API server."""
    content = yaml.safe_load(await asyncio.to_thread(kubeconfig.read_text))
    server = urlsplit(content["clusters"][0]["cluster"]["server"])
    assert server.hostname is not None
    async with between(server.hostname, server.port or 443) as proxy:
        written = await asyncio.to_thread(
            kubeconfig_by_way_of,
            kubeconfig,
            tmp_path / "proxied",
            **{"server": f"https://{proxy.address}", "tls-server-name": server.hostname},
        )
        async with contextlib.AsyncExitStack() as stack:
            engine: Engine = await open_by(written)
            stack.push_async_callback(engine.close)
            yield engine, proxy
