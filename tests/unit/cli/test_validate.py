"""`lading validate` and `lading schema`, as people and programs call them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.processing.documents import CONTAINER, TASK, changed
from typer.testing import CliRunner

from lading.cli.root import app


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which one is, with a file of each kind."""
    monkeypatch.chdir(tmp_path)
    write("task.json", TASK)
    write("processing-container.json", CONTAINER)
    return tmp_path


def write(name: str, document: Any) -> None:
    text = document if isinstance(document, str) else json.dumps(document, indent=1)
    Path(name).write_text(text, "utf-8")


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def lines(*arguments: str, code: int) -> list[str]:
    done = call("validate", *arguments)
    assert done.exit_code == code, done.output
    assert done.stderr == ""
    return str(done.stdout).splitlines()


def test_valid_files(files: Path) -> None:
    assert lines("task.json", "processing-container.json", code=0) == [
        "task.json: a valid task",
        "processing-container.json: a valid processing-container",
    ]


def test_each_finding_is_a_line_as_compilers_write_it(files: Path) -> None:
    write("bad.json", changed(changed(TASK, "image", 3), "more", 1))
    assert lines("bad.json", "task.json", code=2) == [
        "bad.json:3:11: error: image: must be a text, not a number",
        "bad.json:34:10: warning: more: the format has no such field; it is ignored",
        "bad.json: not a valid task (1 error, 1 warning)",
        "task.json: a valid task",
    ]


def test_warnings_fail_where_one_is_strict(files: Path) -> None:
    write("odd.json", changed(TASK, "more", 1))
    warning, verdict = lines("odd.json", code=0)
    assert verdict == "odd.json: a valid task (1 warning)"
    assert lines("odd.json", "--strict", code=2) == [
        warning,
        "odd.json: not a valid task (1 warning)",
    ]


def test_what_to_do_is_on_a_line_of_its_own(files: Path) -> None:
    write("env.json", '{"name": "a",\n "image": "{{ env.NOT_SET_AT_ALL }}"}')
    assert lines("env.json", code=2) == [
        "env.json:2: error: the environment variable NOT_SET_AT_ALL is not set",
        "    fix: set it, or write {{ env.NOT_SET_AT_ALL | default('...') }}",
        "env.json: not a valid file (1 error)",
    ]


def test_variables_are_those_of_the_environment(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", "/data")
    write("env.json", changed(TASK, "inputs.0.volume_source.host_path", "{{ env.WHERE }}/x"))
    assert lines("env.json", code=0) == ["env.json: a valid task"]


def test_the_kind_may_be_said(files: Path) -> None:
    first, *_, verdict = lines("task.json", "--schema", "pc", code=2)
    assert first.startswith("task.json:1:1: error: templates: is missing")
    assert verdict.startswith("task.json: not a valid processing-container (1 error, ")
    done = call("validate", "task.json", "--schema", "image")
    assert done.exit_code == 2
    assert "'image' is no kind of file" in done.stderr
    assert "fix: use pc or task" in done.stderr


def test_stdin_is_a_dash() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lading", "validate", "-"],
        input=b"{",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout.startswith(b"-:1:2: error: no valid JSON: the text ends in the middle")
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m lading validate - <&-', sys.executable],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout.startswith(b"-: error: can't be read: Bad file descriptor")


def test_files_that_can_not_be_read(files: Path) -> None:
    assert lines("absent.json", str(files), code=2) == [
        "absent.json: error: there is no such file",
        "absent.json: not a valid file (1 error)",
        f"{files}: error: is a directory",
        "    fix: name the file in it, such as task.json",
        f"{files}: not a valid file (1 error)",
    ]


def test_a_strangers_words_stay_on_their_line(files: Path) -> None:
    write("a\nb.json", changed(TASK, "more\n\x1b[2J", 1))
    finding, verdict = lines("a\nb.json", code=0)
    assert finding.startswith(r"a\nb.json:34:")
    assert r"more\n\x1b[2J: the format has no such field" in finding
    assert verdict == r"a\nb.json: a valid task (1 warning)"


def test_programs_get_json(files: Path) -> None:
    write("bad.json", changed(TASK, "image", 3))
    done = call("validate", "bad.json", "processing-container.json", "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout) == {
        "valid": False,
        "files": [
            {
                "file": "bad.json",
                "kind": "task",
                "valid": False,
                "findings": [
                    {
                        "severity": "error",
                        "message": "must be a text, not a number",
                        "path": "image",
                        "line": 3,
                        "column": 11,
                        "fix": "",
                    }
                ],
            },
            {"file": "processing-container.json", "kind": "pc", "valid": True, "findings": []},
        ],
    }


@pytest.mark.parametrize("kind", ["pc", "task"])
def test_a_schema_is_written(files: Path, kind: str) -> None:
    shown = call("schema", kind)
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["$schema"].endswith("2020-12/schema")
    done = call("schema", kind, "--output", "made.json")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "wrote made.json\n")
    assert Path("made.json").read_text() == shown.stdout
    done = call("schema", kind, "-o", "no/such/folder")
    assert done.exit_code == 2
    assert "no/such/folder can't be written: No such file or directory" in done.stderr
