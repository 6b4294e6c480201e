"""Programs that run inside a pod, and connections to its ports, by way of the API server.

Both are WebSockets with several channels, of which each message's first byte names one: 0 to 2 are
a program's standard streams, 3 is how it ended; of a forwarded port 0 is what is sent either way,
1 says what went wrong. In this protocol (v4.channel.k8s.io, which every API server speaks) the end
of stdin can't be told: a program that reads it must know how much there is.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ and
https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.33/#-strong-misc-operations-pod-v1-core-strong-.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from lading.engine.kubernetes.api import PODS, Api
from lading.engine.kubernetes.dialling import ALIVE, no_library, unreachable
from lading.engine.kubernetes.errors import Call, translate
from lading.errors import EngineError, EngineUnreachable, ReplyTooLarge
from lading.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

__all__ = ["Executed", "Forwards", "Session", "execute", "session"]

_PROTOCOL = "v4.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _ENDED = range(4)
_DATA, _WRONG = range(2)
_PIECE = 1 << 16
_NOTHING_LISTENS = 0.5
"""Seconds in which a node says that nothing listens on a port; that somebody does it never says."""
_LONGEST_WORDS = 1 << 16
"""Bytes of stderr that are kept: its end."""


@dataclass(frozen=True, slots=True)
class Executed:
    """How a program in a pod ended, and what it wrote."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def words(self) -> str:
        """What it complained of."""
        return self.stderr.decode(errors="replace").strip()


class Session:
    """A program that runs in a pod: what it writes comes piece by piece.

    Attributes
    ----------
    code : int
        Its exit code, once :meth:`output` has ended.
    stderr : bytearray
        What it wrote there, so far.
    """

    def __init__(self, websocket: ClientConnection, call: Call, access_server: str) -> None:
        self._websocket = websocket
        self._call = call
        self._server = access_server
        self.code = -1
        self.stderr = bytearray()

    async def send(self, data: bytes) -> None:
        """Write to its stdin."""
        view = memoryview(data)
        for start in range(0, len(view), _PIECE):
            await self._websocket.send(bytes((_STDIN,)) + view[start : start + _PIECE])

    @contextlib.asynccontextmanager
    async def fed(self, stdin: bytes | AsyncIterable[bytes]) -> AsyncIterator[None]:
        """Write to its stdin while the block reads what it writes; what `stdin` raises is raised.

        A program that ends before it has read everything is nothing wrong.
        """
        sending = asyncio.create_task(self._feed(stdin))
        sending.add_done_callback(self.give_up)
        try:
            yield
        except EngineUnreachable:
            if sending.done() and not sending.cancelled() and (error := sending.exception()):
                raise error from None
            raise
        finally:
            sending.cancel()
            await asyncio.wait({sending})

    async def _feed(self, stdin: bytes | AsyncIterable[bytes]) -> None:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 - as below

        with contextlib.suppress(ConnectionClosed):  # whoever reads its output says why
            if isinstance(stdin, bytes):
                await self.send(stdin)
                return
            async for piece in stdin:
                await self.send(piece)

    def give_up(self, task: asyncio.Task[None]) -> None:
        """Break the connection if what its other end waits for has failed."""
        if not task.cancelled() and task.exception() is not None:
            self._websocket.transport.abort()

    async def output(self) -> AsyncIterator[bytes]:
        """Yield what it writes to stdout, until it ends.

        Raises
        ------
        EngineUnreachable
            The connection broke first.
        EngineError
            It could not be run.
        """
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 - as below

        try:
            while True:
                message = await self._websocket.recv()
                if isinstance(message, str) or not message:
                    continue
                channel, data = message[0], message[1:]
                if channel == _STDOUT and data:
                    yield data
                elif channel == _STDERR:
                    self.stderr += data
                    del self.stderr[:-_LONGEST_WORDS]
                elif channel == _ENDED and data:
                    self.code = self._ended(data)
                    return
        except ConnectionClosed as error:
            raise EngineUnreachable(
                f"{self._call.doing} failed: the connection to the cluster at {self._server} "
                f"broke: {error}",
                fix="try again",
            ) from error

    def _ended(self, data: bytes) -> int:
        status = json.loads(data)
        if status.get("status") == "Success":
            return 0
        if status.get("reason") == "NonZeroExitCode":
            for cause in (status.get("details") or {}).get("causes") or ():
                if cause.get("reason") == "ExitCode":
                    return int(cause["message"])
        raise translate(self._call, int(status.get("code") or 500), status)


