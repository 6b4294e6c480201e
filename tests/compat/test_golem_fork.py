"""Handlers that are forked from a process in which gRPC is at work."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from tests.support.golem_numbers import AsyncMock, inline

import golem_task_api as api
from golem_task_api.testutils import InlineTaskApiService

pytestmark = pytest.mark.usefixtures("grpc_stays")


async def test_many_services_while_channels_are_open(tmp_path: Path) -> None:
    """A forked child of a process that uses gRPC must not use gRPC."""
    requestor = AsyncMock(spec_set=api.RequestorAppHandler)
    requestor.has_pending_subtasks.return_value = False
    kept = []
    for turn in range(2):
        kept.append(
            await api.RequestorAppClient.create(
                InlineTaskApiService(tmp_path, requestor_handler=requestor)
            )
        )
        busy = [asyncio.ensure_future(_ask(client)) for client in kept]
        for number in range(4):
            directory = tmp_path / f"{turn}-{number}"
            directory.mkdir()
            provider = AsyncMock(spec_set=api.ProviderAppHandler)
            provider.compute.return_value = f"result {turn} {number}"
            service = InlineTaskApiService(directory, provider_handler=provider)
            provided = await api.ProviderAppClient.create(service)
            assert await provided.compute("t", "s", {}) == Path(f"result {turn} {number}")
            await provided.shutdown()
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
    for client in kept:
        assert not await client.has_pending_subtasks("t")
        await client.shutdown()


async def _ask(client: api.RequestorAppClient) -> None:
    """Keep the connection busy: forks meet a library that is at work."""
    while True:
        await client.has_pending_subtasks("t")


async def test_threads_and_collected_channels(tmp_path: Path) -> None:
    """The child has neither the parent's threads nor its garbage to care for."""
    stop = threading.Event()
    thread = threading.Thread(target=lambda: stop.wait(60))
    thread.start()
    channel: Any = grpc.aio.insecure_channel("127.0.0.1:1")
    cycle: Any = {"channel": channel}
    cycle["self"] = cycle
    try:
        service = inline(tmp_path)
        client = await api.RequestorAppClient.create(service)
        assert await client.run_benchmark() == 12.5
        await client.shutdown()
    finally:
        stop.set()
        thread.join()
        await channel.close()


def test_signals_are_not_shared(tmp_path: Path) -> None:
    """Ctrl-C ends the test; the application's processes end with it, whatever it does."""
    code = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        "from unittest import mock\n"
        "import golem_task_api as api\n"
        "from golem_task_api.testutils import InlineTaskApiService\n"
        "async def main():\n"
        "    service = InlineTaskApiService(Path(sys.argv[1]), mock.Mock())\n"
        "    await api.RequestorAppClient.create(service)\n"
        "    print(os.getpid(), flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    for number in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline()
            children = psutil.Process(process.pid).children()
            assert len(children) == 2
            process.send_signal(number)
            _, alive = psutil.wait_procs(children, 20)
            for child in alive:
                child.kill()
            assert not alive


@contextlib.contextmanager
def _children_end() -> Iterator[None]:
    before = {child.pid for child in psutil.Process().children()}
    yield
    left = [child for child in psutil.Process().children() if child.pid not in before]
    assert not left


async def test_a_service_that_is_forgotten(tmp_path: Path) -> None:
    """Without any shutdown, its processes end with the object."""
    with _children_end():
        service: InlineTaskApiService | None = inline(tmp_path)
        assert service is not None
        await service.start("requestor 50005", 50005)
        del service


async def test_what_it_prints_comes_once(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "import golem_task_api as api\n"
        "from golem_task_api.testutils import InlineTaskApiService\n"
        "class Provider(api.ProviderAppHandler):\n"
        "    async def compute(self, *args):\n"
        "        return 'r'\n"
        "    async def run_benchmark(self, work_dir):\n"
        "        print('computed')\n"
        "        return 1.0\n"
        "async def main():\n"
        "    print('before')\n"
        "    service = InlineTaskApiService(Path(sys.argv[1]), provider_handler=Provider())\n"
        "    client = await api.ProviderAppClient.create(service)\n"
        "    await client.run_benchmark()\n"
        "    await client.shutdown()\n"
        "    print('after')\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert (out.decode().split(), err.decode()) == (["before", "computed", "after"], "")
