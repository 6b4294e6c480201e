"""What goes wrong on a cluster, caused for real wherever one node can show it.

Staged, since one node can't show it: eviction, preemption and a node that is lost, by writing a
pod's status, and a node that never answers; both on a Node object without a kubelet.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest
import yaml
from tests.support import cluster
from tests.support.cluster import TOOLS
from tests.support.cut_off import Between, between, kubeconfig_by_way_of, kubeconfig_of_token

from lading.engine import Container, ContainerSpec, Engine, Limits, Mount, Placement
from lading.engine.discovery import open_engine
from lading.errors import (
    ContainerNotFound,
    CredentialsRefused,
    EngineDenied,
    EngineUnreachable,
    ImageError,
    NamespaceNotFound,
    NameTaken,
    NotSupported,
    QuotaExceeded,
    Unschedulable,
)
from lading.settings import engine_options, environment

pytestmark = pytest.mark.kubernetes

_SLOW = ("sh", "-c", "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; sleep 0.1; done")
_WAITS = ("sleep", "600")
_POLL = 0.05


class Make(Protocol):
    async def __call__(self, *command: str, **spec: Any) -> Container: ...


@pytest.fixture
def kubeconfig(kubernetes_host: str) -> Path:
    return Path(environment()["KUBECONFIG"])


@pytest.fixture
async def open_by(kubernetes_host: str) -> AsyncIterator[Callable[..., Any]]:
    """Opens engines by kubeconfigs; closes them after the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(kubeconfig: Path, host: str = "", **options: Any) -> Engine:
            chosen = engine_options({"engine": host or kubernetes_host, **options})
            env = {**environment(), "KUBECONFIG": str(kubeconfig)}
            return await stack.enter_async_context(await open_engine(chosen, env))

        yield open_one


@pytest.fixture
async def engine(open_by: Callable[..., Any], kubeconfig: Path) -> Engine:
    found: Engine = await open_by(kubeconfig)
    return found


@pytest.fixture
def make_on(test_labels: dict[str, str]) -> Callable[..., Any]:
    async def make_one(engine: Engine, *command: str, **spec: Any) -> Container:
        values = {"image": TOOLS, "command": command or _WAITS, **spec}
        return await engine.create(ContainerSpec(labels=test_labels, **values))

    return make_one


@pytest.fixture
async def made() -> AsyncIterator[list[Container]]:
    """Containers that are removed after the test."""
    listed: list[Container] = []
    yield listed
    for container in listed:
        await container.remove()


@pytest.fixture
async def proxied(
    kubeconfig: Path, tmp_path: Path, open_by: Callable[..., Any]
) -> AsyncIterator[tuple[Engine, Between]]:
    """An engine, and what lies between it and its API server."""
    content = yaml.safe_load(await asyncio.to_thread(kubeconfig.read_text))
    server = urlsplit(content["clusters"][0]["cluster"]["server"])
    assert server.hostname is not None
    async with between(server.hostname, server.port or 443) as proxy:
        written = await asyncio.to_thread(
            kubeconfig_by_way_of,
            kubeconfig,
            tmp_path / "proxied",
            **{"server": f"https://{proxy.address}", "tls-server-name": server.hostname},
        )
        async with contextlib.AsyncExitStack() as stack:
            engine: Engine = await open_by(written)
            stack.push_async_callback(engine.close)
            yield engine, proxy


async def ask(method: str, path: str, content: object = None, **headers: str) -> Any:
    """Call the API with nothing of ours in between; what it refuses is no test's fault."""
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    status, body = await asyncio.to_thread(cluster.call, method, path, content, headers=sent)
    assert status < 300, body
    return body


def pods_of(host: str, name: str = "") -> str:
    path = f"/api/v1/namespaces/{cluster.namespace_of(host)}/pods"
    return f"{path}/{name}" if name else path


