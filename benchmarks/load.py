"""The load generator: `load.c`, compiled once, and what it tells."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Load", "Target", "compile_load"]

_SOURCE = Path(__file__).with_name("load.c")


@dataclass(frozen=True)
class Target:
    """Where requests go.

    Parameters
    ----------
    name : str
    address, port
        IPv4.
    request : bytes
        The whole request, head and body.
    expect : str
        What a reply must hold to count.
    namespace : str
        ``/proc/PID/ns/net`` of a container without a network; empty for our own.
    """

    name: str
    address: str
    port: int
    request: bytes
    expect: str
    namespace: str = ""


@dataclass(frozen=True)
class Load:
    """What one run of the generator found; times in microseconds."""

    replies: int
    failed: int
    seconds: float
    mean_us: float
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float

    @property
    def rate(self) -> float:
        """Replies a second."""
        return self.replies / self.seconds


class LoadError(Exception):
    """The generator could not be compiled, or gave up."""


def compile_load() -> Path:
    """Compile the generator, once per version of its source.

    Raises
    ------
    LoadError
        There is no C compiler, or it failed.
    """
    if shutil.which("gcc") is None:
        raise LoadError("gcc is not installed: apt-get install gcc libc6-dev")
    cache = Path(tempfile.gettempdir()) / f"lading-bench-{os.getuid()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    if cache.stat().st_uid != os.getuid():
        raise LoadError(f"{cache} belongs to another user; remove it")
    program = cache / f"load-{hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:16]}"
    if not program.exists():
        aside = program.with_suffix(f".{os.getpid()}")
        done = subprocess.run(
            ["gcc", "-O2", "-o", str(aside), str(_SOURCE)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LoadError(f"gcc could not compile {_SOURCE.name}:\n{done.stderr}")
        aside.rename(program)
    return program


def measure(
    program: Path,
    target: Target,
    *,
    connections: int = 1,
    replies: int = 0,
    seconds: float = 0.0,
    warm_up: int = 0,
) -> Load:
    """Load a target until so many replies have come, or for so many seconds.

    Raises
    ------
    LoadError
        It failed a thousand times in a row, or more than one call in a hundred failed.
    """
    command = [str(program), "-a", target.address, "-p", str(target.port), "-e", target.expect]
    command += ["-c", str(connections), "-w", str(warm_up)]
    command += ["-n", str(replies)] if replies else ["-s", str(seconds)]
    command += ["-N", target.namespace] if target.namespace else []
    done = subprocess.run(
        command, input=target.request, capture_output=True, timeout=seconds + 120, check=False
    )
    if done.returncode:
        raise LoadError(f"{target.name}: {done.stderr.decode(errors='replace').strip()}")
    found = Load(**json.loads(done.stdout))
    if found.failed * 100 > found.replies:
        text = done.stderr.decode(errors="replace").strip()
        raise LoadError(f"{target.name}: {found.failed} of {found.replies} calls failed: {text}")
    return found
