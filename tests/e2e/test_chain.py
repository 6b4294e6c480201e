"""`lading run` of several task files, on real engines: order, failures, and what is done again."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.e2e.conftest import Variant, both_engines
from tests.support.command_line import Cli, failed, lines_until
from tests.support.engines import call

pytestmark = both_engines

Make = Callable[..., None]
A_B_C = ("--map", "a:out=b:in", "--map", "b:out=c:in")


@pytest.fixture
def cli(lading: Cli, tmp_path: Path) -> Cli:
    """The command line, in a folder of its own."""
    folder = tmp_path / "chain"
    folder.mkdir()
    return dataclasses.replace(lading, folder=folder)


@pytest.fixture
def make(cli: Cli, probe: str) -> Make:
    """Writes task files with templates: `make("a", "write", "/out/x", "hello", outs="out")`."""

    def write(
        name: str, *command: str, ins: str = "", outs: str = "", image: str = probe, **more: Any
    ) -> None:
        def mounts(names: str) -> list[dict[str, str]]:
            return [
                {"name": one, "mounted_path": f"/{one}", "description": "Some files."}
                for one in names.split()
            ]

        template = {
            "identifier": name,
            "description": "Does one thing.",
            "env": [],
            "command": ["/probe", *command],
            "inputs": mounts(ins),
            "outputs": mounts(outs),
        }
        task = {"name": name, "image": image, "taskTemplate": template, **more}
        folder(cli).joinpath(f"{name}.json").write_text(json.dumps(task))

    return write


def folder(cli: Cli) -> Path:
    assert cli.folder is not None
    return cli.folder


def volumes(**directories: object) -> list[dict[str, Any]]:
    return [
        {"name": name, "volume_source": {"host_path": str(path)}}
        for name, path in directories.items()
    ]


def steps(cli: Cli, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run a chain, and return what it tells programs of each step."""
    done = cli("run", *arguments, "--json")
    assert done.returncode == code, done.stderr
    told = json.loads(done.stdout)
    assert told["succeeded"] == (code == 0)
    return {step["step"]: step for step in told["steps"]}


def states(found: dict[str, Any]) -> dict[str, str]:
    return {name: step["state"] for name, step in found.items()}


def three(make: Make) -> tuple[str, ...]:
    """a -> b -> c, each of which writes something; c's output is a directory that it names."""
    make("a", "write", "/out/a.txt", "one", outs="out")
    make("b", "write", "/out/b.txt", "two", ins="in", outs="out")
    make("c", "write", "/out/c.txt", "three", ins="in", outs="out", outputs=volumes(out="result"))
    return ("a.json", "b.json", "c.json", *A_B_C)


# What runs when.


def test_a_diamond(cli: Cli, make: Make) -> None:
    make("top", "write", "/out/word", "hello", outs="out")
    make("left", "write", "/out/left", "l", ins="in", outs="out")
    make("right", "cat", "/in/word", ins="in")
    make("end", "cat", "/two/left", ins="one two")
    done = cli(
        *("run", "end.json", "left.json", "right.json", "top.json"),
        *("--map", "top:out=left:in", "--map", "top:out=right:in"),
        *("--map", "top:out=end:one", "--map", "left:out=end:two", "--watch"),
    )
    told = done.stderr.decode().splitlines()
    assert done.returncode == 0, told
    assert "right | hello" in told
    assert "end   | l" in told, "names are padded, a last line without its end is shown"
    assert told.index("top: running") == 0
    assert next(line for line in told if line.startswith("end: ")) == "end: running"
    assert told.index("end: running") > max(
        number for number, line in enumerate(told) if line.startswith("left: succeeded after ")
    )
    heads, *rows = (line.split() for line in done.stdout.decode().splitlines())
    assert heads == ["STEP", "STATE", "EXIT", "SECONDS", "PEAK", "RUN"]
    assert [row[:3] for row in rows] == [
        [name, "succeeded", "0"] for name in ("end", "left", "right", "top")
    ]
    known = cli.json("inspect", rows[3][-1])
    assert (known["task"], known["state"]) == ("top", "succeeded")
    assert (folder(cli) / "lading-work/top/out/word").read_text() == "hello"
    made = folder(cli) / "lading-work/left/out/left"
    assert made.stat().st_uid == os.geteuid()
    made.unlink()


