"""Runs on an engine of one machine: each has a keeper, a process that outlives the worker.

It keeps the log, gives the outputs over, removes the container and finishes the record; see
:mod:`lading.contracts.processing.detached`. Here one is started, waited for and ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from lading.airflow.orders import Ended, Handle
from lading.contracts.processing.detached import Job, Started, launch
from lading.contracts.processing.planning import Circumstances
from lading.errors import ContainerLost, ContainerNotFound, LadingError
from lading.run.creation import RUN_LABEL
from lading.run.ending import code_of, explain_run
from lading.run.log_reading import run_log
from lading.run.ownership import LOCK_LABEL
from lading.run.records import Records, RunState, records_path
from lading.run.waiting import until_finished

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lading.airflow.orders import Order
    from lading.contracts.processing.instances import Found
    from lading.engine import ContainerInfo, Engine, LogChunk
    from lading.settings import EngineOptions

__all__ = ["directory", "end", "log", "start", "state_of", "wait"]

_LONGER = 120.0
"""Seconds that the keeper lets a task run beyond its time: who waits for it ends it before, and
only where nobody does, the keeper."""
_GRACE = 10.0


def directory(_root: Path, path: Path) -> str:
    """Say what a channel is: a directory of the machine."""
    return str(path)


async def start(order: Order, found: Found, options: EngineOptions, state: Path) -> Started:
    """Start a container and its keeper; returns once it runs."""
    limit = order.time_limit
    job = Job(
        found.instance,
        found.image,
        options,
        state,
        Circumstances(timeout=None if limit is None else limit + _LONGER),
    )
    return await launch(job)


async def wait(engine: Engine | None, handle: Handle) -> Ended:
    """Wait until a run has ended and its outputs are in their place."""
    async with _records(Path(handle.state)) as records:
        try:
            run = await until_finished(engine, records, Path(handle.state), handle.run)
        except ContainerLost as error:
            return Ended(LadingError.exit_code, why=str(error))
        return Ended(code_of(run), run.out_of_memory, why=str(explain_run(run) or ""))


async def log(engine: Engine | None, handle: Handle) -> AsyncIterator[LogChunk]:
    """Read all that a run prints, until it ends."""
    info = None
    if engine is not None:
        with contextlib.suppress(LadingError):
            info = await (await engine.container(handle.container)).inspect()
    async for chunk in run_log(engine, info, Path(handle.state), handle.run, follow_on=True):
        yield chunk


async def end(engine: Engine, info: ContainerInfo) -> None:
    """End a run, with 10 seconds of grace, and see that nothing is left of its container."""
    run = info.labels.get(RUN_LABEL, "")
    state = await asyncio.to_thread(state_of, info.labels)
    try:
        container = await engine.container(info.id)
        if state is None or not run:
            await container.stop(_GRACE)
        else:
            async with _records(state) as records:
                await asyncio.to_thread(records.mark_stopping, run)
                with contextlib.suppress(ContainerNotFound):
                    await container.stop(_GRACE)
                try:
                    await until_finished(engine, records, state, run)
                except ContainerLost:
                    words = "ended by Airflow; the process that watched it had died"
                    records.finish(run, RunState.LOST, error=words)
        await container.remove()
    except ContainerNotFound:
        return


def state_of(labels: Mapping[str, str]) -> Path | None:
    """Find the state directory of who keeps a container; None where it is not seen from here.

    Blocks shortly.
    """
    lock = labels.get(LOCK_LABEL, "")
    state = Path(lock).parent.parent if lock else None
    return state if state is not None and records_path(state).is_file() else None


@contextlib.asynccontextmanager
async def _records(state: Path) -> AsyncIterator[Records]:
    records = await asyncio.to_thread(Records, records_path(state))
    try:
        yield records
    finally:
        records.close()
