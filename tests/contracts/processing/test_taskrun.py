"""Files of task runs: plain data, whole or not at all, and nothing that runs code is read."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from lading.contracts.processing.task import (
    DockerConfig,
    HostPathVolume,
    IOChannel,
    K8sConfig,
    TaskRun,
)
from lading.contracts.processing.taskrun import read_task_run, write_task_run
from lading.contracts.processing.template import Resources, ScaleRule, TaskTemplateEnv
from lading.errors import FileInvalid, FileMissing, InputError


def a_run(**values: Any) -> TaskRun:
    rule = ScaleRule(scale_factor=1.5)
    source = HostPathVolume(host_path="/data")
    channel = IOChannel(name="in", mounted_path="/in", volume_source=source, scale_rule=rule)
    known: dict[str, Any] = {
        "name": "a task",
        "image": "x:1",
        "taskTemplate": "t",
        "identifier": "t",
        "description": "d\u00e9j\u00e0 \U0001f600",
        "id": "c" * 64,
        "mode": "docker",
        "inputs": [channel],
        "env": [TaskTemplateEnv(name="A", value="1", choices=["1", "2"])],
        "resources": Resources(limits={"memory": "1Gi", "nvidia.com/gpu": 1}),
        "config": DockerConfig(labels={"a": "b"}),
    }
    made = TaskRun(**(known | values))
    made._run, made._state = "d1z5pvwa3j0h6tqy", "/state"
    return made


def test_what_is_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = a_run()
    path = write_task_run(written)
    assert str(path) == f"task_run-{'c' * 64}.pkl"
    read = read_task_run(path)
    assert (read, read._run, read._state) == (written, "d1z5pvwa3j0h6tqy", "/state")
    assert path.read_bytes()[:2] == b"\x80\x04"
    values = pickle.loads(path.read_bytes())
    assert type(values) is dict
    assert values["lading"]["run"] == "d1z5pvwa3j0h6tqy"
    os.umask(mask := os.umask(0o022))
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_no_password_is_written(tmp_path: Path) -> None:
    class Variable:
        def to_dict(self) -> dict[str, str]:
            return {"name": "FROM_A_CLUSTER"}

    config = K8sConfig(namespace="n", registryPassword="very-secret", env_vars=[Variable()])
    path = write_task_run(a_run(config=config), tmp_path / "run.pkl")
    assert b"very-secret" not in path.read_bytes()
    read = read_task_run(str(path)).config
    assert isinstance(read, K8sConfig)
    assert (read.namespace, read.registryPassword) == ("n", None)
    assert read.env_vars == [{"name": "FROM_A_CLUSTER"}]


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "run.pkl"
    path.write_bytes(b"before")
    with pytest.raises(InputError, match="can't be written: No such file"):
        write_task_run(a_run(), tmp_path / "none" / "run.pkl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="Is a directory"):
        write_task_run(a_run(), tmp_path / "folder")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["folder", "run.pkl"]


class Bomb:
    """Runs something when it is loaded."""

    def __reduce__(self) -> Any:
        return (os.system, ("echo exploded >exploded",))


class Extension:
    """Known by a number, which no name betrays."""


class Persistent(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return "somewhere" if isinstance(obj, Bomb) else None


def persistent() -> bytes:
    stream = io.BytesIO()
    Persistent(stream, 4).dump({"id": Bomb()})
    return stream.getvalue()


def extension() -> bytes:
    copyreg.add_extension(Extension.__module__, "Extension", 240)
    try:
        content = pickle.dumps({"a": Extension}, 4)
        pickle.loads(content)  # known to the process by now, so that no name is looked up
        return content
    finally:
        copyreg.remove_extension(Extension.__module__, "Extension", 240)


BAD = {
    "reduce": lambda: pickle.dumps({"id": Bomb()}, 4),
    "reduce-0": lambda: pickle.dumps({"id": Bomb()}, 0),
    "reduce-2": lambda: pickle.dumps({"id": Bomb()}, 2),
    "after-the-end": lambda: pickle.dumps({"a": 1}, 4)[:-1] + pickle.dumps(Bomb(), 4),
    "a-class": lambda: pickle.dumps({"id": OrderedDict}, 4),
    "an-instance": lambda: pickle.dumps(a_run(), 4),
    "inst": lambda: b"(S'echo exploded >exploded'\nios\nsystem\n.",
    "obj": lambda: b"(cos\nsystem\nS'echo exploded >exploded'\no.",
    "persistent": persistent,
    "persistent-0": lambda: b"Psomewhere\n.",
    "extension": extension,
}


@pytest.mark.parametrize("kind", BAD)
def test_nothing_that_names_code_is_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run.pkl"
    path.write_bytes(BAD[kind]())
    with pytest.raises(FileInvalid, match="is refused: it names ") as caught:
        read_task_run(path)
    assert "a file of the original task_api is one of these" in caught.value.fix
    assert [item.name for item in tmp_path.iterdir()] == ["run.pkl"]


NO_RUNS = {
    "empty": b"",
    "text": b"no pickle",
    "another-pickle": pickle.dumps({"a": 1}, 4),
    "a-list": pickle.dumps([1, 2], 4),
    "cut-off": pickle.dumps({"a": "x" * 1000}, 4)[:500],
    "bytes": pickle.dumps({"a": b"x"}, 4),
    "another-protocol": pickle.dumps({"a": 2**70, "b": {1, 2}}, 4),
    "far-memo": b"\x80\x04}r\xff\xff\xff\xff.",
    "deep": b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
}


@pytest.mark.parametrize("kind", NO_RUNS)
def test_what_is_no_task_run(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "run.pkl"
    path.write_bytes(NO_RUNS[kind])
    with pytest.raises(FileInvalid, match=r"run\.pkl: is no task run: "):
        read_task_run(path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match="there is no such file"):
        read_task_run(tmp_path / "none.pkl")
    with pytest.raises(FileNotFoundError):
        read_task_run(tmp_path / "none.pkl")
    with pytest.raises(FileInvalid, match="can't be read: Is a directory"):
        read_task_run(tmp_path)


def test_only_known_instructions_are_written(tmp_path: Path) -> None:
    content = write_task_run(a_run(), tmp_path / "run.pkl").read_bytes()
    names = {instruction.name for instruction, _, _ in pickletools.genops(content)}
    assert "GLOBAL" not in names
    assert "STACK_GLOBAL" not in names
