"""A real registry: Debian's `docker-registry`, on a free port of the loopback interface.

It keeps what it has in a folder, so it may be killed and started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import tempfile
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lading.engine import Engine
from lading.engine.discovery import open_engine
from lading.settings import EngineOptions

INSTALL = "docker-registry is not installed: apt-get install docker-registry"
LOGIN = ("me", "s3cret:with:colons")
# bcrypt of that password, as `htpasswd -B` writes it.
_HTPASSWD = "me:$2y$05$abcdefghijklmnopqrstuu4Q8xTrgjpfgc6JAW05bPlTJQ8JfbGq6\n"
_SECONDS = 30.0


@dataclass
class DockerRegistry:
    """One registry; `port` and what it stores stay the same over a restart.

    Parameters
    ----------
    folder
        Where it keeps everything.
    port
        Of 127.0.0.1.
    login
        Whether it wants `LOGIN`.
    read_only
        Whether it refuses whatever is put there.
    """

    folder: Path
    port: int
    login: bool = False
    read_only: bool = False
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def host(self) -> str:
        """What names in it begin with."""
        return f"127.0.0.1:{self.port}"

    def repository(self, name: str) -> Path:
        """Where it keeps a repository."""
        return self.folder / "data/docker/registry/v2/repositories" / name

    def tags(self, name: str) -> list[str]:
        """The tags of a repository that are whole, as the disk has them."""
        folder = self.repository(name) / "_manifests/tags"
        links = folder.glob("*/current/link")
        return sorted(link.parent.parent.name for link in links)

    def uploading(self, name: str) -> int:
        """Bytes of uploads that are under way in a repository."""
        with contextlib.suppress(FileNotFoundError):
            uploads = (self.repository(name) / "_uploads").glob("*/data")
            return sum(path.stat().st_size for path in uploads)
        return 0

    def manifest(self, name: str, version: str) -> tuple[str, dict[str, object]]:
        """Ask it for a manifest: its digest, and itself."""
        request = urllib.request.Request(f"http://{self.host}/v2/{name}/manifests/{version}")
        kinds = ("docker.distribution.manifest.v2", "oci.image.manifest.v1")
        request.add_header("Accept", ", ".join(f"application/vnd.{kind}+json" for kind in kinds))
        if self.login:
            request.add_header("Authorization", f"Basic {_basic()}")
        with urllib.request.urlopen(request, timeout=_SECONDS) as reply:
            return reply.headers["Docker-Content-Digest"], json.load(reply)

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        config = self.folder / "config.yml"
        lines = [
            "version: 0.1",
            "log: {level: warn}",
            "storage:",
            f"  filesystem: {{rootdirectory: {self.folder}/data}}",
            "  delete: {enabled: true}",
            f"  maintenance: {{readonly: {{enabled: {str(self.read_only).lower()}}}}}",
            f"http: {{addr: '{self.host}', secret: tests}}",
        ]
        if self.login:
            (self.folder / "htpasswd").write_text(_HTPASSWD)
            lines.append(f"auth: {{htpasswd: {{realm: tests, path: {self.folder}/htpasswd}}}}")
        config.write_text("\n".join(lines) + "\n")
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "docker-registry", "serve", str(config),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        async with asyncio.timeout(_SECONDS):
            # What is being started has nothing to wait on but its port.
            while not await asyncio.to_thread(self._answers):
                assert self._process.returncode is None, (self.folder / "log").read_text()
                await asyncio.sleep(0.02)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self.host}/v2/", timeout=_SECONDS).close()
        except urllib.error.HTTPError as error:
            error.close()
            return error.code == 401
        except OSError:
            return False
        return True

    async def kill(self) -> None:
        """End it in the middle of whatever it does."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def docker_registry(
    *, login: bool = False, read_only: bool = False
) -> AsyncIterator[DockerRegistry]:
    """Run a registry while the block runs; skips where there is none."""
    if shutil.which("docker-registry") is None:
        pytest.skip(INSTALL)
    folder = Path(tempfile.mkdtemp(prefix="lading-r-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    registry = DockerRegistry(folder, port, login, read_only)
    try:
        await registry.start()
        yield registry
    finally:
        await registry.kill()
        await asyncio.to_thread(shutil.rmtree, folder)


def log_in(folder: Path, registry: DockerRegistry, password: str = LOGIN[1]) -> None:
    """Write what `docker login` leaves in its folder."""
    auth = b64encode(f"{LOGIN[0]}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))


@contextlib.asynccontextmanager
async def engine_of_a_stranger(host: str, config: Path) -> AsyncIterator[Engine]:
    """Open an engine with no credentials but those that a test writes to `config`."""
    env = {"DOCKER_CONFIG": str(config), "PATH": os.environ["PATH"]}
    async with await open_engine(EngineOptions(host), env) as client:
        yield client


def _basic() -> str:
    return b64encode(":".join(LOGIN).encode()).decode()
