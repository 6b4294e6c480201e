"""Clients of applications: readiness, broken answers, and applications that end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tests.contracts.golem.conftest import Launch, Serve, until_exists
from tests.contracts.golem.sample_app import Provider, Requestor

from lading.contracts.golem.clients import (
    ProviderAppClient,
    ProviderCalls,
    RequestorAppClient,
    RequestorCalls,
)
from lading.contracts.golem.driver.relay import Relay
from lading.contracts.golem.proto import golem_task_api_pb2 as messages
from lading.contracts.golem.servers import ProviderServer, RequestorServer
from lading.contracts.golem.structs import Infrastructure, Subtask, Task, VerifyResult
from lading.errors import AppError, AppGone, AppShutDown, NotReady

Foreign = Callable[..., Any]


@pytest.fixture
async def foreign() -> AsyncIterator[Foreign]:
    """Start servers that are not ours: their replies are given, as they are or as an exception."""
    servers: list[grpc.aio.Server] = []

    async def start(service: str, *, healthy: bool | None = True, **replies: Any) -> str:
        def behaviour(reply: Any) -> Any:
            async def answer(_request: Any, context: Any) -> Any:
                if isinstance(reply, grpc.StatusCode):
                    await context.abort(reply)
                return reply

            return answer

        server = grpc.aio.server()
        handlers: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(
                behaviour(reply),
                response_serializer=lambda message: message.SerializeToString(),
            )
            for name, reply in replies.items()
        }
        full_name = f"golem_task_api.{service}"
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(full_name, handlers),)
        )
        if healthy is not None:
            state = health.aio.HealthServicer()
            status = health_pb2.HealthCheckResponse
            await state.set("", status.SERVING if healthy else status.NOT_SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(state, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        await server.stop(None)


async def test_all_calls_of_a_requestor(requestor: tuple[Requestor, RequestorAppClient]) -> None:
    client: RequestorCalls = requestor[1]
    assert await client.create_task("t1", 2, {"a": "ö"}) == Task(
        "docker_cpu", {"image": "image", "tag": "1.0"}, Infrastructure(64.0)
    )
    assert await client.has_pending_subtasks("pending") is True
    assert await client.has_pending_subtasks("t1") is False
    assert await client.next_subtask("t1", "s1", "n1") == Subtask({"part": "s1"}, ["a", "b"])
    assert await client.next_subtask("t1", "s1", "unwanted") is None
    assert await client.verify("t1", "SUCCESS") == (VerifyResult.SUCCESS, None)
    assert await client.verify("t1", "INCONCLUSIVE") == (VerifyResult.INCONCLUSIVE, "because")
    assert await client.discard_subtasks("t1", ["s1"]) == ["s1", "dependent"]
    assert await client.run_benchmark() == 12.5
    await client.abort_subtask("t1", "s1")
    await client.abort_task("t1")
    await client.shutdown()


async def test_all_calls_of_a_provider(provider: tuple[Provider, ProviderAppClient]) -> None:
    client: ProviderCalls = provider[1]
    assert await client.compute("t1", "s1", {}) == Path("s1/result")
    await client.shutdown()


# Readiness.


async def test_it_waits_for_a_server_that_comes_later(
    serve: Serve, tmp_path: Path, free_port: int
) -> None:
    connecting = asyncio.create_task(RequestorAppClient.connect(f"127.0.0.1:{free_port}"))
    await asyncio.sleep(0.02)
    await serve(RequestorServer(tmp_path, Requestor()), f"127.0.0.1:{free_port}")
    async with await connecting as client:
        assert await client.run_benchmark() == 12.5


async def test_it_waits_behind_a_relay_that_closes_what_leads_nowhere(
    serve: Serve, tmp_path: Path
) -> None:
    path, refused = tmp_path / "app.sock", asyncio.Event()
    loop = asyncio.get_running_loop()

    async def connect() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, str(path))
        except FileNotFoundError:
            sock.close()
            refused.set()
            raise
        return sock

    async with Relay(connect) as relay:
        connecting = asyncio.create_task(RequestorAppClient.connect(relay.target))
        await refused.wait()
        await serve(RequestorServer(tmp_path, Requestor()), f"unix:{path}")
        async with await connecting as client:
            assert await client.run_benchmark() == 12.5


async def test_nobody_there(tmp_path: Path, free_port: int) -> None:
    for target in (f"localhost:{free_port}", f"unix:{tmp_path / 'absent.sock'}"):
        with pytest.raises(NotReady, match="nothing listens there") as caught:
            await RequestorAppClient.connect(target, wait=0.05)
        assert target in str(caught.value)


async def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_unix_server(silence, tmp_path / "app.sock"):
        with pytest.raises(NotReady, match="it does not answer"):
            await RequestorAppClient.connect(f"unix:{tmp_path / 'app.sock'}", wait=0.1)


async def test_an_application_that_is_not_ready(foreign: Foreign) -> None:
    target = await foreign("RequestorApp", healthy=False)
    with pytest.raises(NotReady, match="NOT_SERVING"):
        await RequestorAppClient.connect(target, wait=0.3)


async def test_a_server_without_health_is_no_application(foreign: Foreign) -> None:
    target = await foreign("RequestorApp", healthy=None)
    with pytest.raises(AppError, match="no health service") as caught:
        await RequestorAppClient.connect(target)
    assert caught.value.status == "UNIMPLEMENTED"


# Answers that break the contract.


@pytest.mark.parametrize("text", ["", "{", "'a'", "[1]", '"a"'])
async def test_json_that_is_none_or_no_object(foreign: Foreign, text: str) -> None:
    target = await foreign(
        "RequestorApp",
        CreateTask=messages.CreateTaskReply(env_id="docker_cpu", prerequisites_json=text),
        NextSubtask=messages.NextSubtaskReply(
            subtask=messages.SubtaskReply(subtask_params_json=text)
        ),
    )
    async with await RequestorAppClient.connect(target) as client:
        with pytest.raises(AppError, match="prerequisites_json is no") as caught:
            await client.create_task("t1", 1, {})
        assert caught.value.call == "CreateTask"
        with pytest.raises(AppError, match="subtask_params_json is no"):
            await client.next_subtask("t1", "s1", "n1")


async def test_a_verdict_that_there_is_not(foreign: Foreign) -> None:
    verdict: Any = 17
    target = await foreign("RequestorApp", Verify=messages.VerifyReply(result=verdict))
    async with await RequestorAppClient.connect(target) as client:
        with pytest.raises(AppError, match="no verdict 17"):
            await client.verify("t1", "s1")


async def test_a_result_without_a_name(foreign: Foreign) -> None:
    target = await foreign("ProviderApp", Compute=messages.ComputeReply())
    async with await ProviderAppClient.connect(target) as client:
        with pytest.raises(AppError, match="named no result"):
            await client.compute("t1", "s1", {})


async def test_a_call_that_there_is_not(foreign: Foreign) -> None:
    target = await foreign("ProviderApp")
    async with await ProviderAppClient.connect(target) as client:
        with pytest.raises(AppError, match="no such call") as caught:
            await client.run_benchmark()
        assert (caught.value.call, caught.value.status) == ("RunBenchmark", "UNIMPLEMENTED")


async def test_a_status_without_words(foreign: Foreign) -> None:
    target = await foreign("RequestorApp", RunBenchmark=grpc.StatusCode.RESOURCE_EXHAUSTED)
    async with await RequestorAppClient.connect(target) as client:
        with pytest.raises(AppError, match="said nothing") as caught:
            await client.run_benchmark()
        assert caught.value.status == "RESOURCE_EXHAUSTED"


# Applications that end.


async def test_an_application_that_is_killed_is_noticed(
    launch: Launch, free_port: int, tmp_path: Path
) -> None:
    process = await launch("requestor", str(free_port))
    async with await RequestorAppClient.connect(f"127.0.0.1:{free_port}") as client:
        verifying = asyncio.create_task(client.verify("t1", "hang"))
        await until_exists(tmp_path / "busy")
        process.kill()
        with pytest.raises(AppGone) as caught:
            await verifying
        assert caught.value.call == "Verify"
        with pytest.raises(AppGone):
            await client.run_benchmark()
        # What was asked for is the case.
        await client.shutdown()


async def test_an_application_that_is_killed_is_noticed_behind_a_relay(
    launch: Launch, free_port: int, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()

    async def connect() -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, ("127.0.0.1", free_port))
        except BaseException:
            sock.close()
            raise
        return sock

    process = await launch("provider", str(free_port))
    async with (
        Relay(connect) as relay,
        await ProviderAppClient.connect(relay.target) as client,
    ):
        computing = asyncio.create_task(client.compute("t1", "s1", {"do": "hang"}))
        await until_exists(tmp_path / "busy")
        process.kill()
        with pytest.raises(AppGone):
            await computing


async def test_a_call_in_flight_when_the_same_client_ends_the_application(
    requestor: tuple[Requestor, RequestorAppClient],
) -> None:
    handler, client = requestor
    verifying = asyncio.create_task(client.verify("t1", "hang"))
    await handler.waiting.wait()
    await client.shutdown()
    with pytest.raises(AppShutDown) as caught:
        await verifying
    assert caught.value.call == "Verify"


async def test_a_cancelled_call_is_cancelled(
    requestor: tuple[Requestor, RequestorAppClient],
) -> None:
    handler, client = requestor
    verifying = asyncio.create_task(client.verify("t1", "hang"))
    await handler.waiting.wait()
    verifying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await verifying
    assert await client.run_benchmark() == 12.5


async def test_a_closed_client(serve: Serve, tmp_path: Path) -> None:
    client = await ProviderAppClient.connect(await serve(ProviderServer(tmp_path, Provider())))
    await client.close()
    await client.close()
    with pytest.raises(AppGone, match="closed"):
        await client.compute("t1", "s1", {})


async def test_another_server_at_the_same_place_is_found(serve: Serve, tmp_path: Path) -> None:
    target = f"unix:{tmp_path / 'app.sock'}"
    first = RequestorServer(tmp_path, Requestor())
    await first.start(target)
    async with await RequestorAppClient.connect(target) as old:
        await first.stop()
        with pytest.raises(AppGone):
            await old.run_benchmark()
        await serve(RequestorServer(tmp_path, Requestor()), target)
        async with await RequestorAppClient.connect(target) as new:
            assert await new.run_benchmark() == 12.5
