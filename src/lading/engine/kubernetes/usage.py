"""What containers of a cluster use, as far as it tells us.

The kubelet's summary of a node has memory and all processor time so far, but few may read it
(``nodes/proxy``); metrics.k8s.io has memory and how fast processor time is used now, where somebody
has installed a metrics server. Where there is neither, nothing is known, and nothing fails.

Sources: https://kubernetes.io/docs/reference/instrumentation/node-metrics/ and
https://kubernetes.io/docs/tasks/debug/debug-cluster/resource-metrics-pipeline/.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from lading.engine.kubernetes.api import NODES, POD_METRICS, Api
from lading.engine.kubernetes.errors import Call
from lading.engine.spec import Stats
from lading.errors import ContainerNotFound, EngineDenied, EngineError, NotSupported
from lading.units import size

__all__ = ["usage"]

_FRESH = 10.0
"""Seconds that a node's summary is used for all of its containers."""
_NOTHING = Stats(memory=0, memory_peak=None, cpu_seconds=0.0)
_SUMMARY, _METRICS = "summary", "metrics"


@dataclass(slots=True)
class _Sources:
    """What a client may ask for, and what it has heard of each node."""

    refused: set[str] = field(default_factory=set)
    summaries: dict[str, tuple[float, asyncio.Future[dict[str, Any]]]] = field(default_factory=dict)


_SOURCES: WeakKeyDictionary[Api, _Sources] = WeakKeyDictionary()


async def usage(api: Api, namespace: str, pod: str, container: str, node: str) -> Stats:
    """Ask what a container uses; zeros where nobody says.

    Parameters
    ----------
    container : str
        Its name in the pod.
    node : str
        Which one it is on; empty if it is not known.
    """
    sources = _SOURCES.setdefault(api, _Sources())
    if node and _SUMMARY not in sources.refused:
        try:
            summary = await _summary(api, node, sources)
            return _of_summary(summary, namespace, pod, container)
        except (EngineDenied, NotSupported):
            sources.refused.add(_SUMMARY)
        except EngineError:
            return _NOTHING
    if _METRICS not in sources.refused:
        call = Call(f"asking for the usage of container {pod}")
        try:
            found = await api.call("get", POD_METRICS, call, name=pod, namespace=namespace)
            return _of_metrics(found, container)
        except (EngineDenied, NotSupported):
            sources.refused.add(_METRICS)
        except (ContainerNotFound, EngineError):
            return _NOTHING  # it has not been looked at yet, or the server is away
    return _NOTHING


async def _summary(api: Api, node: str, sources: _Sources) -> dict[str, Any]:
    """Ask for the summary of a node, once for all who want it at about the same time."""
    loop = asyncio.get_running_loop()
    kept = sources.summaries.get(node)
    if kept is None or (kept[1].done() and loop.time() - kept[0] > _FRESH):
        call = Call(f"asking for the usage of node {node}")
        asked = api.call(
            "get", NODES, call, name=node, sub="proxy/stats/summary",
            query={"only_cpu_and_memory": True},
        )  # fmt: skip
        kept = loop.time(), asyncio.ensure_future(asked)
        sources.summaries[node] = kept
    try:
        return await asyncio.shield(kept[1])
    except asyncio.CancelledError:
        if not kept[1].done():
            kept[1].cancel()
            sources.summaries.pop(node, None)
        raise


def _of_summary(found: Mapping[str, Any], namespace: str, pod: str, container: str) -> Stats:
    for item in found.get("pods") or ():
        about = item.get("podRef") or {}
        if (about.get("namespace"), about.get("name")) != (namespace, pod):
            continue
        for inside in item.get("containers") or ():
            if inside.get("name") == container:
                memory, cpu = inside.get("memory") or {}, inside.get("cpu") or {}
                return Stats(
                    memory=int(memory.get("usageBytes") or memory.get("workingSetBytes") or 0),
                    memory_peak=None,
                    cpu_seconds=int(cpu.get("usageCoreNanoSeconds") or 0) / 1e9,
                )
    return _NOTHING


def _of_metrics(found: Mapping[str, Any], container: str) -> Stats:
    for inside in found.get("containers") or ():
        if inside.get("name") == container:
            memory = size(str((inside.get("usage") or {}).get("memory") or "0"))
            return Stats(memory=memory, memory_peak=None, cpu_seconds=0.0)
    return _NOTHING
