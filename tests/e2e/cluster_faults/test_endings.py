"""How pods end otherwise than by themselves.

Staged, since one node can't show it: eviction, preemption and a node that is lost, by writing a
pod's status, and a node that never answers; both on a Node object without a kubelet.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.support import cluster
from tests.support.cluster import (
    TOOLS,
    ask,
    pods_of,
    status_of,
    until_seen,
)

from lading.engine import Container, Engine, Placement
from lading.errors import (
    ContainerNotFound,
)

pytestmark = pytest.mark.kubernetes


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
        assert await asyncio.to_thread(status_of, pods_of(kubernetes_host, container.name)) == 404


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
