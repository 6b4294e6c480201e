"""The models as other programs use them: the original's names, fields and order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from tests.contracts.processing.documents import CONTAINER, TASK, changed

from lading.contracts.processing import task as task_models
from lading.contracts.processing import template as pc_models
from lading.contracts.processing.merging import merge
from lading.contracts.processing.task import K8sConfig, Task, TaskInstance, TaskRun
from lading.contracts.processing.template import (
    BaseEnv,
    ProcessingContainer,
    Resources,
    ScaleRule,
    TaskTemplate,
)

FIELDS = {
    "BaseEnv": ["name", "value"],
    "TaskTemplateEnv": ["name", "value", "type", "choices", "adjustable", "description"],
    "Resources": ["limits", "requests"],
    "ScaleRule": [
        "scale_factor", "type", "mode", "target_dir", "target_regex", "target_glob", "complexity"
    ],
    "IOBase": ["name", "scale_rule"],
    "IOMount": ["name", "scale_rule", "mounted_path", "description"],
    "BaseTask": ["command", "resources"],
    "TaskTemplate": [
        "command", "resources", "identifier", "description", "inputs", "outputs", "env"
    ],
    "ProcessingContainer": ["name", "description", "api_version", "templates"],
    "HostPathVolume": ["host_path"],
    "IOVolume": ["name", "scale_rule", "volume_source"],
    "IOChannel": ["name", "scale_rule", "volume_source", "mounted_path", "description"],
    "BaseConfig": ["labels"],
    "DockerConfig": ["labels", "type"],
    "K8sConfig": [
        "labels", "type", "namespace", "registryUrl", "registryUsername", "registryPassword",
        "imagePullSecrets", "env_vars", "volumes", "volume_mounts", "annotations",
    ],
    "Task": [
        "command", "resources", "name", "image", "api_version", "taskTemplate", "config",
        "inputs", "outputs", "env",
    ],
    "TaskInstance": [
        "command", "resources", "inputs", "outputs", "env", "identifier", "description", "name",
        "image", "taskTemplate", "config",
    ],
    "TaskRun": [
        "command", "resources", "inputs", "outputs", "env", "identifier", "description", "name",
        "image", "taskTemplate", "config", "id", "mode",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_the_fields_and_their_order(name: str) -> None:
    home = pc_models if hasattr(pc_models, name) else task_models
    assert list(getattr(home, name).model_fields) == FIELDS[name]


@pytest.mark.parametrize(("model", "document"), [(ProcessingContainer, CONTAINER), (Task, TASK)])
def test_a_dump_is_read_back(model: type[BaseModel], document: Any) -> None:
    read = model.model_validate(document)
    assert model.model_validate(read.model_dump()) == read
    assert model.model_validate_json(read.model_dump_json()) == read
    assert model.model_validate(json.loads(json.dumps(read.model_dump(mode="json")))) == read


def test_instances_and_runs_are_read_back() -> None:
    instance = merge(
        Task.model_validate(TASK), TaskTemplate.model_validate(CONTAINER["templates"][0])
    )
    assert TaskInstance.model_validate(instance.model_dump()) == instance
    run = TaskRun(**instance.model_dump(), id="x", mode="docker")
    assert TaskRun.model_validate_json(run.model_dump_json()) == run
    assert isinstance(run, TaskInstance)


def test_what_the_originals_operator_makes() -> None:
    """Amounts are numbers, or None; the configuration holds objects of a cluster's client."""

    class V1EnvVar:  # of the kubernetes package
        name = "A"

    resources = Resources(
        limits={"cpu": None, "memory": "1Gi", "nvidia.com/gpu": 0}, requests={"cpu": None}
    )
    assert resources.limits == {"memory": "1Gi", "nvidia.com/gpu": "0"}
    variable = V1EnvVar()
    config = K8sConfig(namespace="x", imagePullSecrets=["s"], env_vars=[variable], labels={})
    made = Task(
        name="run.task",
        image="x",
        taskTemplate=TaskTemplate(identifier="main", description="", inputs=[], outputs=[], env=[]),
        inputs=[],
        outputs=[],
        resources=resources,
        config=config,
        env=[BaseEnv(name="A", value="1"), {"name": "B", "value": "2"}],  # type: ignore[list-item]
    )
    assert made.config is config
    assert config.env_vars == [variable]
    config.V1Pod = object()  # type: ignore[attr-defined]  # its runner keeps the pod there
    assert [item.name for item in made.env or ()] == ["A", "B"]
    assert isinstance(made.taskTemplate, TaskTemplate)
    assert merge(made, made.taskTemplate).config is config


def test_enumerations_are_their_words() -> None:
    rule = ScaleRule(scale_factor=1, type="limit", mode="max_item_sum")  # type: ignore[arg-type]
    assert rule.type is pc_models.ScaleRuleType.limit
    assert rule.model_dump()["mode"] == "max_item_sum"


def test_a_whole_factor_stays_whole() -> None:
    assert '"scale_factor":2,' in ScaleRule(scale_factor=2).model_dump_json()
    assert ScaleRule(scale_factor=2.5).scale_factor == 2.5


@pytest.mark.parametrize("path", ["name", "templates"])
def test_what_is_wrong_raises_for_programs_too(path: str) -> None:
    with pytest.raises(ValidationError, match=path):
        ProcessingContainer.model_validate(changed(CONTAINER, path))
