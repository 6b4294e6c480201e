"""Rules 1 to 4 of "How a requestor drives an app", by name, on applications that do as told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.golem_fakes import Stage, dead

from lading.contracts.golem.driver.events import (
    NodeChanged,
    NodeRested,
    NodeState,
    Progress,
    SubtaskFailed,
)
from lading.contracts.golem.driver.nodes import node_id
from lading.contracts.golem.driver.records import TaskState
from lading.errors import AppError, AppGone, GolemTaskFailed, OutOfMemory, TimedOut


async def test_a_task_is_computed_and_its_results_are_moved(play: Stage) -> None:
    outcome = await play.run()
    assert play.outputs() == play.wanted()
    assert outcome.done == 6
    assert outcome.failed == 0
    assert outcome.notes == ()
    assert not play.home.exists()
    assert play.journal.task(play.task).state is TaskState.DONE
    assert play.told(Progress)[-1].done == 6
    assert play.app.names()[-1] == "Shutdown"
    assert "AbortTask" not in play.app.names()


# 1. Directories and resources.


async def test_resources_are_there_before_create_task(play: Stage, tmp_path: Path) -> None:
    given = tmp_path / "given"
    (given / "sub" / "empty").mkdir(parents=True)
    (given / "a.txt").write_text("a")
    (given / "sub" / "b.txt").write_text("b")
    play.resources = (given,)
    seen: dict[str, bytes] = {}

    def look(directory: Path) -> None:
        inputs = directory / "task_inputs"
        seen.update(
            (str(path.relative_to(inputs)), path.read_bytes() if path.is_file() else b"/")
            for path in inputs.rglob("*")
        )

    play.app.looks = look
    await play.run()
    assert seen == {"a.txt": b"a", "sub": b"/", "sub/b.txt": b"b", "sub/empty": b"/"}
    assert play.app.given == play.params
    assert play.app.limit == 3, "one subtask for each node, unless somebody says otherwise"


async def test_create_task_is_told_how_many_subtasks(play: Stage) -> None:
    await play.run(max_subtasks=17)
    assert play.app.limit == 17
    assert play.app.count("CreateTask") == 1


async def test_a_task_that_is_refused_fails_with_the_applications_words(play: Stage) -> None:
    play.app.errs = lambda name, _: "no such codec" if name == "CreateTask" else ""
    with pytest.raises(AppError, match=r"CreateTask: no such codec \(INTERNAL\)"):
        await play.run()
    record = play.journal.task(play.task)
    assert (record.state, record.error) == (
        TaskState.FAILED,
        "CreateTask: no such codec (INTERNAL)",
    )
    assert play.app.names()[-1] == "Shutdown"


# 3. Hand-out.


async def test_next_subtask_is_called_after_has_pending_subtasks_only(play: Stage) -> None:
    play.params["pieces"] = 20
    play.app.waits = lambda name, _: 0.001 if "Subtask" in name else 0
    await play.run(nodes=5)
    assert play.app.count("NextSubtask") == 20, "and never when nothing is pending"


async def test_a_refused_node_is_asked_again_and_others_go_on(play: Stage) -> None:
    second = node_id(play.task, 2)
    play.app.refuses = lambda node, calls: node == second and calls < 6
    await play.run()
    assert play.outputs() == play.wanted()
    states = [event.state for event in play.told(NodeChanged) if event.node == 2]
    assert NodeState.REFUSED in states
    assert NodeState.COMPUTING in states, "once the application changes its mind"


async def test_a_node_that_is_always_refused_stops_nobody(play: Stage) -> None:
    third = node_id(play.task, 3)
    play.app.refuses = lambda node, _: node == third
    await play.run()
    assert play.outputs() == play.wanted()
    assert play.providers.by_node[3] == 0


async def test_a_task_whose_every_node_is_refused_fails_with_words(play: Stage) -> None:
    play.app.refuses = lambda node, calls: calls > 2
    with pytest.raises(GolemTaskFailed, match="refuses it to every node"):
        await play.run()
    assert play.app.names()[-2:] == ["AbortTask", "Shutdown"]
    assert play.journal.task(play.task).done == 2, "what was handed out before was done"


async def test_nodes_compute_at_once_but_each_one_at_a_time(play: Stage) -> None:
    play.params["pieces"] = 12
    together = asyncio.Barrier(4)

    async def meet() -> None:
        async with asyncio.timeout(20):
            await together.wait()

    play.providers.behave = lambda node, work, attempt: meet
    await play.run(nodes=4)
    assert play.providers.most == 4
    assert play.outputs() == play.wanted()


async def test_an_application_that_cannot_hand_out_is_asked_again_and_then_given_up(
    play: Stage,
) -> None:
    first: list[str] = []

    def once(name: str, subtask: str) -> str:
        if name == "NextSubtask" and len(first) < 2:
            first.append(subtask)
            return "the database is locked"
        return ""

    play.app.errs = once
    await play.run()
    assert play.outputs() == play.wanted()
    assert [s for name, s in play.app.calls if name == "DiscardSubtasks"] == first


async def test_an_application_that_never_can_hand_out_is_given_up(play: Stage) -> None:
    play.app.errs = lambda name, _: "oh no" if name == "HasPendingSubtasks" else ""
    with pytest.raises(GolemTaskFailed, match=r"can't hand out .* 4 times, the last: .*oh"):
        await play.run()


# 4. Computing.


async def test_a_failed_subtask_is_aborted_and_handed_out_again(play: Stage) -> None:
    play.providers.behave = lambda node, work, attempt: (
        dead() if work.params["piece"] == 2 and attempt == 1 else None
    )
    outcome = await play.run()
    assert play.outputs() == play.wanted()
    assert outcome.failed == 1
    (failure,) = play.told(SubtaskFailed)
    assert (failure.failures, failure.allowed, failure.reason) == (1, 3, "exited with 1")
    aborted = [subtask for name, subtask in play.app.calls if name == "AbortSubtask"]
    assert aborted == [failure.subtask_id]
    attempts = {e.attempt for e in play.told(NodeChanged) if e.state is NodeState.COMPUTING}
    assert attempts == {1, 2}


async def test_where_abort_subtask_fails_the_subtask_is_discarded(play: Stage) -> None:
    play.providers.behave = lambda node, work, attempt: dead() if attempt == 1 else None
    play.app.errs = lambda name, _: "oh no" if name == "AbortSubtask" else ""
    await play.run(rest=0.0)
    assert play.outputs() == play.wanted()
    assert play.app.count("DiscardSubtasks") == 6


async def test_work_that_is_never_handed_out_again_is_told(play: Stage) -> None:
    play.providers.behave = lambda node, work, attempt: (
        dead() if work.params["piece"] == 3 else None
    )
    play.app.errs = lambda name, _: "no" if name in ("AbortSubtask", "DiscardSubtasks") else ""
    with pytest.raises(GolemTaskFailed, match="was never done, and the application can't be made"):
        await play.run()
    assert play.journal.task(play.task).done == 5


async def test_a_subtask_has_a_deadline(play: Stage) -> None:
    play.providers.behave = lambda node, work, attempt: (
        TimedOut("took too long", seconds=7) if attempt == 1 else None
    )
    await play.run(subtask_timeout=7.0)
    assert play.providers.deadlines == {7.0}
    assert play.app.count("AbortSubtask") == 6
    assert play.outputs() == play.wanted()


async def test_a_provider_that_dies_is_not_taken_for_the_requestor(play: Stage) -> None:
    play.providers.behave = lambda node, work, attempt: (
        AppGone("Compute", "UNAVAILABLE", "died") if attempt == 1 else None
    )
    await play.run(rest=0.0)
    assert play.app.revived == 0
    assert play.outputs() == play.wanted()


async def test_the_same_piece_of_work_may_fail_so_often(play: Stage) -> None:
    play.providers.behave = lambda node, work, attempt: (
        OutOfMemory("fake", limit=1, peak=1, logs="allocating\n")
        if work.params["piece"] == 4
        else None
    )
    with pytest.raises(GolemTaskFailed, match="failed 3 times, and may be retried 2") as caught:
        await play.run(retries=2)
    assert "killed: out of memory" in str(caught.value)
    assert caught.value.logs == "allocating\n"
    assert play.providers.computed[4] == 3
    assert play.app.names()[-2:] == ["AbortTask", "Shutdown"]
    record = play.journal.task(play.task)
    assert record.state is TaskState.FAILED
    assert "out of memory" in record.error


async def test_too_many_failures_of_different_pieces_are_given_up(play: Stage) -> None:
    # An application whose parameters never are the same hides that it is the same work.
    count = iter(range(1000))
    play.app.params = lambda piece: {"salt": next(count)}
    play.providers.behave = lambda node, work, attempt: dead()
    with pytest.raises(GolemTaskFailed, match="8 subtasks failed in a row, and none succeeded"):
        await play.run(retries=1, rest=0.0)


async def test_a_node_that_fails_repeatedly_rests(play: Stage) -> None:
    play.params["pieces"] = 30
    play.providers.behave = lambda node, work, attempt: dead() if node.number == 2 else None
    await play.run(nodes=2, rest=0.02, retries=9)
    rests = play.told(NodeRested)
    assert rests
    assert {rest.node for rest in rests} == {2}
    assert [rest.seconds for rest in rests[:2]] == [0.02, 0.04][: len(rests)]
    assert rests[0].failures == 3
    states = [event.state for event in play.told(NodeChanged) if event.node == 2]
    assert NodeState.RESTING in states


async def test_the_end_does_not_wait_for_a_node_that_rests(play: Stage) -> None:
    play.params["pieces"] = 8
    play.providers.behave = lambda node, work, attempt: dead() if node.number == 2 else None
    async with asyncio.timeout(30):
        await play.run(nodes=2, rest=1000.0, retries=9)
    assert play.outputs() == play.wanted()
