"""The end of a task: its results in the output directory, and nothing else in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.golem_fakes import Stage

from lading.contracts.golem.driver import outputs
from lading.contracts.golem.driver.offloop import Stop
from lading.contracts.golem.driver.outputs import drop_staging, move_outputs
from lading.contracts.golem.driver.records import TaskState
from lading.errors import CapacityError, GolemTaskFailed, InputError


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work directory whose application has left results."""
    folder = tmp_path / "work" / "t" / "task_outputs"
    (folder / "deep" / "empty").mkdir(parents=True)
    (folder / "a").write_text("a")
    (folder / "deep" / "b").write_bytes(b"b" * 100_000)
    (folder / "deep" / "b").chmod(0o755)
    return tmp_path / "work"


def results(work: Path) -> Path:
    return work / "t" / "task_outputs"


def move(work: Path, output: Path) -> list[str]:
    return move_outputs(Stop(), work, results(work), output, "T")


def check(work: Path, output: Path) -> None:
    found = {str(p.relative_to(output)): p.is_dir() or p.read_bytes() for p in output.rglob("*")}
    assert found == {"a": b"a", "deep": True, "deep/b": b"b" * 100_000, "deep/empty": True}
    assert (output / "deep" / "b").stat().st_mode & 0o777 == 0o755
    assert not results(work).exists()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the output is on another file system."""
    monkeypatch.setattr(outputs, "_renamed", lambda source, output: False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; skips where none can be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "lading-test", str(place)]
    if os.getuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_results_are_moved_to_a_new_directory(work: Path, tmp_path: Path) -> None:
    inode = results(work).stat().st_ino
    assert move(work, tmp_path / "x" / "out") == []
    check(work, tmp_path / "x" / "out")
    assert (tmp_path / "x" / "out").stat().st_ino == inode, "at once, not by copying"


def test_results_are_moved_to_an_empty_directory(work: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    move(work, tmp_path / "out")
    check(work, tmp_path / "out")


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("there", [False, True])
def test_results_are_copied_to_another_file_system(work: Path, tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "out").mkdir()
    move(work, tmp_path / "out")
    check(work, tmp_path / "out")


def test_results_go_to_a_mount_point(work: Path, small_disk: Path) -> None:
    (results(work) / "deep" / "b").write_bytes(b"b")
    move(work, small_disk)
    assert sorted(path.name for path in small_disk.iterdir()) == ["a", "deep"]
    assert sorted(path.name for path in small_disk.parent.iterdir()) == ["small", "work"]


def test_a_full_disk_is_said_so_and_can_be_gone_on_with(work: Path, small_disk: Path) -> None:
    output = small_disk / "out"
    with pytest.raises(CapacityError, match=r"the disk of .*out is full; make room"):
        move(work, output)
    assert (results(work) / "deep" / "b").stat().st_size == 100_000, "nothing is lost"
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    move(work, output)
    check(work, output)


class Killed(BaseException):
    """What kill -9 is like: nothing more is done."""


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("inside", [False, True])
def test_a_move_that_was_broken_off_anywhere_is_finished(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda _: inside)
    original = tmp_path / "original"
    work.rename(original)
    for at in range(1000):
        for old in ("work", "out"):
            shutil.rmtree(tmp_path / old, ignore_errors=True)
        shutil.copytree(original, work, symlinks=True)
        if not _killed_at(at, lambda: move(work, tmp_path / "out"), monkeypatch):
            break
        move(work, tmp_path / "out")
        check(work, tmp_path / "out")
    assert at > 25, "it was killed at that many steps"
    check(work, tmp_path / "out")


def _killed_at(at: int, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Do it until the `at`-th call to the system; say whether it got there."""
    count = 0
    with monkeypatch.context() as patch:
        for owner, names in ((os, ("rename", "rmdir", "unlink", "mkdir", "open", "fsync")),):
            for name in names:
                real = getattr(owner, name)

                def step(
                    *args: object, _real: Callable[..., object] = real, **kwargs: object
                ) -> object:
                    nonlocal count
                    count += 1
                    if count > at:
                        raise Killed
                    return _real(*args, **kwargs)

                patch.setattr(owner, name, step)
        patch.setattr(shutil.rmtree, "avoids_symlink_attacks", False)
        try:
            act()
        except Killed:
            return True
    return False


def test_what_came_into_the_output_meanwhile_is_not_touched(work: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(InputError, match="was empty, and holds mine now") as caught:
        move(work, tmp_path / "out")
    assert caught.value.fix == "move it away, then resume the task T"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
    (tmp_path / "out" / "mine").unlink()
    move(work, tmp_path / "out")
    check(work, tmp_path / "out")


def test_links_to_what_will_be_gone_become_files(work: Path, tmp_path: Path) -> None:
    other = work / "t" / "subtask_outputs"
    other.mkdir()
    (other / "r").write_text("result")
    (results(work) / "near").symlink_to("../subtask_outputs/r")
    (results(work) / "far").symlink_to("/golem/work/t/subtask_outputs/r")
    (results(work) / "own").symlink_to("a")
    (results(work) / "out").symlink_to("/etc/hostname")
    (results(work) / "all").symlink_to("deep")
    notes = move(work, tmp_path / "out")
    output = tmp_path / "out"
    for name, content in (("near", "result"), ("far", "result"), ("own", "a")):
        assert not (output / name).is_symlink()
        assert (output / name).read_text() == content
    assert sorted(note.partition(":")[0] for note in notes) == [
        "the result all is a symbolic link to deep",
        "the result out is a symbolic link to /etc/hostname",
    ]
    assert (output / "out").is_symlink()


def test_a_pipe_among_the_results_blocks_nobody(
    work: Path, tmp_path: Path, elsewhere: None
) -> None:
    os.mkfifo(results(work) / "pipe")
    assert move(work, tmp_path / "out") == ["the result pipe is no regular file"]
    assert not (tmp_path / "out" / "pipe").exists()


def test_an_application_that_removed_its_results(work: Path, tmp_path: Path) -> None:
    shutil.rmtree(results(work))
    with pytest.raises(GolemTaskFailed, match="has removed its directory of results"):
        move(work, tmp_path / "out")
    results(work).symlink_to("/etc")
    with pytest.raises(GolemTaskFailed, match="has removed its directory of results"):
        move(work, tmp_path / "out")


def test_what_was_copied_is_taken_back_when_the_task_is_aborted(work: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    (tmp_path / ".out.lading-T").mkdir()
    (tmp_path / ".out.lading-T" / "a").touch()
    assert not drop_staging(Stop(), results(work), output, "T")
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    move(work, output)
    assert drop_staging(Stop(), results(work), output, "T"), "too late"
    check(work, output)


async def test_a_task_whose_output_is_full_is_resumed(play: Stage, small_disk: Path) -> None:
    """And nothing is computed again."""
    play.target = small_disk / "out"
    play.params = {"pieces": 40}  # each a page
    with pytest.raises(CapacityError, match="is full"):
        await play.run()
    record = play.journal.task(play.task)
    assert record.state is TaskState.FINISHING
    assert "is full; make room" in record.error
    computed = dict(play.providers.computed)
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    await play.resume()
    assert play.outputs() == play.wanted()
    assert dict(play.providers.computed) == computed
    assert play.journal.task(play.task).state is TaskState.DONE
