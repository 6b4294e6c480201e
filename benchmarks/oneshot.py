"""What commands that run once cost: a processing-container to its end, and a file validated."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.cold import in_turn
from benchmarks.figures import Figure
from benchmarks.setting import Setting

__all__ = [
    "WORDS",
    "installed",
    "program",
    "ratio",
    "run_figure",
    "task_of",
    "timed",
    "validate_figure",
]

_ORIGINAL_PYTHONS = 0.79 / 0.013
"""The original's time to validate a file, in starts of a Python: both were measured on one
machine (issue 3)."""
WORDS = ("echo", "hello")


def run_figure(setting: Setting) -> Iterator[Figure]:
    """Compare ``lading run --watch`` with ``docker run --rm`` of the same container."""
    docker = shutil.which("docker")
    if docker is None:
        yield Figure("run", None, "there is no docker command to compare with")
        return
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder, "task.json")
        task.write_text(json.dumps(task_of(setting.image)))
        env = installed(folder, LADING_STATE=f"{folder}/state", DOCKER_HOST=setting.engine)
        lading = program("lading")

        def ours() -> float:
            return timed([lading, "run", "--watch", str(task)], env)

        def theirs() -> float:
            return timed([docker, "run", "--rm", setting.image, *WORDS], env)

        rounds = setting.rounds(15, 5)
        setting.say(f"run: {rounds} pairs")
        mine, other = in_turn(rounds, ours, theirs)
    yield ratio("run", {"lading run --watch": mine, "docker run --rm": other})


def validate_figure(setting: Setting) -> Iterator[Figure]:
    """Compare ``lading validate`` with the original's time, told in starts of a Python."""
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder, "task.json")
        task.write_text(json.dumps(task_of(setting.image)))
        lading, env = program("lading"), installed(folder)
        rounds = setting.rounds(20, 5)
        setting.say(f"validate: {rounds} pairs")
        mine, python = in_turn(
            rounds,
            lambda: timed([lading, "validate", str(task)], env),
            lambda: timed([sys.executable, "-I", "-S", "-c", "pass"], env),
        )
    original = [seconds * _ORIGINAL_PYTHONS for seconds in python]
    yield ratio("validate", {"lading validate": mine, "the original, by Python's start": original})


def ratio(name: str, times: dict[str, Sequence[float]]) -> Figure:
    """Divide the medians of two series of seconds, ours first."""
    ours, theirs = (statistics.median(values) for values in times.values())
    parts = {f"{title}, median, ms": statistics.median(v) * 1000 for title, v in times.items()}
    return Figure(name, ours / theirs, parts=parts)


def timed(command: Sequence[str], env: dict[str, str]) -> float:
    """Run a command to its end, and return its seconds."""
    began = time.perf_counter()
    subprocess.run(command, env=env, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - began


def installed(folder: str, **more: str) -> dict[str, str]:
    """The environment of somebody whose Python keeps what it compiled, as installers leave it."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**own, "PYTHONPYCACHEPREFIX": f"{folder}/compiled", **more}


def program(name: str) -> str:
    """Find a program of our environment."""
    return str(Path(sys.executable).with_name(name))


def task_of(image: str) -> dict[str, object]:
    """Make a task that says hello."""
    return {
        "name": "bench",
        "image": image,
        "taskTemplate": {
            "identifier": "bench",
            "description": "Says hello.",
            "env": [{"name": "GREETING", "value": "hello"}],
            "inputs": [],
            "outputs": [],
            "command": ["/probe", *WORDS],
            "resources": {"limits": {"memory": "64Mi"}},
        },
    }
