"""Whatever fails, refuses or dies: each piece is verified once, or the task fails in words."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from tests.support.golem_fakes import Stage, dead, stage

from lading.contracts.golem.driver.events import Event, NodeChanged, NodeState, Progress
from lading.contracts.golem.driver.nodes import Node, Work, node_id
from lading.contracts.golem.driver.options import Compare
from lading.contracts.golem.driver.records import TaskState
from lading.contracts.golem.structs import VerifyResult
from lading.errors import AppGone, GolemTaskFailed, OutOfMemory, TimedOut

FAULTS: dict[str, Any] = {
    "dies": dead("exited with 137"),
    "gone": AppGone("Compute", "UNAVAILABLE", "died"),
    "memory": OutOfMemory("fake", limit=1, peak=2),
    "time": TimedOut("took too long", seconds=1),
    "wrong": "wrong",
    "empty": "",
    "missing": Path("nowhere"),
    "outside": Path("../../lock"),
    "absolute": Path("/etc/hostname"),
}
CALLS = ["CreateTask", "HasPendingSubtasks", "NextSubtask", "Verify", "AbortSubtask"]
VERDICTS = [VerifyResult.AWAITING_DATA, VerifyResult.FAILURE, VerifyResult.INCONCLUSIVE]

sparse = st.integers(0, 40)


@dataclass
class Plan:
    """What happens, by the how many-th time."""

    nodes: int
    pieces: int
    replicas: int
    retries: int
    faults: dict[int, str]
    """At which computation, counted from 0."""
    pauses: list[int]
    """How many turns of the loop computations take."""
    verdicts: dict[int, VerifyResult]
    """At which call of Verify."""
    refusals: set[int]
    """At which call of NextSubtask."""
    deaths: dict[int, bool]
    """At which call of all; whether after it has done its work."""
    errors: set[int]
    stops: set[int]
    """At which call of all the driver is stopped, and another one goes on."""
    count: Counter[str] = field(default_factory=Counter)

    def next(self, name: str) -> int:
        self.count[name] += 1
        return self.count[name] - 1


plans = st.builds(
    Plan,
    nodes=st.integers(1, 4),
    pieces=st.integers(0, 7),
    replicas=st.integers(1, 3),
    retries=st.integers(0, 3),
    faults=st.dictionaries(sparse, st.sampled_from(sorted(FAULTS)), max_size=8),
    pauses=st.lists(st.integers(0, 6), min_size=1, max_size=5),
    verdicts=st.dictionaries(sparse, st.sampled_from(VERDICTS), max_size=8),
    refusals=st.sets(sparse, max_size=8),
    deaths=st.dictionaries(st.integers(0, 80), st.booleans(), max_size=3),
    errors=st.sets(st.integers(0, 80), max_size=2),
    stops=st.sets(st.integers(0, 80), max_size=2),
)


def follow(play: Stage, plan: Plan) -> None:
    """Have the application and the providers do as planned."""

    def behave(node: Node, work: Work, attempt: int) -> object:
        number = plan.next("Compute")

        async def act() -> object:
            for _ in range(plan.pauses[number % len(plan.pauses)]):
                await asyncio.sleep(0)
            return FAULTS.get(plan.faults.get(number, ""))

        return act

    def dies(name: str, subtask: str) -> bool:
        at = plan.next("all")
        plan.count["at"] = at
        if at in plan.stops and play.driver is not None:
            plan.stops.discard(at)
            play.driver.cancel()
        return name in CALLS and plan.deaths.get(at) is False

    def errs(name: str, subtask: str) -> str:
        return "oh no" if plan.count["at"] in plan.errors and name != "CreateTask" else ""

    play.providers.behave = behave
    play.app.died = dies
    play.app.died_after = lambda name, _: (
        name in CALLS and plan.deaths.get(plan.count["at"]) is True
    )
    play.app.errs = errs
    play.app.judges = lambda *_: plan.verdicts.get(plan.next("Verify"))
    play.app.refuses = lambda *_: plan.next("Next") in plan.refusals


async def drive(play: Stage) -> object:
    """Run, and resume as often as it is stopped."""
    began = False
    while True:
        play.driver = asyncio.create_task(play.resume() if began else play.run())
        try:
            return await play.driver
        except asyncio.CancelledError:
            if not play.driver.cancelled():
                raise
            began = True
            if (record := play.journal.task(play.task)).ended:
                if record.state is TaskState.FAILED:
                    raise GolemTaskFailed(record.error) from None
                return record
            assert play.providers.running == {}
            if not play.app.alive:
                await play.app.revive()


def check_numbers(events: list[Event], most: int) -> None:
    """What is told makes sense at every moment."""
    for one in events:
        if isinstance(one, Progress):
            numbers = (one.done, one.running, one.verifying, one.awaiting, one.failed)
            assert min(numbers) >= 0
            assert one.running <= most
            assert one.awaiting <= one.verifying
        if isinstance(one, NodeChanged):
            assert (one.subtask_id != "") == (one.state is NodeState.COMPUTING)


@given(plans)
@settings(
    max_examples=25,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a failure is planned, not shrunk
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
async def test_each_piece_is_verified_once_or_the_task_fails_in_words(plan: Plan) -> None:
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder)) as play:
        replicas = min(plan.replicas, plan.nodes)
        play.params = {"pieces": plan.pieces}
        play.options = {
            "nodes": plan.nodes, "replicas": replicas, "rest": 0.0, "retries": plan.retries,
        }  # fmt: skip
        follow(play, plan)
        try:
            async with asyncio.timeout(20):
                await drive(play)
        except GolemTaskFailed as error:
            event("failed")
            assert len(error.message) > 20
            assert play.journal.task(play.task).state is TaskState.FAILED
            assert play.app.names()[-1] == "Shutdown" or not play.app.alive
        else:
            event("done")
            record = play.journal.task(play.task)
            assert (record.state, record.done) == (TaskState.DONE, plan.pieces)
            assert await asyncio.to_thread(play.outputs) == play.wanted()
            assert sum(play.journal.open_counts(play.task).values()) == 0
        check_numbers(play.events, plan.nodes if replicas == 1 else 2 * plan.nodes)


@pytest.mark.slow
async def test_a_thousand_subtasks(play: Stage) -> None:
    play.params = {"pieces": 1000}
    play.providers.behave = lambda node, work, attempt: (
        dead() if work.params["piece"] % 50 == 7 and attempt == 1 else None
    )
    outcome = await play.run(nodes=8)
    assert (outcome.done, outcome.failed) == (1000, 20)
    assert await asyncio.to_thread(play.outputs) == play.wanted()


async def test_two_tasks_share_a_journal(play: Stage, tmp_path: Path) -> None:
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    with stage(other_folder) as other:
        other.journal.close()
        other.journal = type(play.journal)(play.journal.path)
        other.params = {"pieces": 30}
        play.params = {"pieces": 30}
        async with asyncio.TaskGroup() as group:
            group.create_task(play.run())
            group.create_task(other.run())
        for each in (play, other):
            assert await asyncio.to_thread(each.outputs) == each.wanted()
    assert {record.done for record in play.journal.tasks()} == {30}


async def test_another_process_may_have_the_journal_locked(play: Stage) -> None:
    """Then everything waits for it, in order, and the loop for nothing."""
    over = threading.Event()

    def lock_again_and_again() -> int:
        count = 0
        with contextlib.closing(sqlite3.connect(play.journal.path, timeout=30)) as other:
            other.isolation_level = None
            while not over.is_set():
                other.execute("BEGIN IMMEDIATE")
                over.wait(0.01)
                other.execute("COMMIT")
                over.wait(0.01)
                count += 1
        return count

    play.params = {"pieces": 30}
    play.providers.behave = lambda node, work, attempt: (
        dead() if work.params["piece"] % 7 == 3 and attempt < 3 else None
    )
    locking = asyncio.create_task(asyncio.to_thread(lock_again_and_again))
    try:
        outcome = await play.run(retries=2)
    finally:
        over.set()
        locked = await locking
    assert locked > 5
    assert (outcome.done, outcome.failed) == (30, 8)
    assert await asyncio.to_thread(play.outputs) == play.wanted()


@pytest.mark.parametrize("compare", list(Compare))
def test_the_ways_to_compare_are_words(compare: Compare) -> None:
    assert Compare(str(compare)) is compare


def test_nodes_have_opaque_ids() -> None:
    ids = {node_id(task, number) for task in ("a", "b") for number in range(20)}
    assert len(ids) == 40
    assert all(len(name) == 32 and int(name, 16) for name in ids)
