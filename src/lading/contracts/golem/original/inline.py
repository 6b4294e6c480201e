"""An application in processes of its own, made of handlers that live in this one.

Handlers may be anything, also mocks, so they can't be sent to another process; they go there by
fork. But a fork of a process that uses gRPC may not use gRPC: its locks are held by threads that
the child does not have. So there are two processes::

    this process --fork--> the handlers, and no gRPC     (handling.py)
         |                        ^ asked over a socket
         +------exec--> a fresh gRPC server              (server.py)

Each ends when the other does, or this process does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lading.contracts.golem.handlers import (
    AppLifecycleHandler,
    ProviderAppHandler,
    RequestorAppHandler,
)
from lading.contracts.golem.original.handling import fork
from lading.contracts.golem.original.server import NOT_ALIVE
from lading.contracts.golem.original.services import TaskApiService
from lading.engine.shield import to_the_end
from lading.errors import AppGone, InputError

__all__ = ["InlineTaskApiService"]

_HOST = "127.0.0.1"
_START_SECONDS = 30.0
_ATTEMPTS = 3
_END_SECONDS = 3.0
"""From the server's end, or SIGTERM, until what is left is killed."""
_LOOK = 0.01
_SERVER = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from lading.contracts.golem.original.server import main; main(sys.argv[2:])"
)


class InlineTaskApiService(TaskApiService):
    """An application made of handlers.

    What a handler changes stays in its own process: mocks are told what to return before the
    service starts.

    Parameters
    ----------
    work_dir : Path
        Its work directory.
    requestor_handler, requestor_lifecycle_handler
        What answers as a requestor.
    provider_handler, provider_lifecycle_handler
        What answers as a provider.
    """

    def __init__(
        self,
        work_dir: Path,
        requestor_handler: RequestorAppHandler | None = None,
        requestor_lifecycle_handler: AppLifecycleHandler | None = None,
        provider_handler: ProviderAppHandler | None = None,
        provider_lifecycle_handler: AppLifecycleHandler | None = None,
    ) -> None:
        self._work_dir = work_dir
        self._sides: dict[str, tuple[Any, AppLifecycleHandler | None]] = {
            "requestor": (requestor_handler, requestor_lifecycle_handler),
            "provider": (provider_handler, provider_lifecycle_handler),
        }
        self._processes: _Processes | None = None
        self._finalizer: Callable[[], object] | None = None

    def running(self) -> bool:
        """Whether its server runs."""
        return self._processes is not None and self._processes.server.poll() is None

    async def start(self, command: str, port: int) -> tuple[str, int]:
        """Start it.

        Parameters
        ----------
        command : str
            ``requestor`` or ``provider``, and what an application's container gets after that.
        port : int
            Where to listen; if it is taken, the server listens on another.

        Returns
        -------
        tuple of str and int
            Where it listens.

        Raises
        ------
        InputError
            There is no handler for that side.
        AppGone
            A handler of its life raised, or it died.
        """
        side = command.split(maxsplit=1)[0]
        handler, lifecycle = self._sides.get(side, (None, None))
        if handler is None:
            raise InputError("command", f"{command!r}: this service has no such handler")
        for attempt in range(_ATTEMPTS):
            processes = await _begin(side, self._work_dir, handler, lifecycle, port)
            self._processes = processes
            self._finalizer = weakref.finalize(self, processes.kill)
            try:
                async with asyncio.timeout(_START_SECONDS):
                    return _HOST, await processes.port()
            except BaseException as error:
                await to_the_end(self.stop())
                # A fork may meet a lock of the C library, which nobody unlocks in the child.
                unlucky = isinstance(error, AppGone) and processes.server.returncode == NOT_ALIVE
                if not unlucky or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    async def stop(self) -> None:
        """End it: in good order if it can, else by force."""
        if self._processes is not None and self.running():
            self._processes.server.send_signal(signal.SIGTERM)
        await self._ended(_END_SECONDS)

    async def wait_until_shutdown_complete(self) -> None:
        """Wait until it has ended; nothing of it is left then."""
        await self._ended(None)

    async def _ended(self, seconds: float | None) -> None:
        processes = self._processes
        if processes is None:
            return
        await processes.ended(seconds)
        if self._finalizer is not None:
            self._finalizer()


class _Processes:
    """The two processes of a service."""

    def __init__(self, server: subprocess.Popen[bytes], handlers: int, control: socket.socket):
        self.server = server
        self._handlers: int | None = handlers
        self._control = control

    async def port(self) -> int:
        """Wait until the server listens; say where."""
        loop = asyncio.get_running_loop()
        text = b""
        while not text.endswith(b"\n"):
            got = await loop.sock_recv(self._control, 64)
            if not got:
                why = "the application ended before it answered"
                raise AppGone("Check", "UNAVAILABLE", why, fix="see what it printed")
            text += got
        return int(text)

    async def ended(self, seconds: float | None) -> None:
        """Wait until both have ended; kill what has not `seconds` after now, or the server's end.

        Parameters
        ----------
        seconds : float or None
            None: the server may take as long as it likes.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            gone = self.server.poll() is not None
            if gone and self._reaped():
                return
            if gone and deadline is None:
                deadline = time.monotonic() + _END_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                self.kill()
                return
            await asyncio.sleep(_LOOK)

    def _reaped(self) -> bool:
        """Whether the process of the handlers has ended, and is no zombie any more."""
        if self._handlers is not None:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(self._handlers, os.WNOHANG)[0] == 0:
                    return False
            self._handlers = None
        return True

    def kill(self) -> None:
        """End both by force, if they run, and let go of them; blocks shortly."""
        if self.server.poll() is None:
            self.server.kill()
        self.server.wait()
        if not self._reaped() and (pid := self._handlers) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            self._handlers = None
        self._control.close()


async def _begin(
    side: str, work_dir: Path, handler: Any, lifecycle: AppLifecycleHandler | None, port: int
) -> _Processes:
    asks, answers = socket.socketpair()
    # Sockets, as those are what a process that is forked later lets go of.
    control, its_control = socket.socketpair()
    with asks, answers, its_control:
        handlers = fork(side, handler, lifecycle, answers)
        numbers = (asks.fileno(), its_control.fileno())
        words = (side, os.fspath(work_dir), str(_free(port)), *map(str, numbers))
        try:
            server = await to_the_end(asyncio.to_thread(_execute, words, numbers))
        except BaseException:
            os.kill(handlers, signal.SIGKILL)
            os.waitpid(handlers, 0)  # noqa: ASYNC222 - it is over at once
            control.close()
            raise
    control.setblocking(False)
    return _Processes(server, handlers, control)


def _execute(words: tuple[str, ...], descriptors: tuple[int, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-c", _SERVER, json.dumps(sys.path), *words],
        stdin=subprocess.DEVNULL,
        pass_fds=descriptors,
    )


def _free(port: int) -> int:
    """Return a port if nobody listens on it, else 0, which means any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError):
            return 0
    return port
