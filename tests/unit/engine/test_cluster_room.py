"""How much a cluster can give, as far as one may know."""

from __future__ import annotations

from typing import Any, cast

import pytest

from lading.engine.kubernetes.api import Api, Kind
from lading.engine.kubernetes.room import Room, room
from lading.errors import EngineDenied
from lading.units import MIB


def node(
    cpu: str = "4", memory: str = "8Gi", *, ready: str = "True", **spec: Any
) -> dict[str, Any]:
    return {
        "spec": spec,
        "status": {
            "allocatable": {"cpu": cpu, "memory": memory},
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def quota(spec: dict[str, Any] | None = None, **hard: str) -> dict[str, Any]:
    named = {name.replace("_", "."): amount for name, amount in hard.items()}
    return {"spec": spec or {}, "status": {"hard": named}}


class Cluster:
    """Lists what it was given; None: nobody may."""

    def __init__(self, **items: list[dict[str, Any]] | None) -> None:
        self._items = items

    async def call(self, verb: str, kind: Kind, *_: Any, namespace: str | None) -> dict[str, Any]:
        assert verb == "list"
        assert namespace == ("tasks" if kind.namespaced else None)
        found = self._items[kind.plural]
        if found is None:
            raise EngineDenied("no")
        return {"items": found}


async def asked(**items: list[dict[str, Any]] | None) -> Room:
    return await room(cast("Api", Cluster(**items)), "tasks")


async def test_what_ready_nodes_have_together() -> None:
    found = await asked(nodes=[node("3900m", "1000Mi"), node("4", "2000Mi")], resourcequotas=[])
    assert found == Room(7, 3000 * MIB, "2 nodes")


@pytest.mark.parametrize(
    "other",
    [
        node(ready="False"),
        node(unschedulable=True),
        node(taints=[{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]),
    ],
    ids=["not ready", "cordoned", "kept for others"],
)
async def test_nodes_that_take_no_pods_do_not_count(other: dict[str, Any]) -> None:
    found = await asked(nodes=[node("2", "100Mi"), other], resourcequotas=[])
    assert found == Room(2, 100 * MIB, "1 nodes")


async def test_a_taint_that_keeps_nobody_out_does_not_matter() -> None:
    soft = node("2", "100Mi", taints=[{"key": "a", "effect": "PreferNoSchedule"}])
    assert (await asked(nodes=[soft], resourcequotas=[])).cpus == 2


async def test_the_tighter_of_nodes_and_quotas_holds() -> None:
    found = await asked(
        nodes=[node("8", "8Gi")],
        resourcequotas=[quota(limits_cpu="3", limits_memory="64Gi"), quota(pods="9")],
    )
    assert found == Room(3, 8 << 30, "1 nodes and the quota of namespace tasks")


async def test_a_quota_says_it_where_nodes_are_not_to_be_seen() -> None:
    found = await asked(nodes=None, resourcequotas=[quota(requests_cpu="500m", memory="1Gi")])
    assert found == Room(1, 1 << 30, "the quota of namespace tasks")


async def test_a_quota_of_some_pods_only_is_none_of_all() -> None:
    some = quota({"scopes": ["BestEffort"]}, limits_cpu="1")
    assert (await asked(nodes=[node("4")], resourcequotas=[some])).cpus == 4


async def test_nobody_may_know() -> None:
    assert await asked(nodes=None, resourcequotas=None) == Room(0, 0, "")
