"""Application definition files: their id, and what is said of one that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lading.contracts.golem.appdefs import (
    AppDefinition,
    read_app_definition,
    write_app_definition,
)
from lading.errors import FileInvalid, FileMissing

# A published file, and the id that its documentation names.
TUTORIAL = {
    "name": "golemfactory/tutorialapp",
    "description": "Golem task-api tutorial",
    "version": "1.0.0",
    "author": "Golem Team <contact@golem.network>",
    "license": "GPLv3",
    "requestor_env": "docker_cpu",
    "requestor_prereq": {"image": "golemfactory/tutorialapp", "tag": "1.0.0"},
    "market_strategy": "brass",
    "max_benchmark_score": 10000.0,
}
ID = "801964d531675a235c9ddcfda00075cb"


def test_the_id_of_a_published_file(tmp_path: Path) -> None:
    path = tmp_path / "app.json"
    path.write_text(json.dumps(TUTORIAL, indent=4))
    found = read_app_definition(path)
    assert found.id == ID
    assert found.image == "golemfactory/tutorialapp:1.0.0"
    assert found == AppDefinition.from_json(path.read_text())


def test_every_field_counts_for_the_id() -> None:
    text = json.dumps(TUTORIAL)
    assert AppDefinition.from_json(text.replace('"1.0.0"}', '"1.0.1"}')).id != ID
    assert AppDefinition.from_json(json.dumps({**TUTORIAL, "author": "Zoë"})).id != ID
    assert AppDefinition.from_json(json.dumps({**TUTORIAL, "new": 1})).id == ID


def test_written_and_read_again(tmp_path: Path) -> None:
    written = AppDefinition("app", "docker_gpu", {"image": "app"}, 1.0, author="Zoë")
    path = tmp_path / "apps/app.json"
    write_app_definition(written, path)
    assert read_app_definition(path) == written
    assert written.image == "app"
    assert list(json.loads(path.read_text())) == [
        *["name", "requestor_env", "requestor_prereq", "max_benchmark_score", "version"],
        *["description", "author", "license", "market_strategy"],
    ]


def test_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match=r"app\.json: there is no such file"):
        read_app_definition(tmp_path / "app.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON: Expecting"),
        ("[]", "is no JSON object"),
        ("{}", "name: is missing"),
        (json.dumps({**TUTORIAL, "name": 1}), "name: must be a text, not 1"),
        (json.dumps({**TUTORIAL, "max_benchmark_score": True}), "must be a number, not True"),
        (json.dumps({**TUTORIAL, "requestor_env": "vm"}), "'vm' can't be run, only docker_cpu or"),
        (json.dumps({**TUTORIAL, "requestor_prereq": {}}), "requestor_prereq.image: must name"),
        (
            json.dumps({**TUTORIAL, "requestor_prereq": {"image": "a", "tag": 1.0}}),
            "requestor_prereq.tag: must be a text, not 1.0",
        ),
    ],
)
def test_it_is_none(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "app.json"
    path.write_text(text)
    with pytest.raises(FileInvalid) as caught:
        read_app_definition(path)
    assert words in str(caught.value)
    assert all(line.startswith(str(path)) for line in caught.value.findings)


def test_a_directory_and_bytes_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileInvalid, match="can't be read"):
        read_app_definition(tmp_path)
    path = tmp_path / "app.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(FileInvalid, match="can't be read"):
        read_app_definition(path)


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "app.json"
    path.write_text(json.dumps({"name": 1, "requestor_env": "vm"}))
    with pytest.raises(FileInvalid) as caught:
        read_app_definition(path)
    assert len(caught.value.findings) == 4


@pytest.mark.parametrize("text", ["[]", '{"name": "a"}'])
def test_from_json_says_no(text: str) -> None:
    with pytest.raises((KeyError, ValueError)):
        AppDefinition.from_json(text)
