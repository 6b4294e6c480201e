"""What the program of a fake container sees: its arguments, its ports, its limits, its signals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

from lading.testing.fake_capabilities import capabilities_of

if TYPE_CHECKING:
    from lading.engine.spec import ContainerSpec, Limits
    from lading.testing.fake_files import FakeFiles
    from lading.testing.fake_image import Program

__all__ = ["FakeProcess", "Handler"]

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Serves one connection; the connection is closed when it returns."""

_BASE_MEMORY = 1 << 20
"""Bytes that a program uses before it asks for any."""

_HARMLESS = frozenset({"SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH"})


class _Ended(BaseException):
    """Raised in a program where the kernel would not let it go on; nothing catches it there."""

    def __init__(self, code: int, *, out_of_memory: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.out_of_memory = out_of_memory


class FakeProcess:
    """The first process of a fake container.

    Attributes
    ----------
    argv : tuple of str
        The program and its arguments.
    env : mapping
        The image's environment and the container's.
    pid : int
        A number that no real process has.
    hostname, user, directory : str
        As the container sees them; the last is where it starts.
    sealed : bool
        Whether it runs without new privileges.
    capabilities : frozenset of str
        What a root process of it may do.
    signals : list of str
        Names of all signals that came, oldest first.
    memory, memory_peak : int
        Bytes now, and at the most.
    """

    def __init__(
        self,
        *,
        argv: tuple[str, ...],
        env: Mapping[str, str],
        spec: ContainerSpec,
        pid: int,
        hostname: str,
        user: str,
        directory: str,
        files: FakeFiles,
        output: Callable[[str, bytes], None],
        dial: Callable[[str, int], Awaitable[socket.socket]],
    ) -> None:
        self.argv = argv
        self.env = env
        self.pid = pid
        self.hostname = hostname
        self.user = user
        self.directory = directory
        self.sealed = spec.sealed
        self.capabilities = capabilities_of(spec)
        self.signals: list[str] = []
        self.memory = self.memory_peak = _BASE_MEMORY
        self._limits = spec.limits
        self._files = files
        self._output = output
        self._dial = dial
        self._actions: dict[str, Callable[[], None]] = {}
        self._listeners: dict[int, Handler] = {}
        self._outcome: asyncio.Future[tuple[int, bool]] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._transports: set[asyncio.Transport] = set()
        self._cpu = 0.0
        self._spins: dict[object, float] = {}

    # What a program calls.

    @property
    def limits(self) -> Limits:
        """What it may use."""
        return self._limits

    def write(self, data: bytes, stream: str = "stdout") -> None:
        """Write to ``stdout`` or ``stderr``; what a dead process writes is lost."""
        if not self._outcome.done():
            self._output(stream, data)

    def exit(self, code: int) -> NoReturn:
        """End the whole process, also from the handler of a connection."""
        raise _Ended(code)

    def allocate(self, size: int) -> None:
        """Use that many more bytes; beyond the limit of memory, the process is killed."""
        self.memory += size
        limit = self._limits.memory
        if limit is not None and self.memory > limit:
            self.memory_peak = limit
            raise _Ended(128 + signal.SIGKILL, out_of_memory=True)
        self.memory_peak = max(self.memory_peak, self.memory)

    def free(self, size: int) -> None:
        """Give that many bytes back."""
        self.memory = max(_BASE_MEMORY, self.memory - size)

    def fork(self, count: int) -> int:
        """Try to make so many children; returns how many the limit of processes let it have."""
        limit = self._limits.pids
        return count if limit is None else max(0, min(count, limit - 1))

    async def spin(self, seconds: float) -> None:
        """Keep one processor busy, as far as the limit of processor time lets it."""
        key, loop = object(), asyncio.get_running_loop()
        self._spins[key] = loop.time()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._cpu += self._rate * (loop.time() - self._spins.pop(key))

    def on_signal(self, name: str, action: Callable[[], None]) -> None:
        """Handle a signal such as ``SIGTERM``; without, it ends the process as the kernel does.

        A real first process without an init ignores what it does not handle: for that,
        :meth:`ignore`.
        """
        self._actions[name] = action

    def ignore(self, name: str) -> None:
        """Let a signal do nothing; SIGKILL can't be ignored."""
        self._actions[name] = lambda: None

    async def listen(self, port: int, handler: Handler) -> None:
        """Accept TCP connections on a port, each served by `handler` until the process ends.

        Raises
        ------
        OSError
            EADDRINUSE: it listens there already.
        """
        if port in self._listeners:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        self._listeners[port] = handler

    def stop_listening(self, port: int) -> None:
        """Accept no more connections on a port; those that are open stay so."""
        self._listeners.pop(port, None)

    async def connect(self, host: str, port: int) -> socket.socket:
        """Connect to a container by name or address, where a network leads to it.

        Returns
        -------
        socket.socket
            Connected and non-blocking; the caller closes it.

        Raises
        ------
        ConnectionError
            Nothing listens there, or no network leads there.
        """
        return await self._dial(host, port)

    async def read_file(self, path: str) -> bytes:
        """Read a file; raises OSError as the kernel would."""
        return await self._files.read(path)

    async def write_file(self, path: str, content: bytes) -> None:
        """Write a file; raises OSError as the kernel would."""
        await self._files.write(path, content)

    # What the engine calls.

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far."""
        now = asyncio.get_running_loop().time()
        return self._cpu + sum(self._rate * (now - began) for began in self._spins.values())

    @property
    def _rate(self) -> float:
        return min(1.0, self._limits.cpus or 1.0)

    def deliver(self, name: str) -> None:
        """Let a signal come."""
        self.signals.append(name)
        action = self._actions.get(name) if name != "SIGKILL" else None
        if action is not None:
            try:
                action()
            except _Ended as ended:
                self._finish(ended.code, ended.out_of_memory)
        elif name not in _HARMLESS:
            self._finish(128 + signal.Signals[name])

    async def accept(self, port: int) -> socket.socket:
        """Open a connection to a port that it listens on.

        Raises
        ------
        ConnectionRefusedError
            Nothing listens there.
        """
        handler = self._listeners.get(port)
        if handler is None or self._outcome.done():
            raise ConnectionRefusedError(
                errno.ECONNREFUSED, f"{os.strerror(errno.ECONNREFUSED)}: port {port}"
            )
        ours, theirs = socket.socketpair()
        try:
            for end in (ours, theirs):
                end.setblocking(False)
            loop = asyncio.get_running_loop()
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, theirs)
        except BaseException:
            ours.close()
            theirs.close()
            raise
        assert isinstance(transport, asyncio.Transport)
        self._transports.add(transport)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._spawn(self._serve(handler, reader, writer))
        return ours

    async def run(self, program: Program) -> tuple[int, bool]:
        """Run the program to its end, or to that of the process.

        Returns
        -------
        (int, bool)
            Exit code, and whether it was killed for memory.
        """
        self._spawn(self._main(program))
        try:
            return await asyncio.shield(self._outcome)
        finally:
            self._finish(128 + signal.SIGKILL)
            await self._end_tasks()

    def _finish(self, code: int, out_of_memory: bool = False) -> None:
        if not self._outcome.done():
            self._outcome.set_result((code, out_of_memory))

    def _spawn(self, coroutine: Awaitable[None]) -> None:
        task = asyncio.ensure_future(coroutine)
        assert isinstance(task, asyncio.Task)
        task.set_name(f"fake process {self.pid}: {' '.join(self.argv)}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _main(self, program: Program) -> None:
        async def run() -> None:
            code = await program(self)
            self._finish(code or 0)

        await self._guard(run(), fatal=True)

    async def _serve(
        self, handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        assert isinstance(writer.transport, asyncio.Transport)
        try:
            await self._guard(handler(reader, writer), fatal=False)
        finally:
            writer.close()
            self._transports.discard(writer.transport)
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _guard(self, body: Awaitable[None], *, fatal: bool) -> None:
        """Turn what a program raises into what a process would do."""
        try:
            await body
        except _Ended as ended:
            self._finish(ended.code, ended.out_of_memory)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            # A peer that hangs up ends its connection, not the server.
            if fatal:
                self._crash(error)
        except Exception as error:
            self._crash(error, fatal=fatal)

    def _crash(self, error: Exception, *, fatal: bool = True) -> None:
        self.write("".join(traceback.format_exception(error)).encode(), "stderr")
        if fatal:
            self._finish(1)

    async def _end_tasks(self) -> None:
        self._listeners.clear()
        for transport in self._transports:
            transport.abort()
        self._transports.clear()
        # A program that swallows its cancellation is cancelled until it ends: it is dead.
        while pending := set(self._tasks):
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=0.1)
