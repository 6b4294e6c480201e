"""What containers of a cluster use, as far as it tells."""

from __future__ import annotations

from typing import Any

from tests.support.staged_cluster import StagedCluster, refusal, reply

from lading.engine.kubernetes.usage import usage
from lading.engine.spec import Stats

NOTHING = Stats(memory=0, memory_peak=None, cpu_seconds=0.0)
DENIED = refusal(403, "Forbidden", "no")
ABSENT = refusal(404, "NotFound", "the server could not find the requested resource")
NOT_YET = refusal(404, "NotFound", 'podmetrics.metrics.k8s.io "jobs/a" not found')


def summary(*pods: tuple[str, int]) -> bytes:
    def inside(memory: int) -> dict[str, Any]:
        return {
            "name": "main",
            "memory": {"usageBytes": memory, "workingSetBytes": 1},
            "cpu": {"usageCoreNanoSeconds": 2_500_000_000},
        }

    return reply(
        200,
        {
            "pods": [
                {"podRef": {"name": name, "namespace": "jobs"}, "containers": [inside(memory)]}
                for name, memory in pods
            ]
        },
    )


def metrics(memory: str) -> bytes:
    return reply(200, {"containers": [{"name": "main", "usage": {"memory": memory, "cpu": "3n"}}]})


async def test_the_summary_of_a_node_is_for_all_of_its_containers() -> None:
    cluster = StagedCluster(summary(("a", 100), ("b", 200)))
    async with cluster.api() as api:
        found = [await usage(api, "jobs", name, "main", "n") for name in ("a", "b", "absent")]
    assert found == [
        Stats(memory=100, memory_peak=None, cpu_seconds=2.5),
        Stats(memory=200, memory_peak=None, cpu_seconds=2.5),
        NOTHING,
    ]
    assert cluster.asked == ["GET /api/v1/nodes/n/proxy/stats/summary?only_cpu_and_memory=true"]


async def test_metrics_where_nodes_may_not_be_asked() -> None:
    cluster = StagedCluster(DENIED, metrics("64Mi"), metrics("128Mi"))
    async with cluster.api() as api:
        found = [(await usage(api, "jobs", "a", "main", "n")).memory >> 20 for _ in range(2)]
    assert found == [64, 128]
    assert cluster.asked[1:] == ["GET /apis/metrics.k8s.io/v1beta1/namespaces/jobs/pods/a"] * 2


async def test_nothing_is_known_and_nobody_is_asked_again() -> None:
    cluster = StagedCluster(DENIED, ABSENT)
    async with cluster.api() as api:
        assert await usage(api, "jobs", "a", "main", "n") == NOTHING
        assert await usage(api, "jobs", "a", "main", "n") == NOTHING
    assert len(cluster.asked) == 2


async def test_what_was_not_looked_at_yet_is_asked_for_again() -> None:
    cluster = StagedCluster(NOT_YET, metrics("1Ki"))
    async with cluster.api() as api:
        assert await usage(api, "jobs", "a", "main", "") == NOTHING
        assert (await usage(api, "jobs", "a", "main", "")).memory == 1024
