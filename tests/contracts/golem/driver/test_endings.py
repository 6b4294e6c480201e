"""Rule 6 of "How a requestor drives an app": the end, early ends, and deaths."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.golem_fakes import Stage, dead, right

from lading.contracts.golem.driver.nodes import Node, Work
from lading.contracts.golem.driver.records import TaskState
from lading.contracts.golem.structs import VerifyResult
from lading.errors import GolemTaskFailed, InputError


async def test_a_task_that_needs_no_subtasks_is_done(play: Stage) -> None:
    play.params["pieces"] = 0
    outcome = await play.run()
    assert play.outputs() == {}
    assert outcome.notes == ("the application has left no results: the output directory is empty",)


async def test_the_time_of_a_task_is_limited(play: Stage) -> None:
    play.providers.behave = lambda node, work, attempt: lambda: asyncio.sleep(1000)
    with pytest.raises(GolemTaskFailed, match=r"not done within 200 ms \(--task-timeout\)"):
        await play.run(task_timeout=0.2)
    assert play.app.names()[-2:] == ["AbortTask", "Shutdown"]
    assert play.providers.cancelled == 3, "and nothing is computed any more"
    assert play.journal.task(play.task).state is TaskState.FAILED


@pytest.mark.parametrize(
    "phase", ["CreateTask", "HasPendingSubtasks", "NextSubtask", "Compute", "Verify", "Shutdown"]
)
async def test_a_task_is_aborted_in_every_phase(play: Stage, phase: str) -> None:
    def ask(name: str, _: str) -> float:
        if name == phase:
            play.journal.ask_abort(play.task)
            return 8.0 if name == "Shutdown" else 1000.0
        return 0.0

    def behave(node: Node, work: Work, attempt: int) -> object:
        return (lambda: asyncio.sleep(ask("Compute", ""))) if phase == "Compute" else None

    play.app.waits = lambda name, s: 0.0 if play.app.count("AbortTask") else ask(name, s)
    play.providers.behave = behave
    with pytest.raises(GolemTaskFailed, match=f"task {play.task}: aborted"):
        await play.run()
    assert play.app.names()[-2:] == ["AbortTask", "Shutdown"]
    assert play.journal.task(play.task).state is TaskState.ABORTED
    assert not play.home.exists()
    assert not (play.folder / "output").exists()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "call", ["CreateTask", "HasPendingSubtasks", "NextSubtask", "Verify", "AbortSubtask"]
)
async def test_a_requestor_that_dies_in_a_call_is_started_again(
    play: Stage, call: str, after: bool
) -> None:
    count = {"CreateTask": 1, "AbortSubtask": 1}.get(call, 3)

    def dies(name: str, _: str) -> bool:
        return name == call and play.app.count(call) == count and not play.app.revived

    setattr(play.app, "died_after" if after else "died", dies)
    play.providers.behave = lambda node, work, attempt: (
        dead() if work.params["piece"] == 3 and attempt == 1 else None
    )
    await play.run()
    assert play.app.revived == 1
    assert play.outputs() == play.wanted()
    if call == "CreateTask":
        first, second = (path.name for path in [*_ids(play)])
        assert first != second, "it begins anew under another id"
    elif call != "HasPendingSubtasks":
        assert "DiscardSubtasks" in play.app.names()


def _ids(play: Stage) -> list[Path]:
    record = play.journal.task(play.task)
    return [Path(record.task_id), Path(record.wire_id)]


async def test_what_is_computed_when_the_requestor_dies_is_discarded(play: Stage) -> None:
    """And what awaits data is kept."""
    play.params["pieces"] = 4
    last_began = asyncio.Event()

    def behave(node: Node, work: Work, attempt: int) -> object:
        match work.params["piece"]:
            case 2:
                return last_began.wait
            case 3 if not play.app.revived:
                last_began.set()
                return lambda: asyncio.sleep(1000)
        return None

    def judge(piece: int, subtask: str, got: str) -> VerifyResult | None:
        return VerifyResult.AWAITING_DATA if piece == 0 and not play.app.revived else None

    def dies(name: str, subtask: str) -> bool:
        if name != "Verify" or play.app.revived:
            return False
        return play.app.pieces(play.task)[2][1] == subtask

    play.providers.behave, play.app.judges, play.app.died = behave, judge, dies
    await play.run(nodes=2)
    assert play.outputs() == play.wanted()
    assert play.providers.computed == {0: 1, 1: 1, 2: 2, 3: 2}
    assert play.providers.cancelled == 1


async def test_a_requestor_that_dies_again_and_again_is_given_up(play: Stage) -> None:
    play.app.died = lambda name, _: name == "Verify"
    with pytest.raises(
        GolemTaskFailed, match="died 4 times, and no subtask was verified"
    ) as caught:
        await play.run()
    assert play.app.revived == 3
    assert "died" in str(caught.value)


async def test_a_requestor_that_dies_now_and_then_is_started_each_time(play: Stage) -> None:
    play.params["pieces"] = 12
    play.app.died = lambda name, _: name == "Verify" and play.app.count("Verify") % 2 == 0
    await play.run()
    assert play.app.revived > 3
    assert play.outputs() == play.wanted()


async def test_subtasks_that_depend_on_a_discarded_one_are_not_done_any_more(play: Stage) -> None:
    play.params["pieces"] = 4
    original = play.app.discard_subtasks

    async def with_dependents(task_id: str, subtask_ids: list[str]) -> list[str]:
        done = [s for _, (state, s) in play.app.pieces(task_id).items() if state == "done"]
        for subtask in done:
            play.app._verdicts.pop(subtask)
        return await original(task_id, [*subtask_ids, *done])

    play.app.discard_subtasks = with_dependents  # type: ignore[method-assign]
    play.app.died = lambda name, _: (
        name == "Verify" and play.app.count("Verify") == 4 and not play.app.revived
    )
    outcome = await play.run()
    assert outcome.done == 4
    assert play.outputs() == play.wanted()
    assert sum(play.providers.computed.values()) > 6


async def test_replicas_need_as_many_nodes(play: Stage) -> None:
    with pytest.raises(InputError, match="3 different nodes can't be found among 2"):
        await play.run(nodes=2, replicas=3)


async def test_a_right_result_is_right() -> None:
    assert right(3) == "9\n"
