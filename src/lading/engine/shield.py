"""Work that must come to its end although its caller was cancelled: clean-up, above all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from lading.errors import EngineError

__all__ = ["keep_or_undo", "to_the_end"]

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end; a cancellation that comes meanwhile is raised after it.

    Parameters
    ----------
    work : coroutine
        Must end by itself: it has to bound its own time.

    Raises
    ------
    asyncio.CancelledError
        The caller was cancelled meanwhile; whatever `work` returned or raised is dropped.
    """
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:  # wait() leaves the task alone
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # retrieved, so that it isn't reported as forgotten
        raise cancelled
    return task.result()


async def keep_or_undo(
    making: Coroutine[Any, Any, T], undo: Callable[[T], Coroutine[Any, Any, None]]
) -> T:
    """Make something; if the caller is cancelled meanwhile, it is unmade again."""
    task = asyncio.create_task(making)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await to_the_end(_undo(task, undo))
        raise


async def _undo(task: asyncio.Task[T], undo: Callable[[T], Coroutine[Any, Any, None]]) -> None:
    try:
        made = await task
    except EngineError:
        return
    await undo(made)
