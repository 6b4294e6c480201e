from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.conformance.conftest import Make
from tests.conformance.differences import Unlike
from tests.support.containers import call, ready

from lading.engine import Container, Engine, Network, NetworkInfo, NetworkSpec
from lading.errors import EngineError, NameTaken, NotSupported

MakeNetwork = Callable[..., Awaitable[NetworkInfo]]


@pytest.fixture
async def make_network(
    engine: Engine, network_name: str, test_labels: dict[str, str]
) -> AsyncIterator[MakeNetwork]:
    names: list[str] = []

    async def make_one(
        suffix: str = "", *, internal: bool = False, isolated: bool = False
    ) -> NetworkInfo:
        spec = NetworkSpec(
            f"{network_name}{suffix}", labels=test_labels, internal=internal, isolated=isolated
        )
        made = await engine.create_network(spec)
        names.append(spec.name)
        return made

    yield make_one
    for name in names:
        await engine.remove_network(name)


@pytest.fixture
def isolates(engine_kind: str) -> bool:
    """Whether the engine can keep the containers of one network apart."""
    return engine_kind != "podman"


@pytest.fixture
async def make(make_network: MakeNetwork, make: Make) -> Make:
    """Containers are removed before their network."""
    return make


async def test_made_listed_and_removed(
    engine: Engine, make_network: MakeNetwork, network_name: str, test_labels: dict[str, str]
) -> None:
    made = await make_network(internal=True)
    assert made.name == network_name
    assert made.internal
    listed = await engine.networks(test_labels)
    assert [(info.id, info.name) for info in listed] == [(made.id, network_name)]
    assert listed[0].labels["lading.test"] == test_labels["lading.test"]
    assert [info.id for info in await engine.networks({"lading.test": ""}) if info.id == made.id]
    assert made.id in {info.id for info in await engine.networks()}
    assert await engine.networks({**test_labels, "other": ""}) == []
    await engine.remove_network(network_name)
    assert await engine.networks(test_labels) == []
    await engine.remove_network(network_name)


async def test_a_taken_name(engine: Engine, make_network: MakeNetwork, network_name: str) -> None:
    await make_network()
    with pytest.raises(NameTaken, match=network_name):
        await make_network()


async def test_in_use_it_can_not_be_removed(
    engine: Engine,
    make_network: MakeNetwork,
    make: Make,
    network_name: str,
    test_labels: dict[str, str],
) -> None:
    await make_network()
    container = await make("sleep", "60", network=network_name)
    assert network_name in (await container.inspect()).networks
    [listed] = await engine.networks(test_labels)
    assert listed.containers == (container.id,)
    with pytest.raises(EngineError, match=network_name):
        await engine.remove_network(network_name)
    await container.remove()


async def test_reached_without_a_network(make: Make) -> None:
    container = await make(network=Network.NONE, ports=(8080,))
    await ready(container)
    assert await call(container, b"hello") == (200, b"hello")


@pytest.mark.parametrize("internal", [False, True])
async def test_reached_on_a_network(
    make_network: MakeNetwork, make: Make, network_name: str, internal: bool, isolates: bool
) -> None:
    await make_network(internal=internal, isolated=isolates)
    container = await make(network=network_name, ports=(8080,))
    await ready(container)
    assert await call(container, b"hello") == (200, b"hello")


async def test_reached_on_the_default_network(make: Make) -> None:
    container = await make(ports=(8080,))
    await ready(container)
    assert await call(container, b"hello") == (200, b"hello")


@pytest.mark.parametrize("network", [Network.NONE, Network.DEFAULT])
async def test_nothing_listens(make: Make, network: Network) -> None:
    container = await make("serve", "--no-listen", network=network, ports=(8080,))
    await ready(container)
    with pytest.raises(ConnectionError):
        await call(container, b"")
    await container.kill()
    await container.wait()
    with pytest.raises(ConnectionError):
        await container.connect(8080)


async def test_before_the_start_nothing_listens(make: Make) -> None:
    container = await make(ports=(8080,), start=False)
    with pytest.raises(ConnectionError):
        await container.connect(8080)


async def _dials(
    make: Make, network: str, server: Container, *, expected: int, unlike: Unlike
) -> None:
    """See whether a container that connects to a server can do so: exit code 0, or 7 if not."""
    [address] = (await server.inspect()).networks.values()
    client = await make("connect", address, "8080", network=network)
    code = (await client.wait()).code
    # The server was there all the time.
    assert await call(server, b"x") == (200, b"x")
    if code == 0 and expected and unlike("networks are policies"):
        pytest.skip("this cluster's network plugin enforces no network policies")
    assert code == expected


@pytest.mark.parametrize(("isolated", "code"), [(False, 0), (True, 7)])
async def test_isolated_containers_do_not_reach_each_other(
    make_network: MakeNetwork,
    make: Make,
    network_name: str,
    isolated: bool,
    code: int,
    isolates: bool,
    unlike: Unlike,
) -> None:
    if isolated and not isolates:
        with pytest.raises(NotSupported, match=network_name):
            await make_network(isolated=True)
        return
    await make_network(isolated=isolated)
    server = await make(network=network_name, ports=(8080,))
    await ready(server)
    await _dials(make, network_name, server, expected=code, unlike=unlike)


@pytest.mark.parametrize("internal", [False, True])
async def test_containers_of_two_networks_do_not_reach_each_other(
    make_network: MakeNetwork, make: Make, network_name: str, internal: bool, unlike: Unlike
) -> None:
    for suffix in ("a", "b"):
        await make_network(suffix, internal=internal)
    server = await make(network=f"{network_name}a", ports=(8080,))
    await ready(server)
    await _dials(make, f"{network_name}b", server, expected=7, unlike=unlike)


async def test_sealed_off_it_reaches_nobody(make: Make, unlike: Unlike) -> None:
    server = await make(ports=(8080,))
    await ready(server)
    await _dials(make, Network.NONE, server, expected=7, unlike=unlike)


async def test_a_connection_breaks_when_the_container_is_killed(make: Make) -> None:
    container = await make(network=Network.NONE, ports=(8080,))
    await ready(container)
    with pytest.raises(ConnectionError):
        await call(container, {"exit": 3})
    assert (await container.wait()).code == 3


async def test_connected_to_by_many_at_once_and_while_it_is_removed(make: Make) -> None:
    """What is kept for a container is let go with it, however many found it at once."""
    container = await make(network=Network.NONE, ports=(8080,))
    await ready(container)

    async def connects() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                (await container.connect(8080)).close()

    for sock in await asyncio.gather(*(container.connect(8080) for _ in range(4))):
        sock.close()
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(connects())
        await container.remove()


async def test_a_megabyte_reply(make: Make) -> None:
    container = await make(network=Network.NONE, ports=(8080,))
    await ready(container)
    assert await call(container, {"big": 1 << 20}) == (200, b"x" * (1 << 20))
