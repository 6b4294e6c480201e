"""Host directories as channels: what is checked before a run, and what is made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lading.contracts.processing.channels import channels_of, make_outputs, measured, mounts
from lading.contracts.processing.task import TaskInstance
from lading.errors import InputError


def instance(**directions: dict[str, Any]) -> TaskInstance:
    """An instance with channels: `inputs={"in": PATH}`; mounted at ``/<direction>/<name>``."""
    channels = {
        direction: [
            {
                "name": name,
                "mounted_path": f"/{direction}/{name}",
                "volume_source": {"host_path": str(path)} if not isinstance(path, dict) else path,
            }
            for name, path in given.items()
        ]
        for direction, given in directions.items()
    }
    return TaskInstance.model_validate(
        {"name": "x", "image": "i", "taskTemplate": "t", "identifier": "t", "description": "",
         **channels}
    )  # fmt: skip


def test_channels_are_listed_and_mounted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    found = channels_of(instance(inputs={"a": tmp_path / "a"}, outputs={"a": tmp_path / "new"}))
    assert [(str(one), one.path, one.is_output) for one in found] == [
        ("input channel 'a'", tmp_path / "a", False),
        ("output channel 'a'", tmp_path / "new", True),
    ]
    assert [(one.source, one.target, one.read_only) for one in mounts(found)] == [
        (str(tmp_path / "a"), "/inputs/a", True),
        (str(tmp_path / "new"), "/outputs/a", False),
    ]
    assert not (tmp_path / "new").exists(), "nothing is made yet"


def test_paths_may_be_relative_or_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("here", "./here", "~/here"):
        (channel,) = channels_of(instance(inputs={"a": path}))
        assert channel.path == tmp_path / "here"
    with pytest.raises(InputError, match="no such user's home"):
        channels_of(instance(inputs={"a": "~nobody-of-this-name/x"}))


def test_what_can_not_be_a_channel_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for direction, path, says in (
        ("inputs", tmp_path / "absent", "input channel 'c': the directory .*absent does not exist"),
        ("inputs", tmp_path / "file", "input channel 'c': .*file is not a directory"),
        ("outputs", tmp_path / "file", "output channel 'c': .*file is not a directory"),
        ("inputs", tmp_path / "loop", "input channel 'c': the link .*loop leads nowhere"),
        ("inputs", {"emptyDir": {}}, "its volume_source is emptyDir, which only a cluster has"),
        ("inputs", "/x" * 3000, "input channel 'c': .*File name too long"),
    ):
        with pytest.raises(InputError, match=says):
            channels_of(instance(**{direction: {"c": path}}))


def test_two_channels_at_one_place_are_named(tmp_path: Path) -> None:
    both = instance(inputs={"a": tmp_path}, outputs={"b": tmp_path / "x"})
    both.outputs[0].mounted_path = "/inputs//a/"
    with pytest.raises(InputError, match="where input channel 'a' is mounted already"):
        channels_of(both)


def test_outputs_are_made_and_only_they(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "there").mkdir()
    outputs = {"a": tmp_path / "deep/er/out", "b": tmp_path / "there"}
    found = channels_of(instance(inputs={"i": tmp_path / "in"}, outputs=outputs))
    made = make_outputs(found)
    assert made == [tmp_path / "deep", tmp_path / "deep/er", tmp_path / "deep/er/out"]
    assert all(path.is_dir() and path.stat().st_uid == os.getuid() for path in made)
    assert make_outputs(found) == []


@pytest.mark.parametrize("path", ["/", "/proc", "/sys/kernel", "/dev/shm", "//", "/usr/.."])
def test_the_system_is_no_channel(path: str) -> None:
    for direction in ("inputs", "outputs"):
        with pytest.raises(InputError, match="is no directory of data, but the system's"):
            channels_of(instance(**{direction: {"c": path}}))


def test_what_can_not_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = channels_of(
        instance(outputs={"good": tmp_path / "new/out", "bad": tmp_path / "file/out"})
    )
    with pytest.raises(InputError, match=r"output channel 'bad': .* can't be made: "):
        make_outputs(found)
    assert not (tmp_path / "new").exists()


def test_channels_are_measured_for_the_record(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    found = channels_of(instance(inputs={"a": tmp_path}, outputs={"b": tmp_path / "none"}))
    one, other = measured(found)
    assert one == {
        "name": "a", "direction": "input", "path": str(tmp_path), "mounted_path": "/inputs/a",
        "bytes": 5, "files": 1,
    }  # fmt: skip
    assert (other["bytes"], other["files"]) == (0, 0)
