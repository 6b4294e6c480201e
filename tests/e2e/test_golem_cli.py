"""`lading golem ps` and `benchmark`, and what stands around tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.e2e.conftest import both_engines
from tests.support.command_line import documented, failed
from tests.support.golem import Golem

pytestmark = pytest.mark.timeout(300)  # the first one may have to build an image


@both_engines
def test_a_benchmark_is_measured_once(golem: Golem) -> None:
    first = golem.cli.json("golem", "benchmark", golem.image)
    assert set(first) == documented("golem benchmark")
    assert (first["score"], first["measured_now"], first["side"]) == (42.25, True, "provider")
    again = golem.cli.json("golem", "benchmark", golem.image)
    assert again == {**first, "measured_now": False}
    forced = golem.cli.json("golem", "benchmark", golem.image, "--force")
    assert forced["measured_now"]
    # Another limit is another machine.
    assert golem.cli.json("golem", "benchmark", golem.image, "--cpu", "0.5")["measured_now"]


def test_a_benchmark_of_a_definition_and_of_the_other_side(golem: Golem, tmp_path: Path) -> None:
    image, _, tag = golem.image.rpartition(":")
    file = tmp_path / "app.json"
    definition = {
        "name": "squares",
        "requestor_env": "docker_cpu",
        "requestor_prereq": {"image": image, "tag": tag},
        "max_benchmark_score": 100.0,
    }
    file.write_text(json.dumps(definition))
    words = ("golem", "benchmark", str(file), "--side", "requestor")
    told = golem.cli.json(*words)
    assert (told["app"], told["score"], told["best"]) == ("squares", 11.5, 100.0)
    plain = golem.cli(*words)
    assert plain.stdout == b"11.5\n"
    assert b"squares: 11.5 of 100 at the most" in plain.stderr
    # A task is run by its definition, too.
    given = json.dumps(golem.params(parts=1))
    output = tmp_path / "out"
    done = golem.cli("golem", "run", str(file), "--params", given, "-o", str(output), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["app"] == "squares"
    assert sorted(golem.parts(output)) == [0]
    file.write_text('{"name": 1}')
    failed(golem.cli(*words), 2, "name: must be a text", "requestor_prereq: is missing")


def test_a_list_of_tasks(golem: Golem) -> None:
    assert golem.cli("golem", "ps").stdout == b"TASK  STATE  DONE  FAILED  AGE  APP  OUTPUT\n"
    failed(golem("--nodes", "1", "--retries", "0", parts=1, do={"0": "fail"}), 70, "wrong square")
    assert golem("--nodes", "1", parts=1).returncode == 0
    assert [task["state"] for task in golem.listed()] == ["done", "failed"]
    assert golem.cli.json("golem", "ps") == []
    assert len(golem.cli.json("golem", "ps", "--all", "--last", "1")) == 1
    shown = golem.cli("golem", "ps", "--all")
    lines = shown.stdout.decode().splitlines()
    assert lines[0].split() == ["TASK", "STATE", "DONE", "FAILED", "AGE", "APP", "OUTPUT"]
    assert "1/1" in lines[1]
    assert "0/1" in lines[2]
    assert b"the same piece of work failed" in shown.stderr


def test_what_has_ended_is_forgotten_when_told(golem: Golem) -> None:
    done = golem("--nodes", "1", "--retries", "0", parts=1, do={"0": "fail"})
    (task,) = golem.listed()
    home = golem.cli.state / "golem" / "tasks" / task["task"]
    assert f"what it had by then is in {home}".encode() in done.stderr
    assert home.exists()
    failed(golem.cli("golem", "abort", task["task"]), 2, "is failed: it has ended", "golem rm")
    failed(golem.cli("golem", "rm"), 2, "name at least one, or --all")
    failed(golem.cli("golem", "rm", "nobody"), 66, "nobody")
    removed = golem.cli("golem", "rm", task["task"][:8])
    assert (removed.returncode, removed.stdout) == (0, f"{task['task']}\n".encode())
    assert not home.exists()
    assert golem("--nodes", "1", parts=1).returncode == 0
    assert golem.cli("golem", "rm", "--all").returncode == 0
    assert golem.listed() == []
    assert golem.cli("golem", "rm", "--all").returncode == 0, "nothing to do is no failure"


def test_logs_and_records_of_its_containers(golem: Golem) -> None:
    done = golem("--nodes", "1", "--retries", "0", parts=1, do={"0": "print hello {n}; die"})
    assert done.returncode == 70
    task = golem.only()["task"]
    runs = [run for run in golem.cli.recorded() if run["contract"] == "golem"]
    (provider,) = [run for run in runs if "subtask" in run["task"]]
    (requestor,) = [run for run in runs if "requestor" in run["task"]]
    assert (provider["state"], requestor["state"]) == ("failed", "succeeded")
    assert golem.cli("logs", provider["run"]).stdout == b"hello 0\ndying as told\n"
    inspected = golem.cli.json("inspect", provider["run"])
    assert (inspected["golem_task"], inspected["side"], inspected["node"]) == (task, "provider", 1)
    assert inspected["image"] == golem.image


def test_help_is_there_for_all(golem: Golem) -> None:
    for name in ("", "run", "resume", "ps", "abort", "rm", "new", "benchmark"):
        done = golem.cli("golem", *([name] if name else []), "--help")
        assert done.returncode == 0
        assert b"Usage:" in done.stdout
