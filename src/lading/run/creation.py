"""Containers made and removed so that none is ever forgotten.

Not by an error, a cancelled caller, an engine that is away for a moment, or a loop that closes.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from lading.engine.base import Container, Engine
from lading.engine.shield import to_the_end
from lading.engine.spec import ContainerSpec
from lading.errors import (
    CredentialsRefused,
    EngineDenied,
    EngineError,
    EngineUnreachable,
    LadingError,
    NotSupported,
)
from lading.run.accounting import Accounting

__all__ = ["CONTRACT_LABEL", "RUN_LABEL", "TASK_LABEL", "create", "create_counted", "remove"]

RUN_LABEL = "lading.run"
"""Label of every container: the id of its run."""
CONTRACT_LABEL, TASK_LABEL = "lading.contract", "lading.task"
"""Labels of containers, and of images that were built here: of which contract and task."""

_REMOVE_TRIES = 4
_REMOVE_WAIT = 0.05
_FINAL = (CredentialsRefused, EngineDenied, NotSupported)
"""What no waiting helps against."""


async def create(engine: Engine, spec: ContainerSpec, run_id: str) -> Container:
    """Create a container, and never leave one behind that the caller does not get.

    Parameters
    ----------
    spec : ContainerSpec
        With a name, and `run_id` as its label :data:`RUN_LABEL`.

    Raises
    ------
    EngineError
        The engine refused.
    """
    made: list[Container] = []

    async def order() -> None:
        made.append(await engine.create(spec))

    try:
        await to_the_end(order())  # an order that was sent can't be taken back
    except BaseException as error:
        if made:
            await to_the_end(remove(made[0]))
        elif isinstance(error, asyncio.CancelledError | EngineUnreachable):
            await to_the_end(_remove_by_name(engine, spec.name or "", run_id))
        raise
    return made[0]


async def create_counted(
    engine: Engine, spec: ContainerSpec, run_id: str
) -> tuple[Container, Accounting | None]:
    """Do :func:`create`, in a control group of its own where there can be one.

    Raises
    ------
    EngineError
        The engine refused; nothing is left.
    """
    kept = await Accounting.open(engine, spec, run_id)
    if kept is None:
        return await create(engine, spec, run_id), None
    try:
        return await create(engine, replace(spec, group=kept.path), run_id), kept
    except BaseException:
        await to_the_end(kept.close())
        raise


async def _remove_by_name(engine: Engine, name: str, run_id: str) -> None:
    """Remove what may have been made although we never heard of it; not somebody else's."""
    with contextlib.suppress(LadingError):
        container = await engine.container(name)
        if (await container.inspect()).labels.get(RUN_LABEL) == run_id:
            await container.remove()


async def remove(container: Container) -> None:
    """Remove a container, though the engine be away for a moment and this task be cancelled.

    Raises
    ------
    EngineError
        The engine can't.
    asyncio.CancelledError
        This task was cancelled; the container is removed.
    """
    cancelled: asyncio.CancelledError | None = None
    tries = 0
    while True:
        try:
            if tries:
                await asyncio.sleep(_REMOVE_WAIT * 3**tries)
            await container.remove()
        except asyncio.CancelledError as error:  # a loop that closes cancels what runs, once
            if tries >= _REMOVE_TRIES:
                raise
            cancelled = error
        except _FINAL:
            raise
        except EngineError:  # away for a moment, or "device or resource busy": Docker, under load
            tries += 1
            if tries >= _REMOVE_TRIES:
                raise
        else:
            break
    if cancelled is not None:
        raise cancelled