def test_steps_run_at_once_and_no_more_than_allowed(cli: Cli, make: Make) -> None:
    names = ("a", "b", "c")
    for name in names:
        make(name, "sleep", "0.2")
    files = [f"{name}.json" for name in names]
    for parallel, most in (("1", 1), ("3", 3)):
        if most == 3:  # long enough for the last to start before the first ends
            for name in names:
                make(name, "sleep", "5")
        done = cli("run", *files, "--parallel", parallel)
        assert done.returncode == 0, done.stderr
        now = seen = 0
        for line in done.stderr.decode().splitlines():
            now += 1 if line.endswith(": running") else -1 if ": succeeded" in line else 0
            seen = max(seen, now)
        assert seen == most
    for name in names:
        make(name, "sleep", "0.2")
    found = steps(cli, *files, "--parallel", "1")
    runs = [cli.json("inspect", step["run"]) for step in found.values()]
    for before, after in itertools.pairwise(runs):
        assert before["finished"] <= after["created"]


def test_what_the_command_line_says_of_steps(cli: Cli, make: Make, tmp_path: Path) -> None:
    make("a", "env", "WORD", outs="out")
    make("b", "env", "WORD", ins="in")
    given = ("run", "a.json", "b.json", "--map", "a:out=b:in", "--watch")
    done = cli(
        *given, "--set", "WORD=all", "--set", "b:WORD=mine", "--output", f"a:out={tmp_path}/there"
    )
    told = done.stderr.decode()
    assert done.returncode == 0, told
    assert "a | all\n" in told
    assert "b | mine\n" in told
    assert (tmp_path / "there").is_dir()
    assert not (folder(cli) / "lading-work").exists(), "nothing needs it"
    done = cli(*given, "--set", "WORD=all", "--work", str(tmp_path / "work"), "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "work/a/out").is_dir()


def test_a_map_goes_before_the_file(cli: Cli, make: Make, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    make("a", "write", "/out/word", "mapped", outs="out")
    make("b", "cat", "/in/word", ins="in", inputs=volumes(**{"in": other}))
    done = cli("run", "a.json", "b.json", "--map", "a:out=b:in", "--watch")
    told = done.stderr.decode()
    assert done.returncode == 0, told
    assert "b | mapped" in told
    assert f"warning: b: the input 'in' is {other} in b.json" in told


def test_steps_that_are_not_told_to_wait(cli: Cli, make: Make) -> None:
    make("a", "write", "/out/word", "x", outs="out", outputs=volumes(out="here"))
    make("b", "write", "/out/other", "x", outs="out", outputs=volumes(out="./here"))
    (folder(cli) / "here").mkdir()
    make("c", "echo", ins="in", inputs=volumes(**{"in": "here"}))
    told = cli("run", "a.json", "b.json", "c.json").stderr.decode()
    assert "warning: a:out and b:out are one directory" in told
    assert "warning: c:in is the directory of a:out, but does not wait for it: say --map " in told


# What goes wrong.


def test_a_failure_in_the_middle(cli: Cli, make: Make) -> None:
    make("a", "write", "/out/x", "hello", outs="out")
    make("b", "exit", "3", ins="in", outs="out")
    make("c", "echo", "never", ins="in")
    done = cli("run", "a.json", "b.json", "c.json", *A_B_C)
    told = done.stderr.decode()
    assert done.returncode == 3, told
    assert "b: failed after " in told
    assert "error: b ended with exit code 3" in told
    assert "c: running" not in told
    rows = [line.split() for line in done.stdout.decode().splitlines()]
    assert [row[:2] for row in rows[1:]] == [["a", "succeeded"], ["b", "failed"], ["c", "not"]]
    assert [run["task"] for run in cli.recorded()] == ["b", "a"]


def test_memory_and_time(cli: Cli, make: Make) -> None:
    make("a", "hog", "100000000", resources={"limits": {"memory": "32Mi"}})
    make("b", "sleep", "60")
    found = steps(cli, "a.json", "--resume", code=137)  # a chain of one
    assert (found["a"]["out_of_memory"], found["a"]["memory_limit"]) == (True, 32 << 20)
    done = cli("run", "a.json", "b.json", "--parallel", "1")
    assert done.returncode == 137
    assert b"fix: raise resources.limits.memory of a to 64Mi or more" in done.stderr
    found = steps(cli, "b.json", "--resume", "--timeout", "0.3", code=124)
    assert "did not end within 300 ms" in found["b"]["error"]


def test_all_is_checked_before_the_first_container(
    cli: Cli, make: Make, probe: str, tmp_path: Path
) -> None:
    make("a", "write", "/out/x", "hello", outs="out")
    make("b", "echo", ins="in")
    make("cut", "echo", ins="in", outs="out")
    make("absent", "echo", image="lading-test/absent:1")
    make("greedy", "echo", resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}})
    make("nowhere", "echo", ins="in", inputs=volumes(**{"in": tmp_path / "absent"}))
    make("named", "echo", image=probe)
    task = json.loads((folder(cli) / "named.json").read_text())
    (folder(cli) / "named.json").write_text(json.dumps({**task, "taskTemplate": "some"}))
    (folder(cli) / "broken.json").write_text('{"name": "x",\n "image": }')
    (folder(cli) / "other").mkdir()
    shutil.copy(folder(cli) / "a.json", folder(cli) / "other/a.json")
    cases: list[tuple[int, str, tuple[str, ...]]] = [
        (2, "--map a:out=b:no: b has no input channel 'no'", ("b.json", "--map", "a:out=b:no")),
        (2, "fix: it has: out", ("b.json", "--map", "a:no=b:in")),
        (2, "fix: there are: a, b", ("b.json", "--map", "a:out=z:in")),
        (
            2,
            "is mapped already",
            ("b.json", "cut.json", "--map", "a:out=b:in", "--map", "cut:out=b:in"),
        ),
        (2, "in a circle: cut -> cut", ("cut.json", "--map", "cut:out=cut:in")),
        (2, "is the step 'a', and so is a.json", ("other/a.json",)),
        (2, "add it to the task's outputs, or give --output a:out=DIR", ("b.json",)),
        (2, "b: --input in: is mapped", ("b.json", "--map", "a:out=b:in", "--input", "b:in=/")),
        (2, "does not say of which step", ("b.json", "--map", "a:out=b:in", "--input", "in=/")),
        (2, "there is no step 'x'", ("b.json", "--map", "a:out=b:in", "--set", "x:A=1")),
        (2, "--parallel: must be at least 1", ("b.json", "--parallel", "0")),
        (2, "is no task file", ("b.json", probe)),
        (2, "greedy: ", ("greedy.json", "--output", "a:out=there")),
        (2, "nowhere: ", ("nowhere.json", "--output", "a:out=there")),
        (2, "broken.json:2:", ("broken.json", "--output", "a:out=there")),
        (66, "holds no /processing-container.json", ("named.json", "--output", "a:out=there")),
        (66, "lading-test/absent:1", ("absent.json", "--output", "a:out=there", "--pull", "never")),
    ]
    for code, says, arguments in cases:
        failed(cli("run", "a.json", *arguments), code, says)
    assert cli.recorded() == []
    assert not (folder(cli) / "there").exists()
    assert not (folder(cli) / "lading-work").exists()


