"""The process that has the handlers of an inline service: a fork of the test's, without gRPC.

See :mod:`lading.contracts.golem.original.inline`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

from lading.contracts.golem.blocking import Executor
from lading.contracts.golem.directories import ProviderTaskDir, RequestorTaskDir
from lading.contracts.golem.handlers import AppLifecycleHandler
from lading.contracts.golem.original import forking, wire

__all__ = ["fork"]

_logger = logging.getLogger(__name__)

_END_SECONDS = 3.0
"""For handlers that are in a call when the server has ended."""
_KINDS: dict[str, Callable[[str], Path]] = {
    "requestor": RequestorTaskDir,
    "provider": ProviderTaskDir,
}
_SHARED = ("socket:", "anon_inode:", "pipe:")


def fork(
    side: str, handler: Any, lifecycle: AppLifecycleHandler | None, link: socket.socket
) -> int:
    """Fork a process that answers for a handler.

    Parameters
    ----------
    side : str
        ``requestor`` or ``provider``.
    handler : RequestorAppHandler or ProviderAppHandler
        Anything that answers its calls.
    lifecycle : AppLifecycleHandler or None
    link : socket.socket
        Over which it is asked; when that closes, it ends.

    Returns
    -------
    int
        Its process id; the caller waits for it.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()  # or it would be written twice
    every = set(signal.valid_signals())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, every)
    try:
        pid = forking.fork()
        if pid == 0:
            _live(side, handler, lifecycle, link, before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _live(
    side: str,
    handler: Any,
    lifecycle: AppLifecycleHandler | None,
    link: socket.socket,
    mask: Any,
) -> NoReturn:
    """Be the forked process; never returns to what its parent was doing."""
    code = 1
    try:
        # What the parent has is not to be collected here: gRPC's objects would wait for threads
        # that this process does not have.
        gc.freeze()
        signal.set_wakeup_fd(-1)  # else signals of this process would be told to the parent
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _let_go({link.fileno()})
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # A thread that the parent's event loop knows nothing of.
        work = threading.Thread(target=_serve, args=(side, handler, lifecycle, link), daemon=True)
        work.start()
        work.join()
        code = 0
    except BaseException:
        _logger.exception("the process of the %s's handlers failed", side)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def _let_go(kept: set[int]) -> None:
    """Give up the parent's connections, which else would stay open when it closes them.

    Their numbers stay taken: objects of the parent's still believe in them.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are all that is wanted
        number = int(name)
        if number in kept or number in (0, 1, 2, nothing):
            continue
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith(_SHARED):  # noqa: PTH115
                os.dup2(nothing, number, inheritable=False)


def _serve(
    side: str, handler: Any, lifecycle: AppLifecycleHandler | None, link: socket.socket
) -> None:
    asyncio.run(_Answers(side, handler, lifecycle).serve(link))


class _Answers:
    """Calls handlers as it is asked to."""

    def __init__(self, side: str, handler: Any, lifecycle: AppLifecycleHandler | None) -> None:
        self._directory = _KINDS[side]
        self._handler = handler
        self._lifecycle = lifecycle or AppLifecycleHandler()
        self._running: dict[int, asyncio.Task[None]] = {}

    async def serve(self, link: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=link)
        Executor.initialize()
        wire.write(writer, {"alive": True})
        while (frame := await wire.read(reader)) is not None:
            if "stopping" in frame:
                Executor.request_shutdown()
            elif "cancel" in frame:
                if task := self._running.get(frame["cancel"]):
                    task.cancel()
            else:
                number: int = frame["id"]
                task = asyncio.create_task(self._answer(frame, writer))
                self._running[number] = task
        Executor.request_shutdown()
        left = set(self._running.values())
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_END_SECONDS)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(Executor.wait_for_shutdown(), _END_SECONDS)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # threads of the application may still work

    async def _answer(self, frame: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        call, number = frame["call"], frame["id"]
        try:
            value = await self._calling(call, frame["arguments"])
            wire.write(writer, {"id": number, "value": (_PLAIN.get(call) or _nothing)(value)})
        except Exception as error:
            _logger.exception("%s failed", call)
            wire.write(writer, {"id": number, "error": str(error) or type(error).__name__})
        finally:
            del self._running[number]
        await writer.drain()

    def _calling(self, call: str, arguments: list[Any]) -> Awaitable[Any]:
        if call.startswith("on_"):
            return getattr(self._lifecycle, call)()  # type: ignore[no-any-return]
        first = Path if call == "run_benchmark" else self._directory
        found: Awaitable[Any] = getattr(self._handler, call)(first(arguments[0]), *arguments[1:])
        return found


def _task(value: Any) -> list[Any]:
    needs = value.inf_requirements
    memory = needs.min_memory_mib if needs is not None else None
    return [value.env_id, value.prerequisites, float(memory or 0.0)]


def _subtask(value: Any) -> list[Any] | None:
    return value and [value.params, [str(name) for name in value.resources]]


def _verdict(value: Any) -> list[Any]:
    result, reason = value
    return [int(getattr(result, "value", result)), reason]


def _nothing(_: Any) -> None:
    return None


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "create_task": _task,
    "next_subtask": _subtask,
    "verify": _verdict,
    "discard_subtasks": list,
    "run_benchmark": float,
    "has_pending_subtasks": bool,
    "compute": str,
}
"""What handlers return, as JSON says it; what others return is of no interest."""
