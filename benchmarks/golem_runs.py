"""Subtasks in containers, one and two hundred, against `docker run` of the same work."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.images.golem import GolemImageError, ensure_golem_image

from benchmarks.figures import Figure
from benchmarks.oneshot import ratio
from benchmarks.setting import Setting
from lading.cli.run_processing import ours
from lading.contracts.golem.driver.container import Place
from lading.contracts.golem.driver.nodes import Node, Work
from lading.contracts.golem.driver.provider import ContainerProviders
from lading.contracts.golem.driver.room import ProviderRoom
from lading.engine.discovery import open_engine
from lading.settings import EngineOptions

__all__ = ["subtask_figure", "subtasks_figure"]

_APP = Path(__file__).parents[1] / "examples/golem/fractal"
_TILE = {"left": 0, "top": 0, "width": 20, "height": 20}
_PICTURE: dict[str, Any] = {"width": 400, "height": 200, "tiles": 200, "iterations": 100}
_NODES = 4
_ALONE = """
import json, sys
from pathlib import Path
from fractal.render import Picture, Tile, render
picture, tile = (json.loads(text) for text in sys.argv[1:3])
folder = Path("/golem/work", sys.argv[3])
folder.mkdir(exist_ok=True)
(folder / "tile.rgb").write_bytes(render(Picture.of(picture), Tile(**tile)))
"""
"""What the provider's side computes, without it: Python starts, and gRPC is not loaded."""


def subtask_figure(setting: Setting) -> Iterator[Figure]:
    """Compare one subtask in its container with `docker run --rm` that computes the same."""
    docker = shutil.which("docker")
    if docker is None:
        yield Figure("subtask", None, "there is no docker command to compare with")
        return
    image = _image(setting)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for one in ("ours", "theirs"):
            (folder / one / "subtask_inputs").mkdir(parents=True)
        rounds = setting.rounds(20, 6)
        setting.say(f"subtask: {rounds} pairs")
        mine, other = asyncio.run(_subtasks(setting, docker, image, folder, rounds))
    yield ratio("subtask", {"one subtask": mine, "docker run --rm": other})


async def _subtasks(
    setting: Setting, docker: str, image: str, folder: Path, rounds: int
) -> tuple[list[float], list[float]]:
    """Both in turn, from one event loop that has all loaded, as a driver has."""
    got: tuple[list[float], list[float]] = ([], [])
    node = Node(1, "0" * 32, folder / "ours")
    repository, _, tag = image.rpartition(":")
    async with await open_engine(EngineOptions(engine=setting.engine)) as engine:
        with ours(folder / "state") as (owner, records):
            place = Place(engine, await engine.info(), owner, records)
            providers = ContainerProviders(
                place, ProviderRoom(place.info), engine.image, app="bench"
            )
            for number in range(rounds + 1):
                work = Work(
                    "bench",
                    f"subtask-{number}",
                    {"picture": _PICTURE, "tile": _TILE},
                    (),
                    "docker_cpu",
                    {"image": repository, "tag": tag},
                    0.0,
                )
                command = _alone(docker, image, folder / "theirs", f"subtask-{number}", _TILE)
                for which in (0, 1) if number % 2 else (1, 0):
                    began = time.perf_counter()
                    if which == 0:
                        await providers.compute(node, work, deadline=60.0)
                        got[0].append(time.perf_counter() - began)
                        await providers.close()  # not while the other one is measured
                    else:
                        await asyncio.to_thread(_do, command, _environment(setting))
                        got[1].append(time.perf_counter() - began)
    return got[0][1:], got[1][1:]


def subtasks_figure(setting: Setting) -> Iterator[Figure]:
    """Compare a task of 200 subtasks on 4 nodes with 200 `docker run --rm`, four at a time."""
    docker = shutil.which("docker")
    if docker is None:
        yield Figure("subtasks", None, "there is no docker command to compare with")
        return
    image, env = _image(setting), _environment(setting)
    count = 50 if setting.quick else 200
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(_NODES) as crew:
        folder = Path(name)
        env["LADING_STATE"] = f"{folder}/state"
        (folder / "theirs").mkdir()
        numbers = itertools.count()

        def mine(tiles: int) -> float:
            command = [
                str(Path(sys.executable).with_name("lading")), "golem", "run", image, "--quiet",
                "--params", json.dumps({**_PICTURE, "tiles": tiles}),
                "--output", str(folder / f"output-{next(numbers)}"),
                "--nodes", str(_NODES), "--max-subtasks", str(tiles),
            ]  # fmt: skip
            return _timed(lambda: _do(command, env))

        def theirs(tiles: int) -> float:
            parts = _tiles(tiles)
            assert len(parts) == tiles
            return _timed(lambda: list(crew.map(one, parts)))

        def one(tile: dict[str, int]) -> None:
            subtask = f"{tile['left']}-{tile['top']}"
            _do(_alone(docker, image, folder / "theirs", subtask, tile), env)

        mine(2 * _NODES)
        theirs(2 * _NODES)
        rounds = setting.rounds(2, 1)
        setting.say(f"subtasks: {rounds} pairs of {count}")
        taken, other = [], []
        for number in range(rounds):
            for ours_now in (False, True) if number % 2 else (True, False):
                if ours_now:
                    taken.append(mine(count))
                else:
                    other.append(theirs(count))
    found = ratio("subtasks", {"the task": taken, "docker run --rm": other})
    each = statistics.median(taken) * _NODES / count * 1000
    found.parts["a subtask, of 4 at once, ms"] = each
    yield found


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _image(setting: Setting) -> str:
    try:
        return ensure_golem_image(setting.engine, _APP)
    except GolemImageError as error:
        raise OSError(f"the fractal's image: {error}") from error


def _tiles(count: int) -> list[dict[str, int]]:
    sys.path.insert(0, str(_APP))
    try:
        from fractal.render import Picture, tiles  # type: ignore[import-not-found]  # noqa: PLC0415
    finally:
        sys.path.remove(str(_APP))
    return [asdict(tile) for tile in tiles(Picture.of({**_PICTURE, "tiles": count}), count)]


def _alone(docker: str, image: str, folder: Path, subtask: str, tile: dict[str, int]) -> list[str]:
    return [
        docker, "run", "--rm", "--user", f"{os.getuid()}:{os.getgid()}",
        "--volume", f"{folder}:/golem/work", "--entrypoint", "python", image,
        "-c", _ALONE, json.dumps(_PICTURE), json.dumps(tile), subtask,
    ]  # fmt: skip


def _environment(setting: Setting) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**own, "DOCKER_HOST": setting.engine}


def _do(command: list[str], env: dict[str, str]) -> None:
    subprocess.run(command, env=env, check=True, stdin=subprocess.DEVNULL, capture_output=True)