async def until_seen(host: str, name: str, seen: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until the cluster itself says something of a pod, while the engine can't hear it."""
    while not seen(await asyncio.to_thread(cluster.pod, host, name)):
        await asyncio.sleep(_POLL)


def has_ended(pod: dict[str, Any]) -> bool:
    return pod["status"]["phase"] in ("Succeeded", "Failed")


# Cut connections.


async def test_a_follow_and_a_wait_that_are_cut_again_and_again(
    proxied: tuple[Engine, Between], make_on: Callable[..., Any], made: list[Container]
) -> None:
    engine, proxy = proxied
    container = await make_on(engine, *_SLOW)
    made.append(container)
    await container.start()
    waiting = asyncio.create_task(container.wait())
    text, cuts = b"", 0
    async for chunk in container.logs(follow=True):
        text += chunk.data
        if text.count(b"\n") >= 8 * (cuts + 1):
            cuts += 1
            if cuts == 3:  # the API server is restarted
                proxy.leave()
                returning = asyncio.create_task(_come_back(proxy))
            else:
                proxy.cut()
    assert text.decode().splitlines() == [f"line {number}" for number in range(1, 41)]
    assert cuts == 5
    await returning
    assert (await waiting).code == 0


async def _come_back(proxy: Between) -> None:
    await asyncio.sleep(1)  # as long as a server is away that is started again
    await proxy.listen()


async def test_an_end_while_the_cluster_is_away(
    proxied: tuple[Engine, Between],
    make_on: Callable[..., Any],
    made: list[Container],
    kubernetes_host: str,
) -> None:
    engine, proxy = proxied
    container = await make_on(engine, "sh", "-c", "sleep 5; exit 7")
    made.append(container)
    await container.start()
    waiting = asyncio.create_task(container.wait())
    proxy.leave()
    await until_seen(kubernetes_host, container.name, has_ended)
    assert not waiting.done()
    await proxy.listen()
    assert (await waiting).code == 7


async def test_a_pod_that_is_deleted_while_the_cluster_is_away(
    proxied: tuple[Engine, Between],
    make_on: Callable[..., Any],
    made: list[Container],
    kubernetes_host: str,
) -> None:
    engine, proxy = proxied
    container = await make_on(engine)
    made.append(container)
    await container.start()
    waiting = asyncio.create_task(container.wait())
    proxy.leave()
    await ask("DELETE", pods_of(kubernetes_host, container.name), {"gracePeriodSeconds": 0})
    await proxy.listen()
    with pytest.raises(ContainerNotFound, match="removed meanwhile"):
        await waiting


async def test_a_version_that_the_cluster_has_forgotten(
    proxied: tuple[Engine, Between],
    make_on: Callable[..., Any],
    made: list[Container],
    kubernetes_host: str,
) -> None:
    """410, from the API server itself: the watch is told to go on from the first version."""
    engine, proxy = proxied
    container = await make_on(engine, "sh", "-c", "sleep 3; exit 3")
    made.append(container)
    await container.start()
    waiting = asyncio.create_task(container.wait())
    api, watch = _inside(engine)
    lists = api.calls["list", "pods"]
    watch._listed = "1"
    proxy.cut()
    assert (await waiting).code == 3
    assert api.calls["list", "pods"] == lists + 1


def _inside(engine: Any) -> tuple[Any, Any]:
    (watch,) = engine._pods._watches.values()
    return engine._api, watch


async def test_results_that_are_cut_on_their_way_back(
    proxied: tuple[Engine, Between],
    make_on: Callable[..., Any],
    made: list[Container],
    tmp_path: Path,
) -> None:
    engine, proxy = proxied
    results = tmp_path / "results"
    await asyncio.to_thread(results.mkdir)
    container = await make_on(
        engine,
        "sh",
        "-c",
        "head -c 40000000 /dev/zero >/results/large",
        mounts=(Mount(str(results), "/results", read_only=False),),
    )
    made.append(container)
    await container.start()
    api, _ = _inside(engine)
    programs = api.calls["get", "pods/exec"]
    waiting = asyncio.create_task(container.wait())
    while api.calls["get", "pods/exec"] == programs:
        await asyncio.sleep(0.01)
    proxy.cut()  # before anything came
    passed = proxy.passed
    while proxy.passed < passed + 5_000_000 and not waiting.done():
        await asyncio.sleep(0.01)
    proxy.cut()  # in the middle of it
    assert (await waiting).code == 0
    assert api.calls["get", "pods/exec"] >= programs + 3
    assert await asyncio.to_thread((results / "large").read_bytes) == bytes(40_000_000)


async def test_a_removal_while_the_cluster_is_away(
    proxied: tuple[Engine, Between], make_on: Callable[..., Any], kubernetes_host: str
) -> None:
    engine, proxy = proxied
    container = await make_on(engine)
    await container.start()
    proxy.leave()
    removing = asyncio.create_task(container.remove())
    await asyncio.sleep(0)
    await proxy.listen()
    await removing
    assert await asyncio.to_thread(_status_of, pods_of(kubernetes_host, container.name)) == 404


def _status_of(path: str) -> int:
    return cluster.call("GET", path)[0]


# Who we are, and what we may.


@contextlib.asynccontextmanager
async def account(host: str, *rules: tuple[str, str]) -> AsyncIterator[tuple[str, str]]:
    """Make a service account that may do these things (resources, verbs): its name, its token."""
    namespace = cluster.namespace_of(host)
    name = f"lading-test-{uuid.uuid4().hex[:8]}"
    about = {"metadata": {"name": name}}
    granted = [
        {"apiGroups": [""], "resources": resources.split(), "verbs": verbs.split()}
        for resources, verbs in rules
    ]
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    made = [f"{accounts}/{name}", f"{roles}/roles/{name}", f"{roles}/rolebindings/{name}"]
    try:
        await ask("POST", accounts, about)
        await ask("POST", f"{roles}/roles", {**about, "rules": granted})
        binding = {
            **about,
            "roleRef": {"kind": "Role", "name": name, "apiGroup": "rbac.authorization.k8s.io"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }
        await ask("POST", f"{roles}/rolebindings", binding)
        found = await ask("POST", f"{accounts}/{name}/token", {"spec": {}})
        yield name, found["status"]["token"]
    finally:
        for path in made:
            await asyncio.to_thread(cluster.call, "DELETE", path)


async def _opened_as(
    open_by: Callable[..., Any], kubeconfig: Path, tmp_path: Path, token: str
) -> Engine:
    written = await asyncio.to_thread(
        kubeconfig_of_token, kubeconfig, tmp_path / "of-account", token
    )
    found: Engine = await open_by(written)
    return found


async def test_a_permission_that_is_missing_is_named(
    open_by: Callable[..., Any],
    kubeconfig: Path,
    kubernetes_host: str,
    tmp_path: Path,
    make_on: Callable[..., Any],
) -> None:
    namespace = cluster.namespace_of(kubernetes_host)
    async with account(kubernetes_host, ("pods", "get list watch")) as (name, token):
        engine = await _opened_as(open_by, kubeconfig, tmp_path, token)
        with pytest.raises(EngineDenied) as error:
            await make_on(engine)
    assert (error.value.verb, error.value.resource, error.value.namespace) == (
        "create",
        "pods",
        namespace,
    )
    assert error.value.fix == (
        f"ask for a Role in namespace '{namespace}' with the rule "
        '{apiGroups: [""], resources: ["pods"], verbs: ["create"]}, '
        f"bound to 'system:serviceaccount:{namespace}:{name}'"
    )
    assert error.value.exit_code == 77


async def test_a_log_that_we_may_not_read(
    open_by: Callable[..., Any],
    kubeconfig: Path,
    kubernetes_host: str,
    tmp_path: Path,
    make_on: Callable[..., Any],
) -> None:
    async with account(kubernetes_host, ("pods", "get list watch create delete")) as (_, token):
        engine = await _opened_as(open_by, kubeconfig, tmp_path, token)
        container = await make_on(engine, "sh", "-c", "echo x")
        try:
            await container.start()
            with pytest.raises(EngineDenied, match="may not get pods/log in namespace"):
                async for _ in container.logs():
                    pass
        finally:
            await container.remove()


async def test_a_token_that_has_expired(
    open_by: Callable[..., Any], kubeconfig: Path, tmp_path: Path
) -> None:
    written = await asyncio.to_thread(
        kubeconfig_of_token, kubeconfig, tmp_path / "expired", "of.nobody.anymore"
    )
    with pytest.raises(CredentialsRefused, match="Unauthorized; log in again") as error:
        await open_by(written)
    assert error.value.exit_code == 77


async def test_a_token_that_expires_while_we_wait(
    proxied: tuple[Engine, Between],
    open_by: Callable[..., Any],
    kubernetes_host: str,
    tmp_path: Path,
    make_on: Callable[..., Any],
) -> None:
    """The account is removed; the API server believes its token for ten seconds after that."""
    _, proxy = proxied
    async with account(kubernetes_host, ("pods", "get list watch create delete")) as (name, token):
        written = await asyncio.to_thread(
            kubeconfig_of_token, tmp_path / "proxied", tmp_path / "of-account", token
        )
        engine: Engine = await open_by(written)
        container = await make_on(engine)
        try:
            await container.start()
            waiting = asyncio.create_task(container.wait())
            namespace = cluster.namespace_of(kubernetes_host)
            await ask("DELETE", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}")
            while not waiting.done():
                proxy.cut()
                await asyncio.wait({waiting}, timeout=1)
            with pytest.raises(CredentialsRefused):
                await waiting
        finally:
            await ask("DELETE", pods_of(kubernetes_host, container.name), {"gracePeriodSeconds": 0})


# What is not there, and what there is not enough of.


async def test_nobody_answers(
    open_by: Callable[..., Any], kubeconfig: Path, tmp_path: Path
) -> None:
    written = await asyncio.to_thread(
        kubeconfig_by_way_of, kubeconfig, tmp_path / "away", server="https://127.0.0.1:1"
    )
    with pytest.raises(EngineUnreachable, match=r"127\.0\.0\.1:1 is not reachable") as error:
        await open_by(written)
    assert "kubectl cluster-info" in error.value.fix


async def test_another_clusters_authority(
    open_by: Callable[..., Any], kubeconfig: Path, tmp_path: Path
) -> None:
    written = await asyncio.to_thread(
        kubeconfig_by_way_of,
        kubeconfig,
        tmp_path / "other",
        **{"tls-server-name": "another.test"},
    )
    with pytest.raises(EngineUnreachable, match="certificate is not to be trusted") as error:
        await open_by(written)
    assert "tls-server-name" in error.value.fix


async def test_a_namespace_that_is_absent(
    open_by: Callable[..., Any], kubeconfig: Path, make_on: Callable[..., Any]
) -> None:
    engine = await open_by(kubeconfig, "kubernetes:///lading-test-absent")
    with pytest.raises(NamespaceNotFound, match='namespaces "lading-test-absent" not found'):
        await make_on(engine)


@pytest.fixture
def own_namespace(kubernetes_host: str) -> Iterator[str]:
    """Address of a namespace that only this test uses."""
    with cluster.namespace() as name:
        yield f"kubernetes:///{name}"


async def test_a_quota_that_is_used_up(
    open_by: Callable[..., Any],
    kubeconfig: Path,
    own_namespace: str,
    make_on: Callable[..., Any],
) -> None:
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}}
    path = f"/api/v1/namespaces/{cluster.namespace_of(own_namespace)}/resourcequotas"
    await ask("POST", path, quota)
    engine = await open_by(kubeconfig, own_namespace)
    while True:  # the cluster counts a moment later
        with contextlib.suppress(EngineDenied):
            with pytest.raises(QuotaExceeded, match="exceeded quota: few, requested: pods=1") as it:
                await make_on(engine)
            break
    assert it.value.exit_code == 75


