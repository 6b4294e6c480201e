"""Rule 5 of "How a requestor drives an app": one verdict at a time, in order."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.golem_fakes import Stage

from lading.contracts.golem.driver.events import (
    Event,
    NodeState,
    Progress,
    ResultTaken,
    SubtaskFailed,
)
from lading.contracts.golem.driver.nodes import Node, Work
from lading.contracts.golem.structs import VerifyResult
from lading.errors import GolemTaskFailed


async def test_verify_is_called_one_at_a_time_in_the_order_of_results(play: Stage) -> None:
    play.params["pieces"] = 10
    taken: list[str] = []
    gates = {piece: asyncio.Event() for piece in range(10)}

    def behave(node: Node, work: Work, attempt: int) -> object:
        return gates[work.params["piece"]].wait

    def open_next(event: Event) -> None:
        if isinstance(event, ResultTaken):
            taken.append(event.subtask_id)
        elif sum(state is NodeState.COMPUTING for state in play.states().values()) < 10:
            return
        if len(taken) < 10:
            gates[9 - len(taken)].set()

    play.listen = open_next
    play.providers.behave = behave
    play.app.waits = lambda name, _: 0.002 if name == "Verify" else 0
    await play.run(nodes=10)
    verified = [subtask for name, subtask in play.app.calls if name == "Verify"]
    assert verified == taken, "the last piece first"
    assert play.outputs() == play.wanted()


async def test_a_wrong_result_is_computed_again_under_another_id(play: Stage) -> None:
    play.providers.behave = lambda node, work, attempt: "0 1" if attempt == 1 else None
    outcome = await play.run(rest=0.0)
    assert play.outputs() == play.wanted()
    assert outcome.failed == 6
    assert "AbortSubtask" not in play.app.names(), "it knows itself that they are wrong"
    assert len({subtask for name, subtask in play.app.calls if name == "Verify"}) == 12
    assert play.told(SubtaskFailed)[0].reason == "Verify says FAILURE: got '0 1'"


async def test_inconclusive_is_treated_as_failure(play: Stage) -> None:
    play.app.judges = lambda piece, subtask, got: (
        VerifyResult.INCONCLUSIVE if play.providers.computed[piece] == 1 else None
    )
    await play.run(rest=0.0)
    assert play.outputs() == play.wanted()
    assert set(play.providers.computed.values()) == {2}


async def test_a_result_that_awaits_data_is_asked_for_again_after_another(play: Stage) -> None:
    done: set[int] = set()
    five_wait = asyncio.Event()

    def judge(piece: int, subtask: str, got: str) -> VerifyResult | None:
        if piece and piece - 1 not in done:
            return VerifyResult.AWAITING_DATA
        done.add(piece)
        return None

    def look(event: Event) -> None:
        if isinstance(event, Progress) and event.awaiting == 5:
            five_wait.set()

    play.app.judges, play.listen = judge, look
    play.providers.behave = lambda node, work, attempt: (
        five_wait.wait if work.params["piece"] == 0 else None
    )
    await play.run()
    assert play.outputs() == play.wanted()
    assert set(play.providers.computed.values()) == {1}


async def test_a_pair_that_awaits_each_other_is_asked_again(play: Stage) -> None:
    """Neither was verified, but there is a result that was not there when the first was asked."""
    asked: list[int] = []

    def judge(piece: int, subtask: str, got: str) -> VerifyResult | None:
        asked.append(piece)
        return VerifyResult.AWAITING_DATA if len(asked) <= 2 else None

    play.params["pieces"] = 2
    play.app.judges = judge
    await play.run(nodes=2)
    assert play.outputs() == play.wanted()
    assert asked == [asked[0], asked[1], asked[0], asked[1]]


async def test_an_application_that_never_finishes_verification_fails_with_words(
    play: Stage,
) -> None:
    play.app.judges = lambda piece, subtask, got: (
        VerifyResult.AWAITING_DATA if piece in (1, 4) else None
    )
    with pytest.raises(GolemTaskFailed, match="never finishes verification: it awaits data for"):
        await play.run()
    assert play.journal.task(play.task).done == 4
    assert play.app.names()[-2:] == ["AbortTask", "Shutdown"]


async def test_verify_that_raises_is_a_failure_of_that_subtask(play: Stage) -> None:
    seen: list[str] = []

    def once(name: str, subtask: str) -> str:
        if name == "Verify" and not seen:
            seen.append(subtask)
            return "KeyError: 7"
        return ""

    play.app.errs = once
    outcome = await play.run()
    assert play.outputs() == play.wanted()
    assert outcome.failed == 1
    assert [s for name, s in play.app.calls if name == "AbortSubtask"] == seen


async def test_verify_that_hangs_is_broken_off(play: Stage) -> None:
    seen: list[str] = []

    def once(name: str, subtask: str) -> float:
        if name == "Verify" and not seen:
            seen.append(subtask)
            return 1000.0
        return 0.0

    play.app.waits = once
    await play.run(app_timeout=0.3)
    assert play.outputs() == play.wanted()
    assert [s for name, s in play.app.calls if name == "AbortSubtask"] == seen
    assert "Verify was not answered within 300 ms" in play.told(SubtaskFailed)[0].reason
