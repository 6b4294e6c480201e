"""A namespace of a real cluster for a test, looked at with kubectl: nothing of ours between."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.deployed import Kubectl, kubeconfig, kubectl_program

Json = dict[str, Any]
_PATIENCE = 60


@dataclass(frozen=True)
class Space:
    """A namespace."""

    kubectl: Kubectl
    name: str

    @property
    def engine(self) -> str:
        """Its address, of the current context's cluster."""
        return f"kubernetes:///{self.name}"

    def pods(self) -> list[Json]:
        """All of it."""
        found: list[Json] = self.kubectl.json("get", "pods", "-n", self.name)["items"]
        return found

    def pod(self) -> Json:
        """The one that a task runs in, as soon as there is one."""
        deadline = time.monotonic() + _PATIENCE
        while not (found := [pod for pod in self.pods() if _is_of_a_run(pod)]):
            assert time.monotonic() < deadline, "no pod came"
            time.sleep(0.1)
        (pod,) = found
        return pod

    def runs(self) -> Json:
        """The pod, once it runs."""
        deadline = time.monotonic() + _PATIENCE
        while (pod := self.pod())["status"].get("phase") != "Running":
            assert time.monotonic() < deadline, f"it never ran: {pod['status']}"
            time.sleep(0.1)
        return pod

    def secrets(self) -> list[str]:
        """Names of those for registries."""
        found = self.kubectl.json("get", "secrets", "-n", self.name)["items"]
        return [
            item["metadata"]["name"]
            for item in found
            if item["type"] == "kubernetes.io/dockerconfigjson"
        ]

    def claim(self, name: str, directory: Path) -> Json:
        """Make a volume of a directory of the node, claimed; returns the source of a volume."""
        volume = f"{self.name}-{name}"
        size = {"storage": "1Gi"}
        self.kubectl.apply(
            [
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolume",
                    "metadata": {"name": volume, "labels": {"lading.test": self.name}},
                    "spec": {
                        "capacity": size,
                        "accessModes": ["ReadWriteMany"],
                        "persistentVolumeReclaimPolicy": "Retain",
                        "storageClassName": "",
                        "hostPath": {"path": str(directory)},
                        "claimRef": {"namespace": self.name, "name": name},
                    },
                },
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": name, "namespace": self.name},
                    "spec": {
                        "accessModes": ["ReadWriteMany"],
                        "storageClassName": "",
                        "volumeName": volume,
                        "resources": {"requests": size},
                    },
                },
            ]
        )
        return {"persistentVolumeClaim": {"claimName": name}}


def _is_of_a_run(pod: Json) -> bool:
    return "lading.task" in pod["metadata"].get("labels", {})


@contextlib.contextmanager
def space(test_id: str) -> Iterator[Space]:
    """Make one that goes with the block, with all that is in it."""
    made = Space(Kubectl(kubectl_program(), kubeconfig()), f"lading-test-{test_id}")
    made.kubectl("create", "namespace", made.name)
    try:
        yield made
    finally:
        gone = ("--ignore-not-found", "--wait=false")
        made.kubectl("delete", "namespace", made.name, *gone)
        made.kubectl("delete", "persistentvolume", "-l", f"lading.test={made.name}", *gone)


def owned(state: Path) -> set[str]:
    """Ids, as ours say them, of the pods anywhere whose owner keeps its lock in a directory."""
    kubectl = Kubectl(kubectl_program(), kubeconfig())
    found = kubectl.json("get", "pods", "--all-namespaces", "-l", "lading.owner")["items"]
    ids = set()
    for pod in found:
        meta = pod["metadata"]
        labels = json.loads(meta.get("annotations", {}).get("lading/labels", "{}"))
        if labels.get("lading.lock", "").startswith(str(state)):
            ids.add(f"{meta['namespace']}/{meta['name']}/{meta['labels']['lading.id']}")
    return ids
