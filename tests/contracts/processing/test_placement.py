"""What the config of a task says of where it runs on a cluster."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lading import EngineOptions
from lading.contracts.processing.detached import Job
from lading.contracts.processing.placement import odd_fields, placement_of
from lading.contracts.processing.planning import Circumstances
from lading.contracts.processing.task import K8sConfig, Task, TaskInstance
from lading.engine import ImageInfo, Placement, RegistryLogin
from lading.errors import InputError


class Toleration:
    """As a Kubernetes client for Python makes it."""

    def to_dict(self) -> dict[str, Any]:
        return {"key": "gpu", "operator": "Exists", "toleration_seconds": None}


def config(**fields: Any) -> K8sConfig:
    return K8sConfig.model_validate({"type": "k8s", **fields})


def test_all_that_a_config_says() -> None:
    found = placement_of(
        config(
            namespace="imaging",
            labels={"a": "b"},
            annotations={"why": "because"},
            registryUrl="registry.example",
            registryUsername="u",
            registryPassword="p",
            imagePullSecrets=["one", "two"],
            env_vars=[{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            volumes=[{"name": "scratch", "emptyDir": {}}],
            volume_mounts=[{"name": "scratch", "mountPath": "/scratch"}],
            nodeSelector={"disk": "fast"},
            tolerations=[Toleration()],
            serviceAccountName="runner",
        )
    )
    assert found == Placement(
        namespace="imaging",
        annotations={"why": "because"},
        registry=RegistryLogin("registry.example", "u", "p"),
        pull_secrets=("one", "two"),
        more_env=(
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ),
        more_volumes=({"name": "scratch", "emptyDir": {}},),
        more_mounts=({"name": "scratch", "mountPath": "/scratch"},),
        node_selector={"disk": "fast"},
        tolerations=({"key": "gpu", "operator": "Exists"},),
        service_account="runner",
    )  # fmt: skip
    assert "p" not in repr(found.registry).replace("password", "").replace("example", "")


def test_names_of_a_python_client() -> None:
    found = placement_of(
        config(
            env_vars=[{"name": "A", "value_from": {"secret_key_ref": {"name": "s", "key": "k_k"}}}],
            volume_mounts=[{"name": "x", "mount_path": "/x", "sub_path": None}],
            node_selector={"my_disk": "fast"},
            service_account="runner",
        )
    )
    assert found.more_env == (
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k_k"}}},
    )
    assert found.more_mounts == ({"name": "x", "mountPath": "/x"},)
    assert found.node_selector == {"my_disk": "fast"}, "keys of the user's stay as they are"
    assert found.service_account == "runner"


def test_a_config_that_is_none_of_a_cluster() -> None:
    for text in ({"type": "docker"}, {"labels": {}, "type": "x"}, None):
        task = Task.model_validate({"name": "n", "image": "i", "taskTemplate": "t", "config": text})
        assert placement_of(task.config) == Placement()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nodeSelector": ["a"]}, "config.nodeSelector: must be an object of texts, not a list"),
        ({"nodeSelector": {"a": True}}, "config.nodeSelector.a: must be a text, not a boolean"),
        ({"tolerations": {"key": "a"}}, "config.tolerations: must be a list, not an object"),
        ({"tolerations": ["a"]}, r"config.tolerations\[0\]: must be an object, not a text"),
        ({"env_vars": ["A=1"]}, r"config.env_vars\[0\]: must be an object, not a text"),
        ({"serviceAccount": 3}, "config.serviceAccount: must be a text, not 3"),
        ({"imagePullPolicy": "Sometimes"}, "'Sometimes' is none; write Always, IfNotPresent"),
        ({"registryUrl": "r", "registryPassword": "p"}, "config: has no registryUsername"),
    ],
)
def test_fields_of_a_wrong_type(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        placement_of(config(**fields))


def test_fields_that_nobody_understands() -> None:
    assert odd_fields(config(nodeSelector={}, serviceAcount="x", hostIPC=True)) == [
        "config.hostIPC is not understood and left out",
        "config.serviceAcount is not understood and left out",
    ]
    assert odd_fields(None) == []


def test_a_keeper_is_told_all_of_it(tmp_path: Path) -> None:
    """By its standard input, which nobody else reads: passwords too."""
    image = ImageInfo(
        "sha256:0", ("a:1",), ("a@sha256:1",), 1, None, {"l": "1"}, ("/e",), ("c",), {"E": "1"}, "",
        (80,), "amd64", reference="a@sha256:1",
    )  # fmt: skip
    instance = TaskInstance.model_validate(
        {
            "name": "x", "image": "a:1", "taskTemplate": "t", "identifier": "t", "description": "",
            "config": config(
                namespace="n", tolerations=[Toleration()], registryPassword="p", registryUrl="r",
                registryUsername="u",
            ),
            "inputs": [
                {
                    "name": "in", "mounted_path": "/in",
                    "volume_source": {"persistentVolumeClaim": {"claimName": "data"}},
                }
            ],
        }
    )  # fmt: skip
    how = Circumstances(node_paths=True)
    job = Job(instance, image, EngineOptions(engine="kubernetes"), tmp_path, how)
    again = Job.from_text(job.as_text())
    assert asdict(again.image) == asdict(image)
    assert placement_of(again.instance.config) == placement_of(instance.config)
    assert (again.engine, again.circumstances) == (job.engine, how)
    assert again.instance.inputs == instance.inputs
    plain = instance.model_copy(
        update={"config": Task(name="n", image="i", taskTemplate="t").config}
    )
    told = Job(plain, image, EngineOptions(), tmp_path, how).as_text()
    assert type(Job.from_text(told).instance.config) is type(plain.config)
    assert json.loads(told)["instance"]["config"]["type"] == "none"
