"""Blocking work of an application, off its event loop."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar, ParamSpec, TypeVar

from lading.errors import NotAccepting

__all__ = ["Executor"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Executor:
    """Threads for the blocking work of this process; all methods belong to the class.

    Long work should ask :meth:`is_shutting_down` now and then, and end where it says so: a thread
    can't be stopped from outside.
    """

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _pool: ClassVar[ThreadPoolExecutor | None] = None
    _running: ClassVar[set[Future[Any]]] = set()
    _stopping: ClassVar[threading.Event] = threading.Event()

    @classmethod
    def initialize(cls) -> None:
        """Begin, or begin anew after a shutdown."""
        with cls._lock:
            cls._stopping.clear()

    @classmethod
    async def run(cls, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a function in a thread and return what it returns.

        Raises
        ------
        NotAccepting
            After :meth:`request_shutdown`.
        """
        with cls._lock:
            if cls._stopping.is_set():
                raise NotAccepting("blocking work: the application is ending")
            if cls._pool is None:
                cls._pool = ThreadPoolExecutor(thread_name_prefix="golem-blocking")
            future = cls._pool.submit(functools.partial(function, *args, **kwargs))
            cls._running.add(future)
        future.add_done_callback(cls._running.discard)
        return await asyncio.wrap_future(future)

    @classmethod
    def is_shutting_down(cls) -> bool:
        """Whether work that runs should come to an end; may be asked from any thread."""
        return cls._stopping.is_set()

    @classmethod
    def request_shutdown(cls) -> None:
        """Tell running work to end, and take no more; what has not begun is dropped."""
        with cls._lock:
            cls._stopping.set()
            pool, cls._pool = cls._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    @classmethod
    async def wait_for_shutdown(cls, timeout: float | None = None) -> None:
        """Tell running work to end, and wait until it has, `timeout` seconds at most."""
        cls.request_shutdown()
        # From a copy: a future leaves the set when it is done. Errors belong to who called `run`.
        running = [asyncio.wrap_future(future) for future in tuple(cls._running)]
        if running:
            done, _ = await asyncio.wait(running, timeout=timeout)
            for future in done:
                if not future.cancelled():
                    future.exception()

    @classmethod
    def _begin_in_a_fork(cls) -> None:
        """Forget what the parent runs: its threads are not here."""
        cls._lock = threading.Lock()
        cls._pool = None
        cls._running = set()
        cls._stopping = threading.Event()


os.register_at_fork(after_in_child=Executor._begin_in_a_fork)  # noqa: SLF001 - it is here that it belongs
