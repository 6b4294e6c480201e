"""The same subtask on several nodes."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest
from tests.support.golem_fakes import Stage, dead

from lading.contracts.golem.driver.events import NodeRested, Progress, SubtaskFailed
from lading.contracts.golem.driver.nodes import Node, Work
from lading.contracts.golem.driver.options import Compare
from lading.contracts.golem.structs import VerifyResult
from lading.errors import GolemTaskFailed


@pytest.fixture
def takers(play: Stage) -> defaultdict[str, list[int]]:
    """Who computed which subtask."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    play.options |= {"nodes": 4, "rest": 0.0}
    original = play.providers.compute

    async def compute(node: Node, work: Work, *, deadline: float | None) -> object:
        found[work.subtask_id].append(node.number)
        return await original(node, work, deadline=deadline)

    play.providers.compute = compute  # type: ignore[assignment,method-assign]
    return found


async def test_different_nodes_compute_the_same_subtask(
    play: Stage, takers: dict[str, list[int]]
) -> None:
    await play.run(replicas=3, agree=3)
    assert play.outputs() == play.wanted()
    assert all(len(nodes) == len(set(nodes)) == 3 for nodes in takers.values())
    assert len(takers) == 6, "the application is asked once for each"
    assert play.app.count("Verify") == 6
    assert max(event.running for event in play.told(Progress)) <= 4


async def test_the_majority_is_verified(play: Stage, takers: dict[str, list[int]]) -> None:
    play.providers.behave = lambda node, work, attempt: "wrong" if node.number == 2 else None
    outcome = await play.run(replicas=3)
    assert play.outputs() == play.wanted()
    assert outcome.failed == 0, "the application never saw a wrong result"


async def test_a_node_that_dissents_repeatedly_rests(
    play: Stage, takers: dict[str, list[int]]
) -> None:
    play.params["pieces"] = 9
    play.providers.behave = lambda node, work, attempt: "wrong" if node.number == 2 else None
    await play.run(nodes=3, replicas=3, agree=2, rest=0.01)
    assert play.outputs() == play.wanted()
    for rest in play.told(NodeRested):
        assert (rest.node, rest.reason) == (2, "its result is not what the other nodes agree on")


async def test_who_is_still_computing_is_stopped_when_enough_agree(
    play: Stage, takers: dict[str, list[int]]
) -> None:
    play.params["pieces"] = 2
    play.providers.behave = lambda node, work, attempt: (
        (lambda: asyncio.sleep(1000)) if node.number == 1 else None
    )
    async with asyncio.timeout(30):
        await play.run(nodes=3, replicas=3, agree=2)
    assert play.outputs() == play.wanted()
    assert play.providers.cancelled >= 1


async def test_without_agreement_it_is_aborted_and_handed_out_again(
    play: Stage, takers: dict[str, list[int]]
) -> None:
    play.params["pieces"] = 2
    play.providers.behave = lambda node, work, attempt: (
        f"{node.number}" if work.params["piece"] == 1 and attempt <= 3 else None
    )
    outcome = await play.run(replicas=3, agree=2)
    assert play.outputs() == play.wanted()
    assert outcome.failed == 1
    assert play.app.count("AbortSubtask") == 1
    (failure,) = play.told(SubtaskFailed)
    assert failure.node is None
    assert failure.reason.startswith("2 equal results are wanted, and there are: 1 of 1 bytes")


async def test_an_agreement_that_has_become_impossible_is_not_waited_for(
    play: Stage, takers: dict[str, list[int]]
) -> None:
    play.params["pieces"] = 1
    play.providers.behave = lambda node, work, attempt: f"{node.number}" if attempt <= 2 else None
    await play.run(nodes=3, replicas=3, agree=3)
    assert play.outputs() == play.wanted()
    assert play.providers.computed[0] <= 6


async def test_a_replica_that_fails_is_replaced_by_another_node(
    play: Stage, takers: dict[str, list[int]]
) -> None:
    play.params["pieces"] = 1
    play.providers.behave = lambda node, work, attempt: dead() if attempt == 1 else None
    outcome = await play.run(nodes=4, replicas=3, agree=3)
    assert play.outputs() == play.wanted()
    assert outcome.failed == 0
    (nodes,) = takers.values()
    assert sorted(nodes) == [1, 2, 3, 4]


async def test_where_no_other_node_is_left_it_is_handed_out_again(
    play: Stage, takers: dict[str, list[int]]
) -> None:
    play.params["pieces"] = 1
    play.providers.behave = lambda node, work, attempt: dead() if attempt == 1 else None
    outcome = await play.run(nodes=3, replicas=3, agree=3)
    assert play.outputs() == play.wanted()
    assert outcome.failed == 1
    assert "node" in play.told(SubtaskFailed)[0].reason


async def test_all_replicas_dying_use_up_the_retries(
    play: Stage, takers: dict[str, list[int]]
) -> None:
    play.providers.behave = lambda node, work, attempt: (
        dead() if work.params["piece"] == 0 else None
    )
    with pytest.raises(GolemTaskFailed, match=r"failed 2 times.*exited with 1"):
        await play.run(replicas=2, agree=2, retries=1)


async def test_verify_chooses_among_the_results(play: Stage, takers: dict[str, list[int]]) -> None:
    """The right result is in the minority."""
    play.providers.behave = lambda node, work, attempt: None if attempt == 2 else "wrong"
    verdicts: list[VerifyResult] = []

    async def verify(task_id: str, subtask_id: str) -> tuple[VerifyResult, str | None]:
        # An application that lets a subtask be verified again, after its result was wrong.
        play.app._database(task_id).execute(
            "UPDATE piece SET state = 'computing' WHERE subtask = ?", (subtask_id,)
        )
        play.app._verdicts.pop(subtask_id, None)
        play.app._news.pop(subtask_id, None)
        answer = await original(task_id, subtask_id)
        verdicts.append(answer[0])
        return answer

    original = play.app.verify
    play.app.verify = verify  # type: ignore[method-assign]
    outcome = await play.run(nodes=3, replicas=3, compare=Compare.VERIFY)
    assert play.outputs() == play.wanted()
    assert outcome.failed == 0
    assert verdicts.count(VerifyResult.SUCCESS) == 6
    assert VerifyResult.FAILURE in verdicts
    assert not (play.home / "candidates").exists()


async def test_verify_may_find_all_results_wrong(play: Stage, takers: dict[str, list[int]]) -> None:
    play.providers.behave = lambda node, work, attempt: "wrong" if attempt <= 2 else None
    outcome = await play.run(nodes=2, replicas=2, compare=Compare.VERIFY)
    assert play.outputs() == play.wanted()
    assert outcome.failed == 6
    assert play.app.count("Verify") == 12, "equal results are verified once"
