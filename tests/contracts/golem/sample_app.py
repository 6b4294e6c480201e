"""An application for tests: what it does is said by what it is given.

As a process: ``python sample_app.py requestor|provider PORT WORK_DIR``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from lading.contracts.golem import (
    AppLifecycleHandler,
    Executor,
    Infrastructure,
    ProviderAppHandler,
    ProviderTaskDir,
    RequestorAppHandler,
    RequestorTaskDir,
    Subtask,
    Task,
    VerifyResult,
    create_docker_cpu_task,
)


class Requestor(RequestorAppHandler):
    """Remembers its calls; a subtask's id says what becomes of it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.waiting = asyncio.Event()

    async def create_task(
        self, task_work_dir: RequestorTaskDir, max_subtasks_count: int, task_params: dict[str, Any]
    ) -> Task:
        self.calls.append(("create_task", task_work_dir, max_subtasks_count, task_params))
        if "raise" in task_params:
            raise ValueError(task_params["raise"])
        return create_docker_cpu_task("image", "1.0", Infrastructure(min_memory_mib=64.0))

    async def next_subtask(
        self, task_work_dir: RequestorTaskDir, subtask_id: str, opaque_node_id: str
    ) -> Subtask | None:
        self.calls.append(("next_subtask", task_work_dir, subtask_id, opaque_node_id))
        if opaque_node_id == "unwanted":
            return None
        if subtask_id == "large":
            return Subtask(params={"load": "x" * (16 * 1024 * 1024)}, resources=[])
        return Subtask(params={"part": subtask_id}, resources=["a", "b"])

    async def verify(
        self, task_work_dir: RequestorTaskDir, subtask_id: str
    ) -> tuple[VerifyResult, str | None]:
        self.calls.append(("verify", task_work_dir, subtask_id))
        if subtask_id == "hang":
            self.waiting.set()
            await asyncio.to_thread((task_work_dir.parent / "busy").touch)
            await asyncio.Event().wait()
        return VerifyResult[subtask_id], None if subtask_id == "SUCCESS" else "because"

    async def discard_subtasks(
        self, task_work_dir: RequestorTaskDir, subtask_ids: list[str]
    ) -> list[str]:
        self.calls.append(("discard_subtasks", task_work_dir, subtask_ids))
        return [*subtask_ids, "dependent"]

    async def run_benchmark(self, work_dir: Path) -> float:
        self.calls.append(("run_benchmark", work_dir))
        return 12.5

    async def has_pending_subtasks(self, task_work_dir: RequestorTaskDir) -> bool:
        self.calls.append(("has_pending_subtasks", task_work_dir))
        return task_work_dir.name == "pending"

    async def abort_task(self, task_work_dir: RequestorTaskDir) -> None:
        self.calls.append(("abort_task", task_work_dir))

    async def abort_subtask(self, task_work_dir: RequestorTaskDir, subtask_id: str) -> None:
        self.calls.append(("abort_subtask", task_work_dir, subtask_id))


class Provider(ProviderAppHandler):
    """Computes what the parameters say."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()

    async def compute(
        self, task_work_dir: ProviderTaskDir, subtask_id: str, subtask_params: dict[str, Any]
    ) -> Path | str:
        match subtask_params.get("do", "write"):
            case "hang":
                self.waiting.set()
                await asyncio.to_thread((task_work_dir / "busy").touch)
                await asyncio.Event().wait()
            case "block":
                await Executor.run(_block, task_work_dir / "busy", deaf="deaf" in subtask_params)
            case "raise":
                raise ValueError(subtask_params["text"])
            case "echo":
                return str(len(subtask_params["load"]))
        result = task_work_dir.subtask_dir(subtask_id) / "result"
        await asyncio.to_thread(result.write_text, str(subtask_params))
        return result.relative_to(task_work_dir)

    async def run_benchmark(self, work_dir: Path) -> float:
        return 0.5


class Diary(AppLifecycleHandler):
    """Writes down when it is called."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    async def on_before_startup(self) -> None:
        self.entries.append("before startup")

    async def on_after_startup(self) -> None:
        self.entries.append("after startup")

    async def on_before_shutdown(self) -> None:
        self.entries.append("before shutdown")

    async def on_after_shutdown(self) -> None:
        self.entries.append("after shutdown")


def _block(mark: Path, *, deaf: bool) -> None:
    """Work until told to end, as a computation does that can't be cancelled."""
    mark.touch()
    while deaf or not Executor.is_shutting_down():
        time.sleep(0.001)


if __name__ == "__main__":
    from lading.contracts.golem.entrypoint import main

    *arguments, directory = sys.argv[1:]
    handlers = {"requestor_handler": Requestor(), "provider_handler": Provider()}
    asyncio.run(main(Path(directory), arguments, **handlers))  # type: ignore[arg-type]
