"""What goes wrong while a task of many subtasks is computed, caused for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import both_engines
from tests.images.golem import ensure_golem_base
from tests.support.command_line import failed, lines_until
from tests.support.golem import Golem

pytestmark = pytest.mark.timeout(300)  # the first one may have to build an image


def told(golem: Golem, *flags: str, **given: object) -> str:
    """What a task says that ends well."""
    done = golem("--nodes", "2", *flags, **given)
    assert done.returncode == 0, done.stderr.decode()
    assert "Traceback (most recent call last)" not in done.stderr.decode().split("last lines")[0]
    return done.stderr.decode()


# Providers.


@both_engines
def test_a_provider_dies(golem: Golem) -> None:
    text = told(golem, parts=3, do={"1": "die-once"})
    assert sorted(golem.parts()) == [0, 1, 2]
    assert "ended with exit code 3" in text


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("outside", "leads out of the work directory"),
        ("link", "leads out of the work directory"),
        ("missing", "is not there"),
        ("directory", "directory"),
        ("fail", "a wrong square"),
    ],
)
def test_a_provider_whose_results_are_refused_fails_the_task(
    golem: Golem, does: str, says: str
) -> None:
    done = golem("--nodes", "1", "--retries", "1", parts=1, do={"0": does})
    failed(done, 70, says)
    assert not golem.output.exists() or not list(golem.output.iterdir())
    task = golem.only()
    assert (task["state"], task["subtasks_failed"]) == ("failed", 2)


def test_a_provider_that_raises_is_quoted(golem: Golem) -> None:
    done = golem("--nodes", "1", "--retries", "0", parts=1, do={"0": "raise so it is"})
    assert done.returncode == 70
    text = done.stderr.decode()
    assert "Compute: so it is (INTERNAL)" in text
    assert "last lines of its log" in text


def test_an_empty_result_is_for_the_application_to_judge(golem: Golem) -> None:
    done = golem("--nodes", "1", "--retries", "0", parts=1, do={"0": "empty"})
    failed(done, 70, "no result")
    assert b"is an empty file" in done.stderr


def test_a_provider_that_hangs_is_stopped_in_time(golem: Golem) -> None:
    text = told(golem, "--subtask-timeout", "3", parts=2, do={"0": "hang-once"})
    assert "Compute was not answered within 3.0 s" in text
    assert sorted(golem.parts()) == [0, 1]


def test_a_provider_runs_out_of_memory(golem: Golem) -> None:
    done = golem("--nodes", "1", "--retries", "0", "--memory", "100Mi", parts=1, do={"0": "eat"})
    failed(done, 70, "out of memory, limit 100 MiB", "--memory 200Mi")


def test_a_node_that_fails_repeatedly_is_left_alone(golem: Golem) -> None:
    text = told(
        golem,
        "--nodes",
        "1",
        "--rest",
        "0.5",
        parts=2,
        do={"*": "die-once; raise-once; missing-once"},
    )
    assert sorted(golem.parts()) == [0, 1]
    assert "node 1: left alone for 500 ms after 3 failures in a row" in text


# The requestor.


@both_engines
@pytest.mark.parametrize("call", ["NextSubtask", "Verify"])
def test_the_requestor_dies_in_the_middle(golem: Golem, call: str) -> None:
    text = told(golem, parts=3, requestor={call: "die-once"})
    assert sorted(golem.parts()) == [0, 1, 2]
    assert "the requestor application was started again" in text
    assert "dying as told" in golem.kept_logs()


def test_the_requestor_is_killed_while_nobody_calls_it(golem: Golem) -> None:
    with golem.started("--nodes", "1", parts=2, do={"0": "print computing; sleep 4"}) as process:
        deadline = time.monotonic() + 30
        while "computing" not in golem.kept_logs() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert golem.kill("requestor") == 1
        assert process.wait(60) == 0, process.stderr.read() if process.stderr else ""
    assert sorted(golem.parts()) == [0, 1]


def test_a_requestor_that_always_dies_fails_the_task(golem: Golem) -> None:
    done = golem("--nodes", "1", parts=1, requestor={"NextSubtask": "die"})
    assert done.returncode == 70, done.stderr
    assert b"dying as told" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("call", ["CreateTask", "HasPendingSubtasks", "NextSubtask", "Verify"])
def test_a_requestor_that_raises_is_quoted(golem: Golem, call: str) -> None:
    done = golem("--nodes", "1", parts=1, requestor={call: "raise not today"})
    failed(done, 70, f"{call}: ", "not today")


def test_a_requestor_that_does_not_answer(golem: Golem) -> None:
    done = golem("--nodes", "1", "--app-timeout", "6", parts=1, requestor={"Verify": "hang"})
    assert done.returncode in (70, 124), done.stderr
    assert b"Verify" in done.stderr


def test_an_application_that_never_finishes_verification(golem: Golem) -> None:
    done = golem("--nodes", "1", parts=2, requestor={"Verify": "await-forever"})
    failed(done, 70, "the application never finishes verification")


def test_an_image_that_is_no_application(golem: Golem, probe: str) -> None:
    words = ["golem", "run", probe, "--output", str(golem.output)]
    failed(golem.cli(*words), 70, "ended with exit code")
    # Without an entrypoint, the engine looks for a program of that name.
    words[2] = ensure_golem_base(golem.cli.engine)
    done = golem.cli(*words)
    assert done.returncode in (69, 70), done.stderr
    assert b"a Golem application? The image of one has an ENTRYPOINT" in done.stderr
    failed(golem.cli("golem", "run", "./nowhere", "-o", "x"), 2, "no file or folder ./nowhere")
    assert golem.homes() == set()
    assert golem.listed() == []


def test_prerequisites_that_nobody_has(golem: Golem) -> None:
    done = golem("--nodes", "1", parts=1, image="lading-test/nowhere", tag="1")
    assert done.returncode in (66, 69), done.stderr
    assert b"lading-test/nowhere:1" in done.stderr
    assert b"lading golem resume" in done.stderr
    assert golem.only()["state"] == "stopped"


# What the user gives.


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ('{"a": 1,}', "line 1, column 9"),
        ('{"a": 1,\n "b" 2}', "line 2, column 6"),
        ('{"a": NaN}', "NaN is no number"),
        ("[1]", "must be a JSON object, not an array"),
        ("nowhere.json", "neither a file"),
    ],
)
def test_parameters_that_are_no_json(golem: Golem, params: str, says: str) -> None:
    words = ["golem", "run", "nothing:1", "--params", params, "--output", str(golem.output)]
    failed(golem.cli(*words), 2, "--params", says)


def test_a_file_of_parameters_that_is_no_json(golem: Golem, tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    file.write_text('{\n  "a": tru\n}')
    words = ["golem", "run", "nothing:1", "--params", str(file), "--output", str(golem.output)]
    failed(golem.cli(*words), 2, f"{file}: line 2, column 8")
    file.write_text("[1, 2]")
    failed(golem.cli(*words), 2, "must be a JSON object, not an array")


def test_resources_and_outputs_that_cannot_be_used(golem: Golem, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "there").touch()
    words = ["golem", "run", "nothing:1", "--output"]
    failed(golem.cli(*words, str(full)), 2, str(full))
    nowhere = str(tmp_path / "nowhere")
    failed(golem.cli(*words, str(golem.output), "-r", nowhere), 2, nowhere)
    os.mkfifo(tmp_path / "pipe")
    failed(golem.cli(*words, str(golem.output), "-r", str(tmp_path / "pipe")), 2, "pipe")


def test_directories_as_resources_keep_their_shape(golem: Golem, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    (inputs / "below").mkdir(parents=True)
    (inputs / "below" / "deep").write_text("deep")
    (inputs / "flat").write_text("flat")
    told(golem, parts=1, resources=[inputs])
    assert set(golem.parts()[0]["resources"]) == {"flat"}  # the probe hands out files only


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk")
def test_a_full_disk_where_the_results_go(golem: Golem, small_disk: Path) -> None:
    output = small_disk / "out"
    done = golem("--nodes", "1", output=output, parts=1, pad_output=8)
    assert done.returncode == 75, done.stderr
    text = done.stderr.decode()
    assert "No space left" in text or "full" in text
    assert "lading golem resume" in text
    assert list(small_disk.iterdir()) == [small_disk / "filler"]
    (small_disk / "filler").unlink()
    task = golem.only()
    assert (task["state"], task["phase"]) == ("stopped", "finishing")
    resumed = golem.cli("golem", "resume", task["task"], "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["output"] == str(output)
    assert sorted(golem.parts(output)) == [0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MB with half of it in use."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)], check=True)
    try:
        (place / "filler").write_bytes(bytes(6 << 20))
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


# Its end before its end.


def test_a_task_runs_out_of_time(golem: Golem) -> None:
    done = golem("--nodes", "1", "--task-timeout", "8", parts=2, do={"*": "hang"})
    failed(done, 70, "not done within 8.0 s (--task-timeout)")
    assert golem.only()["state"] == "failed"
    assert "abort_task" in golem.kept_logs()


@pytest.mark.parametrize(
    ("phase", "given"),
    [
        ("create", {"requestor": {"CreateTask": "print there; hang"}}),
        ("compute", {"do": {"*": "print there; hang"}}),
        ("verify", {"requestor": {"Verify": "print there; hang"}}),
        ("next", {"requestor": {"NextSubtask": "print there; hang"}}),
    ],
)
def test_aborting_in_every_phase(golem: Golem, phase: str, given: dict[str, object]) -> None:
    with golem.started("--nodes", "1", parts=2, **given) as process:
        deadline = time.monotonic() + 30
        while "there" not in golem.kept_logs() and time.monotonic() < deadline:
            time.sleep(0.05)
        (task,) = golem.listed()
        aborted = golem.cli("golem", "abort", task["task"][:-2])
        assert aborted.returncode == 0, aborted.stderr
        assert aborted.stdout.decode().strip() == task["task"]
        assert process.wait(30) == 70
        assert process.stderr is not None
        assert b"aborted" in process.stderr.read()
    assert golem.only()["state"] == "aborted"
    assert golem.homes() == set()
    if phase != "create":
        assert "abort_task" in golem.kept_logs()
    again = golem.cli("golem", "resume", task["task"])
    failed(again, 2, "is aborted")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly_and_says_how_it_goes_on(golem: Golem, number: int) -> None:
    with golem.started("--nodes", "1", parts=3, do={"1": "print there; hang-once"}) as process:
        assert process.stderr is not None
        lines_until(process.stderr, b"on 1 node")
        deadline = time.monotonic() + 30
        while "there" not in golem.kept_logs() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(30) == 128 + number
        rest = process.stderr.read().decode()
    task = golem.only()
    assert f"lading golem resume {task['task']}" in rest
    assert golem.containers() == []
    assert task["state"] == "stopped"
    resumed = golem.cli("golem", "resume", task["task"])
    assert resumed.returncode == 0, resumed.stderr
    assert sorted(golem.parts()) == [0, 1, 2]
