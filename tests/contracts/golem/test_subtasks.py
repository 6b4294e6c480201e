"""The parts of a task and their subtasks: where they are, in any thread and process."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import peewee
import pytest

from lading.contracts.golem.subtasks import SubtaskStatus, TaskManager
from lading.contracts.golem.subtasks import database as database_module
from lading.contracts.golem.subtasks.connections import current
from lading.contracts.golem.subtasks.database import DBTaskManager, Part, Subtask, close_all

WAITING, COMPUTING = SubtaskStatus.WAITING, SubtaskStatus.COMPUTING
VERIFYING, SUCCESS = SubtaskStatus.VERIFYING, SubtaskStatus.SUCCESS
FAILURE, ABORTED = SubtaskStatus.FAILURE, SubtaskStatus.ABORTED


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


@pytest.fixture
def manager(tmp_path: Path) -> DBTaskManager:
    return DBTaskManager(tmp_path)


class Frame(Part):
    """A part with fields of the application's."""

    number = peewee.IntegerField(null=True)
    text = peewee.CharField(default="")


class Frames(DBTaskManager):
    def __init__(self, work_dir: Path) -> None:
        super().__init__(work_dir, part_model=Frame)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def where(manager: TaskManager, number: int) -> tuple[SubtaskStatus, str | None]:
    return manager.get_subtasks_statuses([number])[number]


def test_names_and_values() -> None:
    assert {item.name: item.value for item in SubtaskStatus} == {
        "WAITING": None,
        "COMPUTING": "computing",
        "VERIFYING": "verifying",
        "SUCCESS": "success",
        "FAILURE": "failure",
        "ABORTED": "aborted",
    }
    assert SubtaskStatus.default() is WAITING
    computable = [item for item in SubtaskStatus if item.is_computable()]
    assert computable == [WAITING, FAILURE, ABORTED]


def test_a_task_begins_with_parts_that_wait(manager: DBTaskManager) -> None:
    assert manager.get_part(0) is None
    assert manager.get_next_computable_part_num() is None
    manager.create_task(3)
    assert manager.get_subtasks_statuses([0, 1, 2, 3]) == dict.fromkeys(range(3), (WAITING, None))
    assert [bool(manager.get_part(number)) for number in range(4)] == [True] * 3 + [False]
    assert manager.get_next_computable_part_num() == 0
    with pytest.raises(peewee.IntegrityError):
        manager.create_task(1)


def test_the_life_of_a_part(manager: DBTaskManager) -> None:
    manager.create_task(1)
    for last in (FAILURE, ABORTED, SUCCESS):
        assert manager.get_next_computable_part_num() == 0
        manager.start_subtask(0, last.name)
        for status in (COMPUTING, VERIFYING):
            manager.update_subtask_status(last.name, status)
            assert where(manager, 0) == (status, last.name)
            assert manager.get_next_computable_part_num() is None
        manager.update_subtask_status(last.name, last)
        assert where(manager, 0) == (last, last.name)
    assert manager.get_next_computable_part_num() is None
    manager.update_subtask_status("SUCCESS", ABORTED)  # discarded
    assert manager.get_next_computable_part_num() == 0


def test_the_lowest_number_comes_first(manager: DBTaskManager) -> None:
    manager.create_task(3)
    for number in range(2):
        manager.start_subtask(number, f"s{number}")
    assert manager.get_next_computable_part_num() == 2
    manager.update_subtask_status("s1", FAILURE)
    assert manager.get_next_computable_part_num() == 1
    manager.update_subtask_status("s0", ABORTED)
    assert manager.get_next_computable_part_num() == 0


def test_only_the_last_subtask_of_a_part_counts(manager: DBTaskManager) -> None:
    manager.create_task(1)
    manager.start_subtask(0, "first")
    manager.update_subtask_status("first", ABORTED)
    manager.start_subtask(0, "second")
    manager.update_subtask_status("first", FAILURE)
    assert where(manager, 0) == (COMPUTING, "second")
    assert manager.get_next_computable_part_num() is None
    assert manager.get_part_num("first") == manager.get_part_num("second") == 0


