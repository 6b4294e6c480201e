"""Work that must come to its end although its caller was cancelled: clean-up, above all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["to_the_end"]

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
