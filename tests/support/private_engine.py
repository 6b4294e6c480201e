"""A Docker of a test's own, that it may stop, kill and start again without harm to anybody."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support import engines

_START_S = 60.0


class PrivateDocker:
    """One dockerd, with folders and a socket of its own.

    It makes no bridge and touches no firewall rule, so its containers have no network, or closed
    ones.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.host = f"unix://{folder}/s"

    async def start(self) -> None:
        """Start it, with what it had before."""
        folder = self._folder
        (folder / "config.json").write_text("{}")
        with (folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "dockerd",
                f"--config-file={folder}/config.json",
                f"--data-root={folder}/data",
                f"--exec-root={folder}/exec",
                f"--pidfile={folder}/pid",
                f"--host={self.host}",
                *("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(_START_S):
            while await asyncio.to_thread(engines.kind, self.host) is None:
                assert self._process.returncode is None, (folder / "log").read_text()
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Stop it, and with it its containers."""
        if self._process is not None:
            self._process.terminate()
            await self._process.wait()
            self._process = None


@contextlib.asynccontextmanager
async def private_docker() -> AsyncIterator[PrivateDocker | None]:
    """A private Docker while the block runs; None where dockerd isn't installed."""
    if shutil.which("dockerd") is None:
        yield None
        return
    # A short path: a Unix socket's may have 108 bytes.
    with tempfile.TemporaryDirectory(prefix="lading-docker-", dir="/tmp") as folder:
        docker = PrivateDocker(Path(folder))
        try:
            await docker.start()
            yield docker
        finally:
            await docker.stop()
