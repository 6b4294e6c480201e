"""`lading test` of task folders: what passes, what does not, and what their developers are told."""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import both_engines
from tests.support import engines
from tests.support.command_line import Cli, Done, documented, failed, lines_until
from tests.support.task_folders import ECHO, TaskFolders
from tests.unit.folders.test_comparing import JSON_STRING, png


@pytest.fixture
def folders(engine_host: str, tmp_path: Path, probe: str, test_id: str) -> Iterator[TaskFolders]:
    made = TaskFolders(engine_host, tmp_path, probe, test_id)
    yield made
    made.remove()


def told(done: Done, code: int, *says: str) -> Any:
    """Assert that a trial failed in good order; returns what programs are told."""
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert "error: " in text
    assert "Traceback" not in text
    for words in says:
        assert words in text, text
    report = json.loads(done.stdout)
    assert report["passed"] is False
    assert report["error"]
    return report


# What passes.


@both_engines
def test_an_example_that_holds(lading: Cli, folders: TaskFolders) -> None:
    folder = folders()
    done = lading("test", str(folder))
    assert done.returncode == 0, done.stderr
    first, *figures = done.stdout.decode().splitlines()
    assert first == f"{folder.name}: passed (the same bytes)"
    names = [line.split()[0] for line in figures]
    assert names == ["cold", "warm", "memory", "processor", "image", "run"]
    assert " of 48 MiB at the most (" in figures[2]
    assert f"lading-task/{folder.name}:dev" in figures[4]
    text = done.stderr.decode()
    assert f"build lading-task/{folder.name}:dev" in text
    assert "meca-init-done" in text, "what it printed"
    (run,) = lading.recorded()
    assert (run["state"], run["task"], run["cpus"]) == ("succeeded", folder.name, 0.5)
    known = lading.json("inspect", run["run"])
    assert (known["input_bytes"], known["output_bytes"]) == (len(ECHO), len(ECHO))


@both_engines
def test_what_programs_are_told(lading: Cli, folders: TaskFolders) -> None:
    folder = folders()
    report = lading.json("test", str(folder), "--repeat", "3", "--concurrency", "4", "-q")
    assert set(report) == documented("test", "a task folder")
    fields = {"round", "seconds", "passed", "bytes", "content_type", "error"}
    assert set(report["calls"][0]) == fields
    assert (report["passed"], report["likeness"], report["updated"]) == (True, "exact", False)
    assert [call["round"] for call in report["calls"]] == [1, *[2] * 4, *[3] * 4]
    assert all(call["passed"] for call in report["calls"])
    assert report["cold_seconds"] > report["start_seconds"] > 0
    assert 0 < report["warm_seconds"] < report["cold_seconds"]
    assert 0 < report["memory_peak"] <= report["memory_limit"] == 48 << 20
    assert report["image_size"] > 100_000
    assert report["cpu_seconds"] > 0
    assert report["log"] == "meca-init-done\n"
    assert len(lading.recorded()) == 1, "one container for all calls"


PICTURE = png(8, 4)


@pytest.mark.parametrize(
    ("reply", "example", "how"),
    [
        (b'{"a":[1,2]}', b'{"a": [1.0, 2]}\n', "the same JSON"),
        (b"plain", b"plain  \r\n\n", "the same but for white space at the end"),
        (b'{"a": [1, 2]}', JSON_STRING + b"\n", "the JSON that the example holds in a JSON string"),
        (PICTURE, png(8, 4, 200), "image/png of 8x4 pixels as well, other bytes"),
        (b"\xff\xfe", b"\xfe\xff", "application/octet-stream of 2 bytes as well, others"),
    ],
)
def test_in_which_way_it_holds(
    lading: Cli, folders: TaskFolders, reply: bytes, example: bytes, how: str
) -> None:
    folder = folders(reply, example)
    done = lading("test", str(folder))
    assert done.returncode == 0, done.stderr
    assert f"passed ({how})" in done.stdout.decode()
    told(lading("test", str(folder), "--exact", "--json"), 70, "is not what the example says")


