"""Network namespaces, real ones: takes root."""

from __future__ import annotations

import asyncio
import os
import socket
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
