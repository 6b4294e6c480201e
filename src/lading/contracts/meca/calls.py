"""The two calls that execute a task, over HTTP: ``POST /`` and ``POST /v1/execute``.

Plain ASGI: this is the hot path. Both read the same JSON. The first answers as the original does,
200 whatever happened; the second with the task's own bytes, or an honest status and a problem
document (RFC 9457).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lading.contracts.meca import replies
from lading.contracts.meca.request import read_request
from lading.errors import (
    InputError,
    InvalidLimit,
    KeyReused,
    LadingError,
    NotAccepting,
    QueueFull,
    RequestTooLarge,
    RunError,
    TaskFailed,
)
from lading.units import MIB, format_bytes

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import Message, Receive, Scope, Send

    from lading.contracts.meca.billing import Billed, Billing
    from lading.contracts.meca.executor import Executor

__all__ = ["Bodies", "ExecuteCall", "header_text", "problem"]

log = logging.getLogger("lading.meca")

_WATCH_AFTER = 0.05
"""Seconds after which we look whether the caller is still there: most calls are over by then."""

_DISCARD_FOR = 5.0
"""Seconds for which the rest of a body that is too large is read and forgotten."""

_STALLED = 30.0
"""Seconds after which a body of which nothing more comes is given up: what came of it is held."""

Header = tuple[bytes, bytes]


class _CallerGone(Exception):  # never leaves this module
    """The caller closed the connection before its request was whole."""


@dataclass(slots=True)
class Bodies:
    """How many bytes of request bodies may be held at once, by all requests together."""

    limit: int
    held: int = 0


def problem(error: LadingError, request_id: str) -> tuple[int, bytes]:
    """Write an error as a problem document (RFC 9457).

    Returns
    -------
    (int, bytes)
        The HTTP status, and the body.
    """
    document: dict[str, object] = {
        "title": type(error).__name__,
        "status": error.http_status,
        "detail": error.message,
        "instance": f"urn:request:{request_id}",
    }
    if error.fix:
        document["fix"] = error.fix
    if isinstance(error, InputError) and error.field:
        document["field"] = error.field
    if isinstance(error, RunError) and error.logs:
        document["logs"] = error.logs
    if isinstance(error, TaskFailed):
        document["reply"] = {
            "status": error.status,
            "body": error.body.decode("utf-8", "replace"),
        }
    return error.http_status, json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


class ExecuteCall:
    """One of the two routes.

    Parameters
    ----------
    executor : Executor
    billing : Billing
    bodies : Bodies
        Shared by both routes.
    honest : bool
        Whether the reply has a real status (``/v1/execute``).
    """

    def __init__(
        self, executor: Executor, billing: Billing, bodies: Bodies, *, honest: bool
    ) -> None:
        self._executor = executor
        self._billing = billing
        self._bodies = bodies
        self._limit = executor.options.max_input * MIB
        self._honest = honest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; when its caller leaves, whatever it holds is freed."""
        request_id: str = scope.get("lading.request_id", "-")
        held = _Held(self._bodies, self._limit)
        try:
            status, headers, body = await self._answer(scope, receive, request_id, held)
        except _CallerGone:
            return
        finally:
            held.free()
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(
        self, scope: Scope, receive: Receive, request_id: str, held: _Held
    ) -> tuple[int, list[Header], bytes]:
        try:
            request = read_request(await _read(held, scope, receive))
            for warning in request.warnings:
                log.warning("%s: %s", request_id, warning)
            billed = await _unless_gone(
                self._billing.execute(
                    request,
                    request_id,
                    client=scope.get("lading.client", ""),
                    key=scope.get("lading.key", ""),
                ),
                self._executor,
                receive,
            )
        except LadingError as error:
            log.info("%s: %s: %s", request_id, type(error).__name__, error)
            return self._failure(error, request_id)
        except _CallerGone:
            raise
        except Exception:
            log.exception("%s: a fault of ours", request_id)
            fault = LadingError(
                "a fault in the executor itself", fix=f"its log says more under {request_id}"
            )
            return self._failure(fault, request_id)
        reply = billed.reply
        headers = _told(billed)
        if self._honest:
            headers.append((b"content-type", reply.content_type.encode("latin-1", "replace")))
            return 200, headers, reply.body
        headers.append((b"content-type", replies.JSON.encode()))
        text = reply.body.decode("utf-8", "replace")
        return 200, headers, replies.outcome(success=True, message=text)

    def _failure(self, error: LadingError, request_id: str) -> tuple[int, list[Header], bytes]:
        if self._honest:
            status, body = problem(error, request_id)
            headers = [(b"content-type", b"application/problem+json")]
            if status == 503:
                headers.append((b"retry-after", b"1"))
            return status, headers, body
        headers = [
            (b"content-type", replies.JSON.encode()),
            (b"x-lading-error", header_text(error)),
        ]
        if isinstance(error, RequestTooLarge):
            text = replies.outcome(success=False, message=str(error))
            return error.http_status, headers, text
        if isinstance(error, InputError) and not isinstance(error, InvalidLimit | KeyReused):
            return 400, headers, replies.BAD_REQUEST
        text = replies.outcome(success=False, message=replies.failure_text(error))
        return 200, headers, text


