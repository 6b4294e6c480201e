"""What a cluster refuses: who we are, what we may, what is not there, and what is too much."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import cluster
from tests.support.cluster import (
    TOOLS,
    ask,
    pods_of,
)
from tests.support.cut_off import Between, kubeconfig_by_way_of, kubeconfig_of_token

from lading.engine import Container, Engine, Limits
from lading.errors import (
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

pytestmark = pytest.mark.kubernetes

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
