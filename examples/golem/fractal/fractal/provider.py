"""The side that computes: renders one tile, and ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from fractal.render import Picture, Tile, render
from lading.contracts.golem import Executor, ProviderAppHandler, ProviderTaskDir

RESULT = "tile.rgb"


class FractalProvider(ProviderAppHandler):
    """Renders tiles."""

    async def compute(
        self, task_work_dir: ProviderTaskDir, subtask_id: str, subtask_params: dict[str, Any]
    ) -> Path:
        """Render a tile into a file of its own."""
        picture = Picture.of(subtask_params["picture"])
        pixels = await Executor.run(render, picture, Tile(**subtask_params["tile"]))
        directory = task_work_dir.subtask_dir(subtask_id)
        directory.mkdir(exist_ok=True)
        (directory / RESULT).write_bytes(pixels)
        return Path(subtask_id, RESULT)

    async def run_benchmark(self, work_dir: Path) -> float:
        """Tell how many pixels of one picture it renders in a second."""
        return await Executor.run(pixels_a_second)


def pixels_a_second() -> float:
    """Render a small picture, and look at the clock."""
    picture = Picture(width=160, height=120)
    began = time.perf_counter()
    render(picture, Tile(0, 0, picture.width, picture.height))
    return picture.width * picture.height / (time.perf_counter() - began)
