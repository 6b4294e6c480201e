"""What a chain adds: independent steps, against as many ``docker run``, both two at a time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.cold import in_turn
from benchmarks.figures import Figure
from benchmarks.oneshot import ratio
from benchmarks.setting import Setting

__all__ = ["chain_figure"]

_STEPS, _AT_ONCE = 20, 2
_WORDS = ("write", "/out/result.txt", "hello")


def chain_figure(setting: Setting) -> Iterator[Figure]:
    """Compare ``lading run`` of 20 task files with 20 ``docker run --rm`` of the same container."""
    docker = shutil.which("docker")
    if docker is None:
        yield Figure("chain", None, "there is no docker command to compare with")
        return
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(_AT_ONCE) as crew:
        folder = Path(name)
        files = [_file(folder, number, setting.image) for number in range(_STEPS)]
        env = {**os.environ, "LADING_STATE": f"{folder}/state", "DOCKER_HOST": setting.engine}
        lading = str(Path(sys.executable).with_name("lading"))

        def ours() -> float:
            command = [lading, "run", *files, "--parallel", str(_AT_ONCE), "--quiet"]
            began = time.perf_counter()
            _do(command, env)
            return time.perf_counter() - began

        def one(number: int) -> None:
            mount = f"{_output(folder, number)}:/out"
            _do([docker, "run", "--rm", "-v", mount, setting.image, *_WORDS], env)

        def theirs() -> float:
            began = time.perf_counter()
            list(crew.map(one, range(_STEPS)))
            return time.perf_counter() - began

        rounds = setting.rounds(7, 2)
        setting.say(f"chain: {rounds} pairs")
        mine, other = in_turn(rounds, ours, theirs)
    yield ratio("chain", {"lading run, 20 steps": mine, "20 docker run --rm": other})


def _do(command: list[str], env: dict[str, str]) -> None:
    subprocess.run(command, env=env, check=True, stdin=subprocess.DEVNULL, capture_output=True)


def _output(folder: Path, number: int) -> Path:
    return folder / f"output-{number}"


def _file(folder: Path, number: int, image: str) -> str:
    output = _output(folder, number)
    output.mkdir()
    task = {
        "name": f"bench-{number}",
        "image": image,
        "taskTemplate": {
            "identifier": "bench",
            "description": "Writes a file.",
            "env": [],
            "inputs": [],
            "outputs": [{"name": "out", "mounted_path": "/out", "description": "The file."}],
            "command": ["/probe", *_WORDS],
            "resources": {"limits": {"memory": "64Mi"}},
        },
        "outputs": [{"name": "out", "volume_source": {"host_path": str(output)}}],
    }
    file = folder / f"step-{number}.json"
    file.write_text(json.dumps(task))
    return str(file)
