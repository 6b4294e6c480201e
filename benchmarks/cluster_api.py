"""A cluster asked with nothing of ours in between, and a counter of what ours asks it."""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import http.client
import json
import os
import re
import ssl
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

__all__ = ["Cluster", "Counter", "counted", "find_cluster"]

Json = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """The current context of a kubeconfig whose user has a token or a certificate."""

    config: Path
    server: str
    headers: Json
    tls: ssl.SSLContext

    def connect(self) -> http.client.HTTPSConnection:
        """Open a connection."""
        where = urlsplit(self.server)
        assert where.hostname is not None
        return http.client.HTTPSConnection(
            where.hostname, where.port or 443, context=self.tls, timeout=120
        )

    def call(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        body: Json | None = None,
    ) -> Json:
        """Call once; a status of 300 or more is an OSError."""
        response = self.ask(connection, method, path, body)
        found: Json = json.loads(response.read())
        return found

    def ask(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        body: Json | None = None,
    ) -> http.client.HTTPResponse:
        """Call once, and leave the reply to be read."""
        text = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json", **self.headers}
        connection.request(method, path, text, headers)
        response = connection.getresponse()
        if response.status >= 300:
            raise OSError(f"{method} {path}: {response.status} {response.read()[:500]!r}")
        return response

    @contextlib.contextmanager
    def namespace(self, name: str) -> Iterator[str]:
        """Have a namespace of that name meanwhile, ready for pods; yields its path."""
        with contextlib.closing(self.connect()) as connection:
            self.call(connection, "POST", "/api/v1/namespaces", {"metadata": {"name": name}})
            path = f"/api/v1/namespaces/{name}"
            try:
                account = f"{path}/serviceaccounts?watch=true&fieldSelector=metadata.name%3Ddefault"
                with contextlib.closing(self.connect()) as watching:
                    self.ask(watching, "GET", account).readline()  # without it, pods are refused
                yield path
            finally:
                self.call(connection, "DELETE", path)


def find_cluster() -> Cluster | None:
    """Find the cluster of LADING_TEST_KUBECONFIG, or of KUBECONFIG; None where there is none."""
    named = os.environ.get("LADING_TEST_KUBECONFIG") or os.environ.get("KUBECONFIG", "")
    if not named or not Path(named).exists():
        return None
    content = yaml.safe_load(Path(named).read_text("utf-8"))

    def one(kind: str, name: str) -> Json:
        found: Json = next(item for item in content[f"{kind}s"] if item["name"] == name)[kind]
        return found

    context = one("context", content["current-context"])
    cluster, user = one("cluster", context["cluster"]), one("user", context["user"])
    tls = ssl.create_default_context(
        cafile=cluster.get("certificate-authority"),
        cadata=_decoded(cluster.get("certificate-authority-data")),
    )
    if pairs := [user.get(f"client-{part}-data") for part in ("certificate", "key")]:
        _identify(tls, user, pairs)
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    return Cluster(Path(named), cluster["server"], headers, tls)


def _decoded(text: str | None) -> str | None:
    return base64.b64decode(text).decode() if text else None


def _identify(tls: ssl.SSLContext, user: Json, data: list[str | None]) -> None:
    if "client-certificate" in user:
        tls.load_cert_chain(user["client-certificate"], user["client-key"])
    elif all(data):
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.writelines(_decoded(text) or "" for text in data)
            file.flush()
            tls.load_cert_chain(file.name)


_ASKS = re.compile(rb"(?:^|\r\n\r\n|\})(GET|POST|PUT|PATCH|DELETE) (/\S+) HTTP/1\.1\r\n")


class Counter:
    """Passes connections on to the cluster, and counts the requests that go through."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.seen: collections.Counter[str] = collections.Counter()
        self.address = ""

    async def serve(self, begun: threading.Event, loops: list[asyncio.AbstractEventLoop]) -> None:
        """Pass them on, until this is cancelled."""
        async with await asyncio.start_server(self._pass_on, "127.0.0.1", 0) as server:
            self.address = "http://{}:{}".format(*server.sockets[0].getsockname())
            loops.append(asyncio.get_running_loop())
            begun.set()
            await asyncio.Event().wait()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        where = urlsplit(self._cluster.server)
        inner_reader, inner_writer = await asyncio.open_connection(
            where.hostname, where.port or 443, ssl=self._cluster.tls
        )

        async def there() -> None:
            rest = b""
            while data := await reader.read(1 << 16):
                rest = self._count(rest + data)
                inner_writer.write(data)
                await inner_writer.drain()

        async def back() -> None:
            while data := await inner_reader.read(1 << 16):
                writer.write(data)
                await writer.drain()

        ways = {asyncio.create_task(there()), asyncio.create_task(back())}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for one in (writer, inner_writer):
                one.close()

    def _count(self, data: bytes) -> bytes:
        """Count the requests that begin in it; returns what may be the beginning of the next."""
        end = 0
        for found in _ASKS.finditer(data):
            path, _, asked = found[2].decode().partition("?")
            parts = path.split("/namespaces/")[-1].split("/")
            kind = "/".join([*parts[1:2], *parts[3:4]]) or path
            verb = "WATCH" if "watch=" in asked else found[1].decode()
            dry = " (dry run)" if "dryRun" in asked else ""
            self.seen[f"{verb} {kind}{dry}"] += 1
            end = found.end()
        return data[max(end, len(data) - 4096) :]


@contextlib.contextmanager
def counted(cluster: Cluster, folder: str, namespace: str) -> Iterator[tuple[Counter, Path]]:
    """Have a counter before the cluster, and a kubeconfig that leads through it."""
    counter, begun = Counter(cluster), threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    def work() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(counter.serve(begun, loops))

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    content = yaml.safe_load(cluster.config.read_text("utf-8"))
    context = next(c for c in content["contexts"] if c["name"] == content["current-context"])
    for item in content["clusters"]:
        if item["name"] == context["context"]["cluster"]:
            item["cluster"] = {"server": counter.address}
    context["context"]["namespace"] = namespace
    config = Path(folder, "kubeconfig")
    config.write_text(yaml.safe_dump(content))
    try:
        yield counter, config
    finally:
        loops[0].call_soon_threadsafe(_cancel_all, loops[0])
        thread.join()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
