"""Golem applications in tests: their handlers in this process, driven as in containers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.leaks import Footprint

from lading.contracts.golem import (
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
from lading.contracts.golem.driver.events import SubtaskFailed
from lading.contracts.golem.subtasks import SubtaskStatus
from lading.contracts.golem.subtasks.database import DBTaskManager, close_all
from lading.errors import AppError, GolemTaskFailed, InputError, LadingError
from lading.testing.golem import InlineApp
from lading.testing.golem_fixtures import MakeInlineApp, golem_inline

__all__ = ["golem_inline"]

pytestmark = pytest.mark.usefixtures("grpc_stays")


class Words(RequestorAppHandler):
    """Counts the letters of words: one subtask for each line of a file."""

    async def create_task(
        self, task_work_dir: RequestorTaskDir, max_subtasks_count: int, task_params: dict[str, Any]
    ) -> Task:
        (text,) = list(task_work_dir.task_inputs_dir.iterdir())
        lines = text.read_text().split()
        if task_params.get("refuse"):
            raise ValueError("no words today")
        (task_work_dir / "lines.json").write_text(json.dumps([lines, task_params]))
        DBTaskManager(task_work_dir).create_task(len(lines))
        return create_docker_cpu_task("words", "1", Infrastructure(min_memory_mib=10))

    async def has_pending_subtasks(self, task_work_dir: RequestorTaskDir) -> bool:
        return DBTaskManager(task_work_dir).get_next_computable_part_num() is not None

    async def next_subtask(
        self, task_work_dir: RequestorTaskDir, subtask_id: str, opaque_node_id: str
    ) -> Subtask | None:
        manager = DBTaskManager(task_work_dir)
        number = manager.get_next_computable_part_num()
        if number is None:
            return None
        manager.start_subtask(number, subtask_id)
        lines, params = json.loads((task_work_dir / "lines.json").read_text())
        (task_work_dir.subtask_inputs_dir / str(number)).write_text(lines[number])
        return Subtask({"name": str(number), **params}, [str(number)])

    async def verify(
        self, task_work_dir: RequestorTaskDir, subtask_id: str
    ) -> tuple[VerifyResult, str | None]:
        manager = DBTaskManager(task_work_dir)
        result = task_work_dir.subtask_outputs_dir(subtask_id) / "count"
        manager.update_subtask_status(subtask_id, SubtaskStatus.SUCCESS)
        number = manager.get_part_num(subtask_id)
        (task_work_dir.task_outputs_dir / str(number)).write_bytes(result.read_bytes())
        return VerifyResult.SUCCESS, None

    async def abort_subtask(self, task_work_dir: RequestorTaskDir, subtask_id: str) -> None:
        DBTaskManager(task_work_dir).update_subtask_status(subtask_id, SubtaskStatus.ABORTED)

    async def discard_subtasks(
        self, task_work_dir: RequestorTaskDir, subtask_ids: list[str]
    ) -> list[str]:
        return subtask_ids

    async def run_benchmark(self, work_dir: Path) -> float:
        return 5.0


class Counter(ProviderAppHandler):
    """Counts, or what the parameters say."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    async def compute(
        self, task_work_dir: ProviderTaskDir, subtask_id: str, subtask_params: dict[str, Any]
    ) -> Path | str:
        if subtask_params.get("hang"):
            await asyncio.sleep(60)
        if subtask_params.get("wrong"):
            return "../count"
        once = Path(subtask_params.get("once", "/none"))
        with contextlib.suppress(FileNotFoundError):
            once.unlink()
            raise RuntimeError("the first one fails")
        text = (task_work_dir.subtask_inputs_dir / subtask_params["name"]).read_text()
        count = await Executor.run(len, text)
        directory = task_work_dir.subtask_dir(subtask_id)
        (directory / "count").write_text(str(count))
        return Path(subtask_id, "count")

    async def run_benchmark(self, work_dir: Path) -> float:
        return 6.0