def test_a_part_that_another_subtask_has(manager: DBTaskManager) -> None:
    manager.create_task(2)
    manager.start_subtask(0, "first")
    with pytest.raises(RuntimeError, match="part 0: subtask first has it and is computing"):
        manager.start_subtask(0, "second")
    with pytest.raises(peewee.PeeweeException):
        manager.start_subtask(1, "first")
    assert where(manager, 1) == (WAITING, None)
    with pytest.raises(RuntimeError, match="part 2: there is none"):
        manager.start_subtask(2, "third")


def test_what_there_is_not(manager: DBTaskManager) -> None:
    manager.create_task(1)
    manager.update_subtask_status("none", VERIFYING)
    assert manager.get_subtask("none") is None
    assert manager.get_part_num("none") is None
    assert where(manager, 0) == (WAITING, None)
    assert manager.get_subtasks_statuses([]) == {}


def test_abort_ends_what_runs(manager: DBTaskManager) -> None:
    manager.create_task(4)
    for number, status in enumerate((COMPUTING, VERIFYING, SUCCESS)):
        manager.start_subtask(number, f"s{number}")
        manager.update_subtask_status(f"s{number}", status)
    manager.abort_task()
    found = [where(manager, number)[0] for number in range(4)]
    assert found == [ABORTED, ABORTED, SUCCESS, WAITING]


def test_parts_and_subtasks_lead_to_each_other(manager: DBTaskManager) -> None:
    manager.create_task(2)
    manager.start_subtask(1, "s")
    part, subtask = manager.get_part(1), manager.get_subtask("s")
    assert (part.num, part.subtask.id, part.subtask.status) == (1, "s", COMPUTING)
    assert (subtask.id, subtask.part.num, subtask.status) == ("s", 1, COMPUTING)
    assert manager.get_part(0).subtask is None
    assert isinstance(part, Part)
    assert isinstance(subtask, Subtask)


def test_fields_of_the_application(tmp_path: Path) -> None:
    manager = Frames(tmp_path)
    manager.create_task(2)
    for number in range(2):
        part = manager.get_part(number)
        part.number, part.text = 10 + number, "é"
        part.save()
    manager.start_subtask(1, "s")
    found = Frames(tmp_path).get_part(1)
    assert isinstance(found, Frame)
    assert found.subtask is not None
    assert (found.number, found.text, found.subtask.id) == (11, "é", "s")


def test_two_tasks_at_the_same_time(tmp_path: Path) -> None:
    """A part is saved where it came from, whatever was opened since."""
    managers = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        managers.append(Frames(tmp_path / name))
        managers[-1].create_task(1)
    parts = [manager.get_part(0) for manager in managers]
    for text, part in zip("ab", parts, strict=True):
        part.text = text
        part.save()
    assert [manager.get_part(0).text for manager in managers] == ["a", "b"]


def test_the_class_itself_asks_the_last_that_was_made(tmp_path: Path) -> None:
    for count, name in enumerate("abc"):
        (tmp_path / name).mkdir()
        Frames(tmp_path / name).create_task(count)
    Frames(tmp_path / "b")
    assert Frame.select().count() == 1
    assert current.database == str(tmp_path / "b/task.db")


def test_what_is_written_is_there_after_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\n"
        "from lading.contracts.golem.subtasks.database import DBTaskManager\n"
        "manager = DBTaskManager(pathlib.Path(sys.argv[1]))\n"
        "manager.create_task(2)\n"
        "manager.start_subtask(0, 's')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    manager = DBTaskManager(tmp_path)
    assert manager.get_subtasks_statuses([0, 1]) == {0: (COMPUTING, "s"), 1: (WAITING, None)}


def test_threads(tmp_path: Path) -> None:
    """Each part is handed out once, and nobody's writes are lost."""
    count = 60
    Frames(tmp_path).create_task(count)

    def compute(worker: int) -> list[int]:
        mine = []
        for turn in range(10 * count):
            manager = Frames(tmp_path)
            if (number := manager.get_next_computable_part_num()) is None:
                break
            subtask_id = f"{worker}-{turn}"
            try:
                manager.start_subtask(number, subtask_id)
            except RuntimeError:  # another was faster
                continue
            part = manager.get_part(number)
            part.text = subtask_id
            part.save()
            manager.update_subtask_status(subtask_id, SUCCESS)
            mine.append(number)
        return mine

    with ThreadPoolExecutor(6) as pool:
        found = [number for mine in pool.map(compute, range(6)) for number in mine]
    assert sorted(found) == list(range(count))
    manager = Frames(tmp_path)
    statuses = manager.get_subtasks_statuses(list(range(count)))
    assert {status for status, _ in statuses.values()} == {SUCCESS}
    assert all(manager.get_part(number).text == statuses[number][1] for number in range(count))


