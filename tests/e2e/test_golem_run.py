"""`lading golem run`: a task split, computed by several nodes, verified, and in its place."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from tests.e2e.conftest import both_engines
from tests.support.command_line import documented
from tests.support.golem import Golem

pytestmark = pytest.mark.timeout(300)  # the first one may have to build an image


@both_engines
def test_a_task_is_computed_by_several_nodes(golem: Golem, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "data").write_bytes(os.urandom(100_000))
    done = golem("--nodes", "2", "--json", parts=5, resources=[inputs])
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told) == documented("golem run")
    assert (told["subtasks"], told["retries"], told["nodes"]) == (5, 0, 2)
    parts = golem.parts()
    assert sorted(parts) == list(range(5))
    digest = hashlib.sha256((inputs / "data").read_bytes()).hexdigest()
    assert all(part["resources"] == {"data": digest} for part in parts.values())
    # What they wrote is ours, and who they were, too.
    assert {part["user"] for part in parts.values()} == {os.getuid()}
    assert {p.stat().st_uid for p in golem.output.rglob("*")} == {os.getuid()}
    # Nothing is left: containers (the fixture looks), directories.
    assert golem.homes() == set()
    task = golem.only()
    assert set(task) == documented("golem ps")
    assert (task["state"], task["subtasks_done"], task["driven"]) == ("done", 5, False)
    # Each container is written down: the requestor's, and one for each subtask.
    runs = [run for run in golem.cli.recorded() if run["contract"] == "golem"]
    assert len(runs) == 6
    assert {run["state"] for run in runs} == {"succeeded"}


def test_what_people_and_programs_see(golem: Golem) -> None:
    done = golem("--nodes", "1", parts=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() == str(golem.output)
    text = done.stderr.decode()
    assert f"task {golem.only()['task']}: on 1 node" in text
    assert "2 subtasks" in text
    assert str(golem.output) in text
    quiet = golem("--nodes", "1", "-q", parts=1)
    assert quiet.returncode == 0
    assert quiet.stderr == b""


def test_parameters_of_16_megabytes_reach_both_sides(golem: Golem) -> None:
    blob = "x" * (16 << 20)
    done = golem("--nodes", "1", parts=1, blob=blob, blob_to_parts=True)
    assert done.returncode == 0, done.stderr
    assert golem.parts()[0]["blob"] == hashlib.sha256(blob.encode()).hexdigest()


def test_later_data_is_awaited(golem: Golem) -> None:
    done = golem("--nodes", "2", parts=4, requestor={"Verify": "await-all"})
    assert done.returncode == 0, done.stderr
    assert sorted(golem.parts()) == [0, 1, 2, 3]


def test_nodes_that_get_nothing_leave_the_work_to_others(golem: Golem) -> None:
    done = golem("--nodes", "3", parts=3, refuse=2)
    assert done.returncode == 0, done.stderr
    assert sorted(golem.parts()) == [0, 1, 2]


def test_replicas_that_agree(golem: Golem) -> None:
    # The second replica of part 0 that starts gives something else, the third agrees.
    done = golem("--nodes", "3", "--replicas", "3", "--agree", "2", parts=2, do={"0": "fail-once"})
    assert done.returncode == 0, done.stderr
    assert sorted(golem.parts()) == [0, 1]


def test_two_tasks_of_one_application_at_the_same_time(golem: Golem) -> None:
    with golem.started("--nodes", "1", parts=3) as first:
        output = golem.output
        second = golem("--nodes", "1", parts=2)
        assert first.wait(60) == 0, first.stderr.read() if first.stderr else ""
    assert second.returncode == 0, second.stderr
    assert sorted(golem.parts(output)) == [0, 1, 2]
    assert sorted(golem.parts()) == [0, 1]
    assert {task["state"] for task in golem.listed()} == {"done"}


@both_engines
def test_without_a_network(golem: Golem) -> None:
    done = golem("--nodes", "1", "--no-network", parts=1, do={"*": "interfaces"})
    assert done.returncode == 0, done.stderr
    assert golem.parts()[0]["interfaces"] == ["lo"]


def test_providers_that_do_not_fit_wait_and_say_what_for(golem: Golem) -> None:
    done = golem("--nodes", "2", "--cpu", str(os.cpu_count()), parts=2, do={"*": "sleep 1"})
    assert done.returncode == 0, done.stderr
    assert b"waits for" in done.stderr


def test_more_than_the_machine_has_is_refused(golem: Golem) -> None:
    done = golem("--nodes", "1", "--memory", "9999Gi", parts=1)
    assert done.returncode == 65, done.stderr
    assert b"the maximum on this host is" in done.stderr
    assert b"lading golem resume" in done.stderr
    resumed = golem.cli("golem", "resume", golem.only()["task"][:-1], "--memory", "256Mi")
    assert resumed.returncode == 0, resumed.stderr
    assert sorted(golem.parts()) == [0]
