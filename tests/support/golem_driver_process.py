"""A driver as a process of its own that can be killed: runs or resumes a task of the fakes.

Usage: ``python -m tests.support.golem_driver_process FOLDER TASK PIECES NODES``
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from tests.support.golem_fakes import FakeProviders, Stage, dead

from lading.contracts.golem.driver.nodes import Node, Work
from lading.contracts.golem.driver.records import Assignment
from lading.contracts.golem.structs import VerifyResult


class Counted(FakeProviders):
    """Leaves a line in a file for every computation, when it begins."""

    def __init__(self, folder: Path) -> None:
        super().__init__(self._do)
        self._log = (folder / "computed").open("a", buffering=1)
        self._random = random.Random()

    def _do(self, node: Node, work: Work, attempt: int) -> object:
        self._log.write(f"{work.params['piece']}\n")
        chance = self._random.random()
        if chance < 0.05:
            return dead()
        if chance < 0.1:
            return "wrong"
        return (lambda: asyncio.sleep(0.002)) if chance < 0.5 else None


async def main(folder: Path, task: str, pieces: int, nodes: int) -> None:
    play = Stage(folder)
    play.options = {"nodes": nodes, "rest": 0.01, "retries": 50}
    play.params = {"pieces": pieces}
    first = play.assign()
    play.assignment = Assignment(
        first.app, first.params, first.resources, first.output, first.options, task
    )
    play.app.work = play.home / "work"
    play.providers = Counted(folder)
    waited: set[str] = set()

    def task_on_the_wire() -> str:
        return play.journal.task(task).wire_id

    def judge(piece: int, subtask: str, got: str) -> VerifyResult | None:
        left = sum(state != "done" for state, _ in play.app.pieces(task_on_the_wire()).values())
        if piece % 5 == 1 and left > 12 and subtask not in waited:
            waited.add(subtask)
            return VerifyResult.AWAITING_DATA
        return None

    play.app.judges = judge
    known = [record for record in play.journal.tasks() if record.task_id == task]
    if known and known[0].ended:
        return  # the one before was killed at its very end
    if known:
        await play.resume()
    else:
        await play.run()
    play.check()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
