"""``lading run --detach``: a processing-container is started, and left to its keeper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lading.cli import loop, printing
from lading.cli.run_processing import (
    changes_of,
    circumstances_of,
    image_of,
    ours,
    placed,
    task_of,
)
from lading.contracts.processing.instances import find_instance
from lading.errors import InputError
from lading.settings import EngineOptions, state_directory

if TYPE_CHECKING:
    from lading.cli.run_options import Order, RunOptions
    from lading.contracts.processing.detached import Started
    from lading.contracts.processing.instances import Changes
    from lading.contracts.processing.planning import Circumstances
    from lading.contracts.processing.task import Task

__all__ = ["run_detached"]


def run_detached(order: Order) -> int:
    """Start a processing-container, and write the run's id once it runs.

    Returns
    -------
    int
        0: it runs.
    """
    options, wanted = order.options, order.wanted
    for flag, given in (("--watch", wanted.watch), ("--monitor", wanted.monitor)):
        if given:
            raise InputError(
                flag,
                "tells of a run until it ends, and --detach does not wait for that",
                fix="`lading logs --follow` shows its log, `lading inspect` what it used",
            )
    changes, task = changes_of(options, wanted), task_of(order.tasks, options, wanted)
    folder = Path(order.tasks[0]) if Path(order.tasks[0]).is_dir() else None
    circumstances = circumstances_of(options, order.timeout)
    started = loop.run(
        lambda _signals: _launch(
            task,
            changes,
            options,
            engine_options=order.engine,
            circumstances=circumstances,
            folder=folder,
        )
    )
    for note in started.notes:
        printing.warn(note)
    if order.as_json:
        printing.json(
            {
                "run": started.run,
                "container": started.container,
                "container_id": started.container_id,
                "memory_limit": started.memory,
                "notes": list(started.notes),
            }
        )
    else:
        printing.line(started.run)
    return 0


async def _launch(
    task: Task,
    changes: Changes,
    options: RunOptions,
    *,
    engine_options: EngineOptions,
    circumstances: Circumstances,
    folder: Path | None,
) -> Started:
    from lading.contracts.processing.detached import Job, launch  # noqa: PLC0415
    from lading.engine.discovery import open_engine  # noqa: PLC0415

    state = state_directory()
    async with await open_engine(engine_options) as engine:
        with ours(state) as (owner, _):
            found = await find_instance(
                engine,
                task,
                changes,
                fetch=lambda name: image_of(placed(engine, task), name, options, folder),
                state=state,
                labels=owner.labels(),
            )
    for warning in found.warnings:
        printing.warn(warning)
    return await launch(Job(found.instance, found.image, engine_options, state, circumstances))
