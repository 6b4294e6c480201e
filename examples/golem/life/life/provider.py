"""The side that computes: one strip of the world, some generations further, and ends."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from lading.contracts.golem import Executor, ProviderAppHandler, ProviderTaskDir
from life.world import Strip, evolve, evolve_strip, read, write

RESULT = "rows.cells"


class LifeProvider(ProviderAppHandler):
    """Computes strips."""

    async def compute(
        self, task_work_dir: ProviderTaskDir, subtask_id: str, subtask_params: dict[str, Any]
    ) -> Path:
        """Read the rows that it is given, and write those that it is asked for."""
        given = task_work_dir.subtask_inputs_dir / subtask_params["file"]
        result = Path(subtask_id, RESULT)
        await Executor.run(_compute, given, task_work_dir / result, subtask_params)
        return result

    async def run_benchmark(self, work_dir: Path) -> float:
        """Tell how many millions of cells it computes in a second."""
        return await Executor.run(million_cells_a_second)


def _compute(given: Path, result: Path, params: dict[str, Any]) -> None:
    width = params["width"]
    rows = evolve_strip(
        read(given.read_text("utf-8"), width),
        Strip(*params["within"]),
        Strip(*params["wanted"]),
        width,
        params["generations"],
    )
    result.parent.mkdir(exist_ok=True)
    result.write_text(write(rows, width), "utf-8")


def million_cells_a_second() -> float:
    """Compute a small world, and look at the clock."""
    size, generations = 500, 20
    rows = [random.getrandbits(size) for _ in range(size)]
    began = time.perf_counter()
    evolve(rows, size, generations)
    return size * size * generations / 1e6 / (time.perf_counter() - began)
