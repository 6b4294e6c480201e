"""Test helpers that applications use: handlers in processes of their own, a task's whole life."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.golem_numbers import AsyncMock, Provider, Requestor, inline, until

import golem_task_api as api
from golem_task_api.apputils.task import SubtaskStatus
from golem_task_api.apputils.task.database import DBTaskManager
from golem_task_api.client import ShutdownException
from golem_task_api.enums import VerifyResult
from golem_task_api.ssl import create_client_ssl_context
from golem_task_api.structs import Infrastructure, Subtask, Task
from golem_task_api.testutils import InlineTaskApiService, TaskLifecycleUtil
from lading.contracts.golem.tls import make_certificates
from lading.errors import AppError, AppGone, InputError

pytestmark = pytest.mark.usefixtures("grpc_stays")


@pytest.fixture
async def util(tmp_path: Path) -> AsyncIterator[TaskLifecycleUtil]:
    made = TaskLifecycleUtil(tmp_path)
    yield made
    await made.shutdown_provider()


# Whole tasks.


async def test_a_whole_task(util: TaskLifecycleUtil) -> None:
    task_dir = await util.simulate_task(inline, 3, {}, [])
    found = {path.name: path.read_text() for path in task_dir.task_outputs_dir.iterdir()}
    assert found == {f"{number}.txt": str(number) for number in range(3)}


async def test_mocks(util: TaskLifecycleUtil) -> None:
    """Configured before they go to their process, as they are copied there."""
    requestor = AsyncMock(spec_set=api.RequestorAppHandler)
    provider = AsyncMock(spec_set=api.ProviderAppHandler)
    task = Task("test_env", {}, Infrastructure(min_memory_mib=2000.0))
    requestor.create_task.return_value = task
    requestor.has_pending_subtasks.return_value = True
    requestor.next_subtask.return_value = Subtask({}, [])
    requestor.verify.return_value = (VerifyResult.SUCCESS, None)
    requestor.discard_subtasks.side_effect = lambda _, ids: ids
    requestor.abort_task.side_effect = RuntimeError("not now")
    provider.compute.return_value = Path("result")
    provider.run_benchmark.return_value = 3.5
    async with util.init_requestor_with_handler(requestor) as client:
        assert await util.create_task("task", 1, [], {"some": "value"}) == task
        directory = util.init_provider_with_handler(provider, "task")
        (directory / "result").touch()
        _, verdict = await util.compute_next_subtask("task", "0xdead")
        assert verdict is VerifyResult.SUCCESS
        assert await util.run_provider_benchmark() == 3.5
        assert await client.has_pending_subtasks("task")
        assert await client.discard_subtasks("task", ["a", "b"]) == ["a", "b"]
        await client.abort_subtask("task", "a")
        with pytest.raises(AppError, match="not now"):
            await client.abort_task("task")


async def test_discarded_subtasks_are_computed_again(util: TaskLifecycleUtil) -> None:
    async with util.init_requestor(inline) as client:
        await util.create_task("task", 2, [], {})
        util.init_provider(inline, "task")
        first = await util.compute_remaining_subtasks(task_id="task", opaque_node_id="whatever")
        assert await client.discard_subtasks("task", first) == first
        assert await client.has_pending_subtasks("task")
        assert len(await util.compute_remaining_subtasks("task", "whatever")) == 2
        assert await client.discard_subtasks("task", first[:1]) == first[:1]
        assert not await client.has_pending_subtasks("task")  # those were older ones


async def test_resources(util: TaskLifecycleUtil, tmp_path: Path) -> None:
    (tmp_path / "given.txt").write_text("given")
    async with util.init_requestor(inline):
        await util.create_task("task", 1, [tmp_path / "given.txt"], {})
    assert (util.req_dir.task_dir("task").task_inputs_dir / "given.txt").read_text() == "given"


class Refusing(Requestor):
    """Finds every result wrong."""

    async def verify(self, task_work_dir: Any, subtask_id: str) -> Any:
        return VerifyResult.INCONCLUSIVE, "who knows"


class Late(Requestor):
    """Judges the first result with the second."""

    async def verify(self, task_work_dir: Any, subtask_id: str) -> Any:
        manager = DBTaskManager(task_work_dir)
        if manager.get_part_num(subtask_id) == 0:
            status, _ = manager.get_subtasks_statuses([1]).get(1, (None, None))
            if status is not SubtaskStatus.SUCCESS:
                return VerifyResult.AWAITING_DATA, None
        return await super().verify(task_work_dir, subtask_id)


async def test_a_wrong_result_fails_the_test(util: TaskLifecycleUtil) -> None:
    def service(work_dir: Path) -> InlineTaskApiService:
        return InlineTaskApiService(
            work_dir, requestor_handler=Refusing(), provider_handler=Provider()
        )

    with pytest.raises(AssertionError, match="verified as INCONCLUSIVE"):
        await util.simulate_task(service, 1, {}, [])


async def test_awaiting_data(util: TaskLifecycleUtil) -> None:
    def service(work_dir: Path) -> InlineTaskApiService:
        return InlineTaskApiService(work_dir, requestor_handler=Late(), provider_handler=Provider())

    task_dir = await util.simulate_task(service, 2, {}, [])
    assert len(list(task_dir.task_outputs_dir.iterdir())) == 2
    with pytest.raises(AssertionError, match="no verdict on"):
        await TaskLifecycleUtil(util.work_dir / "requestor").simulate_task(service, 1, {}, [])


async def test_a_node_that_is_refused(util: TaskLifecycleUtil) -> None:
    async with util.init_requestor(inline) as client:
        await util.create_task("task", 1, [], {})
        assert await client.next_subtask("task", "s", "refused") is None
        with pytest.raises(AssertionError, match="refused was refused a subtask"):
            await util.compute_next_subtask("task", "refused")


# Errors and ends.


async def test_what_a_handler_raises_is_told(util: TaskLifecycleUtil) -> None:
    async with util.init_requestor(inline) as client:
        with pytest.raises(AppError, match="no müsli") as caught:
            await util.create_task("task", 1, [], {"refuse": "no müsli"})
        assert (caught.value.call, caught.value.status) == ("CreateTask", "INTERNAL")
        assert await client.run_benchmark() == 12.5  # it is still there
    util.init_provider(inline, "task")
    await util.start_provider()
    assert util.provider_client is not None
    with pytest.raises(AppError, match="no such number"):
        await util.provider_client.compute("task", "s", {"do": "raise"})


async def test_a_provider_ends_by_itself(util: TaskLifecycleUtil) -> None:
    service: list[InlineTaskApiService] = []

    def remembered(work_dir: Path) -> InlineTaskApiService:
        service.append(inline(work_dir))
        return service[0]

    util.init_provider(remembered, "task")
    await util.start_provider()
    assert util.provider_client is not None
    assert service[0].running()
    assert await util.provider_client.run_benchmark() == 7
    await service[0].wait_until_shutdown_complete()
    assert not service[0].running()


async def test_shutdown_in_the_middle_of_a_call(util: TaskLifecycleUtil) -> None:
    directory = util.init_provider(inline, "task")
    await util.start_provider()
    assert util.provider_client is not None
    computing = asyncio.ensure_future(util.provider_client.compute("task", "s", {"do": "wait"}))
    await until((directory / "waiting").exists)
    await util.shutdown_provider()
    with pytest.raises(ShutdownException):
        await computing
    with pytest.raises(ShutdownException):
        await util.provider_client.run_benchmark()
    assert (directory / "interrupted").exists()
    await util.shutdown_provider()


async def test_two_shutdowns_at_the_same_time(util: TaskLifecycleUtil) -> None:
    util.init_provider(inline, "task")
    await util.start_provider()
    await asyncio.gather(util.shutdown_provider(), util.shutdown_provider())


async def test_a_provider_that_dies(util: TaskLifecycleUtil) -> None:
    """It is noticed at once, and nothing of it is left."""
    util.init_provider(inline, "task")
    await util.start_provider()
    assert util.provider_client is not None
    with pytest.raises(AppGone):
        await util.provider_client.compute("task", "s", {"do": "die"})


async def test_a_blocked_application_is_ended_by_force(tmp_path: Path) -> None:
    class Blocking(Provider):
        async def run_benchmark(self, work_dir: Path) -> float:
            (work_dir / "blocked").touch()
            while True:
                time.sleep(1)

    service = InlineTaskApiService(tmp_path, provider_handler=Blocking())
    client = await api.ProviderAppClient.create(service)
    asking = asyncio.ensure_future(client.run_benchmark())
    await until((tmp_path / "blocked").exists)
    await client.shutdown(timeout=0.5)
    with pytest.raises(ShutdownException):
        await asking
    assert not service.running()


async def test_events_of_its_life(tmp_path: Path) -> None:
    class Life(api.AppLifecycleHandler):
        def _note(self, event: str) -> None:
            with (tmp_path / "events").open("a") as file:
                file.write(f"{event}\n")

        async def on_before_startup(self) -> None:
            self._note("before startup")

        async def on_after_startup(self) -> None:
            self._note("after startup")

        async def on_before_shutdown(self) -> None:
            self._note("before shutdown")

        async def on_after_shutdown(self) -> None:
            self._note("after shutdown")

    service = InlineTaskApiService(
        tmp_path, requestor_handler=Requestor(), requestor_lifecycle_handler=Life()
    )
    client = await api.RequestorAppClient.create(service)
    await client.shutdown()
    assert (tmp_path / "events").read_text().splitlines() == [
        *("before startup", "after startup", "before shutdown", "after shutdown")
    ]


async def test_an_application_that_does_not_start(tmp_path: Path) -> None:
    class Life(api.AppLifecycleHandler):
        async def on_before_startup(self) -> None:
            raise RuntimeError("no")

    service = InlineTaskApiService(
        tmp_path, requestor_handler=Requestor(), requestor_lifecycle_handler=Life()
    )
    with pytest.raises(AppGone, match="ended before it answered"):
        await api.RequestorAppClient.create(service)
    assert not service.running()


async def test_there_is_no_such_side(tmp_path: Path) -> None:
    service = InlineTaskApiService(tmp_path, requestor_handler=Requestor())
    with pytest.raises(InputError, match="no such handler"):
        await api.ProviderAppClient.create(service)


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """Two services at the same time: the second listens elsewhere."""
    services = [inline(tmp_path), inline(tmp_path)]
    places = [await service.start("requestor 50005", 50005) for service in services]
    try:
        assert places[0] != places[1]
    finally:
        for service in services:
            await service.stop()
    await services[0].stop()
    assert not any(service.running() for service in services)


async def test_a_service_that_somebody_else_stops(tmp_path: Path) -> None:
    service = inline(tmp_path)
    client = await api.RequestorAppClient.create(service)
    await service.stop()
    with pytest.raises(AppGone):
        await client.run_benchmark()
    await client.shutdown()


async def test_tls(tmp_path: Path) -> None:
    mine = tmp_path / "client"
    work = tmp_path / "work"
    mine.mkdir()
    work.mkdir()
    await asyncio.to_thread(make_certificates, work, mine)
    context = await asyncio.to_thread(create_client_ssl_context, mine, work)
    client = await api.RequestorAppClient.create(inline(work), ssl_context=context)
    assert await client.run_benchmark() == 12.5
    await client.shutdown()


class Own(api.TaskApiService):
    """An own kind of service, as applications write them."""

    def __init__(self, dies: bool = False) -> None:
        self.calls: list[str] = []
        self.dies = dies

    def running(self) -> bool:
        return not self.dies and "stop" not in self.calls

    async def start(self, command: str, port: int) -> tuple[str, int]:
        self.calls.append(f"start {command} {port}")
        return "127.0.0.1", 1

    async def stop(self) -> None:
        self.calls.append("stop")

    async def wait_until_shutdown_complete(self) -> None:
        self.calls.append("wait")


async def test_a_service_that_ends_before_it_answers() -> None:
    service = Own(dies=True)
    with pytest.raises(AppGone, match="ended before it answered"):
        await api.RequestorAppClient.create(service)
    assert service.calls == ["start requestor 50005 50005", "wait"]


async def test_a_client_that_is_given_up_stops_its_service() -> None:
    service = Own()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await api.ProviderAppClient.create(service, 7)
    assert service.calls == ["start provider 7 7", "stop", "wait"]