def test_somebodys_files_are_not_cleared(cli: Cli, make: Make) -> None:
    arguments = three(make)
    theirs = folder(cli) / "lading-work/a"
    theirs.mkdir(parents=True)
    (theirs / "thesis.txt").write_text("x")
    failed(cli("run", *arguments), 2, "holds what no chain of ours has put there", "--work")
    assert (theirs / "thesis.txt").exists()
    assert cli.recorded() == []


def test_ctrl_c_stops_all_that_runs(cli: Cli, make: Make) -> None:
    make("a", "sleep", "60")
    make("b", "sleep", "60")
    make("c", "echo", "never")
    with subprocess.Popen(
        cli.command("run", "a.json", "b.json", "c.json", "--parallel", "2", "--json"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=cli.env,
        cwd=cli.folder,
        start_new_session=True,
    ) as process:
        try:
            lines_until(process.stderr, b"b: running")
            while {run["state"] for run in cli.json("ps") if run["container_id"] in cli.left()} != {
                "running"
            } or len(cli.left()) < 2:
                assert process.poll() is None
            os.killpg(process.pid, signal.SIGINT)
            out, told = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                process.kill()
    assert process.returncode == 130, told
    assert b"Traceback" not in told
    assert cli.left() == set()
    found = {step["step"]: step for step in json.loads(out)["steps"]}
    assert states(found) == {"a": "cancelled", "b": "cancelled", "c": "not run"}
    assert [run["state"] for run in cli.recorded()] == ["cancelled", "cancelled"]
    assert {run["run"] for run in cli.recorded()} == {found["a"]["run"], found["b"]["run"]}


# What is done again.


def test_resume_after_a_failure(cli: Cli, make: Make) -> None:
    arguments = three(make)
    make("b", "exit", "4", ins="in", outs="out")
    first = steps(cli, *arguments, code=4)
    assert states(first) == {"a": "succeeded", "b": "failed", "c": "not run"}
    make("b", "write", "/out/b.txt", "two", ins="in", outs="out")
    second = steps(cli, *arguments, "--resume", "--timeout", "60")
    assert states(second) == {"a": "unchanged", "b": "succeeded", "c": "succeeded"}
    assert second["a"]["run"] == first["a"]["run"]
    assert second["a"]["channels"] == first["a"]["channels"]
    third = steps(cli, *arguments, "--resume")
    assert states(third) == dict.fromkeys("abc", "unchanged"), "a time-out changes no result"
    assert [third[name]["run"] for name in "abc"] == [second[name]["run"] for name in "abc"]
    done = cli("run", *arguments, "--resume")
    assert f"a: unchanged since run {first['a']['run']}" in done.stderr.decode()
    fourth = steps(cli, *arguments)
    assert states(fourth) == dict.fromkeys("abc", "succeeded"), "without --resume, all of it"


def test_resume_after_a_change(cli: Cli, make: Make, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "x").write_text("1")
    given = volumes(**{"in": data})
    make("a", "write", "/out/a.txt", "one", ins="in", outs="out", inputs=given)
    make("b", "write", "/out/b.txt", "two", ins="in", outs="out")
    make("c", "echo", ins="in")
    make("d", "echo", "apart")
    arguments = ("a.json", "b.json", "c.json", "d.json", *A_B_C)
    steps(cli, *arguments)
    all_again = {"a": "succeeded", "b": "succeeded", "c": "succeeded", "d": "unchanged"}
    as_it_is = dict.fromkeys("abcd", "unchanged")
    assert states(steps(cli, *arguments, "--resume")) == as_it_is

    (data / "x").write_text("22")
    assert states(steps(cli, *arguments, "--resume")) == all_again, "an input has changed"
    again = states(steps(cli, *arguments, "--resume", "--set", "b:WORD=x"))
    assert again == {**as_it_is, "b": "succeeded", "c": "succeeded"}, "a variable has changed"
    again = states(steps(cli, *arguments, "--resume", "--no-network"))
    assert again == dict.fromkeys("abcd", "succeeded"), "the circumstances have changed"
    assert states(steps(cli, *arguments, "--resume", "--no-network")) == as_it_is


def test_resume_after_an_output_was_touched(cli: Cli, make: Make) -> None:
    arguments = three(make)
    steps(cli, *arguments)
    shutil.rmtree(folder(cli) / "lading-work/b/out")
    again = states(steps(cli, *arguments, "--resume"))
    assert again == {"a": "unchanged", "b": "succeeded", "c": "succeeded"}
    (folder(cli) / "result/c.txt").write_text("mine")
    (folder(cli) / "result/notes.txt").write_text("mine, too")
    again = states(steps(cli, *arguments, "--resume"))
    assert again == {"a": "unchanged", "b": "unchanged", "c": "succeeded"}
    assert (folder(cli) / "result/c.txt").read_text() == "three"
    assert (folder(cli) / "result/notes.txt").exists(), "a directory with a name is never cleared"


def test_what_an_earlier_try_left_is_gone(cli: Cli, make: Make) -> None:
    make("a", "write", "/out/old", "x", outs="out")
    make("b", "echo", ins="in")
    steps(cli, "a.json", "b.json", "--map", "a:out=b:in")
    make("a", "write", "/out/new", "x", outs="out")
    found = steps(cli, "a.json", "b.json", "--map", "a:out=b:in", "--resume")
    assert states(found) == {"a": "succeeded", "b": "succeeded"}
    assert [path.name for path in (folder(cli) / "lading-work/a/out").iterdir()] == ["new"]


async def test_resume_after_the_tag_has_moved(
    cli: Cli, make: Make, variant: Variant, engine_host: str, probe: str, test_id: str
) -> None:
    other = await variant("echo", test_id)
    tag = f"lading-test/moving-{test_id}"

    def point_at(image: str) -> None:
        name = quote(image, safe="")
        status, why = call(engine_host, "POST", f"/images/{name}/tag?repo={tag}&tag=1")
        assert status == 201, why

    make("a", "write", "/out/x", "x", outs="out", image=f"{tag}:1")
    make("b", "echo", ins="in")
    arguments = ("a.json", "b.json", "--map", "a:out=b:in")
    try:
        point_at(probe)
        steps(cli, *arguments)
        assert states(steps(cli, *arguments, "--resume")) == {"a": "unchanged", "b": "unchanged"}
        point_at(other)
        again = states(steps(cli, *arguments, "--resume"))
        assert again == {"a": "succeeded", "b": "succeeded"}, "the tag is another image by now"
        point_at(probe)
        again = states(steps(cli, *arguments, "--resume"))
        assert again == {"a": "succeeded", "b": "succeeded"}, "what is there is the other's work"
    finally:
        for image in (f"{tag}:1", other):
            call(engine_host, "DELETE", f"/images/{quote(image, safe='')}?force=1")
