"""Servers of applications: handlers, errors, the end, and the standard services beside them."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock, create_autospec

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.contracts.golem.conftest import Serve
from tests.contracts.golem.sample_app import Diary, Provider, Requestor

from lading.contracts.golem.clients import ProviderAppClient, RequestorAppClient
from lading.contracts.golem.directories import ProviderTaskDir, RequestorTaskDir
from lading.contracts.golem.handlers import (
    AppLifecycleHandler,
    ProviderAppHandler,
    RequestorAppHandler,
)
from lading.contracts.golem.proto import golem_task_api_pb2 as messages
from lading.contracts.golem.servers import ProviderServer, RequestorServer
from lading.contracts.golem.structs import Subtask, Task, VerifyResult
from lading.errors import AppError, AppGone, AppShutDown, InputError

RequestorSide = tuple[Requestor, RequestorAppClient]
ProviderSide = tuple[Provider, ProviderAppClient]


async def test_a_handler_gets_directories_and_parameters(requestor: RequestorSide) -> None:
    handler, client = requestor
    await client.create_task("t1", 4, {"frames": [1, 2]})
    name, directory, count, params = handler.calls[0]
    assert (name, directory.name, count, params) == ("create_task", "t1", 4, {"frames": [1, 2]})
    assert isinstance(directory, RequestorTaskDir)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::]:0", "unix"])
async def test_where_it_listens(serve: Serve, tmp_path: Path, address: str) -> None:
    target = f"unix:{tmp_path / 'app.sock'}" if address == "unix" else address
    server = RequestorServer(tmp_path, Requestor())
    listens = await serve(server, target)
    async with await RequestorAppClient.connect(listens) as client:
        assert await client.run_benchmark() == 12.5
    assert (server.port == 0) is (address == "unix")


async def test_a_taken_port_is_told(serve: Serve, tmp_path: Path) -> None:
    target = await serve(RequestorServer(tmp_path, Requestor()))
    second = RequestorServer(tmp_path, Requestor())
    with pytest.raises(InputError, match=target):
        await second.start(target)
    await second.stop()


# Errors.


async def test_what_a_handler_raises_reaches_the_client(
    requestor: RequestorSide, caplog: pytest.LogCaptureFixture
) -> None:
    _, client = requestor
    with pytest.raises(AppError) as caught:
        await client.create_task("t1", 1, {"raise": "no scene: größer als 0"})
    error = caught.value
    assert (error.call, error.status, error.text) == (
        "CreateTask",
        "INTERNAL",
        "no scene: größer als 0",
    )
    assert not isinstance(error, AppGone)
    # The container's log has the whole of it.
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert await client.run_benchmark() == 12.5


async def test_an_exception_without_text_tells_its_name(serve: Serve, tmp_path: Path) -> None:
    handler = AsyncMock(spec=RequestorAppHandler)
    handler.run_benchmark.side_effect = AssertionError
    async with await RequestorAppClient.connect(
        await serve(RequestorServer(tmp_path, handler))
    ) as client:
        with pytest.raises(AppError, match="AssertionError") as caught:
            await client.run_benchmark()
    assert caught.value.status == "INTERNAL"


@pytest.mark.parametrize("text", ["x" * 100_000, "ö" * 100_000, "one\ntwo\0three"])
async def test_texts_that_a_status_can_hardly_hold(requestor: RequestorSide, text: str) -> None:
    _, client = requestor
    with pytest.raises(AppError) as caught:
        await client.create_task("t1", 1, {"raise": text})
    assert caught.value.status == "INTERNAL"
    assert text.startswith(caught.value.text.removesuffix(" [...]"))
    assert len(caught.value.text) >= min(len(text), 900)


async def test_parameters_that_are_not_json(serve: Serve, tmp_path: Path) -> None:
    handler = Requestor()
    target = await serve(RequestorServer(tmp_path, handler))
    async with grpc.aio.insecure_channel(target) as channel:
        call: Any = channel.unary_unary(
            "/golem_task_api.RequestorApp/CreateTask",
            request_serializer=messages.CreateTaskRequest.SerializeToString,
        )
        with pytest.raises(grpc.aio.AioRpcError, match="task_params_json is not JSON") as caught:
            await call(messages.CreateTaskRequest(task_id="t1", task_params_json="{'a': 1}"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert handler.calls == []


async def test_messages_of_16_mb(provider: ProviderSide, requestor: RequestorSide) -> None:
    load = "x" * (16 * 1024 * 1024)
    assert await provider[1].compute("t1", "s1", {"do": "echo", "load": load}) == Path(
        str(len(load))
    )
    await requestor[1].create_task("t1", 1, {"load": load})
    assert requestor[0].calls[0][3] == {"load": load}
    assert await requestor[1].next_subtask("t1", "large", "n1") == Subtask({"load": load}, [])


# Handlers of all kinds.


async def test_mocks_are_handlers(serve: Serve, tmp_path: Path) -> None:
    handler = create_autospec(RequestorAppHandler, instance=True)
    handler.create_task.return_value = Task("docker_cpu", {"image": "a", "tag": "b"})
    handler.next_subtask.return_value = Subtask({"part": 1})
    handler.verify.return_value = (VerifyResult.AWAITING_DATA, None)
    handler.discard_subtasks.return_value = ["s1"]
    handler.has_pending_subtasks.return_value = True
    handler.run_benchmark.return_value = 2
    life = create_autospec(AppLifecycleHandler, instance=True)
    target = await serve(RequestorServer(tmp_path, handler, life))
    async with await RequestorAppClient.connect(target) as client:
        assert (await client.create_task("t1", 1, {})).prerequisites == {"image": "a", "tag": "b"}
        assert await client.next_subtask("t1", "s1", "n") == Subtask({"part": 1}, [])
        assert await client.verify("t1", "s1") == (VerifyResult.AWAITING_DATA, None)
        assert await client.discard_subtasks("t1", ["s1"]) == ["s1"]
        assert await client.has_pending_subtasks("t1")
        assert await client.run_benchmark() == 2.0
        await client.abort_subtask("t1", "s1")
        await client.abort_task("t1")
    handler.create_task.assert_awaited_once_with(tmp_path / "t1", 1, {})
    handler.abort_subtask.assert_awaited_once_with(tmp_path / "t1", "s1")
    handler.abort_task.assert_awaited_once_with(tmp_path / "t1")
    life.on_after_startup.assert_awaited_once_with()


async def test_what_old_applications_return(serve: Serve, tmp_path: Path) -> None:
    handler = Mock()
    handler.create_task = AsyncMock(return_value=Task("docker_cpu", {}, None))  # type: ignore[arg-type]
    handler.verify = AsyncMock(return_value=(messages.VerifyReply.FAILURE, "wrong"))
    handler.next_subtask = AsyncMock(return_value=Subtask({}, [Path("a")]))  # type: ignore[list-item]
    handler.has_pending_subtasks = AsyncMock(return_value=[1, 2])
    async with await RequestorAppClient.connect(
        await serve(RequestorServer(tmp_path, handler))
    ) as client:
        assert (await client.create_task("t1", 1, {})).inf_requirements.min_memory_mib == 0
        assert await client.verify("t1", "s1") == (VerifyResult.FAILURE, "wrong")
        assert (await client.next_subtask("t1", "s1", "n")) == Subtask({}, ["a"])
        assert await client.has_pending_subtasks("t1") is True


async def test_what_an_old_application_lacks_is_told_when_it_is_asked_for(
    serve: Serve, tmp_path: Path
) -> None:
    class Old(ProviderAppHandler):
        async def compute(self, *_: Any) -> str:
            return "result"

    server = ProviderServer(tmp_path, Old())
    async with await ProviderAppClient.connect(await serve(server)) as client:
        with pytest.raises(AppError, match="Old has no run_benchmark"):
            await client.run_benchmark()


async def test_a_requestor_need_not_know_how_to_abort(serve: Serve, tmp_path: Path) -> None:
    class Old(Requestor):
        abort_task = RequestorAppHandler.abort_task
        abort_subtask = RequestorAppHandler.abort_subtask

    async with await RequestorAppClient.connect(
        await serve(RequestorServer(tmp_path, Old()))
    ) as client:
        await client.abort_subtask("t1", "s1")
        await client.abort_task("t1")


@pytest.mark.parametrize("kind", [str, Path])
async def test_a_result_is_a_text_or_a_path(serve: Serve, tmp_path: Path, kind: type[Any]) -> None:
    handler = create_autospec(ProviderAppHandler, instance=True)
    handler.compute.return_value = kind("s1/result.png")
    async with await ProviderAppClient.connect(
        await serve(ProviderServer(tmp_path, handler))
    ) as client:
        assert await client.compute("t1", "s1", {"a": 1}) == Path("s1/result.png")
    (directory, *others) = handler.compute.await_args.args
    assert isinstance(directory, ProviderTaskDir)
    assert (directory, others) == (tmp_path, ["s1", {"a": 1}])
    # Applications count on the directory of their subtask.
    assert (tmp_path / "s1").is_dir()


async def test_a_subtasks_directory_that_cannot_be_made_is_the_applications_affair(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = await serve(ProviderServer(tmp_path / "absent", Provider()))
    async with await ProviderAppClient.connect(target) as client:
        assert await client.compute("t1", "s1", {"do": "echo", "load": "abc"}) == Path("3")
    assert "can't make" in caplog.text


# The end.


async def test_a_provider_ends_after_its_call(tmp_path: Path) -> None:
    server = ProviderServer(tmp_path, Provider())
    serving = asyncio.create_task(server.serve(f"unix:{tmp_path / 'app.sock'}"))
    async with await ProviderAppClient.connect(f"unix:{tmp_path / 'app.sock'}") as client:
        assert await client.compute("t1", "s1", {}) == Path("s1/result")
        await serving
        with pytest.raises(AppGone):
            await client.compute("t1", "s2", {})


@pytest.mark.parametrize("fault", ["raise", "benchmark"])
async def test_a_provider_ends_after_an_error_and_after_a_benchmark(
    tmp_path: Path, fault: str
) -> None:
    server = ProviderServer(tmp_path, Provider())
    serving = asyncio.create_task(server.serve(f"unix:{tmp_path / 'app.sock'}"))
    async with await ProviderAppClient.connect(f"unix:{tmp_path / 'app.sock'}") as client:
        if fault == "raise":
            with pytest.raises(AppError, match="no such frame"):
                await client.compute("t1", "s1", {"do": "raise", "text": "no such frame"})
        else:
            assert await client.run_benchmark() == 0.5
        await serving


async def test_a_provider_has_one_call(provider: ProviderSide) -> None:
    handler, client = provider
    first = asyncio.create_task(client.compute("t1", "s1", {"do": "hang"}))
    await handler.waiting.wait()
    with pytest.raises(AppError, match="one call") as caught:
        await client.compute("t1", "s2", {})
    assert caught.value.status == "FAILED_PRECONDITION"
    await client.shutdown()
    with pytest.raises(AppShutDown):
        await first


async def test_a_shutdown_is_answered_before_the_end(tmp_path: Path) -> None:
    diary = Diary()
    server = RequestorServer(tmp_path, Requestor(), diary)
    serving = asyncio.create_task(server.serve(f"unix:{tmp_path / 'app.sock'}"))
    async with await RequestorAppClient.connect(f"unix:{tmp_path / 'app.sock'}") as client:
        assert diary.entries == ["before startup", "after startup"]
        await client.shutdown()
        await serving
    assert diary.entries[2:] == ["before shutdown", "after shutdown"]


async def test_a_shutdown_interrupts_what_a_provider_does(tmp_path: Path) -> None:
    handler, seen = Provider(), list[str]()
    stopping = lambda: seen.append("stopping")  # noqa: E731
    server = ProviderServer(tmp_path, handler, on_stopping=stopping)
    target = f"unix:{tmp_path / 'app.sock'}"
    serving = asyncio.create_task(server.serve(target))
    async with (
        await ProviderAppClient.connect(target) as client,
        await ProviderAppClient.connect(target) as other,
    ):
        computing = asyncio.create_task(client.compute("t1", "s1", {"do": "hang"}))
        await handler.waiting.wait()
        await other.shutdown()
        # To who did not ask for it, it is gone.
        with pytest.raises(AppGone, match="told to end") as caught:
            await computing
        assert not isinstance(caught.value, AppShutDown)
        await serving
    assert seen == ["stopping"]


async def test_what_a_requestor_does_has_a_moment_to_end(tmp_path: Path) -> None:
    handler = create_autospec(RequestorAppHandler, instance=True)
    begun, end = asyncio.Event(), asyncio.Event()

    async def verify(*_: Any) -> tuple[VerifyResult, str | None]:
        begun.set()
        await end.wait()
        return VerifyResult.SUCCESS, "at last"

    handler.verify.side_effect = verify
    server = RequestorServer(tmp_path, handler, on_stopping=end.set)
    target = f"unix:{tmp_path / 'app.sock'}"
    serving = asyncio.create_task(server.serve(target))
    async with await RequestorAppClient.connect(target) as client:
        verifying = asyncio.create_task(client.verify("t1", "s1"))
        await begun.wait()
        server.request_stop()
        assert await verifying == (VerifyResult.SUCCESS, "at last")
        await serving


async def test_a_client_that_goes_away_cancels_its_call(serve: Serve, tmp_path: Path) -> None:
    handler = create_autospec(RequestorAppHandler, instance=True)
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def verify(*_: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    handler.verify.side_effect = verify
    target = await serve(RequestorServer(tmp_path, handler))
    async with await RequestorAppClient.connect(target) as client:
        verifying = asyncio.create_task(client.verify("t1", "s1"))
        await begun.wait()
        verifying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await verifying
        await cancelled.wait()


async def test_a_failed_start_leaves_nothing(tmp_path: Path) -> None:
    life = create_autospec(AppLifecycleHandler, instance=True)
    life.on_before_startup.side_effect = RuntimeError("no licence")
    server = RequestorServer(tmp_path, Requestor(), life)
    with pytest.raises(RuntimeError, match="no licence"):
        await server.serve("127.0.0.1:0")
    life.on_after_shutdown.assert_not_awaited()


async def test_a_server_that_fails_late_in_its_start_is_ended(tmp_path: Path) -> None:
    life = create_autospec(AppLifecycleHandler, instance=True)
    life.on_after_startup.side_effect = RuntimeError("no licence")
    server = RequestorServer(tmp_path, Requestor(), life)
    with pytest.raises(RuntimeError, match="no licence"):
        await server.serve("127.0.0.1:0")
    life.on_after_shutdown.assert_awaited_once_with()


# The standard services.


@pytest.mark.parametrize("name", ["", "golem_task_api.RequestorApp"])
async def test_health(serve: Serve, tmp_path: Path, name: str) -> None:
    target = await serve(RequestorServer(tmp_path, Requestor()))
    async with grpc.aio.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="golem_task_api.ProviderApp"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_and_describes_the_services(serve: Serve, tmp_path: Path) -> None:
    target = await serve(ProviderServer(tmp_path, Provider()))
    Request = reflection_pb2.ServerReflectionRequest  # noqa: N806
    async with grpc.aio.insecure_channel(target) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter(
            [
                Request(list_services=""),
                Request(file_containing_symbol="golem_task_api.ProviderApp"),
            ]
        )
        listed, described = [reply async for reply in stub.ServerReflectionInfo(asked)]
    assert {service.name for service in listed.list_services_response.service} == {
        "golem_task_api.ProviderApp",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    (file,) = described.file_descriptor_response.file_descriptor_proto
    assert b"subtask_params_json" in file
