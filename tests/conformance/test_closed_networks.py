"""Internal networks and the engine's host: on real engines only, the fake has no host.

By themselves both engines leave the bridge's address on the host open to what is on it (Podman the
link-local IPv6 one as well); our driver closes it with a rule of the host's packet filter. Podman
with CNI gives the bridge of an internal network no IPv4 address: nobody is reached there anyway.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.conformance.conftest import Make
from tests.support import engines
from tests.support.containers import ready

from lading.engine import Engine, NetworkSpec
from lading.errors import EngineError, NameTaken

pytestmark = [
    pytest.mark.parametrize("engine_kind", ["docker", "podman"]),
    pytest.mark.skipif(shutil.which("iptables") is None, reason="iptables is not installed"),
]

NOWHERE = "0.0.0.0"
"""The container itself, which listens on nothing."""


@pytest.fixture
async def closed(
    engine: Engine, network_name: str, test_labels: dict[str, str]
) -> AsyncIterator[str]:
    """The name of an internal network."""
    await engine.create_network(NetworkSpec(network_name, labels=test_labels, internal=True))
    yield network_name
    await engine.remove_network(network_name)
    assert _rules(network_name) == []


@pytest.fixture
async def opened(
    engine: Engine, network_name: str, test_labels: dict[str, str]
) -> AsyncIterator[str]:
    """The name of one that is not internal."""
    name = f"{network_name}-open"
    await engine.create_network(NetworkSpec(name, labels=test_labels))
    assert _rules(name) == []
    yield name
    await engine.remove_network(name)


@pytest.fixture
async def make(closed: str, opened: str, make: Make) -> Make:
    """Containers are removed before their networks."""
    return make


@pytest.fixture
def host(request: pytest.FixtureRequest, engine_kind: str) -> str:
    """The engine's address."""
    return str(request.getfixturevalue(f"{engine_kind}_host"))


@pytest.fixture
def service() -> Iterator[int]:
    """A port of the host that listens on all addresses."""
    with socket.create_server(("", 0), backlog=8) as server:
        yield server.getsockname()[1]


def _rules(network: str) -> list[str]:
    """Every rule of the host's packet filter that names a network, with its program."""
    found = []
    for program in ("iptables", "ip6tables"):
        saved = subprocess.run([f"{program}-save"], capture_output=True, text=True, check=True)
        found += [
            f"{program} {line}" for line in saved.stdout.splitlines() if f':{network}"' in line
        ]
    return found


def _gateway(host: str, network: str) -> str:
    """The host's IPv4 address on a network, or 0.0.0.0 where it has none."""
    _, found = engines.call(host, "GET", f"/networks/{network}")
    address = found["IPAM"]["Config"][0].get("Gateway", NOWHERE)
    return NOWHERE if address == "<nil>" else str(address)


async def _dials(make: Make, network: str, address: str, port: int) -> int:
    """Exit code of a task that connects there: 0 if it could, 7 if not."""
    client = await make("connect", address, str(port), network=network)
    return (await client.wait()).code


async def test_the_host_is_out_of_reach(
    make: Make, host: str, closed: str, opened: str, service: int
) -> None:
    assert await _dials(make, opened, _gateway(host, opened), service) == 0
    assert await _dials(make, closed, _gateway(host, closed), service) == 7


async def test_so_are_ports_that_others_published_there(
    make: Make, engine: Engine, host: str, closed: str, opened: str, test_labels: dict[str, str]
) -> None:
    status, made = engines.call(
        host,
        "POST",
        "/containers/create",
        {
            "Image": "lading-test/probe:1",
            "Labels": test_labels,
            "ExposedPorts": {"8080/tcp": {}},
            "HostConfig": {"PortBindings": {"8080/tcp": [{"HostIp": "", "HostPort": ""}]}},
        },
    )
    assert status == 201, made
    other = await engine.container(made["Id"])
    try:
        await other.start()
        await ready(other)
        _, found = engines.call(host, "GET", f"/containers/{other.id}/json")
        port = int(found["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"])
        assert await _dials(make, opened, _gateway(host, opened), port) == 0
        assert await _dials(make, closed, _gateway(host, closed), port) == 7
    finally:
        await other.remove()


async def test_the_host_still_reaches_them(make: Make, closed: str, engine_kind: str) -> None:
    server = await make(network=closed)
    await ready(server)
    [address] = (await server.inspect()).networks.values()
    # By the network, not by the namespace as Container.connect does.
    _, writer = await asyncio.open_connection(address, 8080)
    writer.close()
    await writer.wait_closed()
    # And they reach each other: internal is not isolated. (Podman's internal networks need a packet
    # filter for it that forwards by default, which a host with Docker has not.)
    if engine_kind == "docker":
        assert await _dials(make, closed, address, 8080) == 0


async def test_closed_again_after_a_boot_of_the_host(
    engine: Engine, make: Make, host: str, closed: str, service: int
) -> None:
    rules = _rules(closed)
    assert [rule.split()[0] for rule in rules] == ["iptables", "ip6tables"]
    for rule in rules:  # a boot takes all rules away, and leaves networks
        program, _, words = rule.replace('"', "").partition(" -A ")
        subprocess.run([program, "-w", "-t", "mangle", "-D", *words.split()], check=True)
    address = _gateway(host, closed)
    assert await _dials(make, closed, address, service) == (7 if address == NOWHERE else 0)
    for _ in range(2):  # and only one rule of each kind
        with pytest.raises(NameTaken):
            await engine.create_network(NetworkSpec(closed, internal=True))
    assert _rules(closed) == rules
    assert await _dials(make, closed, address, service) == 7


async def test_what_is_not_internal_is_not_closed(engine: Engine, opened: str) -> None:
    with pytest.raises(NameTaken):
        await engine.create_network(NetworkSpec(opened, internal=True))
    assert _rules(opened) == []


async def test_a_network_that_others_removed(engine: Engine, host: str, closed: str) -> None:
    assert _rules(closed)
    engines.call(host, "DELETE", f"/networks/{closed}")
    assert _rules(closed)  # until the next sweep, or whoever made it
    await engine.remove_network(closed)
    assert _rules(closed) == []


async def test_in_use_it_stays_closed(engine: Engine, make: Make, closed: str) -> None:
    await make("sleep", "60", network=closed)
    with pytest.raises(EngineError):
        await engine.remove_network(closed)
    assert len(_rules(closed)) == 2


async def test_a_cancelled_creation_leaves_no_rule(
    engine: Engine, network_name: str, test_labels: dict[str, str]
) -> None:
    for turns in (1, 3, 6, 10):
        spec = NetworkSpec(f"{network_name}c", labels=test_labels, internal=True)
        making = asyncio.create_task(engine.create_network(spec))
        for _ in range(turns):
            await asyncio.sleep(0)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        assert _rules(spec.name) == []
        assert await engine.networks(test_labels) == []