def _told(billed: Billed) -> list[Header]:
    """What is said of a reply besides itself."""
    reply = billed.reply
    headers: list[Header] = []
    if billed.repeated:
        headers.append((b"idempotent-replayed", b"true"))
    else:
        headers.append((b"x-lading-start", b"cold" if reply.cold else b"warm"))
        headers.append((b"x-lading-container", reply.container.encode("latin-1", "replace")))
    if billed.receipt:
        headers.append((b"x-lading-receipt", billed.receipt.encode("ascii")))
    return headers


def header_text(error: LadingError) -> bytes:
    """Write an error's kind and message as the value of a header."""
    line = " ".join(f"{type(error).__name__}: {error.message}".split())
    return line[:1000].encode("latin-1", "replace").translate(_NO_CONTROLS)


_NO_CONTROLS = bytes.maketrans(bytes((*range(32), 127)), b"?" * 33)
"""What a header must not hold; messages quote what strangers wrote."""


async def _read(held: _Held, scope: Scope, receive: Receive) -> bytes:
    try:
        return await held.read(scope, receive)
    except (RequestTooLarge, QueueFull):
        if not any(name == b"expect" for name, _ in scope["headers"]):
            await held.discard_rest(receive)
        raise


class _Held:
    """The body of one request, counted against what all may hold."""

    def __init__(self, bodies: Bodies, limit: int) -> None:
        self._bodies = bodies
        self._limit = limit
        self._size = 0

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > self._limit:
                raise self._too_large()
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            self._take(len(body))
            return body
        return await self._read_rest(message, receive)

    async def _read_rest(self, message: Message, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise _CallerGone
            chunk = message.get("body", b"")
            size += len(chunk)
            self._take(size)
            chunks.append(chunk)
            if not message.get("more_body"):
                return b"".join(chunks)
            try:
                async with asyncio.timeout(_STALLED):
                    message = await receive()
            except TimeoutError:
                reason = f"the body stopped after {size} bytes, {_STALLED:g} s ago"
                raise InputError("", reason) from None

    async def discard_rest(self, receive: Receive) -> None:
        """Let a caller who sends too much finish, within bounds.

        Who is still sending when the connection is closed sees a reset, and never the reply.
        """
        left = 4 * self._limit
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_FOR):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body"):
                        return

    def _take(self, size: int) -> None:
        if size > self._limit:
            raise self._too_large()
        more = size - self._size
        if more <= 0:
            return
        if self._bodies.held + more > self._bodies.limit:
            raise QueueFull("too many large requests are here already", fix="try again later")
        self._bodies.held += more
        self._size = size

    def _too_large(self) -> RequestTooLarge:
        limit = format_bytes(self._limit)
        return RequestTooLarge("", f"the request is larger than the limit of {limit}")

    def free(self) -> None:
        self._bodies.held -= self._size
        self._size = 0


async def _unless_gone(
    execution: Coroutine[Any, Any, Billed], executor: Executor, receive: Receive
) -> Billed:
    """Execute, but stop when the caller closes its connection.

    The watch begins late, so that short calls pay for a timer only.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    watcher: asyncio.Task[None] | None = None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    def begin() -> None:
        nonlocal watcher
        watcher = loop.create_task(watch())

    timer = loop.call_later(_WATCH_AFTER, begin)
    try:
        return await execution
    except asyncio.CancelledError:
        if gone:
            task.uncancel()
            raise _CallerGone from None
        if executor.stopping:  # the server cancels what is left when the time to drain is over
            task.uncancel()
            raise NotAccepting(
                "the executor ended before the request was done",
                fix="it may have been processed in part; send it to another, or later",
            ) from None
        raise
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()
