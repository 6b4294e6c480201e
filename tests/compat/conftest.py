"""What programs written for the originals have around them: an engine, a home, files, images."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.images.build import ensure_probe
from tests.support import engines
from tests.support.processing import Images, Tasks

from lading.run.ownership import PROCESS_LABEL

both_engines = pytest.mark.parametrize("engine_host", ["docker", "podman"], indirect=True)


@dataclass(frozen=True)
class Original:
    """`python3 -m task_api.cli` in a folder, on one engine."""

    engine: str
    state: Path
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "LADING_STATE": str(self.state), "DOCKER_HOST": self.engine}

    def __call__(self, words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Call it as a document prints it, without `python3 -m task_api.cli`."""
        return subprocess.run(
            [sys.executable, "-m", "task_api.cli", *words.split()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env=self.env,
            cwd=folder or self.folder,
        )

    def did(self, words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Call it, and see that it worked."""
        done = self(words, folder)
        assert done.returncode == 0, done.stderr
        return done

    def containers(self) -> list[dict[str, Any]]:
        """Those whose keeper has its lock in our state directory."""
        _, found = engines.call(self.engine, "GET", "/containers/json?all=1")
        return [
            item
            for item in found
            if (item.get("Labels") or {}).get("lading.lock", "").startswith(str(self.state))
        ]

    def end(self) -> None:
        """End the keepers whose tasks still run; what then is left fails the test."""
        for item in self.containers():
            pid = int(item["Labels"][PROCESS_LABEL].partition("@")[0])
            with contextlib.suppress(psutil.NoSuchProcess):
                keeper = psutil.Process(pid)
                keeper.terminate()
                psutil.wait_procs([keeper], 60)
        assert self.containers() == []


@pytest.fixture
def original(engine_host: str, tmp_path: Path) -> Iterator[Original]:
    folder = tmp_path / "work"
    folder.mkdir()
    made = Original(engine_host, tmp_path / "state", folder)
    yield made
    made.end()


@pytest.fixture
def here(original: Original, monkeypatch: pytest.MonkeyPatch) -> Original:
    """This process as such a program."""
    monkeypatch.setenv("LADING_STATE", str(original.state))
    monkeypatch.setenv("DOCKER_HOST", original.engine)
    monkeypatch.delenv("LADING_ENGINE", raising=False)
    monkeypatch.chdir(original.folder)
    return original


@pytest.fixture
def probe(engine_host: str) -> str:
    return ensure_probe(engine_host)


@pytest.fixture
def tasks(original: Original, probe: str) -> Tasks:
    """Writes task files with an inline template."""
    return Tasks(original.folder, probe)


@pytest.fixture
def images(engine_host: str, test_id: str) -> Iterator[Images]:
    made = Images(engine_host, test_id)
    yield made
    made.remove()
