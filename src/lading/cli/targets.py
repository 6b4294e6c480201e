"""Runs as people name them: by the beginning of an id, or by a container."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from lading.engine.base import Engine
from lading.engine.discovery import open_engine
from lading.engine.spec import ContainerInfo, State
from lading.errors import EngineError, InputError, RecordNotFound
from lading.run.creation import RUN_LABEL
from lading.run.ownership import LOCK_LABEL, OWNER_LABEL, is_alive
from lading.run.records import Records, Run, RunState, records_path
from lading.settings import EngineOptions, state_directory

__all__ = ["Target", "find", "ours", "owner_is_dead", "places", "record_of"]

OPEN = (RunState.STARTING, RunState.RUNNING, RunState.STOPPING)


@dataclass(frozen=True, slots=True)
class Target:
    """A run: its record, its container, or both.

    Parameters
    ----------
    run : Run or None
        None where the records of another directory, or of another user, have it.
    container : ContainerInfo or None
        None once it is gone.
    """

    run: Run | None
    container: ContainerInfo | None

    @property
    def id(self) -> str:
        """The run's id; the container's where it names no run."""
        if self.run is not None:
            return self.run.id
        assert self.container is not None
        return self.container.labels.get(RUN_LABEL) or self.container.id[:12]

    @property
    def runs(self) -> bool:
        """Whether its container has not ended by itself."""
        return self.container is not None and self.container.state is not State.EXITED

    @property
    def owner_is_dead(self) -> bool:
        """Whether nobody watches it any more, as far as can be seen from here."""
        if self.container is not None:
            return owner_is_dead(self.container)
        return self.run is not None and not is_alive(state_directory(), self.run.owner)

    @property
    def state(self) -> str:
        """Where it is, as one word."""
        is_open = self.run is None or self.run.state in OPEN
        if is_open and self.owner_is_dead:
            return str(RunState.LOST)
        if self.run is not None:
            return str(self.run.state)
        assert self.container is not None
        return str(self.container.state)


def owner_is_dead(container: ContainerInfo) -> bool:
    """Judge by the lock file that its labels name; who can't be judged from here lives."""
    lock = Path(container.labels.get(LOCK_LABEL, ""))
    folder = lock.parent
    if not lock.is_absolute() or not folder.is_dir():
        return False
    return not is_alive(folder.parent, container.labels.get(OWNER_LABEL, ""))


@contextlib.asynccontextmanager
async def places(options: EngineOptions) -> AsyncIterator[tuple[Engine, Records]]:
    """Open the engine and the records, the two places that know of runs."""
    async with await open_engine(options) as engine:
        with contextlib.closing(Records(records_path(state_directory()))) as records:
            yield engine, records


async def ours(engine: Engine) -> list[ContainerInfo]:
    """List the containers that any Lading on this engine made."""
    return await engine.containers({OWNER_LABEL: ""})


async def find(engine: Engine, records: Records, name: str) -> Target:
    """Find what somebody means.

    Parameters
    ----------
    name : str
        The beginning of a run's id, a container's name, or the beginning of its id.

    Raises
    ------
    InputError
        The name is empty: every id begins so.
    RecordNotFound
        Nothing is called so, or several are.
    """
    if not name:
        raise InputError("RUN", "the name is empty", fix="`lading ps` lists them")
    containers = await ours(engine)
    found = {
        info.id: info
        for info in containers
        if info.name == name
        or info.id.startswith(name)
        or info.labels.get(RUN_LABEL, "").startswith(name)
    }
    if len(found) > 1:
        names = sorted(info.labels.get(RUN_LABEL) or info.name for info in found.values())
        raise RecordNotFound(
            f"{name!r} may be any of {', '.join(names)}", fix="write more of the one you mean"
        )
    if found:
        (info,) = found.values()
        return Target(record_of(records, info), info)
    run = records.get(name)
    there = next((info for info in containers if info.labels.get(RUN_LABEL) == run.id), None)
    return Target(run, there or await _elsewhere(engine, run))


async def _elsewhere(engine: Engine, run: Run) -> ContainerInfo | None:
    """Find the container of a run that is in another namespace than those that were listed."""
    if run.finished is not None or not run.container_id or "/" not in run.container_id:
        return None
    with contextlib.suppress(EngineError):
        return await (await engine.container(run.container_id)).inspect()
    return None


def record_of(records: Records, container: ContainerInfo) -> Run | None:
    """Find the record of a container's run; None where these records don't have it."""
    run_id = container.labels.get(RUN_LABEL)
    if not run_id:
        return None
    try:
        run = records.get(run_id)
    except RecordNotFound:
        return None
    return run if run.id == run_id else None
