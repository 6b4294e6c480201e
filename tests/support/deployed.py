"""What is under deploy/, rendered for a test, and a cluster to apply it to."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.printed import ROOT

DEPLOY = ROOT / "deploy"
Object = dict[str, Any]


def kubeconfig() -> Path:
    """The test cluster's; skips without one."""
    found = os.environ.get("LADING_TEST_KUBECONFIG")
    if not found:
        pytest.skip("LADING_TEST_KUBECONFIG names no cluster")
    return Path(found)


def kubectl_program() -> str:
    """Where kubectl is: with a cluster that was built here, next to its other programs."""
    if found := shutil.which("kubectl"):
        return found
    beside = Path(os.environ.get("LADING_TEST_KUBECONFIG", "/")).parents[1:2]
    for folder in beside:
        if (folder / "bin/kubectl").exists():
            return str(folder / "bin/kubectl")
    pytest.skip("there is no kubectl")


@dataclass(frozen=True)
class Kubectl:
    """kubectl as the cluster's administrator."""

    program: str
    config: Path

    def __call__(self, *words: str, stdin: str = "", check: bool = True) -> str:
        done = subprocess.run(
            [self.program, "--kubeconfig", str(self.config), *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if check and done.returncode:
            pytest.fail(f"kubectl {' '.join(words)}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "-o", "json"))

    def apply(self, objects: list[Object]) -> None:
        self("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def _cluster(self) -> Any:
        view = json.loads(self("config", "view", "--minify", "--raw", "--flatten", "-o", "json"))
        (found,) = view["clusters"]
        return found["cluster"]

    def server(self) -> str:
        """The API server's address."""
        address: str = self._cluster()["server"]
        return address

    def authority(self) -> bytes:
        """Who signed its certificate, in PEM."""
        return base64.b64decode(self._cluster()["certificate-authority-data"])

    def token(self, namespace: str, account: str) -> str:
        """Have a token of an account: made by itself until Kubernetes 1.23, asked for since."""
        asked = self("create", "token", account, "-n", namespace, check=False).strip()
        if asked:
            return asked
        found = self.json("get", "serviceaccount", account, "-n", namespace)
        (secret, *_) = found["secrets"]
        data = self.json("get", "secret", secret["name"], "-n", namespace)["data"]
        return base64.b64decode(data["token"]).decode()


def rendered(folder: Path) -> list[Object]:
    """What `kubectl apply -k` of a folder would send."""
    done = subprocess.run(
        [kubectl_program(), "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def documents(folder: Path) -> Iterator[tuple[str, Object]]:
    """The objects in the files that a kustomization names, with the file's name."""
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    for name in listed["resources"]:
        for item in yaml.safe_load_all((folder / name).read_text("utf-8")):
            yield name, item


def moved(objects: list[Object], names: Mapping[str, str]) -> list[Object]:
    """Put objects into other namespaces, so that tests don't meet; kustomize can't do two."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: names.get(inner, inner)
                if key == "namespace" and isinstance(inner, str)
                else walk(inner)
                for key, inner in value.items()
            }
        return [walk(item) for item in value] if isinstance(value, list) else value

    result = []
    for item in objects:
        made = walk(item)
        if made["kind"] == "Namespace":
            made["metadata"]["name"] = names.get(made["metadata"]["name"], made["metadata"]["name"])
        result.append(made)
    return result


def account_files(folder: Path, kubectl: Kubectl, token: str, namespace: str) -> Path:
    """Write what a pod of an account has of it."""
    folder.mkdir()
    (folder / "token").write_text(token, "utf-8")
    (folder / "namespace").write_text(namespace, "utf-8")
    (folder / "ca.crt").write_bytes(kubectl.authority())
    return folder


@dataclass(frozen=True)
class Space:
    """A namespace of a test's own, as an engine."""

    kubectl: Kubectl
    name: str

    @property
    def address(self) -> str:
        return f"kubernetes:///{self.name}"

    @property
    def env(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.kubectl.config), "LADING_ENGINE": self.address}

    def pods(self) -> list[Any]:
        found: list[Any] = self.kubectl.json("get", "pods", "-n", self.name)["items"]
        return found

    def names(self) -> list[str]:
        return sorted(pod["metadata"]["name"] for pod in self.pods())


@contextlib.contextmanager
def space(test_id: str) -> Iterator[Space]:
    """Have a namespace; what is left in it fails the test."""
    made = Space(Kubectl(kubectl_program(), kubeconfig()), f"lading-test-{test_id}")
    made.kubectl("create", "namespace", made.name)
    try:
        yield made
        left = made.names()
        policies = made.kubectl("get", "networkpolicies", "-n", made.name, "-o", "name").split()
    finally:
        made.kubectl("delete", "namespace", made.name, "--wait=true", "--timeout=100s")
    assert left == []
    assert set(policies) <= {"networkpolicy.networking.k8s.io/lading-none"}
