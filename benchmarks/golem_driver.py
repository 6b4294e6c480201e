"""A driver with an application and providers that only pretend: ``python -m benchmarks.golem_driver
SUBTASKS FOLDER`` prints what its process took, as JSON.

The journal, the directories and the files are real, and all that `lading golem run` loads is
loaded. So what is counted is the driver, and what it keeps of each subtask.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import lading.cli.golem_run
import lading.cli.golem_session
import lading.cli.golem_shown
import lading.contracts.golem.clients
import lading.contracts.golem.driver.requestor
import lading.engine.docker
from lading.contracts.golem.driver.journal import Journal, journal_path
from lading.contracts.golem.driver.nodes import Node, Work
from lading.contracts.golem.driver.options import DriverOptions
from lading.contracts.golem.driver.records import AppReference, Assignment
from lading.contracts.golem.driver.task import run_task, task_home
from lading.contracts.golem.structs import Subtask, Task, VerifyResult

_NODES = 8


class _App:
    """Hands out numbers, and finds every result right."""

    def __init__(self, subtasks: int, outputs: Path) -> None:
        self._left = subtasks
        self._outputs = outputs

    async def create_task(self, *_arguments: Any) -> Task:
        return Task("docker_cpu", {"image": "pretended", "tag": "1"})

    async def has_pending_subtasks(self, _task_id: str) -> bool:
        return self._left > 0

    async def next_subtask(self, _task_id: str, _subtask_id: str, _node: str) -> Subtask | None:
        self._left -= 1
        return Subtask({"number": self._left, "of": "many"})

    async def verify(self, _task_id: str, _subtask_id: str) -> tuple[VerifyResult, str | None]:
        if self._left == 0:
            self._outputs.joinpath("result").write_text("done")
        return VerifyResult.SUCCESS, None

    async def discard_subtasks(self, _task_id: str, subtask_ids: list[str]) -> list[str]:
        return subtask_ids

    async def run_benchmark(self) -> float:
        return 1.0

    async def abort_task(self, _task_id: str) -> None: ...

    async def abort_subtask(self, _task_id: str, _subtask_id: str) -> None: ...

    async def shutdown(self) -> None: ...

    async def revive(self) -> None: ...


class _Providers:
    """Write a small result, at once."""

    async def compute(self, node: Node, work: Work, *, deadline: float | None) -> Path:  # noqa: ARG002
        result = Path(work.subtask_id, "result")
        await asyncio.to_thread(_write, node.directory / result, str(work.params["number"]))
        return result

    async def close(self) -> None: ...


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


async def _main(subtasks: int, folder: Path) -> None:
    options = DriverOptions(nodes=_NODES, max_subtasks=subtasks)
    app = AppReference("pretended", "pretended:1")
    assignment = Assignment(app, {}, (), folder / "output", options)
    home = task_home(folder, assignment.task_id)
    (home / "work").mkdir(parents=True)
    outputs = home / "work" / assignment.task_id / "task_outputs"
    begun = _resident()
    began = time.perf_counter()
    with contextlib.closing(Journal(journal_path(folder))) as journal:
        shown = lading.cli.golem_shown.Shown()
        await run_task(
            _App(subtasks, outputs), _Providers(), journal, assignment, home=home, on_event=shown
        )
    seconds = time.perf_counter() - began
    print(json.dumps({"begun": begun, "most": _resident("VmHWM"), "seconds": seconds}))


def _resident(key: str = "VmRSS") -> float:
    """In MB (10^6 bytes)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2])))
