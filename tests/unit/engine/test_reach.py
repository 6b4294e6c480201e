"""Which ways to a container are taken, and which are not because somebody else may be there."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lading.engine.docker_address import UnixDial
from lading.engine.docker_api import Api
from lading.engine.docker_door import DoorKeeper
from lading.engine.netns import NamespaceError, open_namespace, privileged
from lading.engine.reach import Reach
from lading.errors import NotSupported
from lading.http1 import Client

ID = "c0ffee" * 10 + "0000"


@pytest.fixture
def service() -> Iterator[socket.socket]:
    """Somebody who listens on an address of ours."""
    with socket.create_server(("127.0.0.2", 0)) as server:
        yield server


@pytest.fixture
async def reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reach:
    """From where namespaces can't be entered."""
    monkeypatch.setattr("lading.engine.docker_door.own_container", lambda: "")
    client = Client(UnixDial(str(tmp_path / "absent.sock")), host="engine", idle=1.0)
    return Reach(lambda: DoorKeeper(Api(client, "unix://absent", 1.0)), "it is far away")


def inspected(*, prefix: int) -> dict[str, Any]:
    """What an engine tells of a container on a network that has the service's address."""
    address = {"IPAddress": "127.0.0.2", "IPPrefixLen": prefix}
    return {
        "Id": ID,
        "Name": "/task",
        "State": {"Status": "running", "Pid": os.getpid()},
        "Config": {},
        "NetworkSettings": {"Networks": {"n": address}},
    }


async def test_a_network_that_we_are_on(reach: Reach, service: socket.socket) -> None:
    async def look() -> dict[str, Any]:
        return inspected(prefix=8)

    (await reach.connect(ID, service.getsockname()[1], look)).close()
    reach.close()


async def test_one_that_we_are_not_on_leads_to_somebody_else(
    reach: Reach, service: socket.socket
) -> None:
    async def look() -> dict[str, Any]:
        return inspected(prefix=32)

    with pytest.raises(NotSupported, match="on no network that we are on"):
        await reach.connect(ID, service.getsockname()[1], look)
    reach.close()


async def test_an_engine_whose_socket_is_forwarded_here(
    tmp_path: Path, service: socket.socket
) -> None:
    """Its containers' numbers and addresses mean others here: by ssh, which we recommend."""
    if not privileged():
        pytest.skip("looking into another's namespace takes root")
    client = Client(UnixDial(str(tmp_path / "absent.sock")), host="engine", idle=1.0)
    reach = Reach(lambda: DoorKeeper(Api(client, "unix://absent", 1.0)), "")

    async def look() -> dict[str, Any]:
        return inspected(prefix=8)

    with pytest.raises(NotSupported, match="the engine runs elsewhere"):
        await reach.connect(ID, service.getsockname()[1], look)
    reach.close()


@pytest.mark.parametrize("here", [True, False])
async def test_a_port_published_on_the_loopback_interface_of_another_machine(
    reach: Reach, service: socket.socket, here: bool
) -> None:
    host, port = service.getsockname()
    away = Reach(lambda: reach.doors, "it is far away", here=here)

    async def look() -> dict[str, Any]:
        found = inspected(prefix=32)
        bindings = {"8080/tcp": [{"HostIp": host, "HostPort": str(port)}]}
        return found | {"NetworkSettings": {"Ports": bindings}}

    if here:
        (await away.connect(ID, 8080, look)).close()
    else:
        with pytest.raises(NotSupported, match="takes root"):
            await away.connect(ID, 8080, look)
    away.close()


def test_a_process_of_the_same_number_is_not_the_containers() -> None:
    """The engine may be on another machine although its socket is here, by ssh for one."""
    if not privileged():
        pytest.skip("looking into another's namespace takes root")
    with pytest.raises(NamespaceError, match="the engine runs elsewhere") as caught:
        open_namespace(os.getpid(), ID)
    assert caught.value.foreign
