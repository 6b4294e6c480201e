"""Directories compared file by file, and put in the place of others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lading.errors import ConfigError
from lading.folders.examples import compare_trees, differences, replace_tree


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tree(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_each_file_is_compared(tmp_path: Path) -> None:
    expected = tree(tmp_path / "e", same=b"1", json=b"[1]", sub__gone=b"", other=b"x\n", žluť=b"1")
    actual = tree(tmp_path / "a", same=b"1", json=b"[ 1.0]", sub__new=b"", other=b"y\n", žluť=b"1")
    (expected / "empty").mkdir()
    found = {one.path: str(one.comparison.likeness) for one in compare_trees(expected, actual)}
    assert found == {
        "same": "exact", "json": "json", "sub/gone": "none", "sub/new": "none", "other": "none",
        "žluť": "exact",
    }  # fmt: skip
    words, diff = differences(compare_trees(expected, actual), "out")
    assert words == "out/other differs: line 1 differs, and 2 more of 6 files"
    assert "-x\n+y" in diff
    assert "out/sub/gone: is missing" in diff
    assert "out/sub/new: is not in the example" in diff
    assert compare_trees(tmp_path / "absent", tmp_path / "absent") == []
    assert differences(compare_trees(expected, expected)) == ("", "")


def test_links_are_not_followed(tmp_path: Path) -> None:
    expected, actual = tree(tmp_path / "e", a=b"secret"), tree(tmp_path / "a")
    (tmp_path / "secret").write_bytes(b"secret")
    (actual / "a").symlink_to(tmp_path / "secret")
    (found,) = compare_trees(expected, actual)
    assert not found.comparison.same, "what it leads to has the same bytes"
    assert "is a link to" in found.comparison.words
    (expected / "a").unlink()
    (expected / "a").symlink_to(tmp_path / "secret")
    (found,) = compare_trees(expected, actual)
    assert found.comparison.same


def test_large_files_are_compared_without_being_read_at_once(tmp_path: Path) -> None:
    expected, actual = tree(tmp_path / "e"), tree(tmp_path / "a")
    for folder, last in ((expected, b"1"), (actual, b"2")):
        with (folder / "big").open("wb") as file:
            file.write(b"\xff")
            file.truncate(40 << 20)
            file.seek(0, os.SEEK_END)
            file.write(last)
    (found,) = compare_trees(expected, actual)
    assert found.comparison.likeness == "type"
    (found,) = compare_trees(expected, actual, exact=True)
    assert not found.comparison.same
    (found,) = compare_trees(expected, expected)
    assert found.comparison.likeness == "exact"


def test_an_example_is_replaced_whole(tmp_path: Path) -> None:
    source = tree(tmp_path / "new", a=b"1", sub__b=b"2")
    (source / "link").symlink_to("a")
    os.mkfifo(source / "pipe")
    target = tree(tmp_path / "example/outputs/out", old=b"0")
    replace_tree(source, target)
    assert {str(path.relative_to(target)) for path in target.rglob("*")} == {
        "a", "sub", "sub/b", "link",
    }  # fmt: skip
    assert (target / "link").readlink() == Path("a")
    assert listed(target.parent) == ["out"], "nothing beside it"
    replace_tree(source, tmp_path / "else/where")
    assert (tmp_path / "else/where/sub/b").read_bytes() == b"2"


def test_an_example_that_cannot_be_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tree(tmp_path / "new", a=b"1", b=b"2")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="can't be written"):
        replace_tree(source, tmp_path / "file/outputs")
    target = tree(tmp_path / "t/out", old=b"0")
    copy = shutil.copyfile

    def full(src: str, dst: Path, *, follow_symlinks: bool) -> None:
        if src.endswith("b"):
            raise OSError(28, "No space left on device")
        copy(src, dst, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(shutil, "copyfile", full)  # a full disk is hard to have
    with pytest.raises(ConfigError, match="No space left"):
        replace_tree(source, target)
    assert listed(target) == ["old"]
    assert listed(target.parent) == ["out"], "nothing beside it"
