"""Work directories, and the environments that a task can name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lading.contracts.golem.directories import (
    ProviderDir,
    ProviderTaskDir,
    RequestorDir,
    RequestorTaskDir,
)
from lading.contracts.golem.environments import (
    Prerequisites,
    create_docker_cpu_task,
    create_docker_gpu_task,
)
from lading.contracts.golem.structs import Infrastructure, Task
from lading.errors import InputError


def test_a_requestors_directories(tmp_path: Path) -> None:
    task = RequestorDir(tmp_path).task_dir("t1")
    task.prepare()
    task.prepare()
    assert isinstance(task, RequestorTaskDir)
    assert task == tmp_path / "t1"
    assert {str(path.relative_to(tmp_path)) for path in task.rglob("*")} == {
        "t1/task_inputs",
        "t1/task_outputs",
        "t1/subtask_inputs",
        "t1/subtask_outputs",
    }
    assert task.task_inputs_dir == tmp_path / "t1/task_inputs"
    assert task.task_outputs_dir == tmp_path / "t1/task_outputs"
    assert task.subtask_inputs_dir == tmp_path / "t1/subtask_inputs"
    assert task.subtask_outputs_top_dir == tmp_path / "t1/subtask_outputs"
    assert task.subtask_outputs_dir("s1") == tmp_path / "t1/subtask_outputs/s1"


def test_a_providers_directories(tmp_path: Path) -> None:
    task = ProviderDir(tmp_path).task_dir("t1")
    task.prepare()
    task.prepare()
    assert isinstance(task, ProviderTaskDir)
    assert [path.name for path in task.iterdir()] == ["subtask_inputs"]
    assert task.subtask_inputs_dir == tmp_path / "t1/subtask_inputs"
    assert task.subtask_dir("s1") == tmp_path / "t1/s1"


def test_they_are_paths() -> None:
    task = RequestorTaskDir("/work", "t1")
    assert isinstance(task, Path)
    assert task / "db" == Path("/work/t1/db")
    assert str(task.parent) == "/work"


def test_environments() -> None:
    needs = Infrastructure(min_memory_mib=100.0)
    place = {"image": "here/app", "tag": "1"}
    assert create_docker_cpu_task("here/app", "1", needs) == Task("docker_cpu", place, needs)
    assert create_docker_gpu_task(image="here/app", tag="1", inf=needs).env_id == "docker_gpu"
    assert create_docker_cpu_task("here/app", "1").inf_requirements == Infrastructure(0.0)


def test_prerequisites() -> None:
    read = Prerequisites.read("docker_gpu", {"image": "here/app", "tag": "1", "more": 2})
    assert read == Prerequisites("here/app", "1", gpu=True)
    assert read.reference == "here/app:1"
    assert not Prerequisites.read("docker_cpu", {"image": "a", "tag": "1"}).gpu


@pytest.mark.parametrize(
    ("env_id", "prerequisites", "field", "words"),
    [
        ("wasm", {"image": "a", "tag": "1"}, "env_id", "'wasm'"),
        ("docker_cpu", {"tag": "1"}, "prerequisites.image", "missing"),
        ("docker_cpu", {"image": "a", "tag": 1}, "prerequisites.tag", "1"),
        ("docker_gpu", {"image": "", "tag": "1"}, "prerequisites.image", "''"),
    ],
)
def test_prerequisites_that_say_nothing(
    env_id: str, prerequisites: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        Prerequisites.read(env_id, prerequisites)
    assert caught.value.field == field
    assert words in caught.value.reason
    assert caught.value.fix
