"""`lading profile` of task folders: the smallest limits, by real runs on real engines."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import both_engines
from tests.support.command_line import Cli, documented, failed, lines_until
from tests.support.task_folders import ECHO, TaskFolders

MIB = 1 << 20

pytestmark = pytest.mark.timeout(300)  # some twenty containers each


@pytest.fixture
def folders(engine_host: str, tmp_path: Path, probe: str, test_id: str) -> Iterator[TaskFolders]:
    made = TaskFolders(engine_host, tmp_path, probe, test_id)
    yield made
    made.remove()


@both_engines
@pytest.mark.slow
def test_the_smallest_limits_are_found_and_written(lading: Cli, folders: TaskFolders) -> None:
    config = '{\n  "resource": {\n    "use_gpu": false,\n    "memory": 160\n  },\n  "own": [1]\n}\n'
    folder = folders(b'{"hog": 20000000}', b"ok", config=config)  # by each of two calls
    report = lading.json("profile", str(folder), "--write", "-q", "--repeat", "2")
    assert set(report) == documented("profile", "a task folder")
    least = report["smallest_memory"] // MIB
    assert 39 <= least <= 46, report
    assert report["memory"] >= 1.2 * report["smallest_memory"]
    assert report["memory"] <= report["declared_memory"] == 160 * MIB
    assert report["cpus"] <= report["declared_cpus"] == 1.0
    passed = {run["memory_limit"]: run["passed"] for run in report["runs"]}
    assert passed[max(size for size, well in passed.items() if not well)] is False
    assert len(report["runs"]) < 40
    text = (folder / "config.json").read_text()
    mebibytes, cores = report["memory"] // MIB, report["cpus"]
    assert text == config.replace("160", str(mebibytes)).replace(
        '    "use_gpu"', f'    "cpu": {cores:g},\n    "use_gpu"'
    )
    assert report["written"] is True
    done = lading("test", str(folder), "-q")
    assert done.returncode == 0, "it passes under what was written"
    assert lading.left() == set()


def test_what_people_see(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(cpu=0.1, mem=12)
    before = (folder / "config.json").read_bytes()
    done = lading("profile", str(folder), "--margin", "50", "--repeat", "1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    names = [line[:12].strip() for line in lines]
    assert [name for name in names if name != "note"] == [
        "memory", "cores", "measured by", "runs", "suggested",
    ]  # fmt: skip
    assert "and 50 % of margin; declared are 12 MiB" in lines[0]
    assert "--write puts it into config.json" in lines[-1]
    text = done.stderr.decode()
    assert "12 MiB, 0.1 cores: passed, " in text
    assert (folder / "config.json").read_bytes() == before


def test_a_task_that_needs_more_than_it_declares(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b'{"hog": 30000000}', b"ok", mem=16, cpu=0.1)
    report = lading.json("profile", str(folder), "-q", "--repeat", "1")
    assert report["declared_memory"] == 16 * MIB
    assert report["memory"] > 57 * MIB
    assert "it does not pass under the limits that it declares now" in report["notes"]


def test_a_task_whose_memory_varies(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b'{"hog": 10000000, "vary": 10000000}', b"ok", mem=64, cpu=0.1)
    done = lading("profile", str(folder), "-q", "--json", "--repeat", "4")
    if done.returncode == 137:  # a bad throw of dice, seven times
        assert b"it fails now and then" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["memory"] >= 19 * MIB
    last = report["runs"][-4:]
    assert [run["passed"] for run in last] == [True] * 4
    assert {run["memory_limit"] for run in last} == {report["memory"]}


@both_engines
def test_a_task_that_fails_under_all_limits(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b'{"status": 500}', b"ok", mem=8)
    before = (folder / "config.json").read_bytes()
    failed(
        lading("profile", str(folder), "--write"),
        70,
        "it fails under all limits up to 512 MiB and ",
        "replied 500",
        "\n  status 500\n",
        "fix: see its log, and make it pass `lading test` first",
    )
    assert (folder / "config.json").read_bytes() == before
    assert lading.left() == set()


def test_an_example_that_is_wrong_is_not_sought_limits_for(
    lading: Cli, folders: TaskFolders
) -> None:
    folder = folders(b"one", b"two")
    failed(lading("profile", str(folder)), 70, "is not what the example says", "-two\n  +one")
    assert len(lading.recorded()) == 1


def test_profiles_that_cannot_be_made(lading: Cli, folders: TaskFolders, tmp_path: Path) -> None:
    folder = folders()
    path = str(folder)
    failed(lading("profile", path, "--slower", "0.5"), 2, "--slower: must be a factor")
    failed(lading("profile", path, "--margin", "-1"), 2, "--margin: must be percent")
    failed(lading("profile", path, "--repeat", "0"), 2, "--repeat: must be from 1")
    failed(lading("profile", path, "--inputs", "a"), 2, "--inputs: is for processing-containers")
    failed(lading("profile", path, "--plot", "a.png"), 2, "--plot: is for processing-containers")
    failed(lading("profile", "image:1", "--write"), 2, "--write: is for task folders")
    (folder / "config.json").chmod(0o444)
    failed(lading("profile", path, "--write"), 2, "config.json: is read-only", "chmod u+w")
    (folder / "example_output.bin").unlink()
    failed(lading("profile", path), 2, "there is nothing to compare with")
    assert lading.recorded() == []


def test_interrupted_it_leaves_nothing(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(ECHO, ECHO)
    before = (folder / "config.json").read_bytes()
    with lading.started("profile", str(folder), "--write") as process:
        lines_until(process.stderr, b": passed, ")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert lading.left() == set()
    assert (folder / "config.json").read_bytes() == before
