"""A Docker engine of a test's own, that may be stopped, started and configured."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support import engines

_SECONDS = 60.0


@dataclass
class PrivateDockerd:
    """One engine; ``host`` and what it stores stay the same over a restart."""

    folder: Path
    config: dict[str, Any]
    listen: str = ""
    arguments: tuple[str, ...] = ()
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def bridge(self) -> str:
        """The bridge that it takes for its own.

        Not `none`: dockerd then removes `docker0`, which belongs to the machine's real engine.
        """
        return f"ldg{self.folder.name[-8:]}"

    @property
    def host(self) -> str:
        """Its address."""
        return f"unix://{self.folder}/engine.sock"

    @property
    def pid(self) -> int:
        """Its process; it must run."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "log").read_text(errors="replace")

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        config = self.folder / "daemon.json"
        config.write_text(json.dumps(self.config))
        hosts = ["-H", self.host, *(["-H", self.listen] if self.listen else [])]
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "dockerd", *hosts, *self.arguments,
                "--config-file", str(config), "--data-root", str(self.folder / "data"),
                "--exec-root", str(self.folder / "exec"), "--pidfile", str(self.folder / "pid"),
                f"--bridge={self.bridge}", "--iptables=false", "--ip6tables=false",
                "--ip-forward=false",
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                # On a full machine its containerd is told to dump its stacks, to a file there.
                env={**os.environ, "TMPDIR": str(self.folder)},
            )  # fmt: skip
        async with asyncio.timeout(_SECONDS):
            # A daemon that is being started has nothing to wait on but its socket.
            while await asyncio.to_thread(engines.kind, self.host) is None:
                assert self._process.returncode is None, f"dockerd ended:\n{self.log[-2000:]}"
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Stop it as an operator would; its containers end, too."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            async with asyncio.timeout(_SECONDS):
                await process.wait()


@contextlib.asynccontextmanager
async def private_dockerd(
    config: dict[str, Any] | None = None, *, listen: str = "", arguments: tuple[str, ...] = ()
) -> AsyncIterator[PrivateDockerd]:
    """Run an engine of one's own while the block runs; skips where that can't be.

    Parameters
    ----------
    config : dict
        What its ``daemon.json`` says.
    listen : str
        A second address, such as ``tcp://127.0.0.1:12345``.
    arguments : tuple of str
        More of its command line.
    """
    if not (shutil.which("dockerd") and shutil.which("ip")) or os.geteuid() != 0:
        pytest.skip("an engine of one's own takes dockerd, ip, and root")
    # A short path, and not under a test's folder: a Unix socket's may have 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="lading-d-", dir="/tmp"))
    engine = PrivateDockerd(folder, config or {}, listen, arguments)
    await _ip("link", "add", engine.bridge, "type", "bridge")
    try:
        # An address of the range for tests of networks (RFC 2544): nobody's route leads there.
        await _ip("addr", "add", f"198.18.{os.getpid() % 250}.1/28", "dev", engine.bridge)
        await engine.start()
        yield engine
    finally:
        await engine.stop()
        await _ip("link", "del", engine.bridge)
        await asyncio.to_thread(_remove, folder)


async def _ip(*words: str) -> None:
    process = await asyncio.create_subprocess_exec("ip", *words)
    assert await process.wait() == 0, f"ip {' '.join(words)} failed"


def _remove(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        os.spawnlp(os.P_WAIT, "umount", "umount", "-l", mount)
    shutil.rmtree(folder)