@contextlib.asynccontextmanager
async def session(
    api: Api,
    pod: str,
    container: str,
    command: Sequence[str],
    call: Call,
    *,
    namespace: str | None = None,
    stdin: bool = False,
) -> AsyncIterator[Session]:
    """Run a program in a container of a pod; leaving the block before its end leaves it alone.

    Raises
    ------
    EngineError
        What the refusal means.
    """
    query = [("container", container), ("stdout", "true"), ("stderr", "true")]
    query += [("stdin", "true")] if stdin else []
    query += [("command", word) for word in command]
    target = api.path(PODS, pod, "exec", namespace)
    async with _websocket(api, target, query, call) as websocket:
        yield Session(websocket, call, api.access.server)


async def execute(
    api: Api,
    pod: str,
    container: str,
    command: Sequence[str],
    call: Call,
    *,
    namespace: str | None = None,
    stdin: bytes | AsyncIterable[bytes] = b"",
    limit: int | None = None,
) -> Executed:
    """Run a program in a container of a pod to its end.

    Parameters
    ----------
    stdin : bytes or async iterable of bytes
        What it reads; the program must know where that ends.
    limit : int or None
        Most bytes of stdout to accept.

    Raises
    ------
    ReplyTooLarge
        It wrote more than `limit`.
    EngineError
        It could not be run, or what the cluster's refusal means.
    """
    written = bytearray()
    given = not isinstance(stdin, bytes) or bool(stdin)
    async with session(
        api, pod, container, command, call, namespace=namespace, stdin=given
    ) as program:
        async with program.fed(stdin):
            async for piece in program.output():
                written += piece
                if limit is not None and len(written) > limit:
                    raise ReplyTooLarge(
                        f"{call.doing} failed: it is larger than the limit of {format_bytes(limit)}"
                    )
        return Executed(program.code, bytes(written), bytes(program.stderr))