async def test_more_than_one_container_may_have(
    open_by: Callable[..., Any],
    kubeconfig: Path,
    own_namespace: str,
    make_on: Callable[..., Any],
) -> None:
    limits = {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]}
    path = f"/api/v1/namespaces/{cluster.namespace_of(own_namespace)}/limitranges"
    await ask("POST", path, {"metadata": {"name": "small"}, "spec": limits})
    engine = await open_by(kubeconfig, own_namespace)
    with pytest.raises(QuotaExceeded, match="maximum memory usage per Container is 64Mi"):
        await make_on(engine, limits=Limits(memory=128 << 20))


async def test_a_runtime_that_is_not_there(engine: Engine, make_on: Callable[..., Any]) -> None:
    with pytest.raises(NotSupported, match="RuntimeClass"):
        await make_on(engine, runtime="of-nobody")


async def test_no_node_takes_it(
    open_by: Callable[..., Any],
    kubeconfig: Path,
    make_on: Callable[..., Any],
    made: list[Container],
) -> None:
    engine = await open_by(kubeconfig, cluster_patience=2.0)
    container = await make_on(engine, requests=Limits(memory=1 << 45))
    made.append(container)
    told: list[str] = []
    with pytest.raises(Unschedulable, match=r"no node took it within 2.0 s: .*Insufficient memory"):
        await container.start(told.append)
    assert any("Insufficient memory" in words for words in told)


