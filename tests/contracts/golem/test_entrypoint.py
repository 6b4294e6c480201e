"""An application as a process: its arguments, signals, end, and what it costs to load."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.contracts.golem.conftest import Launch, until_exists
from tests.contracts.golem.sample_app import Diary, Provider, Requestor

import lading.contracts.golem as golem
from lading.contracts.golem.clients import ProviderAppClient, RequestorAppClient
from lading.contracts.golem.entrypoint import main
from lading.errors import AppError, AppGone, AppShutDown


async def test_a_provider_ends_with_its_call(
    launch: Launch, free_port: int, tmp_path: Path
) -> None:
    process = await launch("provider", str(free_port))
    async with await ProviderAppClient.connect(f"127.0.0.1:{free_port}") as client:
        assert await client.compute("t1", "s1", {"a": 1}) == Path("s1/result")
    assert await process.wait() == 0
    assert (tmp_path / "s1/result").read_text() == "{'a': 1}"


async def test_a_provider_ends_with_an_error_that_its_log_tells(
    launch: Launch, free_port: int
) -> None:
    process = await launch("provider", str(free_port))
    async with await ProviderAppClient.connect(f"127.0.0.1:{free_port}") as client:
        with pytest.raises(AppError, match="no such frame"):
            await client.compute("t1", "s1", {"do": "raise", "text": "no such frame"})
    _, log = await process.communicate()
    assert process.returncode == 0
    assert b"ValueError: no such frame" in log


async def test_a_requestor_keeps_serving_until_shutdown(launch: Launch, free_port: int) -> None:
    process = await launch("requestor", str(free_port))
    async with await RequestorAppClient.connect(f"localhost:{free_port}") as client:
        for _ in range(3):
            assert await client.run_benchmark() == 12.5
        await client.shutdown()
    assert await process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("side", ["requestor", "provider"])
async def test_signals_end_it_in_good_order(
    launch: Launch, free_port: int, side: str, number: signal.Signals
) -> None:
    process = await launch(side, str(free_port))
    async with await ProviderAppClient.connect(f"127.0.0.1:{free_port}"):
        process.send_signal(number)
        _, log = await process.communicate()
    assert (process.returncode, log) == (0, b"")


async def test_a_shutdown_interrupts_blocking_work(
    launch: Launch, free_port: int, tmp_path: Path
) -> None:
    process = await launch("provider", str(free_port))
    async with await ProviderAppClient.connect(f"127.0.0.1:{free_port}") as client:
        computing = asyncio.create_task(client.compute("t1", "s1", {"do": "block"}))
        await until_exists(tmp_path / "busy")
        await client.shutdown()
        with pytest.raises(AppShutDown):
            await computing
    assert await process.wait() == 0


async def test_a_signal_interrupts_a_computation(
    launch: Launch, free_port: int, tmp_path: Path
) -> None:
    process = await launch("provider", str(free_port))
    async with await ProviderAppClient.connect(f"127.0.0.1:{free_port}") as client:
        computing = asyncio.create_task(client.compute("t1", "s1", {"do": "hang"}))
        await until_exists(tmp_path / "busy")
        process.terminate()
        with pytest.raises(AppGone):
            await computing
    _, log = await process.communicate()
    assert (process.returncode, log) == (0, b"")


async def test_a_second_signal_ends_it_at_once(
    launch: Launch, free_port: int, tmp_path: Path
) -> None:
    """Also where blocking work does not listen."""
    process = await launch("provider", str(free_port))
    async with await ProviderAppClient.connect(f"127.0.0.1:{free_port}") as client:
        computing = asyncio.create_task(client.compute("t1", "s1", {"do": "block", "deaf": True}))
        await until_exists(tmp_path / "busy")
        process.terminate()
        with pytest.raises(AppGone):
            await computing
        process.terminate()
    assert await process.wait() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "0 arguments"),
        (["requestor"], "1 arguments"),
        (["requestor", "50005", "more"], "3 arguments"),
        (["worker", "50005"], "'worker' is neither"),
        (["provider", "http"], "'http' is no port"),
        (["provider", "0"], "'0' is no port"),
        (["provider", "65536"], "'65536' is no port"),
        (["provider", "-1"], "'-1' is no port"),
    ],
)
async def test_arguments_that_make_no_sense(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        await main(tmp_path, arguments, requestor_handler=Requestor(), provider_handler=Provider())
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert words in told
    assert "requestor PORT" in told


async def test_a_side_that_the_application_does_not_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for side in ("requestor", "provider"):
        with pytest.raises(SystemExit):
            await main(tmp_path, [side, "50005"])
        assert f"no {side}'s side" in capsys.readouterr().err


async def test_a_taken_port_is_told(launch: Launch, free_port: int) -> None:
    first = await launch("requestor", str(free_port))
    async with await RequestorAppClient.connect(f"127.0.0.1:{free_port}") as client:
        second = await launch("requestor", str(free_port))
        _, log = await second.communicate()
        assert second.returncode == 1
        assert f"can't listen at [::]:{free_port}".encode() in log
        await client.shutdown()
    await first.wait()


async def test_both_sides_in_one_process(tmp_path: Path, free_port: int) -> None:
    """As tests of applications do; what the provider's end interrupts is its own."""
    requestor_life, provider_life = Diary(), Diary()
    handlers = {
        "requestor_handler": Requestor(),
        "requestor_lifecycle_handler": requestor_life,
        "provider_handler": Provider(),
        "provider_lifecycle_handler": provider_life,
    }
    port = free_port
    requesting = asyncio.create_task(main(tmp_path, ["requestor", str(port)], **handlers))  # type: ignore[arg-type]
    async with await RequestorAppClient.connect(f"127.0.0.1:{port}") as requestor:
        providing = asyncio.create_task(main(tmp_path, ["provider", str(port + 1)], **handlers))  # type: ignore[arg-type]
        async with await ProviderAppClient.connect(f"127.0.0.1:{port + 1}") as provider:
            await provider.compute("t1", "s1", {})
            await providing
        assert not golem.Executor.is_shutting_down()
        assert await requestor.run_benchmark() == 12.5
        await requestor.shutdown()
        await requesting
    whole = ["before startup", "after startup", "before shutdown", "after shutdown"]
    assert requestor_life.entries == provider_life.entries == whole
    assert golem.Executor.is_shutting_down()
    golem.Executor.initialize()


