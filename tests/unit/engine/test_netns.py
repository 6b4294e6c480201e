"""Network namespaces, real ones: takes root."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
from collections.abc import Iterator

import pytest

from lading.engine.netns import dial, privileged, sockets_in


@pytest.fixture
def bare_namespace() -> Iterator[int]:
    """A namespace whose loopback interface is down, as a file descriptor."""
    yield from namespace("true")


@pytest.fixture
def narrow_namespace() -> Iterator[int]:
    """One in which a client's port is nearly always the one that a server is to have."""
    ports = "/proc/sys/net/ipv4/ip_local_port_range"
    yield from namespace(f"ip link set lo up && echo 50006 50007 > {ports}")


def namespace(preparation: str) -> Iterator[int]:
    if not privileged():
        pytest.skip("making a network namespace takes root")
    command = ["unshare", "-n", "sh", "-c", f"{preparation}; echo here; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        fd = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY)
        yield fd
        os.close(fd)
        process.kill()


_ERROR = (socket.SOL_SOCKET, socket.SO_ERROR)


async def test_a_loopback_interface_that_is_down(bare_namespace: int) -> None:
    """A container that is just being set up: whoever waits for it tries again."""
    made = await asyncio.to_thread(sockets_in, bare_namespace)
    with pytest.raises(ConnectionError, match="unreachable"):
        await dial(made, 8080)
    assert all(sock.fileno() < 0 for sock in made)


async def test_a_socket_is_never_connected_with_itself(narrow_namespace: int) -> None:
    """Nor does one that looks for a server keep it from its port."""
    for _ in range(20):
        made = await asyncio.to_thread(sockets_in, narrow_namespace)
        with pytest.raises(ConnectionError):
            await dial(made, 50006)
        assert all(sock.fileno() < 0 for sock in made)
    listener, *others = await asyncio.to_thread(sockets_in, narrow_namespace)
    for sock in others:
        sock.close()
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        listener.bind(("0.0.0.0", 50006))
        listener.listen()
        made = await asyncio.to_thread(sockets_in, narrow_namespace)
        (await dial(made, 50006)).close()


async def test_a_server_that_is_gone_as_soon_as_it_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a container is removed at that moment: no connection, and no other error."""
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)

        async def reset(sock: socket.socket, address: tuple[str, int]) -> None:
            await connect(sock, address)
            taken, _ = await loop.sock_accept(listener)
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            taken.close()
            while loop.time() < deadline and sock.getsockopt(*_ERROR) == 0:
                await asyncio.sleep(0.001)

        monkeypatch.setattr(loop, "sock_connect", reset)
        deadline = loop.time() + 5
        made = (socket.socket(),)
        made[0].setblocking(False)
        with pytest.raises(ConnectionError):
            await dial(made, listener.getsockname()[1])
        assert made[0].fileno() < 0