async def test_an_image_that_no_registry_gives(
    open_by: Callable[..., Any],
    kubeconfig: Path,
    make_on: Callable[..., Any],
    made: list[Container],
) -> None:
    """A registry that refuses connections: pulled again and again, for as long as one waits."""
    engine = await open_by(kubeconfig, cluster_patience=4.0)
    container = await make_on(engine, image="localhost:1/lading-test/absent:1")
    made.append(container)
    told: list[str] = []
    with pytest.raises(ImageError, match="connection refused"):
        await container.start(told.append)
    assert any("localhost:1" in words for words in told)


async def test_what_was_left_over_has_the_name(
    engine: Engine, make_on: Callable[..., Any], made: list[Container], kubernetes_host: str
) -> None:
    name = f"lading-test-{uuid.uuid4().hex[:8]}"
    spec = {"restartPolicy": "Never", "containers": [{"name": "main", "image": TOOLS}]}
    await ask("POST", pods_of(kubernetes_host), {"metadata": {"name": name}, "spec": spec})
    try:
        with pytest.raises(NameTaken, match=f'pods "{name}" already exists'):
            await make_on(engine, name=name)
    finally:
        await (await engine.container(name)).remove()
    container = await make_on(engine, "sh", "-c", "true", name=name)
    made.append(container)
    await container.start()