async def test_in_another_thread_signals_are_not_touched(tmp_path: Path, free_port: int) -> None:
    def serve() -> None:
        asyncio.run(main(tmp_path, ["provider", str(free_port)], provider_handler=Provider()))

    before = signal.getsignal(signal.SIGTERM)
    serving = asyncio.create_task(asyncio.to_thread(serve))
    async with await ProviderAppClient.connect(f"127.0.0.1:{free_port}") as client:
        assert signal.getsignal(signal.SIGTERM) == before
        assert await client.run_benchmark() == 0.5
    await serving
    golem.Executor.initialize()


def _modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport json, sys; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return set(json.loads(done.stdout))


def test_what_an_application_loads() -> None:
    """Each provider container pays for it."""
    loaded = _modules_after("from lading.contracts.golem.entrypoint import main")
    heavy = {
        "pydantic",
        "typer",
        "yaml",
        "jinja2",
        "sqlite3",
        "peewee",
        "grpc_reflection.v1alpha.reflection",
    }
    assert loaded & heavy == set()
    ours = {name for name in loaded if name.startswith("lading")}
    assert ours == {
        "lading",
        "lading.contracts",
        "lading.contracts.golem",
        "lading.contracts.golem.blocking",
        "lading.contracts.golem.constants",
        "lading.contracts.golem.directories",
        "lading.contracts.golem.entrypoint",
        "lading.contracts.golem.handlers",
        "lading.contracts.golem.proto",
        "lading.contracts.golem.proto.golem_task_api_pb2",
        "lading.contracts.golem.reflection",
        "lading.contracts.golem.servers",
        "lading.contracts.golem.structs",
        "lading.errors",
    }


def test_the_package_loads_nothing_until_asked() -> None:
    loaded = _modules_after("import lading.contracts.golem")
    assert not {name for name in loaded if name.partition(".")[0] in ("grpc", "google", "asyncio")}
    loaded = _modules_after("from lading.contracts.golem import RequestorAppHandler, Task")
    assert "grpc" not in loaded


def test_its_names() -> None:
    assert set(golem.__all__) <= set(dir(golem))
    for name in golem.__all__:
        assert getattr(golem, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = golem.nothing
