"""A driver that is killed at any moment: another command goes on, and nothing is done twice."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import time

import pytest
from tests.e2e.conftest import both_engines
from tests.support.command_line import failed, lines_until
from tests.support.golem import Golem

pytestmark = pytest.mark.timeout(300)  # the first one may have to build an image


def until_said(golem: Golem, word: str, times: int = 1) -> None:
    """Wait until our containers have printed a word."""
    deadline = time.monotonic() + 60
    while golem.kept_logs().count(word) < times:
        assert time.monotonic() < deadline, golem.kept_logs()
        time.sleep(0.02)


def killed(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(30)


def resumed(golem: Golem, *flags: str) -> dict[str, object]:
    done = golem.cli("golem", "resume", golem.only()["task"], "--json", *flags)
    assert done.returncode == 0, done.stderr.decode()
    told: dict[str, object] = json.loads(done.stdout)
    return told


@both_engines
def test_what_was_done_is_not_done_again(golem: Golem) -> None:
    do = {"*": "print part {n}", "3": "print part {n}; print there; hang-once"}
    with golem.started("--nodes", "1", parts=5, do=do) as process:
        until_said(golem, "there\n")
        task = golem.only()
        assert (task["state"], task["driven"]) == ("running", True)
        assert golem.containers("provider")
        again = golem.cli("golem", "resume", task["task"])
        failed(again, 2, f"{task['task']} is being driven by another command")
        killed(process)
    task = golem.only()
    assert (task["state"], task["driven"]) == ("stopped", False)
    left = {item["Id"] for item in golem.containers()}
    assert len(left) == 2  # the killed one's: requestor and provider
    told = resumed(golem)
    assert (told["subtasks"], told["retries"]) == (5, 0)
    assert sorted(golem.parts()) == [0, 1, 2, 3, 4]
    # Each part was computed once, but for the one that was being computed.
    counts = [golem.kept_logs().count(f"part {number}\n") for number in range(5)]
    assert counts == [1, 1, 1, 2, 1]
    assert golem.homes() == set()
    assert golem.containers() == []


@pytest.mark.parametrize(
    "given",
    [
        {"requestor": {"CreateTask": "print there; hang-once"}},
        {"requestor": {"NextSubtask": "print there; hang-once"}},
        {"requestor": {"Verify": "print there; hang-once"}},
    ],
    ids=["create", "next", "verify"],
)
def test_killed_while_the_application_is_asked(golem: Golem, given: dict[str, object]) -> None:
    with golem.started("--nodes", "2", parts=3, **given) as process:
        until_said(golem, "there\n")
        killed(process)
    resumed(golem)
    assert sorted(golem.parts()) == [0, 1, 2]


def test_killed_again_and_again(golem: Golem) -> None:
    """Whatever happens at the moment: five kills, each a little later."""
    command = golem.command("--nodes", "2", parts=8, do={"*": "sleep 0.2"})
    for number in range(5):
        with golem.cli.started(*command) as process:
            assert process.stderr is not None
            if number == 0:
                lines_until(process.stderr, b"on 2 nodes")
            time.sleep(0.4 + 0.35 * number)
            killed(process)
        if golem.only()["state"] == "done":
            break
        command = ["golem", "resume", golem.only()["task"]]
    if golem.only()["state"] != "done":
        resumed(golem)
    assert sorted(golem.parts()) == list(range(8))


def test_with_other_options(golem: Golem) -> None:
    with golem.started("--nodes", "1", parts=3, do={"0": "print there; hang-once"}) as process:
        until_said(golem, "there\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    told = resumed(golem, "--nodes", "3")
    assert told["nodes"] == 3
    assert sorted(golem.parts()) == [0, 1, 2]


def test_it_goes_on_where_it_was_begun(golem: Golem) -> None:
    with golem.started("--nodes", "1", parts=2, do={"0": "print there; hang-once"}) as process:
        until_said(golem, "there\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    elsewhere = {"LADING_ENGINE": "", "DOCKER_HOST": "unix:///nowhere"}
    cli = dataclasses.replace(golem.cli, more=elsewhere)
    done = cli("golem", "resume", golem.only()["task"])
    assert done.returncode == 0, done.stderr
    assert sorted(golem.parts()) == [0, 1]


def test_aborting_what_nobody_drives(golem: Golem) -> None:
    with golem.started("--nodes", "1", parts=2, do={"*": "print there; hang"}) as process:
        until_said(golem, "there\n")
        killed(process)
    task = golem.only()["task"]
    done = golem.cli("golem", "abort", task)
    assert done.returncode == 0, done.stderr
    assert golem.only()["state"] == "aborted"
    assert "abort_task" in golem.kept_logs()
    assert golem.homes() == set()
    assert golem.containers() == []
    failed(golem.cli("golem", "resume", task), 2, "is aborted")
    refused = golem.cli("golem", "abort", task)
    assert refused.returncode == 2
    assert b"it has ended" in refused.stderr


def test_tasks_that_are_not_there(golem: Golem) -> None:
    for command in ("resume", "abort"):
        done = golem.cli("golem", command, "nowhere")
        assert done.returncode == 66, done.stderr
        assert b"'nowhere' is no task of ours" in done.stderr
        assert golem.cli("golem", command, "").returncode == 2
