"""One HTTP/1.1 connection: parsing is httptools' (llhttp), flow control is here.

Message syntax: RFC 9112.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, cast

import httptools

from lading.errors import ReplyTooLarge
from lading.units import format_bytes

__all__ = ["Body", "Connection", "Headers", "Response"]

_HIGH_WATER = 256 * 1024
"""Bytes received and not yet read, above which the sender is held back."""

_MOST_WHILE_SENDING = 64 << 20
"""The same while we send a body in pieces, and so read nothing: a server that answers meanwhile
(IPFS' `add`, a line for each file) would wait for us to read, and we for it."""

_PIECE = 64
"""Bytes that a piece of the body takes besides what is in it."""

_MOST_HEAD = 256 * 1024
"""Bytes of headers, or of trailers, that a reply may have: a server may be a stranger's."""

Headers = Iterable[tuple[str, str]]

Body = bytes | AsyncIterable[bytes]
"""What is sent: a whole, or pieces, of which no more are taken than the other end keeps up with."""


class Response:
    """The reply to one request; its head is there, its body may still be coming.

    Attributes
    ----------
    status : int
    headers : dict of str to str
        Names in lower case; of a repeated one, the last.
    """

    def __init__(self, connection: Connection, status: int, headers: dict[str, str]) -> None:
        self._connection = connection
        self.status = status
        self.headers = headers

    async def read(self, limit: int | None = None) -> bytes:
        """Read the whole body.

        Parameters
        ----------
        limit : int or None
            Most bytes to accept.

        Raises
        ------
        ReplyTooLarge
            More came, or was announced; the connection is closed.
        ConnectionError
            The connection broke before the body's end.
        """
        connection = self._connection
        if limit is not None and int(self.headers.get("content-length", 0)) > limit:
            connection.close()
            raise _too_large(limit)
        whole: bytes | bytearray = b""
        while (chunk := await connection.next_chunk()) is not None:
            if limit is not None and len(whole) + len(chunk) > limit:
                connection.close()
                raise _too_large(limit)
            if not whole:
                whole = chunk
            else:  # no list of pieces: those of a hostile server have a byte or two
                whole = whole if isinstance(whole, bytearray) else bytearray(whole)
                whole += chunk
        return bytes(whole)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes.

        Raises
        ------
        ConnectionError
            The connection broke before the body's end.
        """
        while (chunk := await self._connection.next_chunk()) is not None:
            yield chunk


def _too_large(limit: int) -> ReplyTooLarge:
    return ReplyTooLarge(f"the reply is larger than the limit of {format_bytes(limit)}")


class Connection(asyncio.Protocol):
    """One connection, one request at a time.

    Attributes
    ----------
    received : bool
        Whether any byte of a reply to the current request has come: if none has, and the
        connection broke, only the server knows what it did.
    """

    def __init__(self) -> None:
        self.received = False
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._wake: asyncio.Future[None] | None = None
        self._error: ConnectionError | None = None
        self._paused = self._full = self._unsent = False
        self._parser = httptools.HttpResponseParser(self)
        self._reset()

    def _reset(self) -> None:
        self._headers: dict[str, str] = {}
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._since_body = 0
        self._head = self._complete = self._keep_alive = False
        self.received = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports are none of asyncio's classes, though they do the same.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came; a reader that waits is woken once for all of it."""
        if self._complete:
            self._fail(ConnectionResetError("what came was not asked for"))
            return
        self.received = True
        self._since_body += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionResetError(f"what came is not HTTP: {error}"))
            return
        except httptools.HttpParserUpgrade:
            self._fail(ConnectionResetError("what came is an upgrade that nobody asked for"))
            return
        if self._since_body > _MOST_HEAD and not self._complete:
            self._fail(
                ConnectionResetError(f"what came is more than {_MOST_HEAD} bytes of headers")
            )
            return
        most = _MOST_WHILE_SENDING if self._unsent else _HIGH_WATER
        if self._buffered > most and not self._paused and self._transport:
            self._paused = True
            self._transport.pause_reading()
        self._notify()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the body that ends so (RFC 9112, 6.3, rule 8), or tell whoever waits."""
        if self._head and not self._complete and self._ends_with_connection() and exc is None:
            self._complete = True
        self._fail(ConnectionResetError(f"the connection was closed: {exc or 'by the other end'}"))

    def pause_writing(self) -> None:
        """Send no more for now: the other end does not keep up."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on sending."""
        self._full = False
        self._notify()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Refuse a second reply that came together with the first: it would be added to it."""
        if self._complete:
            raise ConnectionResetError("what came was not asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is there, unless it was an interim one (RFC 9110, 15.2)."""
        if self._parser.get_status_code() >= 200:
            self._head = True

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._chunks.append(body)
        self._buffered += len(body) + _PIECE
        self._since_body = 0

    def on_message_complete(self) -> None:
        """The reply is whole."""
        if self._head:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()
        else:
            self._headers.clear()

    # What callers call.

    async def send(
        self, method: str, target: str, headers: Headers = (), body: Body = b""
    ) -> Response:
        """Send a request and wait for the head of its reply.

        A body in pieces that is refused before its end is not sent to its end.

        Raises
        ------
        ConnectionError
            The connection broke first.
        """
        if self._transport is None or self._error is not None:
            raise self._error or ConnectionResetError("the connection was closed")
        self._reset()
        lines = [f"{method} {target} HTTP/1.1\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in headers]
        if not isinstance(body, bytes):
            lines.append("transfer-encoding: chunked\r\n")
        elif body or method in ("POST", "PUT"):
            lines.append(f"content-length: {len(body)}\r\n")
        lines.append("\r\n")
        head = "".join(lines).encode("latin-1")
        if not isinstance(body, bytes):
            self._transport.write(head)
            await self._send_pieces(body)
        elif len(body) < 1 << 16:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        while not self._head:
            await self._wait()
        return Response(self, self._parser.get_status_code(), self._headers)

    async def _send_pieces(self, pieces: AsyncIterable[bytes]) -> None:
        """Send a body whose length nobody knows yet (RFC 9112, 7.1)."""
        self._unsent = True
        iterator = aiter(pieces)
        try:
            async for piece in iterator:
                while self._full and not self._refused():
                    await self._wait()
                if self._refused():
                    return
                if self._transport is None:
                    raise self._error or ConnectionResetError("the connection was closed")
                if piece:  # an empty one would be the end
                    self._transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
            if self._transport is not None:
                self._transport.write(b"0\r\n\r\n")
                self._unsent = False
        except BaseException:
            self.close()  # half a body can't be taken back
            raise
        finally:
            if (close := getattr(iterator, "aclose", None)) is not None:
                await close()

    def _refused(self) -> bool:
        return self._head and self._parser.get_status_code() >= 300

    async def next_chunk(self) -> bytes | None:
        """Take the next piece of the body; None at its end."""
        while not self._chunks:
            if self._complete:
                return None
            await self._wait()
        chunk = self._chunks.popleft()
        self._buffered -= len(chunk) + _PIECE
        if self._paused and self._buffered < _HIGH_WATER // 2 and self._transport:
            self._paused = False
            self._transport.resume_reading()
        return chunk

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent: open, and the last reply was read to its end."""
        done = self._complete and not self._unsent and not self._chunks
        return self._error is None and done and self._keep_alive

    @property
    def open(self) -> bool:
        """Whether the other end has not closed it, as far as we know."""
        return self._error is None

    def endpoint(self, name: str) -> tuple[Any, ...] | None:
        """Give the address of one end of a TCP connection: ``sockname`` or ``peername``."""
        found = self._transport.get_extra_info(name) if self._transport is not None else None
        return found if isinstance(found, tuple) else None

    def set_options(self, options: Iterable[tuple[int, int, int]]) -> None:
        """Set options of the socket: level, name and value of each."""
        if self._transport is not None:
            for option in options:
                self._transport.get_extra_info("socket").setsockopt(*option)

    def close(self) -> None:
        """Close at once."""
        self._error = self._error or ConnectionResetError("the connection was closed by us")
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _ends_with_connection(self) -> bool:
        return (
            "content-length" not in self._headers
            and "chunked" not in self._headers.get("transfer-encoding", "").lower()
        )

    def _fail(self, error: ConnectionError) -> None:
        self._error = self._error or error
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _wait(self) -> None:
        if self._error is not None:
            raise ConnectionResetError(*self._error.args)
        self._wake = self._loop.create_future()
        try:
            await self._wake
        except BaseException:
            self.close()  # a reply that nobody waits for would answer the next request
            raise
        finally:
            self._wake = None
