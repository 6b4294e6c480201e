"""The networks of the fake engine: who is attached, and who reaches whom."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lading.engine.spec import Network, NetworkInfo, NetworkSpec
from lading.errors import EngineError, NameTaken, NetworkNotFound

if TYPE_CHECKING:
    from lading.testing.fake_container import ContainerState

__all__ = ["FakeNetworks"]

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class FakeNetworks:
    """Names, addresses and routes."""

    def __init__(self) -> None:
        self._specs: dict[str, NetworkSpec] = {}
        self._ids: dict[str, str] = {}
        self._hosts = itertools.count(2)

    def check(self, name: str) -> None:
        """Raise NetworkNotFound unless a container may be attached to it."""
        if name not in (*Network, *self._specs):
            raise NetworkNotFound(
                f"network {name} not found", status=404, fix="create it first, or check its name"
            )

    def create(self, spec: NetworkSpec) -> NetworkInfo:
        """Make a network; raises NameTaken."""
        if spec.name in (*Network, *self._specs):
            raise NameTaken(
                f"network with name {spec.name} already exists", status=409, fix="choose another"
            )
        self._specs[spec.name] = spec
        self._ids[spec.name] = secrets.token_hex(32)
        return self._info(spec, ())

    def list(self, containers: Iterable[ContainerState]) -> list[NetworkInfo]:
        """Describe all that were made, with who is attached."""
        everyone = list(containers)
        return [self._info(spec, everyone) for spec in self._specs.values()]

    def remove(self, name: str, containers: Iterable[ContainerState]) -> None:
        """Remove one by name or id; raises EngineError where containers are attached."""
        name = next((key for key, value in self._ids.items() if value == name), name)
        spec = self._specs.get(name)
        if spec is None:
            return
        attached = [state.name for state in containers if name in state.addresses]
        if attached:
            raise EngineError(
                f"network {name} is in use by {', '.join(attached)}",
                status=409,
                fix="remove these containers first",
            )
        del self._specs[name], self._ids[name]

    def attach(self, state: ContainerState) -> None:
        """Give a container its address; raises NetworkNotFound."""
        name = state.spec.network
        self.check(name)
        if name != Network.NONE:
            number = next(self._hosts)
            state.addresses[str(name)] = f"10.99.{number >> 8 & 255}.{number & 255}"

    def detach(self, state: ContainerState) -> None:
        """Take a container's address away."""
        state.addresses.clear()

    def route(
        self, source: ContainerState, host: str, containers: Iterable[ContainerState]
    ) -> ContainerState:
        """Find who a container reaches under a name or address; raises ConnectionError."""
        if host in _LOCAL or host in source.addresses.values():
            return source
        for state in containers:
            shared = source.addresses.keys() & state.addresses.keys()
            for name in shared:
                if host not in (state.addresses[name], state.name):
                    continue
                if (spec := self._specs.get(name)) is None or not spec.isolated:
                    return state
        raise ConnectionError(f"no route to {host}")

    def _info(self, spec: NetworkSpec, containers: Iterable[ContainerState]) -> NetworkInfo:
        return NetworkInfo(
            id=self._ids[spec.name],
            name=spec.name,
            labels=dict(spec.labels),
            internal=spec.internal,
            containers=tuple(state.id for state in containers if spec.name in state.addresses),
        )
