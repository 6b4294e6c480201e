"""Task folders: what is read, what is refused and by which name."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from lading.contracts.meca.folder import CONTENTS, default_tag, read_folder
from lading.errors import ConfigError
from lading.run.build_context import Ignore, archive
from lading.units import MIB


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole task folder."""
    made = tmp_path / "my-task"
    (made / "src").mkdir(parents=True)
    (made / "src/app.py").write_text("print('meca-init-done')\n")
    (made / "Dockerfile").write_text("FROM scratch\nCOPY src/ /\n")
    (made / "name.txt").write_text("Word Count\n")
    (made / "description.txt").write_text("Counts words.\n")
    (made / "example_input.bin").write_bytes(b'{"text": "a b"}\xff \n')
    (made / "example_output.bin").write_bytes(b"2")
    (made / "config.json").write_text(json.dumps({"resource": {"cpu": 0.5, "mem": 256}}))
    return made


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def test_a_whole_folder_is_read(folder: Path) -> None:
    task = read_folder(folder)
    assert task.name == "Word Count"
    assert task.description == "Counts words."
    assert task.example_input == b'{"text": "a b"}\xff \n', "byte for byte"
    assert task.example_output == b"2"
    assert (task.limits.cpus, task.limits.memory) == (0.5, 256 * MIB)
    assert task.missing == ()
    assert task.warnings == ()
    assert default_tag(task) == "lading-task/word-count:dev"


def test_the_least_folder_is_a_dockerfile(tmp_path: Path) -> None:
    made = tmp_path / "Least!"
    made.mkdir()
    (made / "Dockerfile").write_text("FROM scratch\n")
    task = read_folder(made)
    assert task.name == "Least!"
    assert (task.limits.cpus, task.limits.memory) == (1, 128 * MIB)
    assert task.example_input is None
    assert set(task.missing) == set(CONTENTS) - {"Dockerfile"}
    assert default_tag(task) == "lading-task/least:dev"


@pytest.mark.parametrize(
    ("config", "cpus", "mebibytes"),
    [
        ("", 1, 128),
        ("{}", 1, 128),
        ('{"resource": null}', 1, 128),
        ('{"resource": {}}', 1, 128),
        ('{"resource": {"cpu": 2, "memory": 64}}', 2, 64),
        ('\ufeff{"resource": {"mem": 64}}', 1, 64),
    ],
)
def test_configurations_in_the_wild(folder: Path, config: str, cpus: float, mebibytes: int) -> None:
    (folder / "config.json").write_text(config)
    limits = read_folder(folder).limits
    assert (limits.cpus, limits.memory) == (cpus, mebibytes * MIB)


def test_unknown_keys_are_warned_of(folder: Path) -> None:
    (folder / "config.json").write_text('{"resource": {"cpus": 2}, "fee": 1}')
    first, second = read_folder(folder).warnings
    assert first.startswith("config.json: ")
    assert "resource.cpus" in first
    assert "'fee'" in second


@pytest.mark.parametrize(
    ("config", "place", "says"),
    [
        ('{"resource": {\n  "cpu": 1,\n}}', "config.json:3:1", "is not JSON"),
        ('{\n "resource": {\n  "cpu": "one"}}', "config.json:3: resource.cpu", "must be a number"),
        ('{"resource": {\n\n"mem": -1}}', "config.json:3: resource.mem", "at least 6 MB"),
        ('{"resource": {"cpu": 1,\n"mem": NaN}}', "config.json:2", "NaN is not JSON"),
        ("[1]", "config.json", "must hold a JSON object"),
        ('{"resource": 5}', "config.json:1: resource", "must be an object"),
        ("[" * 100_000, "config.json", "nested too deep"),
    ],
)
def test_a_bad_configuration_is_named_by_file_and_line(
    folder: Path, config: str, place: str, says: str
) -> None:
    (folder / "config.json").write_text(config)
    with pytest.raises(ConfigError, match=says) as caught:
        read_folder(folder)
    assert f"{folder}/{place}: " in f"{caught.value.message}"


