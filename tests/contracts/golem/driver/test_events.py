"""What is told of a task, in words and in numbers."""

from __future__ import annotations

import itertools

import pytest
from tests.support.golem_fakes import Stage, dead

from lading.contracts.golem.driver.events import (
    AppRestarted,
    Discarded,
    Event,
    Finishing,
    NodeChanged,
    NodeRested,
    NodeState,
    Progress,
    ResultTaken,
    SubtaskFailed,
    TaskBegan,
    TaskCreated,
    Verdict,
    Warned,
    words,
)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (TaskBegan("t", 4, False, 0), "task t: on 4 nodes"),
        (TaskBegan("t", 4, True, 7), "task t: resumed on 4 nodes, 7 subtasks done before"),
        (TaskCreated("docker_cpu", {}, 0.0, 1.0), ""),
        (NodeChanged(1, NodeState.WAITING), ""),
        (Progress(1, 0, 0, 0, 0, 0, 0.0, None), ""),
        (ResultTaken(1, "s", "r", 5, 1.0), ""),
        (ResultTaken(1, "s", "r", 0, 1.0), "node 1: subtask s: its result r is an empty file"),
        (Verdict("s", "SUCCESS", ""), ""),
        (
            SubtaskFailed(2, "s", "it died", 1, 3),
            "node 2: subtask s failed (failure 1, may be retried 3 times): it died",
        ),
        (
            SubtaskFailed(None, "s", "no two agree", 1, 3),
            "subtask s failed (failure 1, may be retried 3 times): no two agree",
        ),
        (
            NodeRested(2, 10.0, 4, "it died"),
            "node 2: left alone for 10.0 s after 4 failures in a row, the last: it died",
        ),
        (AppRestarted("it died", 2), "the requestor application was started again (2): it died"),
        (Discarded(("a", "b"), 1), "computed again: 2 subtasks, 1 of them verified"),
        (Discarded(("a",), 0), "computed again: 1 subtask"),
        (Warned("mind the gap"), "mind the gap"),
        (Finishing(), ""),
    ],
)
def test_events_are_put_into_words(event: Event, text: str) -> None:
    assert words(event) == text


async def test_progress_counts_and_estimates(play: Stage) -> None:
    play.params["pieces"] = 10
    play.providers.behave = lambda node, work, attempt: (
        dead() if work.params["piece"] == 4 and attempt == 1 else None
    )
    await play.run(max_subtasks=10)
    told = play.told(Progress)
    assert told[0].done == 0
    assert told[0].eta is None, "nobody can tell yet"
    assert [one.done for one in told] == sorted(one.done for one in told)
    last = told[-1]
    assert (last.limit, last.done, last.running, last.verifying, last.failed) == (10, 10, 0, 0, 1)
    assert last.eta == 0.0
    assert all(one != other for one, other in itertools.pairwise(told)), "only changes"
    middle = next(one for one in told if one.done == 5)
    assert middle.eta is not None
    assert middle.eta > 0


async def test_every_node_has_a_line(play: Stage) -> None:
    await play.run()
    for node in (1, 2, 3):
        states = [event.state for event in play.told(NodeChanged) if event.node == node]
        assert states[-1] is NodeState.ENDED
        assert NodeState.COMPUTING in states
