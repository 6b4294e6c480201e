"""The side that splits, judges and merges."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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
from life.plan import Plan
from life.provider import RESULT, million_cells_a_second
from life.world import Rows, Strip, centered, evolve_strip, read, write

# Lading says in which image this runs; who drives it otherwise finds the provider's side here.
IMAGE, _, TAG = os.environ.get("LADING_APP_IMAGE", "lading-task/life:dev").rpartition(":")
WORLD = "world.cells"
HAS_RESULT = (SubtaskStatus.VERIFYING, SubtaskStatus.SUCCESS)


class LifeRequestor(RequestorAppHandler):
    """Computes a world round by round.

    Two things make it different from an application whose parts don't know each other. A strip is
    handed out only when the strips of the round before that it needs have been accepted. And it is
    accepted only when its neighbours of the same round are there: each computes a row of the
    other, and these must agree. Until then the verdict is AWAITING_DATA.
    """

    async def create_task(
        self, task_work_dir: RequestorTaskDir, max_subtasks_count: int, task_params: dict[str, Any]
    ) -> Task:
        """Read the world, and plan the rounds."""
        plan = Plan.of(task_params, max_subtasks_count)
        given = task_work_dir.task_inputs_dir / Path(str(task_params.get("world", WORLD))).name
        if not given.is_file():
            raise ValueError(f"world: there is no file {given.name!r} among the resources")
        await Executor.run(_begin, task_work_dir, plan, given)
        return create_docker_cpu_task(IMAGE, TAG)

    async def has_pending_subtasks(self, task_work_dir: RequestorTaskDir) -> bool:
        """Whether a strip waits for a node, and has all that it needs."""
        return Progress(task_work_dir).next_part() is not None

    async def next_subtask(
        self, task_work_dir: RequestorTaskDir, subtask_id: str, opaque_node_id: str
    ) -> Subtask | None:
        """Hand out the next strip, with the rows that it starts from."""
        progress = Progress(task_work_dir)
        part = progress.next_part()
        if part is None:
            return None
        plan = progress.plan
        file = await Executor.run(progress.write_input, part)
        progress.manager.start_subtask(part, subtask_id)
        within, wanted = plan.within(part), plan.wanted(part)
        params = {
            "file": file,
            "width": plan.width,
            "within": [within.top, within.bottom],
            "wanted": [wanted.top, wanted.bottom],
            "generations": plan.generations_of(part),
        }
        return Subtask(params=params, resources=[file])

    async def verify(
        self, task_work_dir: RequestorTaskDir, subtask_id: str
    ) -> tuple[VerifyResult, str | None]:
        """Hold a strip against its neighbours; with the last one, write the world."""
        progress = Progress(task_work_dir)
        part = progress.manager.get_part_num(subtask_id)
        progress.manager.update_subtask_status(subtask_id, SubtaskStatus.VERIFYING)
        verdict, reason = await Executor.run(progress.judge, part)
        if verdict is VerifyResult.FAILURE:
            progress.manager.update_subtask_status(subtask_id, SubtaskStatus.FAILURE)
        elif verdict is VerifyResult.SUCCESS:
            progress.manager.update_subtask_status(subtask_id, SubtaskStatus.SUCCESS)
            await Executor.run(progress.finish)
        return verdict, reason

    async def discard_subtasks(
        self, task_work_dir: RequestorTaskDir, subtask_ids: list[str]
    ) -> list[str]:
        """Forget these strips, and those of later rounds that were computed from them."""
        progress = Progress(task_work_dir)
        gone = list(subtask_ids)
        for subtask_id in subtask_ids:
            gone += progress.dependents(subtask_id)
        gone = list(dict.fromkeys(gone))
        for subtask_id in gone:
            progress.manager.update_subtask_status(subtask_id, SubtaskStatus.ABORTED)
        (task_work_dir.task_outputs_dir / WORLD).unlink(missing_ok=True)
        return gone

    async def abort_subtask(self, task_work_dir: RequestorTaskDir, subtask_id: str) -> None:
        """Hand its strip out again."""
        manager = DBTaskManager(task_work_dir)
        manager.update_subtask_status(subtask_id, SubtaskStatus.ABORTED)

    async def abort_task(self, task_work_dir: RequestorTaskDir) -> None:
        """Forget which strips are computed."""
        DBTaskManager(task_work_dir).abort_task()

    async def run_benchmark(self, work_dir: Path) -> float:
        """Tell how many millions of cells a second this machine computes."""
        return await Executor.run(million_cells_a_second)


def _begin(task_dir: RequestorTaskDir, plan: Plan, given: Path) -> None:
    pattern = read(given.read_text("utf-8"), plan.width)
    world = centered(pattern, plan.width, plan.height)
    (task_dir / WORLD).write_text(write(world, plan.width), "utf-8")
    plan.save(task_dir)
    DBTaskManager(task_dir).create_task(len(plan.parts))


class Progress:
    """How far a task is; all of it is in the task's directory."""

    def __init__(self, task_dir: RequestorTaskDir) -> None:
        self._dir = task_dir
        self.plan = Plan.load(task_dir)
        self.manager = DBTaskManager(task_dir)
        self._states = self.manager.get_subtasks_statuses(list(self.plan.parts))

    def _is(self, part: int, *states: SubtaskStatus) -> bool:
        return self._states[part][0] in states

    def next_part(self) -> int | None:
        """Find a strip to hand out: it has no result yet, and all that it needs is accepted."""
        for part in self.plan.parts:
            if self._states[part][0].is_computable() and all(
                self._is(source, SubtaskStatus.SUCCESS) for source in self.plan.sources(part)
            ):
                return part
        return None

    def rows(self, part: int) -> Rows:
        """Read the result of a strip; raises ValueError if it is not what it should be."""
        directory = self._dir.subtask_outputs_dir(str(self._states[part][1]))
        try:
            rows = read((directory / RESULT).read_text("utf-8"), self.plan.width)
        except FileNotFoundError:
            raise ValueError(f"there is no {RESULT}") from None
        wanted = self.plan.wanted(part)
        if len(rows) != wanted.bottom - wanted.top:
            raise ValueError(f"{len(rows)} rows, not {wanted.bottom - wanted.top}")
        return rows

    def before(self, strip: Strip, number: int) -> Rows:
        """Put together the rows of a strip of the world, as they are when a round begins."""
        if number == 0:
            return strip.of(read((self._dir / WORLD).read_text("utf-8")), 0)
        rows: Rows = []
        for part in self.plan.round(number - 1):
            own = self.plan.strip(part)
            if own.touches(strip):
                common = Strip(max(own.top, strip.top), min(own.bottom, strip.bottom))
                rows += common.of(self.rows(part), self.plan.wanted(part).top)
        return rows

    def write_input(self, part: int) -> str:
        """Write the rows that a strip starts from; returns the file's name."""
        within = self.plan.within(part)
        name = f"part-{part:05}.cells"
        text = write(self.before(within, part // self.plan.strips), self.plan.width)
        (self._dir.subtask_inputs_dir / name).write_text(text, "utf-8")
        return name

    def judge(self, part: int) -> tuple[VerifyResult, str | None]:
        """Hold a result against those of its neighbours, where both have computed a row."""
        try:
            rows = self.rows(part)
        except ValueError as error:
            return VerifyResult.FAILURE, str(error)
        # A neighbour that is being verified has a result, as this one has.
        neighbours = self.plan.neighbours(part)
        waits_for = [one for one in neighbours if not self._is(one, *HAS_RESULT)]
        if waits_for:
            return VerifyResult.AWAITING_DATA, f"waits for part {waits_for[0]}"
        wanted = self.plan.wanted(part)
        for other in neighbours:
            begins = self.plan.wanted(other).top
            common = Strip(
                max(wanted.top, begins), min(wanted.bottom, self.plan.wanted(other).bottom)
            )
            mine = common.of(rows, wanted.top)
            if mine != self._rows_or_none(other, common) and mine != self._computed(part, common):
                return VerifyResult.FAILURE, f"rows {common.top} to {common.bottom} are wrong"
        return VerifyResult.SUCCESS, None

    def _rows_or_none(self, part: int, strip: Strip) -> Rows | None:
        try:
            return strip.of(self.rows(part), self.plan.wanted(part).top)
        except ValueError:
            return None

    def _computed(self, part: int, strip: Strip) -> Rows:
        """Compute a few rows here: two strips disagree, and one of them is right."""
        generations = self.plan.generations_of(part)
        within = strip.widened(generations, self.plan.height)
        known = self.before(within, part // self.plan.strips)
        return evolve_strip(known, within, strip, self.plan.width, generations)

    def dependents(self, subtask_id: str) -> list[str]:
        """Find the subtasks that were computed from what this one brought."""
        part = self.manager.get_part_num(subtask_id)
        if part is None or self._states[part][1] != subtask_id:
            return []
        found = [self._states[one] for one in self.plan.dependents(part)]
        return [str(name) for state, name in found if not state.is_computable()]

    def finish(self) -> None:
        """Write the world when the last strip has been accepted."""
        last = self.plan.round(self.plan.rounds - 1)
        states = self.manager.get_subtasks_statuses(list(last))
        if any(state is not SubtaskStatus.SUCCESS for state, _ in states.values()):
            return
        world = self.before(Strip(0, self.plan.height), self.plan.rounds)
        aside = self._dir / "finished.cells"  # the outputs hold a whole world, or none
        aside.write_text(write(world, self.plan.width), "utf-8")
        aside.replace(self._dir.task_outputs_dir / WORLD)
