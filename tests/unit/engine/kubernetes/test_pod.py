"""Specs as manifests of pods."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from lading.engine.kubernetes.mounts import Placed
from lading.engine.kubernetes.pod import amounts, manifest, owned_by, pull_secret, refuse
from lading.engine.spec import (
    ContainerSpec,
    Device,
    Gpu,
    Limits,
    Network,
    Placement,
    RegistryLogin,
    Volume,
)
from lading.errors import NotSupported

IMAGE = "registry.example/task:1"
CLAIM = {"persistentVolumeClaim": {"claimName": "data"}}


def made(placed: Placed | None = None, **values: Any) -> dict[str, Any]:
    spec = ContainerSpec(IMAGE, **values)
    return manifest(spec, name="a", nonce="0123456789ab", client="me", placed=placed)


def main_of(**values: Any) -> dict[str, Any]:
    main: dict[str, Any] = made(**values)["spec"]["containers"][0]
    return main


def test_as_little_as_can_be() -> None:
    pod = made()
    assert pod["metadata"]["labels"] == {"lading.id": "0123456789ab", "lading.client": "me"}
    assert pod["spec"] == {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [
            {
                "name": "main",
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "terminationMessagePolicy": "File",
            }
        ],
    }


def test_command_and_environment_are_taken_literally() -> None:
    main = main_of(command=("sh", "-c"), args=("echo $(A) $$ $x",), env={"B": "$(A)", "C": "$x"})
    assert main["command"] == ["sh", "-c"]
    assert main["args"] == ["echo $$(A) $$$$ $$x"]
    assert main["env"] == [{"name": "B", "value": "$$(A)"}, {"name": "C", "value": "$x"}]


def test_limits_and_requests_in_the_clusters_units() -> None:
    assert amounts(Limits(cpus=0.0001, memory=1 << 20, pids=5)) == {
        "cpu": "1m",
        "memory": "1048576",
    }
    main = main_of(
        limits=Limits(cpus=1.5, memory=1 << 30),
        requests=Limits(cpus=0.25),
        gpus=Gpu(("a", "b"), driver="amd"),
        placement=Placement(limits={"ephemeral-storage": "1Gi"}, requests={"memory": "1Mi"}),
    )
    assert main["resources"] == {
        "limits": {
            "cpu": "1500m",
            "memory": str(1 << 30),
            "ephemeral-storage": "1Gi",
            "amd.com/gpu": "2",
        },
        "requests": {"cpu": "250m", "memory": "1Mi"},
    }


def test_sealed_and_as_whom() -> None:
    pod = made(sealed=True, capabilities=("CHOWN",), user="12:34", directory="/work")
    assert pod["spec"]["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    main = pod["spec"]["containers"][0]
    assert main["workingDir"] == "/work"
    assert main["securityContext"] == {
        "runAsUser": 12,
        "runAsGroup": 34,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
    }
    assert main_of(capabilities=("KILL",))["securityContext"] == {"capabilities": {"add": ["KILL"]}}


def test_a_volume_that_is_used_twice_is_one() -> None:
    volumes = (
        Volume(CLAIM, "/in", sub_path="a/b"),
        Volume(CLAIM, "/out", read_only=False),
        Volume({"emptyDir": {}}, "/tmp", read_only=False),
    )
    pod = made(volumes=volumes)
    assert pod["spec"]["volumes"] == [
        {"name": "lading-volume-0", **CLAIM},
        {"name": "lading-volume-1", "emptyDir": {}},
    ]
    assert pod["spec"]["containers"][0]["volumeMounts"] == [
        {"name": "lading-volume-0", "mountPath": "/in", "readOnly": True, "subPath": "a/b"},
        {"name": "lading-volume-0", "mountPath": "/out", "readOnly": False},
        {"name": "lading-volume-1", "mountPath": "/tmp", "readOnly": False},
    ]


def test_a_placement_word_for_word() -> None:
    placement = Placement(
        annotations={"a/b": "c"},
        node_selector={"disk": "fast"},
        tolerations=({"key": "gpu"},),
        affinity={"nodeAffinity": {}},
        service_account="worker",
        priority_class="high",
        pull_secrets=("theirs",),
        registry=RegistryLogin("https://registry.example/", "me", "geheim"),
        pull_policy="Always",
        more_env=({"name": "X", "value": "$(Y)"},),
        more_volumes=({"name": "v", "emptyDir": {}},),
        more_mounts=({"name": "v", "mountPath": "/v"},),
    )
    pod = made(placement=placement, runtime="gvisor", network="net", ports=(80,))
    spec, main = pod["spec"], pod["spec"]["containers"][0]
    assert pod["metadata"]["annotations"] == {"a/b": "c"}
    assert pod["metadata"]["labels"]["lading.network"] == "net"
    assert spec["automountServiceAccountToken"] is True
    assert (spec["serviceAccountName"], spec["priorityClassName"]) == ("worker", "high")
    assert (spec["runtimeClassName"], spec["nodeSelector"]) == ("gvisor", {"disk": "fast"})
    assert (spec["tolerations"], spec["affinity"]) == ([{"key": "gpu"}], {"nodeAffinity": {}})
    assert spec["imagePullSecrets"] == [{"name": "theirs"}, {"name": "a-registry"}]
    assert spec["volumes"] == [{"name": "v", "emptyDir": {}}]
    assert main["volumeMounts"] == [{"name": "v", "mountPath": "/v"}]
    assert main["env"] == [{"name": "X", "value": "$(Y)"}]
    assert main["ports"] == [{"containerPort": 80}]
    assert main["imagePullPolicy"] == "Always"
    assert "geheim" not in json.dumps(pod)


def test_what_helps_it() -> None:
    placed = Placed(
        ({"name": "f", "emptyDir": {}},),
        ({"name": "f", "mountPath": "/f"},),
        ({"name": "lading-in"},),
        ({"name": "lading-keep"},),
    )
    pod = made(placed)
    assert pod["spec"]["initContainers"] == [{"name": "lading-in"}]
    assert [item["name"] for item in pod["spec"]["containers"]] == ["main", "lading-keep"]
    assert pod["spec"]["containers"][0]["volumeMounts"] == [{"name": "f", "mountPath": "/f"}]


def test_no_network_is_a_label_that_a_policy_selects() -> None:
    assert made(network=Network.NONE)["metadata"]["labels"]["lading.network"] == "none"


@pytest.mark.parametrize(
    ("url", "known_as"),
    [
        ("registry.example:5000", "registry.example:5000"),
        ("https://registry.example/team/", "registry.example/team"),
        ("docker.io", "https://index.docker.io/v1/"),
        ("", "https://index.docker.io/v1/"),
    ],
)
def test_credentials_for_a_registry(url: str, known_as: str) -> None:
    spec = ContainerSpec(
        IMAGE,
        labels={"lading.owner": "o"},
        placement=Placement(registry=RegistryLogin(url, "me", "geheim")),
    )
    secret = pull_secret(spec, name="a", nonce="n", client="c")
    assert secret is not None
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    assert secret["metadata"]["labels"]["lading.owner"] == "o"
    content = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))
    auth = base64.b64encode(b"me:geheim").decode()
    assert content == {"auths": {known_as: {"username": "me", "password": "geheim", "auth": auth}}}
    assert pull_secret(ContainerSpec(IMAGE), name="a", nonce="n", client="c") is None


def test_what_goes_with_a_pod() -> None:
    pod = {"metadata": {"name": "a", "uid": "u"}}
    [owner] = owned_by(pod)["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "u"}


def test_what_a_cluster_can_not_do() -> None:
    refuse(ContainerSpec(IMAGE, user="1000:1000"))
    with pytest.raises(NotSupported, match="/dev/fuse; install its vendor's device plugin"):
        refuse(ContainerSpec(IMAGE, devices=(Device("/dev/fuse", "/dev/fuse"),)))
    with pytest.raises(NotSupported, match="by their number, not by a name such as 'nobody'"):
        refuse(ContainerSpec(IMAGE, user="nobody"))
    with pytest.raises(NotSupported, match="control groups"):
        refuse(ContainerSpec(IMAGE, group="/lading/1"))
