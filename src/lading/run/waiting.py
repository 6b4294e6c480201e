"""Waiting for the end of a run that another process watches."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from lading.engine.base import Container, Engine
from lading.errors import ContainerLost, LadingError
from lading.run.ownership import is_alive
from lading.run.records import Records, Run, RunState

__all__ = ["until_finished"]

_WATCH = 1.0
"""Seconds between two looks whether a run's owner lives, while its container does."""
_FIRST, _LONGEST = 0.01, 0.5
"""Seconds between two looks at a record whose container has ended: its outputs are being given
over, which takes as long as there are files."""


async def until_finished(
    engine: Engine | None, records: Records, state_directory: Path, run_id: str
) -> Run:
    """Wait until a run's record is finished: its outputs are in their place then.

    Parameters
    ----------
    engine : Engine or None
        Tells the end of the container in the moment; without it that is noticed a little later.
    records : Records
    state_directory : Path
        Of the records.
    run_id : str

    Returns
    -------
    Run
        At once, if it has ended.

    Raises
    ------
    ContainerLost
        The process that watched it died, so nobody will finish it.
    RecordError
        There is no such record, or it can't be read.
    """
    waited: asyncio.Task[None] | None = None
    pause = _FIRST
    try:
        while True:
            lives = await asyncio.to_thread(_owner_lives, records.get(run_id), state_directory)
            run = records.get(run_id)  # after the look at its owner, who finishes it and ends
            if run.finished is not None:
                return run
            if not lives:
                raise ContainerLost(
                    f"run {run.id} ({run.name}) will not be finished: the process that watched it "
                    "died",
                    fix="`lading rm --all` removes what it left",
                )
            if waited is None and engine is not None and run.state is not RunState.STARTING:
                waited = asyncio.create_task(_end(engine, run), name=f"wait for {run.id}")
            if waited is not None and not waited.done():
                await asyncio.wait({waited}, timeout=_WATCH)
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST)
    finally:
        if waited is not None:
            waited.cancel()
            await asyncio.wait({waited})


def _owner_lives(run: Run, state_directory: Path) -> bool:
    return run.finished is not None or is_alive(state_directory, run.owner)


async def _end(engine: Engine, run: Run) -> None:
    """Wait for the container to end; if it can't be asked, its record tells all the same."""
    with contextlib.suppress(LadingError):
        container: Container = await engine.container(run.container_id or run.container_name or "")
        await container.wait()
