"""What breaks the letter and is meant beyond doubt: accepted, with a warning that names it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.contracts.processing.documents import CONTAINER, TASK, changed, checked, found

from lading.contracts.processing.task import BaseConfig, DockerConfig, K8sConfig, Task
from lading.contracts.processing.template import ProcessingContainer

TEMPLATE = "templates.0"
AT = "templates[0]"


def container(document: Any) -> ProcessingContainer:
    model = checked(document, kind="pc").model
    assert isinstance(model, ProcessingContainer)
    return model


def task(document: Any) -> Task:
    model = checked(document, kind="task").model
    assert isinstance(model, Task)
    return model


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("version", "0.1.0", "version: the format has no such field; it is ignored"),
        ("description", ..., "has no description"),
        ("description", "", "has no description"),
        ("api_version", "1", "api_version: should be the number 1, not '1'"),
        ("api_version", True, "api_version: should be the number 1, not True"),
        (f"{TEMPLATE}.description", ..., f"{AT}: has no description"),
        (f"{TEMPLATE}.inputs", ..., f"{AT}: has no inputs; there are none"),
        (f"{TEMPLATE}.outputs", None, f"{AT}.outputs: should be a list; null is read as []"),
        (f"{TEMPLATE}.env", ..., f"{AT}: has no env; there are none"),
        (f"{TEMPLATE}.env.0.value", ..., f"{AT}.env[0]: has no value; it is empty"),
        (f"{TEMPLATE}.env.0.value", 5,
         f"{AT}.env[0].value: should be a text; a number is read as '5'"),
        (f"{TEMPLATE}.env.0.value", None,
         f"{AT}.env[0].value: should be a text; null is read as ''"),
        (f"{TEMPLATE}.env.0.choices", [5, "3"],
         f"{AT}.env[0].choices[0]: should be a text; a number is read as '5'"),
        (f"{TEMPLATE}.env.0.value", "7", f"{AT}.env[0].value: '7' is not one of the choices"),
        (f"{TEMPLATE}.env.0.adjustable", "yes",
         f"{AT}.env[0].adjustable: should be true or false, not a text"),
        (f"{TEMPLATE}.env.0.default", "5",
         f"{AT}.env[0].default: the format has no such field; it is ignored"),
        (f"{TEMPLATE}.command", ["run", 5],
         f"{AT}.command[1]: should be a text; a number is read as '5'"),
        (f"{TEMPLATE}.resources.claims", [],
         f"{AT}.resources.claims: the format has no such field; it is ignored"),
        (f"{TEMPLATE}.inputs.0.optional", True,
         f"{AT}.inputs[0].optional: the format has no such field; it is ignored"),
        (f"{TEMPLATE}.inputs.0.scale_rule.type", ...,
         f"{AT}.inputs[0].scale_rule: has no type; it is 'limit'"),
        (f"{TEMPLATE}.inputs.0.scale_rule.mode", ...,
         f"{AT}.inputs[0].scale_rule: has no mode; it is 'sum'"),
        (f"{TEMPLATE}.inputs.0.scale_rule.scale_factor", "3",
         f"{AT}.inputs[0].scale_rule.scale_factor: should be a number, not a text"),
        (f"{TEMPLATE}.inputs.0.scale_rule.scale_factor", -1,
         f"{AT}.inputs[0].scale_rule: is negative: it asks for nothing"),
        (f"{TEMPLATE}.inputs.0.scale_rule.complexity", "2n",
         f"{AT}.inputs[0].scale_rule.complexity: stands beside a scale_factor, which counts"),
        (f"{TEMPLATE}.inputs.0.scale_rule.target_glob", None,
         f"{AT}.inputs[0].scale_rule.target_glob: should be a text; null is read as ''"),
        (f"{TEMPLATE}.outputs.0.scale_rule", {"scale_factor": 1, "type": "limit", "mode": "sum"},
         f"{AT}.outputs[0].scale_rule: has no effect: only the rules of inputs count"),
        (f"{TEMPLATE}.outputs.0.mounted_path", "/data//in/",
         f"{AT}.outputs[0].mounted_path: {AT}.inputs[0] is mounted there, too"),
        ("templates", [], "templates: is empty: nothing can be run"),
        ("templates", CONTAINER["templates"] * 2,
         "templates[1].identifier: 'smooth' is twice; the first one counts"),
        (f"{TEMPLATE}.env", [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
         f"{AT}.env[1].name: 'A' is twice; the first one counts"),
    ],
)  # fmt: skip
def test_a_container_that_breaks_the_letter(path: str, value: Any, says: str) -> None:
    assert found(changed(CONTAINER, path, value)) == [f"warning: {says}"]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("priority", 1, "priority: the format has no such field; it is ignored"),
        # Where these stood in the first version of the format.
        ("namespace", "default",
         "namespace: the format has no such field; it is ignored; it belongs into config"),
        ("registryUrl", "x",
         "registryUrl: the format has no such field; it is ignored; it belongs into config"),
        ("env.0.value", 3, "env[0].value: should be a text; a number is read as '3'"),
        ("env.0.value", False, "env[0].value: should be a text; a boolean is read as 'false'"),
        ("env.0.value", [1, "a"], "env[0].value: should be a text; a list is read as '[1, \"a\"]'"),
        ("env.0.description", "x",
         "env[0].description: the format has no such field; it is ignored"),
        ("inputs.0.mounted_path", "/x",
         "inputs[0].mounted_path: the format has no such field; it is ignored"),
        ("inputs", None, "inputs: should be a list; null is read as []"),
        ("inputs.0.volume_source.type", "Directory",
         "inputs[0].volume_source.type: the format has no such field; it is ignored"),
        ("inputs.0.volume_source", {"local_path": "/x"},
         "inputs[0].volume_source.local_path: is called host_path by now"),
        ("inputs", TASK["inputs"] * 2, "inputs[1].name: 'in' is twice; the first one counts"),
        ("config.namespace", "x", "config.namespace: the format has no such field; it is ignored"),
        ("config.labels", {"a": 1}, "config.labels.a: should be a text; a number is read as '1'"),
        ("config", {"type": "nomad", "labels": {}},
         "config.type: 'nomad' is neither 'docker' nor 'k8s'; only the labels count"),
        ("config", {"type": "k8s", "imagePullSecrets": [1]},
         "config.imagePullSecrets[0]: should be a text; a number is read as '1'"),
        ("config", {"type": "k8s", "volumes": None},
         "config.volumes: should be a list; null is read as []"),
    ],
)  # fmt: skip
def test_a_task_that_breaks_the_letter(path: str, value: Any, says: str) -> None:
    assert found(changed(TASK, path, value)) == [f"warning: {says}"]


@pytest.mark.parametrize(
    "document",
    [
        changed(CONTAINER, "$schema", "https://lading.readthedocs.io/x.json"),
        changed(CONTAINER, f"{TEMPLATE}.env.0.choices", []),
        changed(CONTAINER, f"{TEMPLATE}.env.0.value", ""),  # to be supplied
        changed(CONTAINER, f"{TEMPLATE}.env.0.choices", None),
        changed(CONTAINER, f"{TEMPLATE}.command", None),
        changed(CONTAINER, f"{TEMPLATE}.resources", {"limits": {"memory": None}}),
        changed(CONTAINER, f"{TEMPLATE}.resources", {"limits": {"nvidia.com/gpu": 0}}),
        changed(CONTAINER, "api_version"),
        changed(CONTAINER, f"{TEMPLATE}.inputs.0.description"),
        # An input and an output of one name are two channels.
        changed(CONTAINER, f"{TEMPLATE}.outputs.0.name", "in"),
        changed(CONTAINER, f"{TEMPLATE}.inputs.0.scale_rule", {"complexity": "25*n**1",
                                                             "type": "limit", "mode": "sum"}),
        changed(TASK, "$schema", "task.schema.json"),
        changed(TASK, "config"),
        changed(TASK, "config", None),
        changed(TASK, "config", {"labels": {"a": "b"}, "namespace": "x"}),
        changed(TASK, "config", {"type": "k8s", "V1Pod": {}, "imagePullPolicy": "Always"}),
        changed(TASK, "env", None),
        changed(TASK, "inputs.0", {"name": "in", "input": {"host_path": "/x"}}),
        changed(TASK, "outputs.0", {"name": "out", "output": {"host_path": "/x"}}),
        changed(TASK, "outputs.0", {"name": "out", "input": {"host_path": "/x"}}),
        changed(TASK, "inputs.0.volume_source", {"persistentVolumeClaim": {"claimName": "x"}}),
        changed(TASK, "taskTemplate", CONTAINER["templates"][0]),
    ],
)  # fmt: skip
def test_what_is_in_use_and_keeps_to_the_letter(document: Any) -> None:
    assert found(document) == []
    assert found(document, with_model=False) == []


def test_what_is_read_of_them() -> None:
    template = container(
        changed(changed(CONTAINER, f"{TEMPLATE}.inputs"), f"{TEMPLATE}.env.0.value", 2.5)
    ).templates[0]
    assert (template.inputs, template.env[0].value) == ([], "2.5")
    limits = {"memory": 1024, "cpu": None, "nvidia.com/gpu": 1}
    read = container(changed(CONTAINER, f"{TEMPLATE}.resources.limits", limits)).templates[0]
    assert read.resources is not None
    assert read.resources.limits == {"memory": "1024", "nvidia.com/gpu": "1"}
    rule = {"scale_factor": "3", "target_glob": None, "target_regex": None, "target_dir": None}
    scale = container(changed(CONTAINER, f"{TEMPLATE}.inputs.0.scale_rule", rule)).templates[0]
    assert scale.inputs[0].scale_rule is not None
    assert scale.inputs[0].scale_rule.model_dump(mode="json") == {
        "scale_factor": 3, "type": "limit", "mode": "sum", "target_dir": "",
        "target_regex": ".*", "target_glob": "*", "complexity": None,
    }  # fmt: skip
    assert container(changed(CONTAINER, "api_version", "1")).api_version == 1


def test_a_channel_as_each_version_wrote_it() -> None:
    for source in (
        {"volume_source": {"host_path": "/x"}},
        {"input": {"host_path": "/x"}},
        {"input": {"local_path": "/x"}},
        {"output": {"host_path": "/x"}},
    ):
        (channel,) = task(changed(TASK, "inputs", [{"name": "in", **source}])).inputs
        assert (channel.host_path, channel.volume_kinds) == ("/x", ("host_path",))
    claim = {"persistentVolumeClaim": {"claimName": "x"}}
    (channel,) = task(changed(TASK, "inputs.0.volume_source", claim)).inputs
    assert (channel.host_path, channel.volume_kinds) == (None, ("persistentVolumeClaim",))


def test_the_config_is_that_of_its_type() -> None:
    def config(value: Any) -> Any:
        return task(changed(TASK, "config", value)).config

    assert type(config({"type": "docker"})) is DockerConfig
    assert type(config({"type": "k8s", "namespace": "x"})) is K8sConfig
    assert type(config({"namespace": "x"})) is K8sConfig, "one without a type is a cluster's"
    assert type(config({"type": "nomad", "labels": {"a": "b"}})) is BaseConfig
    assert config(None) is None
    assert type(task(changed(TASK, "config")).config) is BaseConfig
    assert config({"type": "k8s", "V1Pod": {"a": 1}}).model_extra == {"V1Pod": {"a": 1}}


def test_passwords_are_not_shown() -> None:
    shown = repr(task(changed(TASK, "config", {"type": "k8s", "registryPassword": "s3cret"})))
    assert "s3cret" not in shown


def test_a_file_with_comments_is_refused_with_its_line() -> None:
    (error,) = checked("{\n  // how this is used\n" + json.dumps(CONTAINER)[1:]).findings
    assert error.at("f.json") == ("f.json:2:3: no valid JSON: a comment, which JSON does not have")


def test_warnings_are_told_beside_errors() -> None:
    """A misspelled field is both: one that is missing, and one that nobody knows."""
    document = changed(changed(TASK, "taskTemplate"), "tasktemplate", "smooth")
    assert sorted(found(document)) == [
        "error: taskTemplate: is missing",
        "warning: tasktemplate: the format has no such field; it is ignored",
    ]
