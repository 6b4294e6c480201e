"""Networks of a cluster: it has one, and policies that say who reaches whom on it.

They bind where the cluster's network plugin enforces them; nobody can ask it whether it does.
Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from lading.engine.kubernetes.api import PODS, POLICIES, Api
from lading.engine.kubernetes.errors import Call, Thing
from lading.engine.kubernetes.labels import (
    ID_LABEL,
    NETWORK_LABEL,
    labels_of,
    metadata,
    object_name,
    selector,
)
from lading.engine.kubernetes.state import exit_of, identity
from lading.engine.spec import Network, NetworkInfo, NetworkSpec
from lading.errors import EngineError, NetworkNotFound

__all__ = ["NONE_POLICY", "WARNINGS", "Networks", "policy"]

NONE_POLICY = "lading-none"
"""The policy of a namespace that cuts off what runs on ``Network.NONE``."""
WARNINGS = (
    "networks are policies here, which bind only where the cluster's network plugin enforces them",
    "how many processes a container may have is for its node to say, not for its limits",
)
_INTERNAL = "lading.internal"

Json = dict[str, Any]


def policy(spec: NetworkSpec) -> Json:
    """Write the body that creates a network.

    What is on it is reached from what is on it, unless that is isolated, and from what is on none
    of our networks; if it is internal, it reaches nothing else itself.
    """
    name = object_name(spec.name)
    labels, annotations = metadata(spec.labels)
    members = {"matchLabels": {NETWORK_LABEL: name}}
    fellows = [] if spec.isolated else [{"podSelector": members}]
    rules: Json = {
        "podSelector": members,
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [*fellows, _strangers()]}],
    }
    if spec.internal:
        rules["policyTypes"].append("Egress")
        rules["egress"] = [{"to": fellows}] if fellows else []
    kind = {_INTERNAL: "true"} if spec.internal else {}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": name,
            "labels": {**labels, **kind, NETWORK_LABEL: name},
            "annotations": annotations,
        },
        "spec": rules,
    }


def _strangers() -> Json:
    return {
        "namespaceSelector": {},
        "podSelector": {"matchExpressions": [{"key": NETWORK_LABEL, "operator": "DoesNotExist"}]},
    }


def _none() -> Json:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": NONE_POLICY},
        "spec": {
            "podSelector": {"matchLabels": {NETWORK_LABEL: str(Network.NONE)}},
            "policyTypes": ["Egress"],
            "egress": [],
        },
    }


class Networks:
    """The networks of a cluster.

    Parameters
    ----------
    api : Api
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._cut_off: set[str] = set()

    async def create(self, spec: NetworkSpec, namespace: str) -> NetworkInfo:
        """Make a network.

        Raises
        ------
        NameTaken, EngineError
        """
        call = Call(f"creating network {spec.name}", Thing.NETWORK)
        found = await self._api.call(
            "create", POLICIES, call, namespace=namespace, body=policy(spec)
        )
        return _info(found, ())

    async def listed(self, labels: Mapping[str, str], namespace: str) -> list[NetworkInfo]:
        """Tell of all that carry these labels, and what is on each."""
        call = Call("listing networks", Thing.NETWORK)
        wanted = ",".join(filter(None, (NETWORK_LABEL, selector(labels))))
        found = await self._api.call(
            "list", POLICIES, call, namespace=namespace, query={"labelSelector": wanted}
        )
        policies = found.get("items") or []
        there = await self._members(namespace) if policies else {}
        return [_info(item, tuple(there.get(item["metadata"]["name"], ()))) for item in policies]

    async def remove(self, name: str, namespace: str) -> None:
        """Remove a network; nothing if there is none.

        Raises
        ------
        EngineError
            Something runs on it.
        """
        call = Call(f"removing network {name}", Thing.NETWORK)
        if members := (await self._members(namespace)).get(object_name(name)):
            raise EngineError(
                f"{call.doing} failed: it has active endpoints: {', '.join(members)}",
                fix="remove these containers first",
            )
        await self._api.call(
            "delete",
            POLICIES,
            call,
            name=object_name(name),
            namespace=namespace,
            accept=frozenset({404}),
        )

    async def check(self, network: str, namespace: str) -> None:
        """See that a network is there that a container is to be on.

        Raises
        ------
        NetworkNotFound
            It is not.
        """
        if network == Network.DEFAULT:
            return
        if network == Network.NONE:
            await self.cut_off(namespace)
            return
        call = Call(f"looking for network {network}", Thing.NETWORK)
        found = await self._get(object_name(network), namespace, call)
        if found is None:
            raise NetworkNotFound(
                f"there is no network {network!r} in namespace {namespace}",
                status=404,
                fix="create it first",
            )

    async def cut_off(self, namespace: str) -> None:
        """See to the policy that cuts off what has no network, once for each namespace."""
        if namespace in self._cut_off:
            return
        call = Call(f"cutting off what has no network in namespace {namespace}", Thing.NETWORK)
        if await self._get(NONE_POLICY, namespace, call) is None:
            await self._api.call(
                "create",
                POLICIES,
                call,
                namespace=namespace,
                body=_none(),
                accept=frozenset({409}),  # somebody else was first
            )
        self._cut_off.add(namespace)

    async def _get(self, name: str, namespace: str, call: Call) -> Json | None:
        found = await self._api.call(
            "get", POLICIES, call, name=name, namespace=namespace, accept=frozenset({404})
        )
        return None if found.get("kind") == "Status" else found

    async def _members(self, namespace: str) -> dict[str, list[str]]:
        call = Call("looking at what is on the networks", Thing.NETWORK)
        found = await self._api.call(
            "list",
            PODS,
            call,
            namespace=namespace,
            query={"labelSelector": f"{ID_LABEL},{NETWORK_LABEL}"},
        )
        there: dict[str, list[str]] = defaultdict(list)
        for pod in found.get("items") or ():
            if exit_of(pod) is None:
                there[pod["metadata"]["labels"][NETWORK_LABEL]].append(identity(pod))
        return there


def _info(found: Json, containers: tuple[str, ...]) -> NetworkInfo:
    meta = found["metadata"]
    labels = labels_of(found)
    internal = labels.pop(_INTERNAL, "") == "true"
    return NetworkInfo(
        f"{meta['namespace']}/{meta['name']}", meta["name"], labels, internal, containers
    )
