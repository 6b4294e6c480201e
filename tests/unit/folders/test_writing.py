"""New folders: whole and where there is room, or not at all; names in any script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lading.contracts.meca.folder import default_tag, read_folder
from lading.contracts.meca.scaffold import write_task
from lading.contracts.processing.scaffold import write_container
from lading.errors import InputError
from lading.folders.writing import check_title, write_folder
from lading.run.build_context import trial_tag


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("word-count", "word-count"),
        ("  Word Count ", "Word Count"),
        ("数词", "数词"),
        ("счётчик слов", "счётчик слов"),
        ("Zu\u0308rich", "Z\u00fcrich"),
        ("عدّ الكلمات", "عدّ الكلمات"),
        ("👩‍🔬", "👩‍🔬"),
        ("a.b", "a.b"),
        ("\"'`$(x)", "\"'`$(x)"),
    ],
)
def test_names(name: str, title: str, tmp_path: Path) -> None:
    assert check_title(name) == title
    write_task(name, tmp_path / "meca")
    task = read_folder(tmp_path / "meca")
    assert task.name == title
    tag = default_tag(task)
    assert tag.startswith("lading-task/")
    assert tag.isascii()
    write_container(name, tmp_path / "processing")
    content = json.loads((tmp_path / "processing/processing-container.json").read_text("utf-8"))
    assert content["name"] == title


def test_names_of_other_scripts_get_images_of_their_own() -> None:
    names = ["数词", "计数", "task", "Wörter", "worter", "x" * 120, "x" * 121]
    assert len({trial_tag(name) for name in names}) == len(names)
    assert trial_tag("Zu\u0308rich") == trial_tag("Z\u00fcrich")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is empty"),
        (" \t", "is empty"),
        ("a/b", "is a path"),
        ("..", "begins with '.'"),
        (".words", "begins with '.'"),
        ("-t", "begins with '-'"),
        ("a\nb", "control characters"),
        ("a\x00b", "control characters"),
        ("a\udcffb", "control characters"),
        ("a\u2028b", "control characters"),
        ("数" * 34, "longer than 100 bytes"),
    ],
)
def test_what_can_not_name_a_folder(name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says) as raised:
        write_task(name, tmp_path / "made")
    assert raised.value.fix
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    written = write_task("words", tmp_path)
    assert (tmp_path / "Dockerfile").is_file()
    assert set(written) == {
        path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()
    }
    assert Path(".github/workflows/check.yml") in written


@pytest.mark.parametrize("template", ["perl", "", "../python"])
def test_there_is_no_such_template(template: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no") as raised:
        write_task("words", tmp_path / "made", template)
    assert "python, flask, fastapi, c" in raised.value.fix


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(InputError, match="is there already"):
            write_task("words", place)
    with pytest.raises(InputError, match="can't be written: Not a directory"):
        write_task("words", tmp_path / "mine.txt/below")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_nothing_is_left_of_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "one").mkdir(parents=True)
    (source / "one/a.txt.template").write_text("a")
    (source / "two").mkdir()
    (source / f"two/{'x' * 200}.template").write_text("b")
    for name in ("y" * 80, "y" * 300):
        target = tmp_path / "deep/target"
        try:
            write_folder([source], target, words={}, paths={"x" * 200: name})
        except InputError as error:
            assert "File name too long" in str(error)
            assert not (tmp_path / "deep").exists()
        else:
            assert (target / "two" / name).read_text() == "b"
            for path in sorted(target.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            target.rmdir()
            target.parent.rmdir()
