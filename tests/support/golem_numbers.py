"""An application of the original's names which copies numbers; mocks as applications write them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import golem_task_api as api
from golem_task_api.apputils.task import SubtaskStatus
from golem_task_api.apputils.task.database import DBTaskManager
from golem_task_api.enums import VerifyResult
from golem_task_api.structs import Infrastructure, Subtask, Task
from golem_task_api.testutils import InlineTaskApiService

__all__ = ["AsyncMock", "Provider", "Requestor", "inline", "until"]


class AsyncMock(mock.MagicMock):
    """As applications write it, from the time before Python 3.8."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


class Requestor(api.RequestorAppHandler):
    """Hands numbers out: one part for each."""

    async def create_task(
        self, task_work_dir: Any, max_subtasks_count: int, task_params: dict[str, Any]
    ) -> Task:
        if "refuse" in task_params:
            raise ValueError(task_params["refuse"])
        DBTaskManager(task_work_dir).create_task(max_subtasks_count)
        prerequisites = {"image": "sum", "tag": "1"}
        return Task("docker_cpu", prerequisites, Infrastructure(min_memory_mib=50.0))

    async def next_subtask(
        self, task_work_dir: Any, subtask_id: str, opaque_node_id: str
    ) -> Subtask | None:
        manager = DBTaskManager(task_work_dir)
        number = manager.get_next_computable_part_num()
        if number is None or opaque_node_id == "refused":
            return None
        manager.start_subtask(number, subtask_id)
        name = f"{number}.txt"
        (task_work_dir.subtask_inputs_dir / name).write_text(str(number))
        return Subtask(params={"number": number, "resources": [name]}, resources=[name])

    async def verify(self, task_work_dir: Any, subtask_id: str) -> Any:
        manager = DBTaskManager(task_work_dir)
        result = task_work_dir.subtask_outputs_dir(subtask_id) / f"{subtask_id}.txt"
        number = manager.get_part_num(subtask_id)
        if result.read_text() != str(number):
            manager.update_subtask_status(subtask_id, SubtaskStatus.FAILURE)
            return VerifyResult.FAILURE, "it is another number"
        manager.update_subtask_status(subtask_id, SubtaskStatus.SUCCESS)
        (task_work_dir.task_outputs_dir / f"{number}.txt").write_text(result.read_text())
        return VerifyResult.SUCCESS, None

    async def discard_subtasks(self, task_work_dir: Any, subtask_ids: list[str]) -> list[str]:
        for subtask_id in subtask_ids:
            DBTaskManager(task_work_dir).update_subtask_status(subtask_id, SubtaskStatus.ABORTED)
        return subtask_ids

    async def run_benchmark(self, work_dir: Path) -> float:
        return 12.5

    async def has_pending_subtasks(self, task_work_dir: Any) -> bool:
        return DBTaskManager(task_work_dir).get_next_computable_part_num() is not None


class Provider(api.ProviderAppHandler):
    """Copies a number, or does what a test says."""

    async def compute(
        self, task_work_dir: Any, subtask_id: str, subtask_params: dict[str, Any]
    ) -> Path | str:
        match subtask_params.get("do"):
            case "wait":
                await api.threading.Executor.run(wait_for_shutdown, task_work_dir)
            case "die":
                os._exit(3)
            case "raise":
                raise ValueError("no such number")
        (name,) = subtask_params["resources"]
        text = (task_work_dir.subtask_inputs_dir / name).read_text()
        result = Path(f"{subtask_id}.txt")
        (task_work_dir / result).write_text(text)
        return str(result) if subtask_params["number"] % 2 else result

    async def run_benchmark(self, work_dir: Path) -> float:
        return float(await api.threading.Executor.run(lambda: 7))


def wait_for_shutdown(directory: Path) -> None:
    (directory / "waiting").touch()
    while not api.threading.Executor.is_shutting_down():
        time.sleep(0.01)
    (directory / "interrupted").touch()


def inline(work_dir: Path) -> InlineTaskApiService:
    return InlineTaskApiService(
        work_dir, requestor_handler=Requestor(), provider_handler=Provider()
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)
