"""Both sides in this process, asked by the driver of `lading golem run`."""

import asyncio
import random
import shutil

import pytest

from lading.contracts.golem import ProviderTaskDir, RequestorTaskDir, VerifyResult
from lading.errors import AppError
from lading.testing.golem import InlineApp
from life.provider import LifeProvider
from life.requestor import LifeRequestor
from life.world import centered, evolve, read, write

PATTERN = ".O.....\n...O...\nOO..OOO\n"
PARAMS = {
    "world": "acorn.cells",
    "width": 40,
    "height": 32,
    "generations": 24,
    "per_round": 8,
    "strips": 4,
}


@pytest.fixture
def acorn(tmp_path):
    file = tmp_path / "acorn.cells"
    file.write_text(PATTERN)
    return file


def alone():
    return write(evolve(centered(read(PATTERN), 40, 32), 40, 24), 40).encode()


def verdicts(done):
    return [event.result for event in done.events if type(event).__name__ == "Verdict"]


def test_many_nodes_make_the_world_of_one_process(acorn, tmp_path):
    app = InlineApp(LifeRequestor, LifeProvider, directory=tmp_path)
    done = app.run(PARAMS, resources=[acorn], nodes=3, max_subtasks=50)
    assert (done.done, done.failed) == (12, 0)
    assert done.files() == {"world.cells": alone()}
    # No strip but the last one of a round has all its neighbours when it comes.
    assert "AWAITING_DATA" in verdicts(done)


def test_strips_that_do_not_fit_their_neighbours_are_computed_again(acorn, tmp_path):
    spoiled = []

    class Careless(LifeProvider):
        async def compute(self, task_work_dir, subtask_id, subtask_params):
            result = await super().compute(task_work_dir, subtask_id, subtask_params)
            if len(spoiled) < 3:
                spoiled.append(subtask_id)
                chance = random.Random(len(spoiled))
                file = task_work_dir / result
                rows = [chance.getrandbits(40) for _ in read(file.read_text())]
                file.write_text(write(rows, 40) if len(spoiled) < 3 else "noise")
            return result

    app = InlineApp(LifeRequestor, Careless, directory=tmp_path)
    done = app.run(PARAMS, resources=[acorn], max_subtasks=50)
    assert (done.done, done.failed) == (12, 3)
    assert done.files() == {"world.cells": alone()}


@pytest.mark.parametrize(
    ("params", "says"),
    [
        (PARAMS | {"world": "other.cells"}, "no file 'other.cells'"),
        (PARAMS | {"width": 3}, "7 cells, at most 3"),
        (PARAMS | {"height": 2}, "are more than the world's"),
    ],
)
def test_what_makes_no_sense_is_refused_with_words(params, says, acorn, tmp_path):
    app = InlineApp(LifeRequestor, LifeProvider, directory=tmp_path)
    with pytest.raises(AppError, match=says):
        app.run(params, resources=[acorn], max_subtasks=50)


def test_what_was_computed_from_a_discarded_strip_is_discarded_too(acorn, tmp_path):
    """Asked call by call, by an application that is made anew for each."""

    async def run():
        task, node = RequestorTaskDir(tmp_path / "task"), ProviderTaskDir(tmp_path / "node")
        task.prepare()
        node.prepare()
        shutil.copy(acorn, task.task_inputs_dir)
        await LifeRequestor().create_task(task, 50, PARAMS)
        names = iter("abcdefghijklmnopqrstuvwxyz")
        assert await finish(task, node, names) == list("abcdefghijkl")
        assert (task.task_outputs_dir / "world.cells").read_bytes() == alone()

        # The first strip of the second round: all of the third depend on it, but for those too far.
        gone = await LifeRequestor().discard_subtasks(task, ["e"])
        assert gone == ["e", "i", "j", "k"]
        assert not (task.task_outputs_dir / "world.cells").exists()
        assert await finish(task, node, names) == list("mnop")
        assert (task.task_outputs_dir / "world.cells").read_bytes() == alone()

    asyncio.run(run())


async def finish(task, node, names):
    """Do all that is pending, and ask again about what awaits data; returns what was done."""
    done, waits = [], []
    while await LifeRequestor().has_pending_subtasks(task):
        name = next(names)
        subtask = await LifeRequestor().next_subtask(task, name, "node")
        for resource in subtask.resources:
            shutil.copy(task.subtask_inputs_dir / resource, node.subtask_inputs_dir)
        result = await LifeProvider().compute(node, name, subtask.params)
        task.subtask_outputs_dir(name).mkdir()
        shutil.copy(node / result, task.subtask_outputs_dir(name))
        waits.insert(0, name)
        news = True
        while news:
            news = False
            for waiting in list(waits):
                verdict, _ = await LifeRequestor().verify(task, waiting)
                assert verdict in (VerifyResult.SUCCESS, VerifyResult.AWAITING_DATA)
                if verdict is VerifyResult.SUCCESS:
                    waits.remove(waiting)
                    done.append(waiting)
                    news = True
    assert waits == []
    return sorted(done)
