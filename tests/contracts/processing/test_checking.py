"""Each rule for folders of processing-containers, with a folder that breaks it and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lading.cli.check import examine
from lading.contracts.processing.rules import PROCESSING
from lading.contracts.processing.scaffold import write_container
from lading.folders.findings import Finding

Break = Callable[[Path], object]
FILE = "processing-container.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "words"
    write_container("words", made)
    return made


def found(folder: Path) -> dict[str, Finding]:
    report = examine(folder)
    assert report.contract == "processing"
    return {one.rule: one for one in report.findings if one.rule != "base-without-digest"}


def recipe(old: str, new: str) -> Break:
    def break_it(folder: Path) -> None:
        path = folder / "Dockerfile"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return break_it


def container(change: Callable[[Any], object]) -> Break:
    def break_it(folder: Path) -> None:
        content = json.loads((folder / FILE).read_text())
        change(content)
        (folder / FILE).write_text(json.dumps(content, indent=1))

    return break_it


def without_a_command(folder: Path) -> None:
    container(lambda content: content["templates"][0].pop("command"))(folder)
    recipe('CMD ["python3", "/app/main.py"]', "")(folder)


CASES: list[tuple[str, Break, str]] = [
    ("container-file-invalid", container(lambda c: c.update(templates=3)), f"{FILE}:5"),
    ("container-file-invalid", lambda f: (f / FILE).write_text(""), FILE),
    ("container-file-odd", container(lambda c: c.update(more=1)), f"{FILE}:44"),
    ("container-file-not-copied", recipe(f"COPY {FILE} /", ""), "Dockerfile:2"),
    ("nothing-to-run", without_a_command, "Dockerfile:2"),
    ("example-missing", lambda f: shutil.rmtree(f / "example"), "example"),
    ("example-unfit", lambda f: (f / "example/outputs/more").mkdir(), "example/outputs/more"),
    ("example-unfit", lambda f: shutil.rmtree(f / "example/inputs"), "example/inputs"),
    (
        "example-unfit",
        lambda f: (f / "example/task.json").write_text('{"name": 1}'),
        "example/task.json:1",
    ),
]


@pytest.mark.parametrize(("rule", "break_it", "place"), CASES)
def test_a_rule(folder: Path, rule: str, break_it: Break, place: str) -> None:
    assert found(folder) == {}
    break_it(folder)
    findings = found(folder)
    assert set(findings) == {rule}
    assert findings[rule].place == place
    assert findings[rule].fix


def test_every_rule_has_a_case() -> None:
    assert {rule for rule, _, _ in CASES} == {rule.name for rule in PROCESSING}


@pytest.mark.parametrize(
    "make_it",
    [
        recipe(f"COPY {FILE} /", "COPY . /"),
        recipe(f"COPY {FILE} /", f"COPY ./{FILE} /{FILE}"),
        recipe('CMD ["python3", "/app/main.py"]', ""),
        lambda f: shutil.rmtree(f / "example/outputs"),
    ],
)
def test_what_is_well(folder: Path, make_it: Break) -> None:
    make_it(folder)
    assert found(folder) == {}


def test_rules_of_all_contracts_hold_here(folder: Path) -> None:
    (folder / "src/id_rsa").write_text("x")
    recipe("COPY src/", "COPY Src/")(folder)
    assert set(found(folder)) == {"secret-in-folder", "copy-source-missing"}
    (folder / "Dockerfile").unlink()
    assert set(found(folder)) == {"secret-in-folder", "dockerfile-missing"}
