"""The verbs of a Docker or Podman engine that are about networks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from lading.engine import podman_wire
from lading.engine.docker_api import Api
from lading.engine.docker_errors import Call, Thing
from lading.engine.docker_wire import (
    bridge,
    label_filter,
    network_body,
    network_info,
    query,
    segment,
)
from lading.engine.shield import keep_or_undo, to_the_end
from lading.engine.spec import NetworkInfo, NetworkSpec
from lading.errors import EngineError, NameTaken, NetworkNotFound, NotSupported

if TYPE_CHECKING:
    from lading.engine.docker_firewall import Firewall

__all__ = ["DockerNetworks"]


class DockerNetworks:
    """What :class:`~lading.engine.docker.DockerEngine` does with networks."""

    _api: Api
    _podman: bool
    _in_the_way: str
    _peer: int

    @cached_property
    def _firewall(self) -> Firewall:
        from lading.engine.docker_firewall import Firewall  # noqa: PLC0415

        return Firewall(self._in_the_way, self._peer)

    async def create_network(self, spec: NetworkSpec) -> NetworkInfo:
        """Make a network."""
        if spec.isolated and self._podman:
            raise NotSupported(
                f"network {spec.name}: Podman can't keep the containers of one network apart",
                fix="give each container a network of its own, or none",
            )
        return await keep_or_undo(self._create_network(spec), self._undo_network)

    async def _create_network(self, spec: NetworkSpec) -> NetworkInfo:
        call = Call(f"creating network {spec.name}", Thing.NETWORK)
        try:
            reply = await self._api.call("POST", "/networks/create", call, body=network_body(spec))
        except NameTaken:
            if spec.internal:  # a boot of the host leaves the network, but not its rule
                with contextlib.suppress(NetworkNotFound):
                    await self._close_off(spec.name)
            raise
        made = NetworkInfo(reply.json()["Id"], spec.name, dict(spec.labels), spec.internal)
        if spec.internal:
            try:
                await self._close_off(spec.name)
            except EngineError:
                await self._undo_network(made)
                raise
        return made

    async def _close_off(self, name: str) -> None:
        path = podman_wire.NETWORK if self._podman else "/networks/{name}"
        reply = await self._api.call(
            "GET",
            path.format(name=segment(name)),
            Call(f"inspecting network {name}", Thing.NETWORK),
            absolute=self._podman,
        )
        if interface := bridge(reply.json()):
            await self._firewall.close_off(name, interface)

    async def _undo_network(self, made: NetworkInfo) -> None:
        await self.remove_network(made.name)

    async def networks(self, labels: Mapping[str, str] | None = None) -> list[NetworkInfo]:
        """All networks that carry all these labels (an empty value: any)."""
        path = f"/networks{query(filters=label_filter(labels or {}))}"
        reply = await self._api.call("GET", path, Call("listing networks"))
        found: list[NetworkInfo] = []
        for item in reply.json() or ():
            # The list does not say who is attached.
            call = Call(f"inspecting network {item['Name']}", Thing.NETWORK)
            try:
                one = await self._api.call("GET", f"/networks/{segment(item['Id'])}", call)
            except NetworkNotFound:
                continue
            found.append(network_info(one.json()))
        return found

    async def remove_network(self, name: str) -> None:
        """Remove a network; nothing if there is none."""
        await to_the_end(self._remove_network(name))

    async def _remove_network(self, name: str) -> None:
        call = Call(f"removing network {name}", Thing.NETWORK)
        await self._api.call("DELETE", f"/networks/{segment(name)}", call, accept=frozenset({404}))
        await self._firewall.forget(name)