# What becomes of pods.


async def test_a_pod_that_somebody_deletes(
    engine: Engine, make_on: Callable[..., Any], made: list[Container], kubernetes_host: str
) -> None:
    container = await make_on(engine)
    made.append(container)
    await container.start()
    waiting = asyncio.create_task(container.wait())
    await ask("DELETE", pods_of(kubernetes_host, container.name), {"gracePeriodSeconds": 1})
    with pytest.raises(ContainerNotFound):
        await waiting


async def test_a_pod_that_its_node_ends(
    engine: Engine, make_on: Callable[..., Any], made: list[Container], kubernetes_host: str
) -> None:
    """For real, in the way of an eviction: the kubelet ends it, and says why in its status."""
    container = await make_on(engine)
    made.append(container)
    await container.start()
    waiting = asyncio.create_task(container.wait())
    limit = {"spec": {"activeDeadlineSeconds": 1}}
    await _patch(pods_of(kubernetes_host, container.name), limit)
    ended = await waiting
    assert ended.code == 137
    assert ended.error.startswith("DeadlineExceeded: Pod was active on the node longer than")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Evicted", "The node was low on resource: memory. "),
        ("NodeLost", "Node x which was running pod y is unresponsive"),
        ("Preempting", "Preempted in order to admit critical pod"),
    ],
)
async def test_a_pod_that_the_cluster_gives_up(
    engine: Engine,
    make_on: Callable[..., Any],
    made: list[Container],
    kubernetes_host: str,
    reason: str,
    words: str,
) -> None:
    """Staged: the status is what the cluster writes then, on a node that has no kubelet."""
    async with ghost() as node:
        container = await make_on(engine, placement=node)
        made.append(container)
        starting = asyncio.create_task(container.start())
        await until_seen(kubernetes_host, container.name, _is_bound)
        path = f"{pods_of(kubernetes_host, container.name)}/status"
        await _patch(path, {"status": {"phase": "Running", "containerStatuses": [_RUNNING]}})
        await starting
        await _patch(path, {"status": {"phase": "Failed", "reason": reason, "message": words}})
        ended = await container.wait()
        assert (ended.code, ended.error) == (137, f"{reason}: {words.strip()}")