class Forwards:
    """Connections to ports of pods, each by a WebSocket of its own.

    Parameters
    ----------
    api : Api
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._pumps: set[asyncio.Task[None]] = set()
        self._answered: set[tuple[str, str, int]] = set()

    async def connect(
        self, pod: str, port: int, call: Call, *, namespace: str | None = None
    ) -> socket.socket:
        """Connect to a port.

        Returns
        -------
        socket.socket
            Non-blocking; the caller closes it.

        Raises
        ------
        ConnectionRefusedError
            Nothing listens there.
        EngineError
            What the refusal means.
        """
        place = (namespace or self._api.access.namespace, pod, port)
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pump = asyncio.create_task(self._pump(place, ours, call, opened), name="lading-forward")
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)
        try:
            await opened
        except BaseException:
            theirs.close()
            pump.cancel()
            await asyncio.wait({pump})
            raise
        return theirs

    async def close(self) -> None:
        """Close all of them."""
        while self._pumps:
            for pump in self._pumps:
                pump.cancel()
            await asyncio.wait(set(self._pumps))

    async def _pump(
        self,
        place: tuple[str, str, int],
        ours: socket.socket,
        call: Call,
        opened: asyncio.Future[None],
    ) -> None:
        namespace, pod, port = place
        with ours:
            try:
                target = self._api.path(PODS, pod, "portforward", namespace)
                async with _websocket(self._api, target, [("ports", str(port))], call) as websocket:
                    await self._carry(place, websocket, ours, opened)
            except (EngineError, OSError) as error:
                if not opened.done():
                    opened.set_exception(error)
            finally:
                if not opened.done():
                    opened.set_exception(ConnectionRefusedError(f"{call.doing} failed"))
                    opened.exception()  # nobody waits where we were cancelled

    async def _carry(
        self,
        place: tuple[str, str, int],
        websocket: ClientConnection,
        ours: socket.socket,
        opened: asyncio.Future[None],
    ) -> None:
        loop = asyncio.get_running_loop()

        def is_open() -> None:
            self._answered.add(place)
            if not opened.done():
                opened.set_result(None)

        async def out() -> None:
            with contextlib.suppress(OSError):
                while data := await loop.sock_recv(ours, _PIECE):
                    await websocket.send(bytes((_DATA,)) + data)

        async def back() -> None:
            announced = set()  # the first message of each channel is the port's number
            async for message in websocket:
                if isinstance(message, str) or not message:
                    continue
                channel, data = message[0], message[1:]
                if channel not in announced:
                    announced.add(channel)
                elif channel == _WRONG and data:
                    raise _refused(place, data.decode(errors="replace").strip())
                elif channel == _DATA and data:
                    is_open()
                    await loop.sock_sendall(ours, data)

        wait = 0.0 if place in self._answered else _NOTHING_LISTENS
        timer = loop.call_later(wait, is_open)
        tasks = {asyncio.create_task(out()), asyncio.create_task(back())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in done:
            error = task.exception()
            if isinstance(error, ConnectionRefusedError):
                self._answered.discard(place)
                raise error


def _refused(place: tuple[str, str, int], words: str) -> ConnectionRefusedError:
    _, pod, port = place
    return ConnectionRefusedError(f"nothing listens on port {port} of pod {pod}: {words[-300:]}")


@contextlib.asynccontextmanager
async def _websocket(
    api: Api, target: str, query: Sequence[tuple[str, str]], call: Call
) -> AsyncIterator[ClientConnection]:
    api.calls["get", f"pods/{target.rpartition('/')[2]}"] += 1
    websocket = await _open(api, f"{target}?{urlencode(query)}", call)
    for option in ALIVE:
        websocket.transport.get_extra_info("socket").setsockopt(*option)
    try:
        yield websocket
    finally:
        # Its farewell is not waited for: who is at the other end may have forgotten us.
        websocket.transport.abort()
        await websocket.wait_closed()


async def _open(api: Api, target: str, call: Call) -> ClientConnection:
    try:  # 100 ms that most commands don't need
        from websockets.asyncio.client import connect  # noqa: PLC0415
        from websockets.exceptions import (  # noqa: PLC0415
            InvalidHandshake,
            InvalidMessage,
            InvalidStatus,
        )
    except ImportError as error:
        raise no_library(call.doing) from error

    access = api.access
    renewed = False
    while True:
        used = await access.credentials.current()
        headers: list[tuple[str, str]] = list(access.headers)
        if used.authorization:
            headers.append(("authorization", used.authorization))
        context, name = await api.tls(used)
        options: dict[str, Any] = {"server_hostname": name} if name else {}
        scheme = "ws" if context is None else "wss"
        try:
            return await connect(
                f"{scheme}://{access.server.partition('://')[2].partition('/')[0]}{target}",
                ssl=context,
                subprotocols=[_PROTOCOL],  # type: ignore[list-item]  # a str by another name
                additional_headers=headers,
                compression=None,
                proxy=None,
                max_size=None,
                ping_interval=None,
                open_timeout=api.timeout,
                **options,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            if status == 401 and not renewed and access.credentials.refused(used):
                renewed = True
                continue
            raise translate(call, status, bytes(error.response.body or b"")) from error
        except InvalidMessage as error:  # the connection broke
            lost = ConnectionResetError(f"the connection was closed: {error}")
            raise unreachable(access, f"{call.doing} failed", lost) from error
        except InvalidHandshake as error:
            raise EngineError(f"{call.doing} failed: {error}") from error
        except TimeoutError as error:
            raise EngineUnreachable(
                f"{call.doing} failed: the cluster at {access.server} did not answer within "
                f"{format_seconds(api.timeout)}",
                fix="see whether it is overloaded, or give it longer with --engine-timeout",
            ) from error
        except OSError as error:
            raise unreachable(access, f"{call.doing} failed", error) from error