@pytest.fixture(autouse=True)
def _let_go(footprint: Footprint, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Close databases, and forget logged exceptions, whose frames hold servers and channels."""
    yield
    close_all()
    caplog.get_records("call").clear()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("one three seventeen\n")
    return path


RESULTS = {"0": b"3", "1": b"5", "2": b"9"}


def test_a_task(golem_inline: MakeInlineApp, text: Path) -> None:
    Counter.made = 0
    app = golem_inline(Words, Counter)
    done = app.run({}, resources=[text], nodes=2)
    assert (done.files(), done.done, done.failed) == (RESULTS, 3, 0)
    assert Counter.made == 3  # a fresh one for each subtask, as in containers
    again = app.run({}, resources=[text], max_subtasks=1)
    assert again.files() == RESULTS
    assert done.output != again.output


async def test_within_a_loop(golem_inline: MakeInlineApp, text: Path, tmp_path: Path) -> None:
    app = golem_inline(Words(), Counter())
    tasks = [app.compute({}, resources=[text], output=tmp_path / name) for name in ("a", "b")]
    for done in await asyncio.gather(*tasks):
        assert await asyncio.to_thread(done.files) == RESULTS
    assert (tmp_path / "a/2").read_bytes() == b"9"


def test_what_fails_is_handed_out_again(
    golem_inline: MakeInlineApp, text: Path, tmp_path: Path
) -> None:
    once = tmp_path / "once"
    once.touch()
    done = golem_inline(Words, Counter).run({"once": str(once)}, resources=[text])
    assert (done.files(), done.done, done.failed) == (RESULTS, 3, 1)
    (failed,) = [event for event in done.events if isinstance(event, SubtaskFailed)]
    assert "the first one fails" in str(failed)


@pytest.mark.parametrize(
    ("params", "words"),
    [({"wrong": 1}, "leads out of the work dir"), ({"hang": 1}, "did not end within 0.2 s")],
)
def test_what_always_fails(
    golem_inline: MakeInlineApp, text: Path, params: dict[str, Any], words: str
) -> None:
    app = golem_inline(Words, Counter)
    with pytest.raises(GolemTaskFailed, match=words):
        app.run(params, resources=[text], subtask_timeout=0.2, retries=1, nodes=1)


def test_parameters_that_are_refused(golem_inline: MakeInlineApp, text: Path) -> None:
    with pytest.raises(AppError, match="no words today"):
        golem_inline(Words, Counter).run({"refuse": True}, resources=[text])


def test_options_and_resources_are_checked(golem_inline: MakeInlineApp, tmp_path: Path) -> None:
    app = golem_inline(Words, Counter)
    with pytest.raises(InputError, match="nothing"):
        app.run({}, resources=[tmp_path / "nothing"])
    with pytest.raises(InputError, match="--nodes"):
        app.run({}, nodes=-1)


def test_a_prerequisite_that_nobody_has(golem_inline: MakeInlineApp, text: Path) -> None:
    class Elsewhere(Words):
        async def create_task(self, *arguments: Any) -> Task:
            made = await super().create_task(*arguments)
            return Task("vm", made.prerequisites)

    with pytest.raises(LadingError, match="vm"):
        golem_inline(Elsewhere, Counter).run({}, resources=[text], retries=0)


async def test_clients_of_each_side(tmp_path: Path) -> None:
    app = InlineApp(Words, Counter, directory=tmp_path)
    task = RequestorTaskDir(tmp_path, "task")
    await asyncio.to_thread(task.prepare)
    (task.task_inputs_dir / "text").write_text("four")
    async with app.requestor() as client:
        assert await client.run_benchmark() == 5.0
        assert (await client.create_task("task", 1, {})).env_id == "docker_cpu"
        subtask = await client.next_subtask("task", "s", "node")
        assert subtask is not None
    there = tmp_path / "provider"
    async with app.provider(there) as provider:
        (there / "subtask_inputs/0").write_bytes((task.subtask_inputs_dir / "0").read_bytes())
        result = await provider.compute("task", "s", subtask.params)
    assert (there / result).read_text() == "4"
    await Executor.wait_for_shutdown()
    Executor.initialize()


def test_an_application_without_a_side(tmp_path: Path, text: Path) -> None:
    with pytest.raises(AssertionError, match="without a requestor"):
        InlineApp(provider=Counter, directory=tmp_path).run({}, resources=[text])


def test_blocking_work_ends_with_the_task(golem_inline: MakeInlineApp, text: Path) -> None:
    class Slow(Counter):
        async def compute(self, *arguments: Any) -> Path | str:
            await Executor.run(time.sleep, 0.01)
            return await super().compute(*arguments)

    assert golem_inline(Words, Slow).run({}, resources=[text]).files() == RESULTS
    assert not Executor.is_shutting_down()
