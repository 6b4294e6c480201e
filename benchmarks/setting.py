"""What all measurements share: the engine, the probe, the load generator, and how thorough."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.images.build import ensure_probe

from benchmarks.docker_api import Api, Started
from benchmarks.executor import Executor, elsewhere, started
from benchmarks.load import Load, Target, compile_load, measure

__all__ = ["Setting", "open_setting"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """Where and how we measure.

    Parameters
    ----------
    engine : str
        Address of the container engine.
    api : Api
        A connection to it, for the main thread.
    image : str
        The task: the probe, a server in C.
    network : str
        A user-defined bridge of our own.
    label : str
        The value of ``lading.bench`` on everything that we make.
    load : Path
        The load generator.
    against : str
        Address of the executor to measure; empty: ours, started here.
    quick : bool
        Fewer rounds.
    say : callable
        Tells how far we are.
    """

    engine: str
    api: Api
    image: str
    network: str
    label: str
    load: Path
    against: str
    quick: bool
    say: Say

    def rounds(self, thorough: int, quick: int) -> int:
        """How often to repeat something."""
        return quick if self.quick else thorough

    def measure(self, target: Target, **how: Any) -> Load:
        """Load a target."""
        return measure(self.load, target, **how)

    @contextlib.contextmanager
    def executor(self, *flags: str) -> Iterator[Executor]:
        """The executor under test; flags are for ours only."""
        if self.against:
            yield elsewhere(self.against)
        else:
            with started(self.engine, *flags) as found:
                yield found

    @contextlib.contextmanager
    def container(self, *, network: str, cpus: float, memory_mib: int) -> Iterator[Started]:
        """A task container of our own, straight from the engine."""
        identity = self.create(self.api, network=network, cpus=cpus, memory_mib=memory_mib)
        try:
            yield self.api.start(identity)
        finally:
            self.api.remove(identity)

    def create(
        self, api: Api, *, cpus: float, memory_mib: int, network: str = "", image: str = ""
    ) -> str:
        """Make a container on our bridge."""
        return api.create(
            image or self.image,
            network=network or self.network,
            label=self.label,
            cpus=cpus,
            memory_mib=memory_mib,
        )

    def note_owner(self, executor: Executor, container: str) -> dict[str, Any]:
        """Look at a container of the executor, and remember by what label it has them."""
        found: dict[str, Any] = self.api.call("GET", f"/containers/{container}/json")
        if owner := (found["Config"].get("Labels") or {}).get("lading.owner"):
            executor.owners.add(owner)
        return found

    def describe(self) -> dict[str, str]:
        """Say on what and with what we measure."""
        about = self.api.call("GET", "/version")
        info = self.api.call("GET", "/info")
        parts = {part["Name"]: part.get("Version", "") for part in about.get("Components") or []}
        name = next((part for part in parts if "Podman" in part), "Docker")
        return {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "engine": f"{name} {about['Version']} (API {about['ApiVersion']}, "
            f"runtime {info.get('DefaultRuntime')}, storage {info.get('Driver')}, "
            f"cgroup v{info.get('CgroupVersion', '1')})",
            "machine": f"{os.cpu_count()} cores ({_cpu()}), "
            f"{info.get('MemTotal', 0) / (1 << 30):.0f} GiB, Linux {platform.release()}",
            "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
            "python": f"{platform.python_version()}, {_versions()}",
            "executor": self.against or f"lading serve, {_commit()}",
            "task": f"{self.image}: tests/images/probe.c, static, a thread a connection",
        }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "httptools"))


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown version"


@contextlib.contextmanager
def open_setting(engine: str, against: str, *, quick: bool) -> Iterator[Setting]:
    """Prepare everything, and remove everything at the end, whatever happens."""
    label = uuid.uuid4().hex[:12]
    network = f"lading-bench-{label}"
    with contextlib.ExitStack() as stack:
        api = Api(engine)
        stack.callback(api.close)
        image = ensure_probe(engine)
        stack.callback(_clean_up, api, label)
        api.call(
            "POST",
            "/networks/create",
            {"Name": network, "Driver": "bridge", "Labels": {"lading.bench": label}},
        )
        stack.callback(api.call, "DELETE", f"/networks/{network}", missing_ok=True)
        stack.callback(_clean_up, api, label)  # before its network
        yield Setting(
            engine=engine,
            api=api,
            image=image,
            network=network,
            label=label,
            load=compile_load(),
            against=against,
            quick=quick,
            say=lambda text: print(f"  {text}", file=sys.stderr, flush=True),
        )


def _clean_up(api: Api, label: str) -> None:
    for item in api.labelled(f"lading.bench={label}"):
        api.remove(item["Id"])
