"""Each rule for folders of Golem applications, with a folder that breaks it and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lading.cli.check import examine
from lading.contracts.golem.rules import GOLEM
from lading.contracts.golem.scaffold import write_application
from lading.folders.findings import Finding

Break = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "word-count"
    write_application("word-count", made)
    return made


def found(folder: Path) -> dict[str, Finding]:
    report = examine(folder)
    assert report.contract == "golem"
    return {one.rule: one for one in report.findings if one.rule != "base-without-digest"}


def changed(name: str, old: str, new: str) -> Break:
    def break_it(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return break_it


def directory_instead(folder: Path) -> None:
    (folder / "app.json").unlink()
    (folder / "app.json").mkdir()


ENTRY = 'ENTRYPOINT ["python", "-m", "word_count"]'
CASES: list[tuple[str, Break, str, str]] = [
    (
        "app-definition-invalid",
        lambda f: (f / "app.json").write_text("{\n,}"),
        "app.json:2",
        "JSON",
    ),
    ("app-definition-invalid", lambda f: (f / "app.json").write_text("[]"), "app.json", "object"),
    (
        "app-definition-invalid",
        changed("app.json", '"docker_cpu"', '"moon"'),
        "app.json",
        "requestor_env: 'moon'",
    ),
    (
        "app-definition-invalid",
        directory_instead,
        "app.json",
        "directory",
    ),
    ("app-image-untagged", changed("app.json", ', "tag": "dev"', ""), "app.json", "word-count"),
    ("params-invalid", lambda f: (f / "params.json").write_text("NaN"), "params.json", "NaN"),
    ("params-invalid", lambda f: (f / "params.json").write_text("3"), "params.json:1", "object"),
    ("example-params-missing", lambda f: (f / "params.json").unlink(), "params.json", "none"),
    ("entrypoint-missing", changed("Dockerfile", ENTRY, ""), "Dockerfile:2", "none"),
    (
        "entrypoint-shell-form",
        changed("Dockerfile", ENTRY, "ENTRYPOINT python -m word_count"),
        "Dockerfile:13",
        "shell",
    ),
]


@pytest.mark.parametrize(("rule", "break_it", "place", "says"), CASES)
def test_a_rule(folder: Path, rule: str, break_it: Break, place: str, says: str) -> None:
    assert found(folder) == {}
    break_it(folder)
    findings = found(folder)
    assert set(findings) == {rule}
    assert findings[rule].place == place
    assert says in findings[rule].what


def test_every_rule_has_a_case() -> None:
    assert {case[0] for case in CASES} == {rule.name for rule in GOLEM}


def test_rules_of_all_contracts_hold_here(folder: Path) -> None:
    (folder / "word_count/id_rsa").write_text("x")
    (folder / "Dockerfile").write_text("FROM python\n" + ENTRY)
    assert set(found(folder)) == {"secret-in-folder", "base-unpinned"}
