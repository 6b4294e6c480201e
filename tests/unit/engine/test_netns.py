"""Network namespaces, real ones: takes root."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator

import pytest

from lading.engine.netns import dial, privileged, sockets_in


@pytest.fixture
def bare_namespace() -> Iterator[int]:
    """A namespace whose loopback interface is down, as a file descriptor."""
    if not privileged():
        pytest.skip("making a network namespace takes root")
    command = ["unshare", "-n", "sh", "-c", "echo here; exec sleep 60"]
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
