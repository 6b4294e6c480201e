"""Where a started task is: its container, its record, its kept log; whichever there still is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from lading.contracts.processing.task import TaskRun
from lading.engine import ContainerInfo, Engine, State
from lading.errors import (
    ContainerNotFound,
    EngineUnreachable,
    RecordError,
    RecordNotFound,
)
from lading.run.creation import RUN_LABEL
from lading.run.ownership import Owner, is_alive
from lading.run.records import Kind, Records, Run, records_path
from lading.settings import engine_options, state_directory

__all__ = ["Place", "place_of", "tools"]

_EVER = 1 << 31


@dataclass(frozen=True, slots=True)
class Place:
    """A started task, as it is found now.

    Parameters
    ----------
    engine : Engine or None
        None where no engine answers.
    container : ContainerInfo or None
        None once it is gone.
    run : Run or None
        None where the records don't have it: another program started the container.
    """

    engine: Engine | None
    container: ContainerInfo | None
    run: Run | None
    records: Records
    state: Path

    @property
    def run_id(self) -> str:
        """The id of the run; empty where it has none."""
        return self.run.id if self.run is not None else ""

    def is_over(self) -> bool:
        """Whether it has ended, or nobody watches it any more; blocks shortly."""
        if self.run is not None:
            return self.run.finished is not None or not is_alive(self.state, self.run.owner)
        return self.container is not None and self.container.state is State.EXITED

    def refreshed(self) -> Run | None:
        """Read the record again."""
        return self.records.get(self.run.id) if self.run is not None else None


@contextlib.asynccontextmanager
async def tools() -> AsyncIterator[tuple[Engine, Owner, Path]]:
    """Have an engine, and be an owner of what has to be made on it for a moment."""
    from lading.engine.discovery import open_engine  # noqa: PLC0415

    state = state_directory()
    async with await open_engine(engine_options()) as engine:
        owner = await asyncio.to_thread(Owner.claim, state)
        try:
            yield engine, owner, state
        finally:
            await asyncio.to_thread(owner.release)


@contextlib.asynccontextmanager
async def place_of(task_run: TaskRun) -> AsyncIterator[Place]:
    """Find a started task, by what its file says and else by its container's id.

    Raises
    ------
    RecordNotFound
        There is neither a container of this id nor a record of its run.
    """
    from lading.engine.discovery import open_engine  # noqa: PLC0415

    state = Path(task_run._state) if task_run._state else state_directory()  # noqa: SLF001
    async with contextlib.AsyncExitStack() as stack:
        records = await asyncio.to_thread(Records, records_path(state))
        stack.callback(records.close)
        engine, container = None, None
        away: EngineUnreachable | None = None
        try:
            engine = await stack.enter_async_context(await open_engine(engine_options()))
            container = await (await engine.container(task_run.id)).inspect()
        except ContainerNotFound:
            pass
        except EngineUnreachable as error:
            engine, away = None, error
        run = _recorded(records, task_run, container)
        if run is None and container is None:
            raise away or RecordNotFound(
                f"the task {task_run.name} has no container {task_run.id[:12]} any more, and no "
                f"record in {state}",
                fix="set LADING_STATE to the directory that it had when the task was started",
            )
        yield Place(engine, container, run, records, state)


def _recorded(records: Records, task_run: TaskRun, container: ContainerInfo | None) -> Run | None:
    name = task_run._run  # noqa: SLF001
    if not name and container is not None:
        name = container.labels.get(RUN_LABEL, "")
    with contextlib.suppress(RecordError):
        if name:
            return records.get(name)
        every = records.list(kind=Kind.CONTAINER, limit=_EVER)
        return next((run for run in every if run.container_id == task_run.id), None)
    return None
