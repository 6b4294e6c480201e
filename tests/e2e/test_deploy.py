"""What is under deploy/: valid, as narrow as it says, and applied to a real cluster."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import shlex
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from tests.images.build import ensure_probe
from tests.support import engines
from tests.support.deployed import (
    DEPLOY,
    Kubectl,
    Object,
    account_files,
    documents,
    kubeconfig,
    kubectl_program,
    moved,
    rendered,
)
from tests.support.executors import ExecutorProcess, ask, executor_process
from tests.support.printed import ROOT

BASE = DEPLOY / "base"
VERSIONS = ["1.28", "1.31", kubernetes_validate.latest_version()]
"""From the oldest that has all that is used, to the newest that the validator knows."""
TOKEN = "of-the-test"
_DEADLINE_S = 60.0


def until(what: str, probe: Callable[[], Any]) -> Any:
    """Ask until there is an answer: what a cluster does, it tells in its own time."""
    end = time.monotonic() + _DEADLINE_S
    while not (found := probe()):
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.2)
    return found


# Without a cluster.


@pytest.mark.parametrize("version", VERSIONS)
def test_the_base_is_valid(version: str) -> None:
    for file, item in documents(BASE):
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{file}: {item['kind']}: {error}")


def test_the_validator_would_find_a_mistake() -> None:
    (deployment,) = [item for _, item in documents(BASE) if item["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["serviceAcountName"] = "misspelled"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


def test_the_example_changes_what_it_says(tmp_path: Path) -> None:
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    overlay = tmp_path / "deploy/overlays/example"
    (overlay / "secrets.env").write_text("token=abc\nmarket=postgresql://a:b@c/d\n")
    objects = rendered(overlay)
    for item in objects:
        kubernetes_validate.validate(item, VERSIONS[-1], strict=True)
    kinds = {item["kind"]: item for item in objects}
    assert kinds["ResourceQuota"]["spec"]["hard"]["limits.cpu"] == "32500m"
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "registry.example.org/lading/executor:0.1.0"
    env = {item["name"]: item for item in container["env"]}
    assert env["LADING_QUEUE"]["value"] == "500"
    secret = env["LADING_TOKEN"]["valueFrom"]["secretKeyRef"]["name"]
    assert secret == kinds["Secret"]["metadata"]["name"] != "lading-executor"
    (config,) = [volume for volume in pod["volumes"] if volume["name"] == "config"]
    assert config["configMap"]["name"] == kinds["ConfigMap"]["metadata"]["name"]


def test_no_secret_is_kept_in_the_repository() -> None:
    assert not [item for _, item in documents(BASE) if item["kind"] == "Secret"]
    listed = subprocess.run(
        ["git", "ls-files", "deploy"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not [name for name in listed.stdout.split() if name.endswith(".env")]


# On a cluster.


@dataclass(frozen=True)
class Site:
    """Two namespaces of a test's own."""

    kubectl: Kubectl
    name: str

    @property
    def tasks(self) -> str:
        return f"{self.name}-tasks"

    def moved(self, objects: list[Object]) -> list[Object]:
        return moved(objects, {"lading": self.name, "lading-tasks": self.tasks})

    def pods(self) -> list[Any]:
        found: list[Any] = self.kubectl.json("get", "pods", "-n", self.tasks)["items"]
        return found


@pytest.fixture
def site(test_id: str) -> Iterator[Site]:
    made = Site(Kubectl(kubectl_program(), kubeconfig()), f"lading-test-{test_id[:12]}")
    yield made
    left = [pod["metadata"]["name"] for pod in made.pods()]
    made.kubectl(
        *("delete", "namespace", made.name, made.tasks, "--ignore-not-found", "--wait=true"),
        "--timeout=100s",
    )
    assert left == []


def role_of(objects: list[Object]) -> Object:
    (role,) = [item for item in objects if item["kind"] == "Role"]
    return role


def verbs_of(role: Object) -> list[tuple[str, str]]:
    return [
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def without(role: Object, resource: str, verb: str) -> Object:
    less = copy.deepcopy(role)
    for rule in less["rules"]:
        if resource in rule["resources"]:
            rule["verbs"].remove(verb)
    less["rules"] = [rule for rule in less["rules"] if rule["verbs"]]
    return less


@dataclass(frozen=True)
class Inside:
    """Runs executors as a pod of an account would: by its files, and its node's network."""

    site: Site
    image: str
    account: Path

    @contextlib.asynccontextmanager
    async def executor(self, state: Path) -> AsyncIterator[tuple[ExecutorProcess, str]]:
        name = f"lading-test-{uuid.uuid4().hex[:12]}"
        server = urlsplit(self.site.kubectl.server())
        words = (
            f"docker run --rm --name {name} --network host -e LADING_STATE=/state "
            f"-v {state}:/state -v {self.account}:/var/run/secrets/kubernetes.io/serviceaccount:ro "
            f"-e KUBERNETES_SERVICE_HOST={server.hostname} "
            f"-e KUBERNETES_SERVICE_PORT={server.port} {self.image} lading"
        )
        state.mkdir(exist_ok=True)
        try:
            async with executor_process(
                f"kubernetes://in-cluster/{self.site.tasks}",
                state,
                *("--start-timeout", "15", "--drain", "2", "--cpu", "64"),
                program=shlex.split(words),
            ) as executor:
                yield executor, name
        finally:
            subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=False)

    async def lives(self, state: Path, image: str) -> None:
        """All that an executor does with the cluster: a life, a crash, another one after it."""
        async with self.executor(state) as (executor, name):
            await _serves(self.site, executor, image)
            subprocess.run(["docker", "kill", name], capture_output=True, check=True)
            await executor.process.wait()
        (left,) = self.site.pods()
        async with self.executor(state) as (executor, _):
            assert f"removed {left['metadata']['name']}" in "\n".join(executor.log)
            await _serves(self.site, executor, image)
        assert self.site.pods() == []


