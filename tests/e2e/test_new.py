"""`lading new` and `lading check` as people call them; every new folder is built and tested."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.images.golem import ensure_golem_base
from tests.support import engines, ordinary
from tests.support.command_line import Cli, documented, failed
from tests.support.printed import ROOT

from lading.contracts.meca.scaffold import TEMPLATES
from lading.run.build_context import trial_tag

EXAMPLES = ROOT / "examples/meca"
KINDS = [*(("meca", template) for template in TEMPLATES), ("processing", ""), ("golem", "")]
_MUCH = 300 << 20
"""Bytes of memory that no check takes: Python with what a check imports takes 50 MiB."""


@pytest.fixture
def base(engine_host: str, test_id: str) -> Iterator[str]:
    """An image with Python 3 and pip."""
    done = subprocess.run(
        [str(ROOT / "scripts/base-image")],
        env={**os.environ, "DOCKER_HOST": engine_host},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    # Under a name of its own: tests of the documentation lend it the public one's, for a while.
    found, repository = quote(done.stdout.strip(), safe=""), f"lading-test/base-{test_id}"
    status, why = engines.call(
        engine_host, "POST", f"/images/{found}/tag?repo={quote(repository, safe='')}&tag=1"
    )
    assert status == 201, why
    yield f"{repository}:1"
    tag = quote(f"{repository}:1", safe="")
    engines.call(engine_host, "DELETE", f"/images/{tag}")


@pytest.fixture
def name(engine_host: str, test_id: str) -> Iterator[str]:
    """A name of a new task, whose image goes with the test."""
    made = f"new-{test_id}"
    yield made
    with contextlib.suppress(Exception):
        tag = quote(trial_tag(made), safe="")
        engines.call(engine_host, "DELETE", f"/images/{tag}?force=1")


def own_tests(folder: Path) -> None:
    """Run the tests that a new folder has, as its README says."""
    base = folder.with_name(f"{folder.name}-tests")
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        f"--basetemp={base}",
    ]
    if (folder / "Makefile").exists():
        command = ["make", "test"]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    shutil.rmtree(folder / "build", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("contract", "template"), KINDS, ids=[a + b for a, b in KINDS])
def test_a_new_folder_passes_everything_at_once(
    lading: Cli, tmp_path: Path, base: str, name: str, contract: str, template: str
) -> None:
    folder = tmp_path / name
    options = ["--template", template] if template else []
    done = lading("new", contract, name, "--output", str(folder), *options)
    assert done.returncode == 0, done.stderr
    written = {str(path) for path in folder.rglob("*") if path.is_file()}
    assert set(done.stdout.decode().splitlines()) == written
    checked = lading.json("check", "--strict", str(folder))
    assert (checked["contract"], checked["errors"], checked["warnings"]) == (contract, 0, 0)
    own_tests(folder)
    if contract == "golem":
        base = ensure_golem_base(lading.engine)  # which has Lading itself, from these sources
    done = lading("test", str(folder), "--build-arg", f"BASE={base}")
    assert done.returncode == 0, done.stderr.decode()
    assert b"passed" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_server_stands_what_callers_do(
    lading: Cli, tmp_path: Path, base: str, name: str, template: str
) -> None:
    folder = tmp_path / name
    lading("new", "meca", name, "--output", str(folder), "--template", template)
    tag = trial_tag(name)
    done = lading("test", "-q", str(folder), "--build-arg", f"BASE={base}", "--repeat", "20",
                  "--concurrency", "8")  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    good = {"c": ('{"numbers": [1, 2]}', b"3")}.get(
        template, ('{"text": "a b a"}', b'{"words": 3, "different": 2}')
    )
    done = lading("run", "-q", tag, "--input", good[0])
    assert done.stdout == good[1]
    large = {"c": '{"numbers": [' + "1," * 2_000_000 + "1]}"}.get(
        template, json.dumps({"text": "a b " * 1_000_000})
    )
    done = lading("run", "-q", tag, "--input", "-", stdin=large.encode())
    expected = {"c": b"2000001"}.get(template, b'{"words": 2000000, "different": 2}')
    assert done.stdout == expected, done.stderr
    for bad in ("", "no JSON", "[]", '{"text": 3, "numbers": ["a"]}', "\0"):
        done = lading("run", "-q", tag, "--input", "-", stdin=bad.encode())
        assert (done.returncode, done.stdout) == (70, b"")
        assert b"replied 400" in done.stderr, bad


@pytest.mark.parametrize("folder", sorted(path.name for path in EXAMPLES.iterdir()))
def test_the_examples_have_neither_errors_nor_warnings(folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lading", "check", "--strict", EXAMPLES / folder],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()


# The command itself, without any engine.


def call(*arguments: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "lading", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_a_name_in_any_script_is_the_folders(tmp_path: Path) -> None:
    done = call("new", "meca", "счётчик слов", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "счётчик слов/name.txt").read_text("utf-8") == "счётчик слов\n"
    assert "# счётчик слов" in (tmp_path / "счётчик слов/README.md").read_text("utf-8")
    done = call("check", "--strict", "счётчик слов", folder=tmp_path)
    assert done.returncode == 0, done.stdout.decode()
    assert done.stdout.decode().endswith("счётчик слов: a good task folder (1 hint)\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("meca", "a/b"), "is a path"),
        (("meca", ""), "is empty"),
        (("perl", "words"), "use one of meca, processing, golem"),
        (("meca", "words", "-t", "perl"), "use one of python, flask, fastapi, c"),
        (("processing", "words", "-t", "c"), "there is no 'c' for processing"),
        (("golem", "数词"), "can't name an image"),
        (("meca", "taken"), "is there already"),
    ],
)
def test_what_can_not_be_written(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/mine").touch()
    done = call("new", *arguments, folder=tmp_path)
    failed(done, 2, says, "fix: ")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [
        "taken",
        "taken/mine",
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert call("new", "meca", "words", folder=tmp_path).returncode == 0
    return tmp_path / "words"


def test_findings_are_lines_with_why_and_fix(folder: Path) -> None:
    recipe = folder / "Dockerfile"
    recipe.write_text(recipe.read_text().replace(":3.11-slim", "").replace("src/", "source/"))
    done = call("check", "words", folder=folder.parent)
    assert done.returncode == 65
    assert done.stderr == b""
    assert done.stdout.decode().splitlines() == [
        "words/Dockerfile:5: error: there is no source/ [copy-source-missing]",
        "    why: the build fails",
        "    fix: add the file, or correct the name; capitals count",
        "words/Dockerfile:2: warning: python has no tag [base-unpinned]",
        "    why: the same folder becomes another image tomorrow",
        "    fix: name a version: python:3.11-slim",
        "words: a task folder that can't be published as it is (1 error, 1 warning)",
    ]
    done = call("check", ".", "--ignore", "copy-source-missing", folder=folder)
    assert done.returncode == 0
    assert done.stdout.startswith(b"Dockerfile:2: warning: ")
    assert (
        call("check", "--strict", ".", "--ignore", "copy-source-missing", folder=folder).returncode
        == 65
    )
    failed(call("check", ".", "--ignore", "x", folder=folder), 2, "'x' is no rule")


def test_programs_get_json(folder: Path) -> None:
    (folder / "name.txt").write_text("")
    done = call("check", "--json", folder)
    assert done.returncode == 65
    told = json.loads(done.stdout)
    assert {key: told[key] for key in told if key != "findings"} == {
        "folder": str(folder),
        "contract": "meca",
        "passed": False,
        "errors": 1,
        "warnings": 0,
        "hints": 1,
    }
    assert told["findings"][0] == {
        "rule": "file-empty",
        "level": "error",
        "file": "name.txt",
        "line": None,
        "what": "is empty",
        "why": "the contract wants something in it",
        "fix": "fill it in",
    }


def test_there_is_no_such_folder(tmp_path: Path) -> None:
    failed(call("check", tmp_path / "absent"), 66, "there is no such folder")
    (tmp_path / "file").touch()
    failed(call("check", tmp_path / "file"), 66, "is no folder")
    failed(call("check", tmp_path, "--contract", "x"), 2, "use one of meca, processing, golem")
    done = call("check", tmp_path)
    assert done.returncode == 65, "an empty one is a task folder that lacks all"
    assert done.stdout.count(b"[file-missing]") == 6


def test_a_strangers_words_stay_on_their_line(folder: Path) -> None:
    (folder / "src/a\n\x1b[2Jb.sh").write_text("#!/bin/sh\r\n")
    done = call("check", folder)
    assert rb"src/a\n\x1b[2Jb.sh:1: warning: " in done.stdout
    assert b"\x1b" not in done.stdout
    assert b"\\u001b" in call("check", "--json", folder).stdout


def test_folders_of_any_size_are_checked_in_bounded_memory(folder: Path) -> None:
    for number in range(50_000):
        place = folder / f"data/{number % 100:02}"
        if number < 100:
            place.mkdir(parents=True)
        (place / f"{number}.txt").write_bytes(b"some text that is looked into\n")
    with (folder / "src/model.bin").open("wb") as file:
        file.truncate(2 << 30)
    (folder / "example_output.bin").write_bytes(b"[" * (200 << 20))
    (folder / "example_input.bin").write_bytes(b'{"text": [' + b"[],".ljust(3) * 2_500_000 + b"1]}")
    # Measured in a process of its own: this one has had children that took more.
    program = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, timeout=100)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, flush=True)\n"
        "sys.stdout.buffer.write(done.stdout)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, sys.executable, "-m", "lading", "check", folder],
        capture_output=True,
        check=True,
    )
    peak, text = done.stdout.split(b"\n", 1)
    warnings = [line for line in text.decode().splitlines() if "warning: " in line]
    assert {line.rpartition("[")[2].rstrip("]") for line in warnings} == {
        "file-large",
        "folder-large",
        "folder-crowded",
        "example-large",
    }
    assert int(peak) << 10 < _MUCH


def test_what_can_not_be_read_is_told(tmp_path: Path) -> None:
    if not (start := ordinary.interpreter()):
        pytest.skip("needs root, to become somebody else")
    with ordinary.home() as home:
        made = home / "words"
        assert call("new", "meca", "words", "--output", made).returncode == 0
        (made / "src/secret.txt").write_text("x")
        (made / "src/secret.txt").chmod(0)
        (made / "data").mkdir(mode=0o700)
        (made / "name.txt").chmod(0)
        done = subprocess.run(
            [*start, "-m", "lading", "check", str(made)],
            capture_output=True,
            check=False,
            cwd="/",
        )
        text = done.stdout.decode()
        assert done.returncode == 65, done.stderr
        for path in ("src/secret.txt", "data", "name.txt"):
            assert f"{made}/{path}: error: can't be read: Permission denied" in text
        target = home / "nothing"
        target.mkdir(mode=0o700)
        done = subprocess.run(
            [*start, "-m", "lading", "new", "meca", "more", "--output", f"{target}/more"],
            capture_output=True,
            check=False,
            cwd="/",
        )
        failed(done, 2, "can't be written: Permission denied")
        assert list(target.iterdir()) == []


def test_json_has_the_documented_fields(folder: Path) -> None:
    told = json.loads(call("check", "--json", folder).stdout)
    assert set(told) == documented("check")
