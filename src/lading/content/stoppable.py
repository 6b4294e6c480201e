"""Long work on the disk in a thread, which ends when its caller is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from lading.engine.shield import to_the_end

__all__ = ["in_thread"]

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *args: Any, **options: Any) -> T:
    """Run `work` in a thread; if the caller is cancelled, it is stopped, and waited for.

    Parameters
    ----------
    work : callable
        Takes `stop`, a :class:`threading.Event`, and looks at it often: such as
        :func:`lading.content.adding.add_path` and :func:`lading.content.car.write_car`.
    *args, **options
        What else it takes.
    """
    stop = threading.Event()
    task = asyncio.create_task(asyncio.to_thread(work, *args, **options, stop=stop))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await to_the_end(_ended(task))
        raise


async def _ended(task: asyncio.Task[T]) -> None:
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # retrieved, so that it isn't reported as forgotten