async def _serves(site: Site, executor: ExecutorProcess, image: str) -> None:
    stats = (await executor.ask("GET", "/stats")).json()
    assert stats["task_cpu"] == 4, "the quota's"
    answer = await executor.execute(image, {"echo": "hello"})
    assert answer.success, answer.msg
    assert len(site.pods()) == 1


def clear(site: Site) -> None:
    site.kubectl(
        *("delete", "pods", "--all", "-n", site.tasks, "--grace-period=0", "--force"), check=False
    )
    until("no pod is left", lambda: not site.pods())


@pytest.mark.kubernetes
@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_the_role_is_enough_and_no_verb_can_be_spared(
    site: Site, tmp_path: Path, docker_host: str, executor_image: str
) -> None:
    image = ensure_probe(docker_host)
    objects = [item for _, item in documents(BASE)]
    others = ("Deployment", "PodDisruptionBudget", "PersistentVolumeClaim", "Service")
    applied = site.moved([item for item in objects if item["kind"] not in others])
    site.kubectl.apply(applied)
    token = until("a token", lambda: site.kubectl.token(site.name, "lading-executor"))
    account = account_files(tmp_path / "account", site.kubectl, token, site.name)
    inside = Inside(site, executor_image, account)
    await inside.lives(tmp_path / "enough", image)
    role, spared = role_of(applied), []
    for resource, verb in verbs_of(role):
        site.kubectl.apply([without(role, resource, verb)])
        try:
            await inside.lives(tmp_path / f"{resource}-{verb}".replace("/", "-"), image)
        except Exception:  # whatever breaks: it was needed
            pass
        else:
            spared.append((resource, verb))
        site.kubectl.apply([role])
        clear(site)
    assert spared == []
    await inside.lives(tmp_path / "still", image)  # it was the verbs that were missing


@pytest.fixture
def executor_image(docker_host: str) -> str:
    """The executor's own image, of these sources."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "src").rglob("*"), *(ROOT / "docker").rglob("*")]):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    digest.update((ROOT / "pyproject.toml").read_bytes())
    tag = f"lading-test/executor:{digest.hexdigest()[:16]}"
    status, _ = engines.call(docker_host, "GET", f"/images/{tag}/json")
    if status != 200:
        if not shutil.which("docker"):
            pytest.skip("the executor's image is built by the docker command")
        base = subprocess.run(
            [ROOT / "scripts/base-image"], capture_output=True, text=True, check=True
        ).stdout.strip()
        done = subprocess.run(
            shlex.split(f"docker build -t {tag} --build-arg BASE={base} -f docker/Dockerfile ."),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        listed = [
            "docker",
            "images",
            "--format",
            "{{.Repository}}:{{.Tag}}",
            "lading-test/executor",
        ]
        known = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
        if older := [name for name in known if name != tag]:  # of sources that are no more
            subprocess.run(["docker", "rmi", *older], capture_output=True, check=False)
    return tag


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def overlay(folder: Path, image: str, port: int) -> Path:
    """An overlay for a cluster whose pods reach its API only by their node's network."""
    shutil.copytree(DEPLOY / "base", folder / "base")
    mine = folder / "mine"
    mine.mkdir()
    name, _, tag = image.rpartition(":")
    (mine / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "bases": ["../base"],
                "secretGenerator": [
                    {
                        "name": "lading-executor",
                        "namespace": "lading",
                        "literals": [f"token={TOKEN}"],
                    }
                ],
                "images": [{"name": "mecanywhere-executor", "newName": name, "newTag": tag}],
                "patchesStrategicMerge": ["executor.yaml"],
            }
        )
    )
    pod = {
        "hostNetwork": True,
        "containers": [
            {
                "name": "executor",
                "command": ["lading", "serve", "--config", "/etc/lading/executor.yaml"],
                "args": ["--listen", f"0.0.0.0:{port}"],
                "env": [
                    {"name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1"},
                    {"name": "KUBERNETES_SERVICE_PORT", "value": "16443"},
                ],
                "ports": [{"$patch": "replace"}, {"name": "http", "containerPort": port}],
            }
        ],
        "volumes": [{"name": "state", "persistentVolumeClaim": None, "emptyDir": {}}],
    }
    (mine / "executor.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "lading-executor", "namespace": "lading"},
                "spec": {"template": {"spec": pod}},
            }
        )
    )
    return mine