def test_a_transaction_is_one_thread_alone(tmp_path: Path) -> None:
    """What another thread writes meanwhile is not undone with it."""
    manager = Frames(tmp_path)
    manager.create_task(2)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ZeroDivisionError), manager._database.atomic():  # noqa: PT012
            manager.update_subtask_status("none", SUCCESS)
            other = pool.submit(manager.start_subtask, 1, "other")
            manager.start_subtask(0, "mine")
            raise ZeroDivisionError
        other.result()
    assert where(manager, 0) == (WAITING, None)
    assert where(manager, 1) == (COMPUTING, "other")


def test_a_forked_process(tmp_path: Path) -> None:
    """It opens connections of its own; the parent's are still good."""
    code = (
        "import os, pathlib, sys\n"
        "from lading.contracts.golem.subtasks.database import DBTaskManager\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "manager = DBTaskManager(path)\n"
        "manager.create_task(3)\n"
        "for number in (0, 1):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        DBTaskManager(path).start_subtask(number, str(os.getpid()))\n"
        "        sys.exit()\n"
        "    assert os.waitpid(pid, 0)[1] == 0\n"
        "assert manager.get_next_computable_part_num() == 2\n"
        "manager.start_subtask(2, 'mine')\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(tmp_path)], check=True)
    assert DBTaskManager(tmp_path).get_next_computable_part_num() is None


def test_a_file_that_was_removed_is_made_again(tmp_path: Path) -> None:
    DBTaskManager(tmp_path).create_task(1)
    for path in tmp_path.glob("task.db*"):
        path.unlink()
    manager = DBTaskManager(tmp_path)
    assert manager.get_part(0) is None
    manager.create_task(2)
    assert (tmp_path / "task.db").exists()


def test_only_so_many_files_stay_open(tmp_path: Path) -> None:
    before = open_files()
    managers = []
    for number in range(40):
        directory = tmp_path / str(number)
        directory.mkdir()
        managers.append(Frames(directory))
        managers[-1].create_task(1)
    assert open_files() - before < 3 * 20
    for manager in managers:  # those that were closed open again
        manager.start_subtask(0, "s")
        manager.close()
    assert open_files() == before


def test_many_parts(manager: DBTaskManager) -> None:
    manager.create_task(10_000)
    numbers = list(range(10_000))
    assert len(manager.get_subtasks_statuses(numbers)) == 10_000
    with manager._database.writing():
        for number in range(5_000):
            manager.start_subtask(number, f"s{number}")
    assert manager.get_next_computable_part_num() == 5_000


def test_the_file_is_what_the_original_writes(manager: DBTaskManager, tmp_path: Path) -> None:
    """A task that was begun under the original is gone on with."""
    manager.create_task(1)
    manager.start_subtask(0, "s")
    with sqlite3.connect(tmp_path / "task.db") as connection:
        assert connection.execute("SELECT num, subtask_id FROM part").fetchall() == [(0, "s")]
        rows = connection.execute("SELECT id, part_id, status FROM subtask").fetchall()
    connection.close()
    assert rows == [("s", 0, "computing")]


def test_an_own_model_of_subtasks(tmp_path: Path) -> None:
    class Mine(Subtask):
        note = peewee.CharField(default="n")

    manager = DBTaskManager(tmp_path, Frame, Mine)
    manager.create_task(1)
    manager.start_subtask(0, "s")
    found = manager.get_subtask("s")
    assert (found.note, found.part.text) == ("n", "")


def test_a_value_that_is_none() -> None:
    field = database_module.EnumField(SubtaskStatus)
    assert (field.db_value("failure"), field.python_value(None)) == ("failure", WAITING)
    with pytest.raises(ValueError, match="nonsense"):
        field.db_value("nonsense")
