"""Calls to a cluster's API: connection, credentials, time limits, and errors in our words.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from lading.engine.kubernetes.dialling import Dial, unreachable
from lading.engine.kubernetes.errors import Call, status_of, translate
from lading.errors import EngineError, EngineUnreachable
from lading.http1 import Client
from lading.units import format_seconds

if TYPE_CHECKING:
    from lading.engine.kubernetes.auth import Credential
    from lading.engine.kubernetes.config import Access
    from lading.http1 import Connection, Response

__all__ = [
    "CLAIMS",
    "EVENTS",
    "MERGE",
    "NAMESPACES",
    "NODES",
    "PODS",
    "POD_METRICS",
    "POLICIES",
    "SECRETS",
    "Api",
    "Kind",
]

_METHODS = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
}
_REPEATABLE = frozenset({"GET", "DELETE"})
_JSON = "application/json"
MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"
_IDLE = 60.0  # the API server closes after 3 minutes
_AT_ONCE = 16
"""Calls under way at the same time: each is a connection, and a TLS handshake costs both sides
more than a call does."""
_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
"""Seconds before the next try where nobody says how long; twice as long each time."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, and where the API has it.

    Parameters
    ----------
    plural : str
        As in paths and in RBAC rules.
    group, version : str
        An empty group is the core's.
    namespaced : bool
    """

    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True

    def path(self, namespace: str, name: str, sub: str) -> str:
        """Write the path of all of them, of one, or of a part of one."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [self.plural, *([name] if name else [])]
        text = "/" + "/".join(quote(part, safe="") for part in parts)
        return f"{text}/{quote(sub)}" if sub else text


PODS = Kind("pods")
SECRETS = Kind("secrets")
EVENTS = Kind("events")
CLAIMS = Kind("persistentvolumeclaims")
NODES = Kind("nodes", namespaced=False)
NAMESPACES = Kind("namespaces", namespaced=False)
POLICIES = Kind("networkpolicies", "networking.k8s.io")
POD_METRICS = Kind("pods", "metrics.k8s.io", "v1beta1")


@dataclass(frozen=True, slots=True)
class _Request:
    """What is sent, until it is answered."""

    method: str
    target: str
    body: bytes
    content: str
    call: Call
    counted: tuple[str, str]
    dry: bool

    @property
    def repeatable(self) -> bool:
        """Whether it does no harm if it was done before its connection broke."""
        return self.dry or self.method in _REPEATABLE


