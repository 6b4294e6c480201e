"""The one bridge from blocking callers to coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["blocking"]

T = TypeVar("T")
_BEGIN = 10.0
"""Seconds in which a thread that was started begins to run."""


def blocking(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end in a thread and a loop of its own, and wait for it.

    It works wherever it is called, also from code that itself runs in an event loop, which is
    blocked meanwhile. Whatever breaks off the waiting (Ctrl-C, or a time-out that a signal handler
    raises) cancels the coroutine, and is raised once its clean-up is done.

    Parameters
    ----------
    work : callable
        Makes the coroutine.
    """
    result: Future[T] = Future()
    cancel: list[Callable[[], object]] = []
    begun = threading.Event()

    async def watched() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        cancel.append(lambda: loop.call_soon_threadsafe(task.cancel))
        begun.set()
        return await work()

    def run() -> None:
        try:
            value = asyncio.run(watched())
        except BaseException as error:  # told to who waits
            result.set_exception(error)
        else:
            result.set_result(value)
        finally:
            begun.set()

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="lading")
    try:
        thread.start()
        value = result.result()
    except BaseException:
        if begun.wait(_BEGIN):  # or there is no thread to be had
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                if cancel:
                    cancel[0]()
            thread.join()
        raise
    thread.join()
    return value
