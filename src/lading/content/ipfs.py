"""An IPFS node, through the RPC interface that Kubo has and others copy.

Interface: https://docs.ipfs.tech/reference/kubo/rpc/. Nothing that the node says is believed: the
CID that it makes must be the one made here, and a block must have the hash that it was asked by.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlencode, urlsplit

from lading.content.adding import PROFILE, Added, add_path
from lading.content.cid import Cid, verify
from lading.content.confirming import confirm
from lading.content.multipart import BOUNDARY, ROOT, Sent, parts
from lading.content.stoppable import in_thread
from lading.content.unixfs import MOST_BLOCK
from lading.engine.shield import to_the_end
from lading.errors import (
    ConfigError,
    ContentError,
    ContentNotFound,
    ContentRefused,
    FolderSharded,
    NodeUnreachable,
    ReplyTooLarge,
)
from lading.http1 import Client, Connection, Response, open_tcp
from lading.units import format_seconds

__all__ = ["ADD_OPTIONS", "DEFAULT_API", "Node"]

DEFAULT_API = "http://127.0.0.1:5001"
ADD_OPTIONS: dict[str, str | int | bool] = {
    **PROFILE,
    "cid-base": "base32",
    "only-hash": False,
    "nocopy": False,
    "fscache": False,
    "pin": True,
    "progress": False,
    "stream-channels": True,
}
"""Every option that ``add`` is called with: none is left to what a node was set to."""

_MOST_TEXT = 1 << 20
"""Bytes of a reply that is no block."""
_IDLE = 2.0
_MULTIADDR = re.compile(r"/(?:ip4|ip6|dns|dns4|dns6)/([^/]+)/tcp/(\d+)(/https?)?/?")


class Node:
    """A node; ``async with`` closes the connections to it.

    Parameters
    ----------
    api : str
        Where its RPC interface is: a URL (with user and password, if it wants them), or a
        multiaddress such as ``/ip4/127.0.0.1/tcp/5001``, as in Kubo's file ``api``.
    timeout : float
        Seconds without a sign of life after which it is given up.

    Raises
    ------
    ConfigError
        `api` is no such address.
    """

    def __init__(self, api: str = DEFAULT_API, *, timeout: float = 60.0) -> None:
        self.api = _url(api)
        self._timeout = timeout
        url = urlsplit(self.api)
        self._prefix = url.path.rstrip("/")
        self._headers: list[tuple[str, str]] = []
        if url.username:
            pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
            self._headers = [("authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")]
            self.api = self.api.replace(url.netloc, url.netloc.rpartition("@")[2])
        host, tls = str(url.hostname), url.scheme == "https"
        port = url.port or (443 if tls else 80)

        async def dial() -> Connection:
            import ssl  # noqa: PLC0415 - 10 ms, and few nodes are reached so

            return await open_tcp(host, port, ssl.create_default_context() if tls else None)

        async def dial_plainly() -> Connection:
            return await open_tcp(host, port)

        name = url.netloc.rpartition("@")[2]
        self._client = Client(dial if tls else dial_plainly, host=name, idle=_IDLE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._client.close()

    async def version(self) -> str:
        """Ask for its version.

        Raises
        ------
        NodeUnreachable
            Nothing answers there in time, or it is no node.
        """
        try:
            async with asyncio.timeout(self._timeout):
                _, body = await self._call("version", {}, _MOST_TEXT)
        except TimeoutError:
            raise self._silent() from None
        try:
            return str(json.loads(body)["Version"])
        except (ValueError, LookupError, TypeError):
            raise self._no_node(body) from None

    async def block(self, cid: Cid) -> bytes:
        """Get a block, verified.

        Raises
        ------
        ContentNotFound
            The node has not got it, and found nobody in time who has.
        ContentRefused
            What came is something else.
        NodeUnreachable
            Nothing answers there, or it is no node.
        """
        # The node is told how long it may look, or it would go on after we have left.
        options = {"arg": str(cid), "timeout": f"{max(1, int(self._timeout))}s"}
        try:
            async with asyncio.timeout(self._timeout):
                response, body = await self._call("block/get", options, MOST_BLOCK)
        except TimeoutError:
            raise self._unknown(cid, f"gave nothing in {format_seconds(self._timeout)}") from None
        except ReplyTooLarge:
            raise self._unknown(cid, f"gave more than {MOST_BLOCK} bytes") from None
        if response.status == 200:
            return verify(cid, body)
        if response.status == 500:
            raise self._unknown(cid, f"said {_message(body)}")
        raise self._no_node(body)

    async def add(
        self,
        path: Path,
        *,
        hidden: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Added:
        """Add a file or folder, and pin it.

        The CID is made here first; the node must come to the same. Only where a folder must be
        sharded, each kind of node does it in its own way, and the node's CID is taken, after what
        it stands for was compared with what is here.

        Parameters
        ----------
        path : Path
        hidden : bool
            As for :func:`lading.content.adding.add_path`.
        progress : callable or None
            Gets the bytes of files that were sent, and how many there are (0: unknown).

        Raises
        ------
        InputError, ContentRefused
            As :func:`lading.content.adding.add_path`.
        NodeUnreachable
            Nothing answers there, it went away, or it was silent for too long.
        ContentError
            It refused, or made another CID.
        """
        ours = await self._made_here(path, hidden=hidden)
        sent = Sent(progress, ours.size if ours else 0)
        theirs = await self._send(path, sent, hidden=hidden)
        if ours is None:
            await self._confirm(theirs, path, hidden=hidden)
            return Added(theirs, sent.size, 0, sent.files)
        if theirs != ours.cid:
            raise ContentError(
                f"the node at {self.api} made {theirs} of {path}, which is {ours.cid}: a file "
                "changed meanwhile, or the node makes blocks in its own way (some leave out "
                "symbolic links)",
                fix="write a CAR file (--car) and import it into the node",
            )
        return ours

    async def _confirm(self, cid: Cid, path: Path, *, hidden: bool) -> None:
        try:
            await confirm(self, cid, path, hidden=hidden)
        except (ContentRefused, ContentNotFound) as error:
            raise ContentError(
                f"the node at {self.api} made {cid} of {path}, and that is something else: "
                f"{error.message}",
                fix="try again when nothing changes in the folder",
            ) from None

    async def _made_here(self, path: Path, *, hidden: bool) -> Added | None:
        try:
            return await in_thread(add_path, path, hidden=hidden)
        except FolderSharded:
            return None

    async def _send(self, path: Path, sent: Sent, *, hidden: bool) -> Cid:
        target = self._target("add", ADD_OPTIONS)
        headers = [*self._headers, ("content-type", f"multipart/form-data; boundary={BOUNDARY}")]
        loop = asyncio.get_running_loop()
        lines = _Lines()
        try:
            async with asyncio.timeout(self._timeout) as silence:

                def alive() -> None:
                    silence.reschedule(loop.time() + self._timeout)

                body = _sending(path, sent, alive, hidden=hidden)
                async with self._client.stream("POST", target, headers, body) as response:
                    if response.status != 200:
                        text = await response.read(_MOST_TEXT)
                        raise self._refused(response, text)
                    async for chunk in response.chunks():
                        alive()
                        lines.feed(chunk)
                    lines.feed(b"\n")
        except TimeoutError:
            raise self._silent() from None
        except (ConnectionError, OSError) as error:
            raise self._unreachable(error) from None
        trailer = response.headers.get("x-stream-error", "")
        return self._root(lines, trailer)

    def _root(self, lines: _Lines, trailer: str) -> Cid:
        if lines.root is None or trailer:
            said = trailer or lines.message or "nothing about what it was given"
            raise ContentError(f"the node at {self.api} could not add it: {said[:500]}")
        try:
            return Cid.parse(lines.root)
        except ValueError as error:
            raise ContentError(f"the node at {self.api} made no CID: {error}") from None

    async def _call(
        self, verb: str, options: Mapping[str, str | int | bool], limit: int
    ) -> tuple[Response, bytes]:
        try:
            return await self._client.request(
                "POST", self._target(verb, options), self._headers, limit=limit
            )
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            raise self._unreachable(error) from None

    def _target(self, verb: str, options: Mapping[str, str | int | bool]) -> str:
        plain = {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in options.items()
        }
        return f"{self._prefix}/api/v0/{verb}" + (f"?{urlencode(plain)}" if plain else "")

    def _refused(self, response: Response, body: bytes) -> ContentError:
        if response.status in (403, 404, 405):
            return self._no_node(body)
        return ContentError(f"the node at {self.api} could not add it: {_message(body)}")

    def _unknown(self, cid: Cid, said: str) -> ContentNotFound:
        return ContentNotFound(
            f"block {cid} can't be had: the node at {self.api} {said}",
            fix="check the CID; somebody who has it must be online, and connected to the node",
        )

    def _silent(self) -> NodeUnreachable:
        return NodeUnreachable(
            f"the node at {self.api} was silent for {format_seconds(self._timeout)}",
            fix="look at the node; or do without one, with a CAR file (--car)",
        )

    def _unreachable(self, error: OSError) -> NodeUnreachable:
        why = error.strerror or str(error) or type(error).__name__
        return NodeUnreachable(
            f"there is no IPFS node at {self.api}: {why}",
            fix="start one (ipfs daemon), name another (--ipfs-api), or use a CAR file (--car)",
        )

    def _no_node(self, body: bytes) -> NodeUnreachable:
        return NodeUnreachable(
            f"what answers at {self.api} is not the RPC interface of an IPFS node: "
            f"{_message(body)}",
            fix="give the address of the RPC interface (port 5001), not of a gateway (8080)",
        )


class _Lines:
    """What a node says while it adds: a line of JSON for each file and folder.

    Attributes
    ----------
    root : str or None
        The CID of what the whole is called.
    message : str
        An error among them.
    """

    def __init__(self) -> None:
        self.root: str | None = None
        self.message = ""
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _MOST_TEXT:
            raise ConnectionResetError("what came is no list of files")
        for line in lines:
            if not line.strip():
                continue
            try:
                found: Any = json.loads(line)
            except ValueError:
                raise ConnectionResetError("what came is no list of files") from None
            if isinstance(found, dict):
                if found.get("Name") == ROOT and "Hash" in found:
                    self.root = str(found["Hash"])
                self.message = str(found.get("Message", "")) or self.message


async def _sending(
    path: Path, sent: Sent, alive: Callable[[], None], *, hidden: bool
) -> AsyncIterator[bytes]:
    made = parts(path, sent, hidden=hidden)
    try:
        # To its end: a generator can't be closed while a thread is in it.
        while piece := await to_the_end(asyncio.to_thread(next, made, b"")):
            alive()
            yield piece
            sent.report()
    finally:
        made.close()


def _message(body: bytes) -> str:
    """Say in a line what a node answered: it writes errors as JSON, with a message."""
    try:
        text = str(json.loads(body)["Message"])
    except (ValueError, LookupError, TypeError):
        text = body.decode("utf-8", "replace")
    return " ".join(text.split())[:300] or "nothing"


def _url(api: str) -> str:
    text = api.strip()
    if found := _MULTIADDR.fullmatch(text):
        host = f"[{found[1]}]" if ":" in found[1] else found[1]
        return f"http{'s' if found[3] == '/https' else ''}://{host}:{found[2]}"
    if "://" not in text:
        text = f"http://{text}"
    try:
        url = urlsplit(text)
        good = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        good = False
    if not good or url.query or url.fragment:
        raise ConfigError(
            "ipfs_api", f"{api!r} is no address of a node", fix=f"write one such as {DEFAULT_API}"
        )
    return text.rstrip("/")
