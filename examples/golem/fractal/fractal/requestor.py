"""The side that splits, judges and merges."""

from __future__ import annotations

import dataclasses
import json
import os
import random
from pathlib import Path
from typing import Any

from fractal.provider import RESULT, pixels_a_second
from fractal.render import Picture, Tile, png, row, tiles
from lading.contracts.golem import (
    Executor,
    RequestorAppHandler,
    RequestorTaskDir,
    Subtask,
    Task,
    VerifyResult,
    create_docker_cpu_task,
)
from lading.contracts.golem.subtasks import SubtaskStatus
from lading.contracts.golem.subtasks.database import DBTaskManager

# Lading says in which image this runs; who drives it otherwise finds the provider's side here.
IMAGE, _, TAG = os.environ.get("LADING_APP_IMAGE", "lading-task/fractal:dev").rpartition(":")
PICTURE = "fractal.png"
ROWS_CHECKED = 3


class FractalRequestor(RequestorAppHandler):
    """Splits a picture into tiles, and puts them together again.

    What it must remember is in the task's directory, not in this object: its container may die,
    and another one goes on.
    """

    async def create_task(
        self, task_work_dir: RequestorTaskDir, max_subtasks_count: int, task_params: dict[str, Any]
    ) -> Task:
        """Cut the picture; parameters that make no sense are refused here, with words."""
        picture = Picture.of(task_params)
        parts = tiles(picture, max_subtasks_count)
        plan = {
            "picture": dataclasses.asdict(picture),
            "tiles": [dataclasses.asdict(tile) for tile in parts],
        }
        (task_work_dir / "plan.json").write_text(json.dumps(plan), "utf-8")
        DBTaskManager(task_work_dir).create_task(len(parts))
        return create_docker_cpu_task(IMAGE, TAG)

    async def has_pending_subtasks(self, task_work_dir: RequestorTaskDir) -> bool:
        """Whether a tile waits for a node."""
        return DBTaskManager(task_work_dir).get_next_computable_part_num() is not None

    async def next_subtask(
        self, task_work_dir: RequestorTaskDir, subtask_id: str, opaque_node_id: str
    ) -> Subtask | None:
        """Hand out the next tile."""
        manager = DBTaskManager(task_work_dir)
        number = manager.get_next_computable_part_num()
        if number is None:
            return None
        manager.start_subtask(number, subtask_id)
        plan = _plan(task_work_dir)
        return Subtask(params={"picture": plan["picture"], "tile": plan["tiles"][number]})

    async def verify(
        self, task_work_dir: RequestorTaskDir, subtask_id: str
    ) -> tuple[VerifyResult, str | None]:
        """Check a tile; with the last one, write the picture."""
        manager = DBTaskManager(task_work_dir)
        number = manager.get_part_num(subtask_id)
        plan = _plan(task_work_dir)
        picture, tile = Picture.of(plan["picture"]), Tile(**plan["tiles"][number])
        manager.update_subtask_status(subtask_id, SubtaskStatus.VERIFYING)
        result = task_work_dir.subtask_outputs_dir(subtask_id) / RESULT
        if reason := await Executor.run(what_is_wrong, picture, tile, result):
            manager.update_subtask_status(subtask_id, SubtaskStatus.FAILURE)
            return VerifyResult.FAILURE, reason
        manager.update_subtask_status(subtask_id, SubtaskStatus.SUCCESS)
        await Executor.run(_merge_if_complete, task_work_dir, picture, plan)
        return VerifyResult.SUCCESS, None

    async def discard_subtasks(
        self, task_work_dir: RequestorTaskDir, subtask_ids: list[str]
    ) -> list[str]:
        """Hand these tiles out again; no other one depends on them."""
        for subtask_id in subtask_ids:
            await self.abort_subtask(task_work_dir, subtask_id)
        (task_work_dir.task_outputs_dir / PICTURE).unlink(missing_ok=True)
        return subtask_ids

    async def abort_subtask(self, task_work_dir: RequestorTaskDir, subtask_id: str) -> None:
        """Hand its tile out again."""
        DBTaskManager(task_work_dir).update_subtask_status(subtask_id, SubtaskStatus.ABORTED)

    async def abort_task(self, task_work_dir: RequestorTaskDir) -> None:
        """Forget which tiles are computed."""
        DBTaskManager(task_work_dir).abort_task()

    async def run_benchmark(self, work_dir: Path) -> float:
        """Tell how many pixels a second this machine renders."""
        return await Executor.run(pixels_a_second)


def what_is_wrong(picture: Picture, tile: Tile, result: Path) -> str | None:
    """Look at a tile's size, and render some of its rows again."""
    try:
        pixels = result.read_bytes()
    except OSError as error:
        return f"there is no {RESULT}: {error.strerror}"
    if len(pixels) != tile.size:
        return f"{len(pixels)} bytes, not {tile.size}"
    length = 3 * tile.width
    for number in random.sample(range(tile.height), min(ROWS_CHECKED, tile.height)):
        if pixels[number * length : (number + 1) * length] != row(picture, tile, number):
            return f"row {number} is not what it should be"
    return None


def _plan(task_work_dir: RequestorTaskDir) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((task_work_dir / "plan.json").read_text("utf-8"))
    return plan


def _merge_if_complete(
    task_work_dir: RequestorTaskDir, picture: Picture, plan: dict[str, Any]
) -> None:
    numbers = range(len(plan["tiles"]))
    states = DBTaskManager(task_work_dir).get_subtasks_statuses(list(numbers))
    done = {num: name for num, (state, name) in states.items() if state is SubtaskStatus.SUCCESS}
    if len(done) < len(numbers):
        return
    parts = [
        (
            Tile(**plan["tiles"][number]),
            (task_work_dir.subtask_outputs_dir(name) / RESULT).read_bytes(),
        )
        for number, name in done.items()
    ]
    aside = task_work_dir / PICTURE  # the outputs hold a whole picture, or none
    with aside.open("wb") as file:
        file.writelines(png(picture, parts))
    aside.replace(task_work_dir.task_outputs_dir / PICTURE)
