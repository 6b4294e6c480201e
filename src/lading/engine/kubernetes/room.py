"""How much a cluster can give: what its nodes have, or what our namespace may use of it.

Sources: https://kubernetes.io/docs/tasks/administer-cluster/reserve-compute-resources/ (what is
allocatable) and https://kubernetes.io/docs/concepts/policy/resource-quotas/.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lading.engine.kubernetes.api import NODES, Kind
from lading.engine.kubernetes.errors import Call
from lading.errors import EngineDenied
from lading.units import quantity

if TYPE_CHECKING:
    from lading.engine.kubernetes.api import Api

__all__ = ["Room", "room"]

_QUOTAS = Kind("resourcequotas")
_CPUS = ("limits.cpu", "requests.cpu", "cpu")
_MEMORY = ("limits.memory", "requests.memory", "memory")
_KEEPS_OUT = ("NoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True)
class Room:
    """What a cluster can give to one namespace.

    Parameters
    ----------
    cpus : int
        Whole cores; 0 where nobody may know.
    memory : int
        Bytes; 0 where nobody may know.
    source : str
        Who says so.
    """

    cpus: int = 0
    memory: int = 0
    source: str = ""


async def room(api: Api, namespace: str) -> Room:
    """Ask the nodes and the quotas, as far as we may; the tighter one holds.

    Raises
    ------
    EngineError
        The cluster does not answer.
    """
    nodes = await _listed(api, NODES, None)
    quotas = await _listed(api, _QUOTAS, namespace)
    ready = [item for item in nodes if _takes_pods(item)]
    allocatable = [item["status"].get("allocatable", {}) for item in ready]
    limits = [item.get("status", {}).get("hard") or {} for item in quotas if not _scoped(item)]
    cpus = _least(sum(_amounts(allocatable, ("cpu",))), _amounts(limits, _CPUS))
    memory = _least(sum(_amounts(allocatable, ("memory",))), _amounts(limits, _MEMORY))
    said = [f"{len(ready)} nodes"] if ready else []
    said += [f"the quota of namespace {namespace}"] if any(limits) else []
    whole = max(math.floor(cpus), 1) if cpus else 0  # of less than one core, the quota decides
    return Room(whole, int(memory), " and ".join(said))


async def _listed(api: Api, kind: Kind, namespace: str | None) -> list[Mapping[str, Any]]:
    call = Call(f"looking at the {kind.plural} of the cluster")
    try:
        found = await api.call("list", kind, call, namespace=namespace)
    except EngineDenied:
        return []  # then somebody else says how much there is
    items = found.get("items")
    return items if isinstance(items, list) else []


def _takes_pods(node: Mapping[str, Any]) -> bool:
    """Whether it is ready, and open to pods that tolerate nothing."""
    spec, status = node.get("spec", {}), node.get("status", {})
    if spec.get("unschedulable"):
        return False
    if any(taint.get("effect") in _KEEPS_OUT for taint in spec.get("taints") or ()):
        return False
    conditions = status.get("conditions") or ()
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def _scoped(quota: Mapping[str, Any]) -> bool:
    """Whether it is about some pods only."""
    spec = quota.get("spec", {})
    return bool(spec.get("scopes") or spec.get("scopeSelector"))


def _amounts(found: Iterable[Mapping[str, Any]], names: tuple[str, ...]) -> list[float]:
    """Read the first of these that each one has."""
    amounts = []
    for item in found:
        text = next((item[name] for name in names if name in item), None)
        if text is not None:
            amounts.append(quantity(str(text)))
    return amounts


def _least(nodes: float, quotas: list[float]) -> float:
    return min([*([nodes] if nodes else []), *quotas], default=0.0)