def test_another_image_is_tried_without_a_build(
    lading: Cli, folders: TaskFolders, probe: str
) -> None:
    folder = folders()
    (folder / "Dockerfile").write_text("FROM lading-test/absent:1\n")
    report = lading.json("test", str(folder), "--image", probe, "--pull", "never", "--no-network")
    assert (report["passed"], report["image"]) == (True, probe)
    failed(lading("test", str(folder), "--image", "lading-test/absent:1", "--pull", "never"), 66)
    failed(lading("test", str(folder), "--image", probe, "--tag", "x"), 2, "--tag: is for a build")


def test_a_build_has_arguments_and_a_name(lading: Cli, folders: TaskFolders, probe: str) -> None:
    folder = folders()
    (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    tag = folders.made[-1].replace(":dev", ":other")
    folders.made.append(tag)
    report = lading.json("test", str(folder), "--build-arg", f"BASE={probe}", "--tag", tag, "-q")
    assert report["image"] == tag
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY absent.txt /\n")
    done = lading("test", str(folder))
    failed(done, 65, "absent.txt")


# What differs.


@both_engines
def test_an_example_that_differs(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b'{"b": "text", "a": [1, 2]}', b'{"a": [1, 3], "b": "text"}')
    done = lading("test", str(folder))
    assert done.returncode == 70
    assert done.stdout.decode().startswith(f"{folder.name}: failed\ncold ")
    lines = [line.strip() for line in done.stderr.decode().splitlines()]
    assert "error: the reply is not what the example says: at a[1]: 2 instead of 3" in lines
    at = lines.index("--- example_output.bin")
    assert lines[at + 1 : at + 7] == [
        "+++ the reply",
        "@@ -1,7 +1,7 @@",
        "{",
        '"a": [',
        "1,",
        "-    3",
    ]
    assert lines[at + 7] == "+    2"
    assert lines[-1].startswith("fix: correct the task; or, if what came is right, `lading test ")
    report = told(lading("test", str(folder), "--json"), 70)
    assert report["difference"] == "at a[1]: 2 instead of 3"
    assert "+    2" in report["diff"]
    assert {run["state"] for run in lading.recorded()} == {"failed"}


@pytest.mark.parametrize(
    ("reply", "example", "says"),
    [
        (b"one\ntwo\n", b"one\ntoo\n", "line 2 differs"),
        (PICTURE, png(4, 8), "image/png (8x4 pixels, "),
        (b"an error", PICTURE, "text of 8 bytes instead of image/png (8x4"),
        (b"\xff\xfe", b"\xff\xfe\xfd", "2 bytes of no known type instead of 3 bytes"),
        (b"hello", b"", "the example is empty"),
    ],
)
def test_what_differs_is_said(
    lading: Cli, folders: TaskFolders, reply: bytes, example: bytes, says: str
) -> None:
    told(lading("test", str(folders(reply, example)), "--json"), 70, says)


# What goes wrong.


@both_engines
def test_a_task_that_never_gets_ready(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(command=("serve", "--no-mark"))
    report = told(
        lading("test", str(folder), "--start-timeout", "1", "--json"),
        75,
        "meca-init-done",
        "fix: see its log; if it is only slow, allow it more time with --start-timeout",
    )
    assert report["calls"] == []
    folders.command(folder, "serve", "--exit-after-mark", "3", "--no-listen")
    report = told(lading("test", str(folder), "--json"), 70, "exit code 3", "before it was ready")
    assert "meca-init-done" in report["log"]


@both_engines
def test_a_task_that_is_killed_for_memory(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b'{"hog": 100000000}', b"ok")
    report = told(
        lading("test", str(folder), "--json"),
        137,
        "out of memory, limit 48 MiB, peak 48 MiB",
        f'fix: set "mem" to 96 in config.json; `lading profile {folder}` finds the least',
    )
    assert report["memory_peak"] > 40 << 20
    folder = folders(b'{"hog": 30000000}', b"ok", mem=32)
    done = lading("test", str(folder), "--repeat", "1")
    assert done.returncode == 0, done.stderr
    assert b"little room, `lading profile`" in done.stdout


def test_a_task_that_needs_more_with_every_call(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b'{"hog": 20000000}', b"ok")
    told(
        lading("test", str(folder), "--repeat", "4", "--json"),
        137,
        "the first call went well, a later one did not",
    )


def test_a_task_that_answers_with_an_error(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b'{"status": 500}', b"ok")
    told(lading("test", str(folder), "--json"), 70, "replied 500", "\n  status 500\n")


def test_a_task_that_ends_or_hangs_up(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b'{"exit": 3}', b"ok")
    told(lading("test", str(folder), "--json"), 70, "exit code 3", "probe: exiting 3")
    (folder / "example_input.bin").write_bytes(b'{"close_half": true}')
    told(lading("test", str(folder), "--json"), 70, "in the middle of its reply")


def test_a_task_that_is_slow_and_one_that_hangs(lading: Cli, folders: TaskFolders) -> None:
    orders = b'{"sleep_ms": 700}'
    folder = folders(orders, orders)
    report = lading.json("test", str(folder), "-q")
    assert report["warm_seconds"] >= 0.7
    assert report["cold_seconds"] >= report["start_seconds"] + 0.7
    told(
        lading("test", str(folder), "--timeout", "0.3", "--json"),
        124,
        "did not answer within 300 ms",
        "fix: allow it more time with --timeout",
    )


@both_engines
def test_one_of_many_calls_at_once_fails(lading: Cli, folders: TaskFolders) -> None:
    orders = b'{"nth": 4, "status": 503}'
    folder = folders(orders, orders)
    done = lading("test", str(folder), "--concurrency", "8", "--json")
    report = told(done, 70, "1 of 8 calls at once failed: task ", "replied 503")
    assert [call["passed"] for call in report["calls"]].count(False) == 1
    assert len(report["calls"]) == 9, "the others are waited for"
    (bad,) = [call["error"] for call in report["calls"] if not call["passed"]]
    assert report["error"] == f"1 of 8 calls at once failed: {bad}"


def test_a_task_that_replies_something_else_later(lading: Cli, folders: TaskFolders) -> None:
    orders = b'{"nth": 2, "status": 200}'
    folder = folders(orders, orders)
    report = told(lading("test", str(folder), "--json"), 70, "the first call went well, a later")
    assert [call["passed"] for call in report["calls"]] == [True, False]
    before = folder / "example_output.bin"
    told(lading("test", str(folder), "--update", "--json"), 70, "a later one did not")
    assert before.read_bytes() == orders, "such a reply is no example"


# Examples.


def test_a_new_example(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(PICTURE, None)
    output = folder / "example_output.bin"
    failed(
        lading("test", str(folder)),
        2,
        f"{output}: there is no such file, so there is nothing to compare with",
        f"fix: `lading test {folder} --update` writes what the task replies",
    )
    assert lading.recorded() == [], "nothing was started for that"
    done = lading("test", str(folder), "--update")
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == PICTURE
    assert b"its reply is the example now" in done.stdout
    assert lading.json("test", str(folder))["likeness"] == "exact"
    again = lading("test", str(folder), "--update")
    assert b"example_output.bin says so already" in again.stderr
    output.write_bytes(b"old")
    report = lading.json("test", str(folder), "--update")
    assert (report["updated"], output.read_bytes()) == (True, PICTURE)
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_what_was_accepted_is_shown(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b'{"a": 1}', b'{"a": 2}')
    done = lading("test", str(folder), "--update")
    assert done.returncode == 0
    assert b'-  "a": 2\n  +  "a": 1' in done.stderr


def test_an_example_that_may_not_be_written(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b"new", b"old")
    output = folder / "example_output.bin"
    output.chmod(0o444)
    done = lading("test", str(folder), "--update")
    failed(done, 2, f"{output}: is read-only", "fix: chmod u+w")
    assert output.read_bytes() == b"old"
    assert lading.recorded() == [], "nothing was started for that"


def test_a_failure_writes_no_example(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b'{"status": 500}', b"old")
    told(lading("test", str(folder), "--update", "--json"), 70)
    assert (folder / "example_output.bin").read_bytes() == b"old"


def test_inputs_that_are_doubtful(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b"not JSON", b"not JSON")
    done = lading("test", str(folder), "-q")
    assert done.returncode == 0
    assert b"warning: example_input.bin is no JSON: Expecting value at line 1" in done.stderr
    (folder / "example_input.bin").write_bytes(JSON_STRING)
    (folder / "example_output.bin").write_bytes(JSON_STRING)
    done = lading("test", str(folder), "-q")
    assert b"warning: example_input.bin is a JSON string that holds JSON" in done.stderr
    (folder / "example_input.bin").unlink()
    failed(lading("test", str(folder)), 2, "so there is nothing to send")


def test_wrong_usage_is_named(lading: Cli, folders: TaskFolders, tmp_path: Path) -> None:
    folder = str(folders())
    failed(lading("test", str(tmp_path / "absent")), 2, "there is no such folder")
    failed(lading("test", str(tmp_path)), 2, "has no Dockerfile")
    failed(lading("test", folder, "--repeat", "0"), 2, "--repeat: must be at least 1")
    failed(lading("test", folder, "--concurrency", "-1"), 2, "--concurrency: must be at least 1")
    failed(lading("test", folder, "--repeat", "1", "--concurrency", "2"), 2, "and --repeat is 1")
    failed(lading("test", folder, "--timeout", "0"), 2, "--timeout: must be seconds")
    failed(lading("test", folder, "--pull", "never"), 2, "--pull: is for --image")


# Signals.


@both_engines
def test_interrupted_in_the_middle_of_a_call(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b'{"say": "at work", "sleep_ms": 60000}', b"ok")
    with lading.started("test", str(folder)) as process:
        lines_until(process.stderr, b"at work")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert lading.left() == set()
    (run,) = lading.recorded()
    assert run["state"] == "cancelled"


@both_engines
def test_interrupted_while_it_is_built(lading: Cli, folders: TaskFolders, probe: str) -> None:
    folder = folders()
    (folder / "Dockerfile").write_text(f'FROM {probe}\nRUN ["/probe", "sleep", "60"]\n')
    with lading.started("test", str(folder)) as process:
        lines_until(process.stderr, b"sleep")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    status, _ = engines.call(lading.engine, "GET", f"/images/lading-task/{folder.name}:dev/json")
    assert status == 404


def test_interrupted_while_it_starts(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(command=("serve", "--mark-first", "--listen-ms", "60000"))
    with lading.started("test", str(folder)) as process:
        lines_until(process.stderr, b"meca-init-done")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    assert lading.left() == set()


def test_interrupted_while_it_is_updated(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b'{"say": "at work", "sleep_ms": 60000}', b"old")
    with lading.started("test", str(folder), "--update") as process:
        lines_until(process.stderr, b"at work")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert (folder / "example_output.bin").read_bytes() == b"old"


def test_its_container_is_removed_by_somebody_else(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(b'{"say": "at work", "sleep_ms": 60000}', b"ok")
    with lading.started("test", str(folder)) as process:
        lines_until(process.stderr, b"at work")
        (container,) = lading.left()
        engines.call(lading.engine, "DELETE", f"/containers/{container}?force=1")
        assert process.wait(30) == 70
        assert process.stderr is not None
        assert b"was removed while it ran" in process.stderr.read()


def test_binary_replies_are_told_as_such(lading: Cli, folders: TaskFolders) -> None:
    folder = folders(base64.b64decode("/w=="), b"x")
    report = told(lading("test", str(folder), "--json"), 70)
    assert report["calls"][0]["bytes"] == 1
    assert report["difference"] == "1 bytes of no known type instead of text of 1 bytes"
