"""scripts/rerun: a few failures get a second chance, in the open; many get none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.printed import ROOT

Rerun = Callable[..., subprocess.CompletedProcess[str]]

TESTS = """
import pathlib
import pytest

def times(name):
    path = pathlib.Path(name + ".count")
    number = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(number))
    return number

def test_good():
    times("good")

"""
BY_THE_MOMENT = """
def test_by_the_moment():
    assert times("moment") > 1, "the first time it fails"

"""
BROKEN = """
def test_broken():
    assert times("broken") > 9, "it is broken"

"""
SKIPS = """
def test_skips():
    if times("skips") > 1:
        pytest.skip("what it needs has gone")
    assert False

"""
AT_ITS_END = """
@pytest.fixture
def cleaned():
    yield
    assert times("cleaned") > 1, "something was left"

def test_at_its_end(cleaned):
    pass

"""
MANY = """
@pytest.mark.parametrize("number", range(4))
def test_many(number):
    assert times(f"many{number}") > 1

"""


@pytest.fixture
def rerun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rerun:
    """Runs the script in a project of these tests: `rerun(BROKEN, "-k", "good")`."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("LADING_FLAKY", str(tmp_path / "flaky"))
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra\n")

    def run(tests: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_small.py").write_text(TESTS + tests)
        return subprocess.run(
            [sys.executable, ROOT / "scripts/rerun", "-p", "no:schemathesis", *arguments],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )

    return run


def count(folder: Path, name: str) -> int:
    return int((folder / f"{name}.count").read_text())


def flaky(folder: Path) -> list[str]:
    path = folder / "flaky"
    return path.read_text().splitlines() if path.exists() else []


def test_what_passes_is_run_once(rerun: Rerun, tmp_path: Path) -> None:
    done = rerun("")
    assert done.returncode == 0, done.stdout
    assert "again" not in done.stdout
    assert count(tmp_path, "good") == 1


def test_what_passes_the_second_time_is_named_after_its_first_failure(
    rerun: Rerun, tmp_path: Path
) -> None:
    done = rerun(BY_THE_MOMENT + AT_ITS_END)
    assert done.returncode == 0, done.stdout
    first, _, rest = done.stdout.partition("2 of the tests failed: run again, alone, once")
    assert "the first time it fails" in first
    assert "something was left" in first
    assert "FLAKY: test_small.py::test_by_the_moment failed, and passed" in rest
    assert "FLAKY: test_small.py::test_at_its_end failed, and passed" in rest
    assert count(tmp_path, "good") == 1, "only what failed is run again"
    names = ["test_at_its_end", "test_by_the_moment"]
    assert flaky(tmp_path) == [f"FLAKY: test_small.py::{name}" for name in names]


def test_what_fails_twice_fails(rerun: Rerun, tmp_path: Path) -> None:
    done = rerun(BY_THE_MOMENT + BROKEN)
    assert done.returncode == 1, done.stdout
    assert count(tmp_path, "broken") == 2
    assert "FLAKY: test_small.py::test_broken" not in done.stdout
    assert flaky(tmp_path) == ["FLAKY: test_small.py::test_by_the_moment"]


def test_more_than_three_are_not_run_again(rerun: Rerun, tmp_path: Path) -> None:
    done = rerun(MANY)
    assert done.returncode == 1
    assert "4 tests failed; more than 3 are not run again" in done.stdout
    assert [count(tmp_path, f"many{number}") for number in range(4)] == [1] * 4
    assert flaky(tmp_path) == []


def test_what_is_skipped_the_second_time_fails(rerun: Rerun, tmp_path: Path) -> None:
    done = rerun(SKIPS)
    assert done.returncode == 1, done.stdout
    assert "not all of them ran again" in done.stdout
    assert flaky(tmp_path) == []


@pytest.mark.parametrize(
    ("tests", "arguments", "code"),
    [("import nowhere\n", (), 2), ("", ("--no-such-option",), 4), ("", ("-k", "absent"), 5)],
)
def test_what_went_wrong_otherwise_is_not_run_again(
    rerun: Rerun, tests: str, arguments: tuple[str, ...], code: int
) -> None:
    done = rerun(tests, *arguments)
    assert done.returncode == code, done.stdout
    assert "run again" not in done.stdout


def test_arguments_hold_for_both_runs(rerun: Rerun, tmp_path: Path) -> None:
    done = rerun(BY_THE_MOMENT + BROKEN, "-k", "moment or good")
    assert done.returncode == 0, done.stdout
    assert not (tmp_path / "broken.count").exists()