def test_text_that_is_not_utf8(folder: Path) -> None:
    (folder / "name.txt").write_bytes(b"one\ntw\xff\n")
    with pytest.raises(ConfigError, match=r"name\.txt:2: is not UTF-8"):
        read_folder(folder)


def test_no_folder_and_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        read_folder(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        read_folder(tmp_path / "file")
    with pytest.raises(ConfigError, match="has no Dockerfile") as caught:
        read_folder(tmp_path)
    assert "example_input.bin" in caught.value.fix


def test_a_strangers_link_reads_no_file_of_ours(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    (folder / "example_input.bin").unlink()
    (folder / "example_input.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigError, match="is a link out of the task folder"):
        read_folder(folder)


# The archive.


def test_the_archive_is_in_order_and_belongs_to_nobody_here(folder: Path) -> None:
    (folder / "src/run.sh").write_text("#!/bin/sh\n")
    (folder / "src/run.sh").chmod(0o755)
    data = archive(folder)
    assert names(data) == [
        "Dockerfile",
        "config.json",
        "description.txt",
        "example_input.bin",
        "example_output.bin",
        "name.txt",
        "src",
        "src/app.py",
        "src/run.sh",
    ]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        item = tar.getmember("src/run.sh")
        assert (item.mode, item.uid, item.gid, item.uname) == (0o755, 0, 0, "")
        content = tar.extractfile("example_input.bin")
        assert content is not None
        assert content.read() == b'{"text": "a b"}\xff \n'
    assert archive(folder) == data, "the same folder gives the same bytes"


def test_links_are_packed_as_links(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("key")
    (folder / "src/link").symlink_to(outside)
    os.mkfifo(folder / "src/pipe")
    data = archive(folder)
    assert "src/link" in names(data)
    assert b"key" not in data
    assert not [name for name in names(data) if name.startswith("src/link/")]
    assert "src/pipe" not in names(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getmember("src/link").linkname == str(outside)


def test_what_dockerignore_leaves_out(folder: Path) -> None:
    (folder / "src/data/deep").mkdir(parents=True)
    for name in ("a.log", "keep.log", "src/b.log", "src/data/deep/c.log", "src/data/x.bin"):
        (folder / name).touch()
    (folder / ".dockerignore").write_text(
        "# comments\n\n**/*.log\n!keep.log\nsrc/data\n!src/data/deep\n/name.txt\n"
        "example_?nput.*\nDockerfile\n"
    )
    left = names(archive(folder))
    assert "keep.log" in left
    assert "Dockerfile" in left, "the builder needs it"
    assert ".dockerignore" in left
    assert "src/data/deep" in left
    assert "src/app.py" in left
    for gone in ("a.log", "src/b.log", "src/data", "src/data/x.bin", "name.txt"):
        assert gone not in left
    assert "example_input.bin" not in left
    assert "example_output.bin" in left


@pytest.mark.parametrize(
    ("pattern", "path", "left_out"),
    [
        ("a", "a/b/c", True),
        ("a/", "a/b", True),
        ("./a/../b", "b", True),
        ("*", "a/b", True),
        ("*/b", "a/b", True),
        ("*/b", "b", False),
        ("**/b", "b", True),
        ("**/b", "x/y/b", True),
        ("a/**", "a/b/c", True),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "az", False),
        ("**", "a", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab].txt", "b.txt", True),
        ("[^ab].txt", "b.txt", False),
        ("[a-c]x", "bx", True),
        (r"\*", "*", True),
        (r"\*", "a", False),
        ("a.b", "axb", False),
        (".", "a", False),
        ("  a  ", "a", True),
        ("#a", "#a", False),
    ],
)
def test_patterns(pattern: str, path: str, left_out: bool) -> None:
    assert Ignore(pattern).leaves_out(path) is left_out


@pytest.mark.parametrize("text", ["ok\n[a\n", "ok\n!\n", "ok\n[z-a]\n"])
def test_a_bad_pattern_is_named_by_its_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^\.dockerignore:2: "):
        Ignore(text)


def test_a_dockerignore_that_is_not_utf8(folder: Path) -> None:
    (folder / ".dockerignore").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"\.dockerignore: is not UTF-8"):
        archive(folder)
