"""Servers and processes of the sample application, ended whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from tests.contracts.golem.sample_app import Provider, Requestor
from tests.support.leaks import Footprint

from lading.contracts.golem.clients import ProviderAppClient, RequestorAppClient
from lading.contracts.golem.servers import AppServer, ProviderServer, RequestorServer

SAMPLE_APP = Path(__file__).with_name("sample_app.py")


class Launch(Protocol):
    async def __call__(
        self, *arguments: str, work_dir: Path | None = None
    ) -> asyncio.subprocess.Process: ...


class Serve(Protocol):
    async def __call__(self, server: AppServer, address: str = ...) -> str: ...


@pytest.fixture(scope="session", autouse=True)
def _grpc_is_used(grpc_stays: None) -> None:
    """Keep gRPC for all tests in this folder."""


@pytest.fixture(autouse=True)
def _no_traceback_kept(footprint: Footprint, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let go of logged exceptions, whose frames hold servers and channels, before it is looked."""
    yield
    caplog.get_records("call").clear()


@pytest.fixture
def free_port() -> int:
    """A port of the loopback address that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start servers in this process; returns where each listens."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(server: AppServer, address: str = "127.0.0.1:0") -> str:
            await server.start(address)
            stack.push_async_callback(server.stop)
            return address if address.startswith("unix:") else f"127.0.0.1:{server.port}"

        yield start


@pytest.fixture
async def launch(tmp_path: Path) -> AsyncIterator[Launch]:
    """Start the sample application as a process: ``await launch("provider", "50006")``."""
    started: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str, work_dir: Path | None = None) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            SAMPLE_APP,
            *arguments,
            work_dir or tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def until_exists(path: Path) -> None:
    """Wait for a file."""
    while not path.exists():
        await asyncio.sleep(0.005)


@pytest.fixture
async def requestor(
    serve: Serve, tmp_path: Path
) -> AsyncIterator[tuple[Requestor, RequestorAppClient]]:
    """A requestor's handler, and a client of its server."""
    handler = Requestor()
    target = await serve(RequestorServer(tmp_path, handler))
    async with await RequestorAppClient.connect(target) as client:
        yield handler, client


@pytest.fixture
async def provider(
    serve: Serve, tmp_path: Path
) -> AsyncIterator[tuple[Provider, ProviderAppClient]]:
    """A provider's handler, and a client of its server."""
    handler = Provider()
    target = await serve(ProviderServer(tmp_path, handler))
    async with await ProviderAppClient.connect(target) as client:
        yield handler, client
