"""Where a started task is: its container, its record, its kept log; whichever there still is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from lading.contracts.processing.task import BaseConfig, TaskRun
from lading.engine import ContainerInfo, Engine, State
from lading.errors import (
    ConfigError,
    ContainerNotFound,
    EngineError,
    RecordError,
    RecordNotFound,
)
from lading.run.creation import RUN_LABEL
from lading.run.ownership import Owner, is_alive
from lading.run.records import Kind, Records, Run, records_path
from lading.settings import EngineOptions, engine_options, state_directory

__all__ = ["CLUSTER_MODE", "Place", "options_of", "place_of", "tools"]

CLUSTER_MODE = "k8s"
_EVER = 1 << 31
_CLUSTERS = ("kubernetes", "k8s")


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


def options_of(mode: str, config: BaseConfig | None = None) -> EngineOptions:
    """Say which engine a mode of the original means.

    Parameters
    ----------
    mode : str
        ``k8s``: the cluster that ``LADING_ENGINE`` or else the current context names, in the
        namespace of the config; anything else: an engine of this machine.
    config : BaseConfig or None
        The task's.
    """
    options = engine_options()
    if mode != CLUSTER_MODE:
        return options
    wanted, _, rest = options.engine.partition("://")
    context, _, namespace = rest.partition("/") if wanted in _CLUSTERS else ("", "", "")
    namespace = getattr(config, "namespace", None) or namespace
    address = f"kubernetes://{context}/{namespace}".rstrip("/") if context or namespace else ""
    return replace(options, engine=address or "kubernetes")


@contextlib.asynccontextmanager
async def tools(options: EngineOptions) -> AsyncIterator[tuple[Engine, Owner, Path]]:
    """Have an engine, and be an owner of what has to be made on it for a moment."""
    from lading.engine.discovery import open_engine  # noqa: PLC0415

    state = state_directory()
    async with await open_engine(options) as engine:
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
        away: EngineError | ConfigError | None = None
        known = await asyncio.to_thread(_recorded, records, task_run, None)
        options = options_of(task_run.mode, task_run.config)
        try:
            engine = await stack.enter_async_context(await open_engine(options))
            # By its record where there is one: another pod may have its name by now.
            wanted = (known.container_id if known is not None else None) or task_run.id
            container = await (await engine.container(wanted)).inspect()
        except ContainerNotFound:
            pass
        except (EngineError, ConfigError) as error:  # its record tells all the same
            engine, away = None, error
        run = known or await asyncio.to_thread(_recorded, records, task_run, container)
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
        return next((run for run in every if _is_of(run, task_run)), None)
    return None


def _is_of(run: Run, task_run: TaskRun) -> bool:
    if task_run.mode != CLUSTER_MODE:
        return run.container_id == task_run.id
    # The id of a pod says also in which namespace it is, and which of this name.
    namespace, _, rest = (run.container_id or "").partition("/")
    wanted = getattr(task_run.config, "namespace", None) or namespace
    return rest.partition("/")[0] == task_run.id and namespace == wanted
