"""Drivers that are stopped or killed at any moment, and the ones that go on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.golem_fakes import Stage, dead, right

from lading.contracts.golem.driver.events import Discarded, TaskBegan
from lading.contracts.golem.driver.homes import claim
from lading.contracts.golem.driver.journal import Journal
from lading.contracts.golem.driver.options import DriverOptions
from lading.contracts.golem.driver.records import SubtaskState, TaskState
from lading.contracts.golem.driver.task import abort_task, forget_task, is_driven, task_home
from lading.contracts.golem.structs import VerifyResult
from lading.errors import (
    CapacityError,
    EngineUnreachable,
    GolemTaskFailed,
    InputError,
    RecordNotFound,
)
from lading.run.ids import new_id

_ROOT = Path(__file__).parents[4]


async def stop_when(play: Stage, reached: asyncio.Event | Callable[[], bool]) -> None:
    """Run a task, and stop its driver as Ctrl-C does, at an event or once something is so."""
    task = asyncio.create_task(play.run())
    condition = reached.is_set if isinstance(reached, asyncio.Event) else reached
    waiting = asyncio.create_task(until(condition))
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def all_but_verified(play: Stage) -> bool:
    """Whether all is computed and written down, and the first is being verified."""
    counts = play.journal.open_counts(play.task)
    return counts == {SubtaskState.VERIFYING: 1, SubtaskState.COMPUTED: 5}


async def test_a_stopped_task_is_resumed_and_nothing_is_done_twice(play: Stage) -> None:
    reached = asyncio.Event()
    stopped = False

    def behave(node: object, work: object, attempt: int) -> object:
        if sum(play.providers.finished.values()) >= 3 and not stopped:
            reached.set()
            return lambda: asyncio.sleep(1000)
        return None

    play.providers.behave = behave
    await stop_when(play, reached)
    stopped = True
    assert play.providers.running == {}, "nothing is computed any more"
    record = play.journal.task(play.task)
    assert record.state is TaskState.RUNNING
    assert record.driven > 0
    done = record.done
    outcome = await play.resume()
    assert play.outputs() == play.wanted()
    assert play.app.count("CreateTask") == 1
    assert play.app.count("DiscardSubtasks") == 1
    assert outcome.done == 6
    assert sum(play.providers.finished.values()) == 6 if done == 3 else True
    resumed = play.told(TaskBegan)[-1]
    assert (resumed.resumed, resumed.done) == (True, done)
    assert play.told(Discarded)[0].done == 0


async def test_results_that_were_not_verified_yet_are_verified(play: Stage) -> None:
    """They are not computed again, while one that was being verified is."""
    hold = True
    play.app.waits = lambda name, subtask: 1000.0 if name == "Verify" and hold else 0.0
    await stop_when(play, lambda: all_but_verified(play))
    assert all_but_verified(play)
    hold = False
    await play.resume()
    assert play.outputs() == play.wanted()
    assert sorted(play.providers.finished.values()) == [1, 1, 1, 1, 1, 2]


async def test_what_awaited_data_awaits_it_still(play: Stage) -> None:
    patient = True

    def judge(piece: int, subtask: str, got: str) -> VerifyResult | None:
        return VerifyResult.AWAITING_DATA if piece < 3 and patient else None

    def behave(node: object, work: object, attempt: int) -> object:
        piece = work.params["piece"]  # type: ignore[attr-defined]
        return (lambda: asyncio.sleep(1000)) if piece == 5 and patient else None

    looks = 0

    def three_await() -> bool:
        """Not only between two questions: with all that is done, they are asked about again."""
        nonlocal looks
        counts = play.journal.open_counts(play.task)
        settled = counts.get(SubtaskState.AWAITING) == 3 and sum(counts.values()) == 4
        looks = looks + 1 if settled else 0
        return looks > 20

    play.app.judges, play.providers.behave = judge, behave
    await stop_when(play, three_await)
    assert play.journal.open_counts(play.task)[SubtaskState.AWAITING] == 3
    patient = False
    await play.resume()
    assert play.outputs() == play.wanted()
    assert [play.providers.finished[piece] for piece in range(3)] == [1, 1, 1]


async def test_a_result_that_was_cut_is_computed_again(play: Stage) -> None:
    """As after a power failure."""
    hold = True
    play.app.waits = lambda name, subtask: 1000.0 if name == "Verify" and hold else 0.0
    await stop_when(play, lambda: all_but_verified(play))
    hold = False

    def cut() -> int:
        results = list((play.home / "work" / play.task / "subtask_outputs").glob("*/*"))
        for path in results:
            path.write_text("")
        return len(results)

    count = await asyncio.to_thread(cut)
    await play.resume()
    assert play.outputs() == play.wanted()
    assert sum(play.providers.finished.values()) == 6 + count


@pytest.mark.parametrize("phase", ["preparing", "creating"])
async def test_a_task_that_was_never_created_begins_anew(play: Stage, phase: str) -> None:
    (play.folder / "given").mkdir()
    (play.folder / "given" / "x").write_text("x")
    play.resources = (play.folder / "given",)
    reached, first = asyncio.Event(), True

    def waits(name: str, _: str) -> float:
        if name == "CreateTask" and first:
            reached.set()
            return 1000.0
        return 0.0

    play.app.waits = waits
    await stop_when(play, reached)
    if phase == "preparing":
        play.journal.enter(play.task, TaskState.PREPARING, driven=0)
    first = False
    await play.resume()
    assert play.outputs() == play.wanted()
    record = play.journal.task(play.task)
    assert record.wire_id != play.task
    assert play.app.count("CreateTask") == 2


async def test_other_options_from_now_on(play: Stage) -> None:
    play.providers.behave = lambda node, work, attempt: CapacityError("no room")
    with pytest.raises(CapacityError):
        await play.run()
    play.providers.behave = lambda node, work, attempt: None
    await play.resume(DriverOptions(nodes=1, subtask_timeout=5.0))
    assert play.outputs() == play.wanted()
    assert play.providers.deadlines == {3600.0, 5.0}
    assert play.journal.task(play.task).options.nodes == 1


@pytest.mark.parametrize("error", [CapacityError("too large"), EngineUnreachable("is down")])
async def test_what_no_other_try_can_mend_stops_the_driver(play: Stage, error: Exception) -> None:
    play.providers.behave = lambda node, work, attempt: error
    with pytest.raises(type(error)):
        await play.run()
    record = play.journal.task(play.task)
    assert record.state is TaskState.RUNNING
    assert record.error == str(error)
    assert record.failed == 0
    play.providers.behave = lambda node, work, attempt: None
    await play.resume()
    assert play.outputs() == play.wanted()


async def test_a_task_has_one_driver(play: Stage) -> None:
    reached = asyncio.Event()

    def behave(node: object, work: object, attempt: int) -> object:
        reached.set()
        return lambda: asyncio.sleep(1000)

    play.providers.behave = behave
    task = asyncio.create_task(play.run())
    await reached.wait()
    assert await asyncio.to_thread(is_driven, play.home)
    with pytest.raises(InputError, match="is driven by another process; wait for it, or abort it"):
        await play.resume()
    with pytest.raises(InputError, match="is driven by another process"):
        await abort_task(play.app, play.journal, play.task, home=play.home)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not await asyncio.to_thread(is_driven, play.home)


async def test_a_task_that_nobody_drives_is_aborted(play: Stage) -> None:
    reached = asyncio.Event()

    def behave(node: object, work: object, attempt: int) -> object:
        reached.set()
        return lambda: asyncio.sleep(1000)

    play.providers.behave = behave
    await stop_when(play, reached)
    assert await abort_task(play.app, play.journal, play.task, home=play.home) is TaskState.ABORTED
    assert play.app.names()[-2:] == ["AbortTask", "Shutdown"]
    assert not play.home.exists()
    with pytest.raises(InputError, match="is aborted already"):
        await play.resume()


async def test_what_a_failed_task_had_done_stays_until_it_is_forgotten(play: Stage) -> None:
    play.providers.behave = lambda node, work, attempt: (
        dead() if work.params["piece"] == 5 else None
    )
    with pytest.raises(GolemTaskFailed):
        await play.run(rest=0.0)
    results = play.home / "work" / play.task / "task_outputs"
    assert len(await asyncio.to_thread(list, results.iterdir())) == 5
    assert not (play.home / "nodes").exists()
    assert await abort_task(None, play.journal, play.task, home=play.home) is TaskState.FAILED
    assert results.exists()
    await forget_task(play.journal, play.task, home=play.home)
    assert not play.home.exists()
    with pytest.raises(RecordNotFound):
        play.journal.task(play.task)


async def test_what_has_not_ended_is_not_forgotten(play: Stage) -> None:
    play.providers.behave = lambda node, work, attempt: CapacityError("no room")
    with pytest.raises(CapacityError):
        await play.run()
    with pytest.raises(InputError, match="has not ended; `lading golem abort"):
        await forget_task(play.journal, play.task, home=play.home)
    assert play.home.exists()


async def test_an_application_that_removes_its_results_fails(play: Stage) -> None:
    async def shutdown() -> None:
        results = play.home / "work" / play.task / "task_outputs"
        await asyncio.to_thread(results.rename, results.with_name("away"))

    play.app.shutdown = shutdown  # type: ignore[method-assign]
    with pytest.raises(GolemTaskFailed, match="has removed its directory of results"):
        await play.run()
    assert play.journal.task(play.task).state is TaskState.FAILED


async def test_an_abort_that_no_driver_saw_is_done_by_the_next(play: Stage) -> None:
    reached = asyncio.Event()

    def behave(node: object, work: object, attempt: int) -> object:
        reached.set()
        return lambda: asyncio.sleep(1000)

    play.providers.behave = behave
    await stop_when(play, reached)
    play.journal.ask_abort(play.task)
    with pytest.raises(GolemTaskFailed, match="aborted"):
        await play.resume()
    assert play.journal.task(play.task).state is TaskState.ABORTED


async def test_what_has_ended_is_not_resumed(play: Stage) -> None:
    await play.run()
    with pytest.raises(InputError, match="is done already"):
        await play.resume()


async def test_the_time_of_a_task_counts_over_its_drivers(play: Stage) -> None:
    play.providers.behave = lambda node, work, attempt: CapacityError("no room")
    with pytest.raises(CapacityError):
        await play.run(task_timeout=60.0)
    play.journal.enter(play.task, TaskState.RUNNING, driven=61.0)
    with pytest.raises(GolemTaskFailed, match=r"not done within 1 min 0 s"):
        await play.resume()


# The journal.


def test_a_task_is_found_by_the_beginning_of_its_id(play: Stage) -> None:
    ids = []
    for _ in range(2):
        assignment = play.assign()
        ids.append(assignment.task_id)
        play.journal.begin(assignment, '{"pieces": 6}')
    assert play.journal.task(ids[0]).task_id == ids[0]
    with pytest.raises(RecordNotFound, match="begins the ids of several tasks"):
        play.journal.task(ids[0][:3])
    with pytest.raises(RecordNotFound, match="'zzz' is no task of ours"):
        play.journal.task("zzz")
    assert [record.task_id for record in play.journal.tasks()] == ids[::-1]
    assert play.journal.assignment(ids[0]).params == {"pieces": 6}
    play.journal.enter(ids[0], TaskState.DONE, driven=1.0)
    assert [record.task_id for record in play.journal.tasks(ended=False)] == ids[1:]
    play.journal.forget(ids[0])
    play.journal.forget(ids[1])
    assert [record.task_id for record in play.journal.tasks()] == ids[1:], "it has not ended"


async def test_a_task_is_driven_until_its_end_is_written_down(
    play: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    enter = play.journal.enter

    def watched(task: str, state: TaskState, *, driven: float, error: str = "") -> None:
        seen[state] = is_driven(play.home)
        enter(task, state, driven=driven, error=error)

    monkeypatch.setattr(play.journal, "enter", watched)
    await play.run()
    assert seen[TaskState.DONE], "who waits for the driver would take it for one that was killed"
    assert not play.home.exists()


async def test_aborting_what_has_ended_meanwhile_leaves_no_directory(play: Stage) -> None:
    await play.run()
    assert await abort_task(None, play.journal, play.task, home=play.home) is TaskState.DONE
    assert not play.home.exists()


async def test_claims_at_once_never_share_a_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    inside = 0

    async def again_and_again() -> int:
        nonlocal inside
        had = 0
        while had < 20:
            try:
                async with claim(home, "t"):
                    assert inside == 0
                    inside, had = 1, had + 1
                    await asyncio.sleep(0)
                    inside = 0
            except InputError:
                await asyncio.sleep(0.001)
        return had

    await asyncio.gather(*(again_and_again() for _ in range(3)))
    assert not home.exists()


async def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    async with claim(tmp_path / "home", "t"):
        assert await asyncio.to_thread(is_driven, tmp_path / "home")
    assert not await asyncio.to_thread(is_driven, tmp_path / "home")
    assert not await asyncio.to_thread(is_driven, tmp_path / "nowhere")


# kill -9.


def _wait_for_more(process: subprocess.Popen[bytes], folder: Path, task: str) -> None:
    """Wait until eight more pieces are begun, and some are done, or it has ended."""
    computed = folder / "computed"

    def count() -> int:
        return computed.read_bytes().count(b"\n") if computed.exists() else 0

    enough = count() + 8
    while process.poll() is None and (count() < enough or not _done_ones(folder, task)):
        time.sleep(0.005)


def _done_ones(folder: Path, task: str) -> set[str]:
    """Which subtasks the journal has as done."""
    with contextlib.closing(sqlite3.connect(folder / "golem.db")) as database:
        sql = "SELECT id FROM subtask WHERE task = ? AND state = 'done'"
        return {name for (name,) in database.execute(sql, (task,))}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_driver_that_is_killed_at_any_moment_loses_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    pieces, task, kills = 120, new_id(), 0
    module = "tests.support.golem_driver_process"
    command = [sys.executable, "-m", module, str(tmp_path), task, str(pieces), "4"]
    done: dict[str, int] = {}
    deadline = time.monotonic() + 100
    while True:
        assert time.monotonic() < deadline
        process = subprocess.Popen(command, cwd=_ROOT, stderr=subprocess.PIPE)
        if kills % 2 == 0:  # once it has got somewhere, however slow or fast this machine is
            _wait_for_more(process, tmp_path, task)
            pause = chance.random() * 0.02
        else:  # the later the kills, the more is done in between; so that it comes to an end
            pause = 0.3 + chance.random() * 0.3 * (1 + kills / 4)
        try:
            process.wait(pause)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        _, errors = process.communicate()
        if process.returncode != -signal.SIGKILL:
            break
        _note_done(tmp_path, task, done)
    assert process.returncode == 0, errors.decode()
    assert kills
    output = tmp_path / "output"
    found = {path.name: path.read_text() for path in output.iterdir()}
    assert found == {f"{piece:05}": right(piece) for piece in range(pieces)}
    with Journal(tmp_path / "golem.db") as journal:
        record = journal.task(task)
        assert (record.state, record.done) == (TaskState.DONE, pieces)
    computed = (tmp_path / "computed").read_text().split("\n")
    again = {piece for piece, at in done.items() if piece in computed[at:]}
    assert again == set(), "what was done when a driver was killed is not computed again"
    assert done


def _note_done(folder: Path, task: str, done: dict[str, int]) -> None:
    """Note which pieces are done, and how many computations there were up to now."""
    with contextlib.suppress(FileNotFoundError, sqlite3.OperationalError):
        count = (folder / "computed").read_text().count("\n")
        subtasks = _done_ones(folder, task)
        for path in (task_home(folder, task) / "work").glob("*/app.db"):
            with contextlib.closing(sqlite3.connect(path)) as database:
                for number, subtask in database.execute("SELECT number, subtask FROM piece"):
                    if subtask in subtasks:
                        done.setdefault(str(number), count)