class Api:
    """A cluster's API.

    Parameters
    ----------
    access : Access
        Which cluster, and who we are.
    timeout : float
        Seconds for a call that isn't a stream, with all that is waited for in it.

    Attributes
    ----------
    access : Access
    timeout : float
    calls : Counter of (str, str)
        Requests that were sent, by verb and resource as RBAC names them: ``("get", "pods/log")``.
    """

    def __init__(self, access: Access, timeout: float) -> None:
        self.access = access
        self.timeout = timeout
        self.calls: Counter[tuple[str, str]] = Counter()
        self._dial = Dial(access)
        parts = urlsplit(access.server)
        self._prefix = parts.path.rstrip("/")
        self._host = parts.netloc.rpartition("@")[2]
        self._client = Client(self._dial, host=self._host, idle=_IDLE)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._answered = False
        self._closed = False

    async def call(
        self,
        verb: str,
        kind: Kind,
        call: Call,
        *,
        name: str = "",
        sub: str = "",
        namespace: str | None = None,
        query: Mapping[str, str | int | bool | None] | None = None,
        body: Any = None,
        content: str = _STRATEGIC,
        accept: frozenset[int] = frozenset(),
    ) -> dict[str, Any]:
        """Make a call, and read the object that it answers.

        Parameters
        ----------
        verb : str
            As RBAC has it: ``get``, ``list``, ``create``, ``update``, ``patch``, ``delete``.
        kind : Kind
        call : Call
            For the error.
        name, sub : str
            Of one object, and of a part of it: ``status``.
        namespace : str or None
            None is that of the access, an empty one all.
        query : mapping or None
            What is None is left out.
        body : object or None
            Sent as JSON.
        content : str
            The media type of a patch.
        accept : frozenset of int
            Statuses from 300 up that are no error here: the Status object is returned.

        Raises
        ------
        EngineUnreachable
            Nothing answers, in time or at all.
        EngineError
            Or what the refusal means.
        """
        target = self._target(kind, name, sub, namespace=namespace, query=query)
        request = _request(verb, kind, call, sub, target=target, body=body, content=content)
        return _json(await self._whole(request, accept, None), call)

    async def read(
        self,
        verb: str,
        kind: Kind,
        call: Call,
        *,
        name: str = "",
        sub: str = "",
        namespace: str | None = None,
        query: Mapping[str, str | int | bool | None] | None = None,
        limit: int | None = None,
    ) -> bytes:
        """Make a call that answers bytes; see :meth:`call`.

        Raises
        ------
        ReplyTooLarge
            They are more than `limit`.
        """
        target = self._target(kind, name, sub, namespace=namespace, query=query)
        request = _request(verb, kind, call, sub, target=target)
        return await self._whole(request, frozenset(), limit)

    async def raw(self, method: str, path: str, call: Call) -> dict[str, Any]:
        """Ask at a path that is no object's, such as ``/version``."""
        request = _Request(
            method, self._prefix + path, b"", "", call, (method.lower(), path), False
        )
        return _json(await self._whole(request, frozenset(), None), call)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        verb: str,
        kind: Kind,
        call: Call,
        *,
        name: str = "",
        sub: str = "",
        namespace: str | None = None,
        query: Mapping[str, str | int | bool | None] | None = None,
    ) -> AsyncIterator[Response]:
        """Make a call whose reply is read as it comes, for as long as it takes.

        Leaving the block before the reply's end closes the connection.
        """
        target = self._target(kind, name, sub, namespace=namespace, query=query)
        request = _request(verb, kind, call, sub, target=target)
        async with self._streamed(request, frozenset()) as response:
            yield response

    def path(self, kind: Kind, name: str, sub: str, namespace: str | None = None) -> str:
        """Write where something is on this server, for who opens a connection of their own."""
        where = self.access.namespace if namespace is None else namespace
        return self._prefix + kind.path(where, name, sub)

    async def tls(self, used: Credential) -> tuple[ssl.SSLContext | None, str | None]:
        """Have what such a connection speaks TLS with, and whose certificate it expects."""
        self._show(used)
        return await self._dial.context()

    async def close(self) -> None:
        """Close what is kept, and refuse further calls."""
        self._closed = True
        self._client.close()
        for _ in range(2):  # a transport's socket is closed a turn of the loop later, or two by TLS
            await asyncio.sleep(0)

    # What the calls are made of.

    def _target(
        self,
        kind: Kind,
        name: str,
        sub: str,
        *,
        namespace: str | None,
        query: Mapping[str, str | int | bool | None] | None,
    ) -> str:
        wanted = {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in (query or {}).items()
            if value is not None
        }
        target = self.path(kind, name, sub, namespace)
        return f"{target}?{urlencode(wanted)}" if wanted else target

    async def _whole(self, request: _Request, accept: frozenset[int], limit: int | None) -> bytes:
        async with self._turns:
            try:
                async with (
                    asyncio.timeout(self.timeout),
                    self._streamed(request, accept) as response,
                ):
                    return await response.read(limit)
            except TimeoutError as error:
                raise EngineUnreachable(
                    f"{request.call.doing} failed: the cluster at {self.access.server} did not "
                    f"answer within {format_seconds(self.timeout)}",
                    fix="see whether it is overloaded, or give it longer with --engine-timeout",
                ) from error

    @contextlib.asynccontextmanager
    async def _streamed(self, request: _Request, accept: frozenset[int]) -> AsyncIterator[Response]:
        connection: Connection | None = None
        try:
            connection, response = await self._answer(request, accept)
            yield response
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            raise unreachable(self.access, f"{request.call.doing} failed", error) from error
        finally:
            if connection is not None:
                self._client.release(connection)

    async def _answer(
        self, request: _Request, accept: frozenset[int]
    ) -> tuple[Connection, Response]:
        """Send until there is an answer to keep: not one that says "later", or "who are you?"."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.timeout
        pause, renewed, tries = _PAUSE, False, 0
        while True:
            if self._closed:
                raise EngineError(f"{request.call.doing} failed: the cluster's client was closed")
            tries += 1
            connection, response, used = await self._send(request, until)
            if response.status < 300 or response.status in accept:
                return connection, response
            words = await self._words(connection, response)
            if response.status == 401 and not renewed:
                renewed = True
                if self.access.credentials.refused(used):
                    continue
            wait = _asked_to_wait(response, words, pause)
            if wait is None or loop.time() + wait > until:
                raise translate(request.call, response.status, words)
            pause = min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(wait)

    async def _words(self, connection: Connection, response: Response) -> bytes:
        try:
            async with asyncio.timeout(self.timeout):
                return await response.read()
        except (TimeoutError, OSError):
            return b""  # the status says something, too
        finally:
            self._client.release(connection)

    async def _send(self, request: _Request, until: float) -> tuple[Connection, Response, Any]:
        """Send, again and again if the server that we know is away for a while."""
        loop = asyncio.get_running_loop()
        pause = _PAUSE
        while True:
            used = await self.access.credentials.current()
            headers = self._headers(request, used.authorization)
            self._show(used)
            connection: Connection | None = None
            fresh = True
            try:
                connection = await self._client.connect()
                fresh = connection.idle_since == 0
                self.calls[request.counted] += 1
                response = await connection.send(
                    request.method, request.target, headers, request.body
                )
            except BaseException as error:
                again = connection is None or request.repeatable
                if connection is not None:
                    self._client.release(connection)
                    again = again and not connection.received
                if not _passes(error) or not again:
                    raise
                if not self._answered or loop.time() + pause > until:
                    raise
                if fresh:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self._answered = True
                return connection, response, used

    def _show(self, used: Credential) -> None:
        shown = self._dial.credential
        if (used.certificate, used.key) != (shown.certificate, shown.key):
            self._client.close()  # those that are kept have shown the other certificate
            self._client = Client(self._dial, host=self._host, idle=_IDLE)
            self._dial.credential = used

    def _headers(self, request: _Request, authorization: str) -> list[tuple[str, str]]:
        headers = [("host", self._host), ("accept", "*/*"), ("user-agent", "lading")]
        if authorization:
            headers.append(("authorization", authorization))
        if request.body:
            headers.append(("content-type", request.content))
        headers += self.access.headers
        return headers


def _request(
    verb: str,
    kind: Kind,
    call: Call,
    sub: str,
    *,
    target: str,
    body: Any = None,
    content: str = _JSON,
) -> _Request:
    return _Request(
        _METHODS[verb],
        target,
        b"" if body is None else json.dumps(body).encode(),
        content if verb == "patch" else _JSON,
        call,
        (verb, f"{kind.plural}/{sub.partition('/')[0]}" if sub else kind.plural),
        "dryRun=" in target,
    )


def _passes(error: BaseException) -> bool:
    """Whether it may be better in a moment: a server that is started again, a network that is."""
    return isinstance(error, OSError) and not isinstance(error, ssl.SSLCertVerificationError)


def _asked_to_wait(response: Response, words: bytes, pause: float) -> float | None:
    """Tell how long to wait before the next try; None if there is to be none."""
    said = status_of(response.status, words)
    if response.status == 409 and said.about == "resourcequotas":
        return pause  # several at once change what is used of a quota
    asked = response.headers.get("retry-after", "")
    if response.status == 429 or (response.status in (500, 503, 504) and asked):
        return float(asked) if asked.isdigit() else pause
    return None


def _json(body: bytes, call: Call) -> dict[str, Any]:
    try:
        found = json.loads(body) if body.strip() else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise EngineError(
            f"{call.doing} failed: what answers is no cluster's API, it says "
            f"{body[:60].decode(errors='replace')!r}",
            fix="see whether the kubeconfig's server is the API server's address",
        )
    return found