async def test_a_node_that_never_confirms(
    engine: Engine, make_on: Callable[..., Any], kubernetes_host: str
) -> None:
    """A pod whose node does not answer is removed all the same, by force, after a while."""
    async with ghost() as node:
        container = await make_on(engine, placement=node)
        starting = asyncio.create_task(container.start())
        await until_seen(kubernetes_host, container.name, _is_bound)
        path = f"{pods_of(kubernetes_host, container.name)}/status"
        await _patch(path, {"status": {"phase": "Running", "containerStatuses": [_RUNNING]}})
        await starting
        await container.remove()
        assert await asyncio.to_thread(_status_of, pods_of(kubernetes_host, container.name)) == 404


_RUNNING = {
    "name": "main",
    "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
    "ready": True,
    "restartCount": 0,
    "image": TOOLS,
    "imageID": "",
}


def _is_bound(pod: dict[str, Any]) -> bool:
    return bool(pod["spec"].get("nodeName"))


async def _patch(path: str, content: object) -> None:
    await ask("PATCH", path, content, Content_Type="application/strategic-merge-patch+json")


@contextlib.asynccontextmanager
async def ghost() -> AsyncIterator[Placement]:
    """A node of which there is no more than its object."""
    name = f"lading-test-ghost-{uuid.uuid4().hex[:8]}"
    taint = {"key": "lading.test/ghost", "value": "yes", "effect": "NoSchedule"}
    labels = {"lading.test/ghost": name}
    much = {"cpu": "4", "memory": "4Gi", "pods": "10"}
    ready = {"type": "Ready", "status": "True", "reason": "x", "message": "x"}
    node = {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [taint]},
        "status": {"capacity": much, "allocatable": much, "conditions": [ready]},
    }
    await ask("POST", "/api/v1/nodes", node)
    try:
        yield Placement(node_selector=labels, tolerations=({"operator": "Exists"},))
    finally:
        await asyncio.to_thread(cluster.call, "DELETE", f"/api/v1/nodes/{name}")


# Many at once.


async def test_what_many_at_once_ask_of_the_api(
    engine: Engine, make_on: Callable[..., Any]
) -> None:
    """One list and one watch for all of them, and at most six calls for each."""
    many = 12
    api = _calls_of(engine)
    before = api.calls.copy()

    async def run(number: int) -> bytes:
        container = await make_on(engine, "sh", "-c", f"echo {number}")
        try:
            await container.start()
            waiting = asyncio.create_task(container.wait())
            text = b"".join([chunk.data async for chunk in container.logs(follow=True)])
            assert (await waiting).code == 0
            return text
        finally:
            await container.remove()

    texts = await asyncio.gather(*(run(number) for number in range(many)))
    assert texts == [f"{number}\n".encode() for number in range(many)]
    calls = api.calls - before
    assert (calls["list", "pods"], calls["watch", "pods"]) == (1, 1), dict(calls)
    assert sum(calls.values()) - 2 <= 6 * many, dict(calls)


def _calls_of(engine: Any) -> Any:
    return engine._api


# The API server itself.


async def test_the_api_server_is_restarted(
    engine: Engine,
    make_on: Callable[..., Any],
    made: list[Container],
    kubeconfig: Path,
) -> None:
    """For real, where its process is ours to restart: that of `cluster up`."""
    pid_file = kubeconfig.parent / "apiserver.pid"
    if not await asyncio.to_thread(pid_file.exists):
        pytest.skip("the API server is not a process of this machine")
    container = await make_on(engine, *_SLOW)
    made.append(container)
    await container.start()
    waiting = asyncio.create_task(container.wait())
    text, restarting = b"", None
    async for chunk in container.logs(follow=True):
        text += chunk.data
        if restarting is None and text.count(b"\n") >= 5:
            restarting = asyncio.create_task(asyncio.to_thread(_restart, pid_file))
    assert restarting is not None
    await restarting
    assert text.decode().splitlines() == [f"line {number}" for number in range(1, 41)]
    assert (await waiting).code == 0


def _restart(pid_file: Path) -> None:
    import os  # noqa: PLC0415
    import signal  # noqa: PLC0415
    import subprocess  # noqa: PLC0415

    pid = int(pid_file.read_text())
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        time.sleep(0.05)
    with (pid_file.parent / "apiserver.log").open("ab") as log:
        started = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    pid_file.write_text(f"{started.pid}\n")
    while True:
        with contextlib.suppress(OSError):
            if cluster.call("GET", "/readyz")[0] == 200:
                return
        time.sleep(0.1)
