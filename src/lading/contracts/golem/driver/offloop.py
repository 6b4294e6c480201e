"""Blocking work in threads, which stops when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

__all__ = ["Stop", "in_thread"]

P = ParamSpec("P")
T = TypeVar("T")


class Stop(threading.Event):
    """Set when nobody waits for the work any more."""

    def check(self) -> None:
        """Give up if it is set."""
        if self.is_set():
            raise InterruptedError(errno.ECANCELED, "nobody waits for it")


async def in_thread(
    work: Callable[Concatenate[Stop, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run blocking work; when cancelled, have it stop, and wait until it has.

    So nobody writes to a directory any more once its user was told that it is over.
    """
    stop = Stop()
    task = asyncio.create_task(asyncio.to_thread(work, stop, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:  # wait() leaves the task alone
            cancelled = error
            stop.set()
    if cancelled is not None:
        task.exception()  # retrieved, so that it isn't reported as forgotten
        raise cancelled
    return task.result()