def as_old(objects: list[Object], kubectl: Kubectl) -> list[Object]:
    """Leave out what a cluster as old as the tests' has under another name, or none to give."""
    known = kubectl("api-versions").split()
    for item in objects:
        if item["apiVersion"] == "policy/v1" and "policy/v1" not in known:
            item["apiVersion"] = "policy/v1beta1"
    return [item for item in objects if item["kind"] != "PersistentVolumeClaim"]


@dataclass(frozen=True)
class Deployed:
    """An executor that a cluster runs."""

    site: Site
    port: int

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        sent = b"" if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return await ask("127.0.0.1", self.port, method, path, sent, headers)

    def pod(self) -> Any:
        (pod,) = self.site.kubectl.json("get", "pods", "-n", self.site.name)["items"]
        return pod

    def ready(self) -> bool:
        found = self.site.kubectl.json("get", "pods", "-n", self.site.name)["items"]
        conditions = [
            condition
            for pod in found
            for condition in pod.get("status", {}).get("conditions") or ()
            if condition["type"] == "Ready"
        ]
        return bool(conditions) and all(item["status"] == "True" for item in conditions)

    def logs(self) -> str:
        label = "app.kubernetes.io/name=lading-executor"
        return self.site.kubectl("logs", "-n", self.site.name, "-l", label, "--tail=50")


@pytest.fixture
async def deployed(site: Site, executor_image: str, tmp_path: Path) -> AsyncIterator[Deployed]:
    port = free_port()
    objects = as_old(rendered(overlay(tmp_path, executor_image, port)), site.kubectl)
    # The address is a text that names the namespace, too.
    text = json.dumps(site.moved(objects)).replace("/lading-tasks", f"/{site.tasks}")
    everything = json.loads(text)
    site.kubectl.apply([item for item in everything if item["kind"] == "Namespace"])
    dry = ("apply", "--dry-run=server", "-f", "-")
    assert "(server dry run)" in site.kubectl(*dry, stdin=yaml.safe_dump_all(everything))
    site.kubectl.apply(everything)
    made = Deployed(site, port)
    until("the executor is ready", made.ready)
    yield made
    site.kubectl("delete", "deployment", "lading-executor", "-n", site.name, "--wait=true")
    until(
        "the executor is gone",
        lambda: not site.kubectl.json("get", "pods", "-n", site.name)["items"],
    )


@pytest.mark.kubernetes
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_an_executor_of_a_cluster_runs_tasks_as_pods(
    deployed: Deployed, docker_host: str
) -> None:
    image = ensure_probe(docker_host)
    request = {"id": image, "resource": {"cpu": 0.1, "mem": 32}, "input": '{"echo": "hello"}'}
    answer = await deployed.ask("POST", "/", request)
    assert answer.success, f"{answer.msg}\n{deployed.logs()}"
    (pod,) = deployed.site.pods()
    limits = pod["spec"]["containers"][0]["resources"]["limits"]
    assert limits["memory"] in ("32Mi", str(32 << 20))
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert (await deployed.ask("GET", "/stats")).json()["task_cpu"] == 4
    refused = await ask("127.0.0.1", deployed.port, "POST", "/", b"{}")
    assert refused.status == 401
    # A crash: the kubelet starts it anew on the same state, and it removes what it left.
    name = deployed.pod()["metadata"]["name"]
    (container,) = deployed.pod()["status"]["containerStatuses"]
    engines.call(
        docker_host,
        "POST",
        f"/containers/{container['containerID'].removeprefix('docker://')}/kill",
    )
    until("it was started anew", lambda: _restarts(deployed) == 1 and deployed.ready())
    assert deployed.pod()["metadata"]["name"] == name
    left = [item["metadata"]["name"] for item in deployed.site.pods()]
    assert pod["metadata"]["name"] not in left, deployed.logs()
    again = await deployed.ask("POST", "/", request)
    assert again.success, again.msg
    # Paused, it is taken out of its Service.
    await deployed.ask("POST", "/pause")
    until("it is not ready", lambda: not deployed.ready())
    assert (await deployed.ask("GET", "/health")).status == 200
    assert deployed.site.pods() == []
    await deployed.ask("POST", "/unpause")
    until("it is ready", deployed.ready)
    assert (await deployed.ask("POST", "/", request)).success


def _restarts(deployed: Deployed) -> int:
    statuses = deployed.pod()["status"].get("containerStatuses") or [{"restartCount": 0}]
    count: int = statuses[0]["restartCount"]
    return count
