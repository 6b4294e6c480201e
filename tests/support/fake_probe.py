"""The probe of tests/images/probe.c, for the fake engine: the same verbs, orders and replies."""

from __future__ import annotations

import asyncio
import json
import posixpath
import random
from typing import Any

from lading.testing import FakeImage, FakeProcess
from lading.testing.fake_capabilities import CAPABILITIES

NAME = "lading-test/probe:1"


def probe_image(ref: str = NAME) -> FakeImage:
    """The probe's image, as tests/images/build.py makes it for real engines."""
    return FakeImage(
        ref,
        probe,
        entrypoint=("/probe",),
        command=("serve",),
        env={"PROBE": "1"},
        labels={"lading.test": "probe"},
        files={"/data/hello.txt": b"hello\n", "/probe": b"\x7fELF", "/tmp/": b""},
        exposed=(8080,),
    )


async def probe(process: FakeProcess) -> int:
    """Do what the first argument says."""
    verb, *words = process.argv[1:] or [""]
    if verb == "ignore-term":
        process.ignore("SIGTERM")
    if verb == "serve":
        return await _serve(process, words)
    if verb in ("write", "cat", "hog", "connect"):
        return await _touch(process, verb, words)
    return await _speak(process, verb, words)


async def _speak(process: FakeProcess, verb: str, words: list[str]) -> int:
    match verb:
        case "echo":
            _say(process, " ".join(words))
        case "err":
            _say(process, " ".join(words), "stderr")
        case "exit":
            return int(words[0])
        case "sleep" | "ignore-term":
            await asyncio.sleep(float(words[0]))
        case "spin":
            await process.spin(float(words[0]))
        case "lines":
            for number in range(1, int(words[0]) + 1):
                _say(process, f"line {number}")
                await asyncio.sleep(int(words[1]) / 1000)
        case "env":
            value = process.env.get(words[0])
            if value is None:
                return 1
            _say(process, value)
        case "fork":
            _say(process, str(process.fork(int(words[0]))))
        case "caps":
            mask = sum(1 << CAPABILITIES.index(name) for name in process.capabilities)
            _say(process, f"CapEff:\t{mask:016x}")
            _say(process, f"NoNewPrivs:\t{int(process.sealed)}")
        case "id":
            user, _, group = process.user.partition(":")
            _say(process, f"{user or 0}:{group or 0}")
        case _:
            _say(process, "probe VERB: see tests/images/probe.c", "stderr")
            return 64
    return 0


async def _touch(process: FakeProcess, verb: str, words: list[str]) -> int:
    try:
        if verb == "write":
            await process.write_file(words[0], words[1].encode())
        elif verb == "cat":
            path = posixpath.join(process.directory, words[0])
            process.write(await process.read_file(path))
        elif verb == "hog":
            process.allocate(int(words[0]))
            if len(words) == 1:
                await asyncio.Event().wait()
            await asyncio.sleep(float(words[1]))
        else:
            return 0 if await _reachable(process, words[0], int(words[1])) else 7
    except OSError as error:
        _say(process, f"probe: {words[0]}: {error.strerror}", "stderr")
        return 70
    return 0


def _say(process: FakeProcess, text: str, stream: str = "stdout") -> None:
    process.write(f"{text}\n".encode(), stream)


async def _reachable(process: FakeProcess, host: str, port: int) -> bool:
    try:
        connection = await process.connect(host, port)
    except OSError:
        return False
    connection.close()
    return True


async def _serve(process: FakeProcess, words: list[str]) -> int:
    mark, listens, first = True, True, False
    stream, port, boot, late, code = "stdout", 8080, 0, 0, -1
    options = iter(words)
    for option in options:
        match option:
            case "--no-mark":
                mark = False
            case "--no-listen":
                listens = False
            case "--stderr":
                stream = "stderr"
            case "--mark-first":
                first = True
            case "--boot-ms":
                boot = int(next(options))
            case "--listen-ms":
                late = int(next(options))
            case "--port":
                port = int(next(options))
            case "--exit-after-mark":
                code = int(next(options))
            case _:
                _say(process, f"probe: serve: unknown option {option}", "stderr")
                return 64
    await asyncio.sleep(boot / 1000)
    if mark and first:
        _say(process, "meca-init-done", stream)
    if listens:
        await asyncio.sleep(late / 1000)
        await process.listen(port, _Server(process).connection)
    if mark and not first:
        _say(process, "meca-init-done", stream)
    if code < 0:
        await asyncio.Event().wait()
    return code


class _Server:
    """HTTP as the probe speaks it."""

    def __init__(self, process: FakeProcess) -> None:
        self._process = process
        self._counted = 0

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            except asyncio.IncompleteReadError:
                return
            request, *lines = head.splitlines()
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            if headers.get("expect", "").lower() == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, target, _ = request.split(" ", 2)
            if not await self._answer(writer, f"{method} {target}", body):
                return
            await writer.drain()
            if headers.get("connection", "").lower() == "close":
                return

    async def _answer(self, writer: asyncio.StreamWriter, call: str, body: bytes) -> bool:
        orders = _orders(body)
        match call:
            case "POST /":
                return await self._run(writer, orders, body)
            case "GET /health":
                return _reply(writer, 200, b"ok")
            case "GET /ra":
                return _reply(writer, 200, b'{"msg": {"report": "00", "key": "mock"}}')
            case "POST /run":
                text = str(orders.get("value", ""))[::-1]
                return _reply(writer, 200, f'{{"msg": "{text}"}}'.encode())
        return _reply(writer, 404, b"not found")

    async def _run(self, writer: asyncio.StreamWriter, orders: dict[str, Any], body: bytes) -> bool:
        process = self._process
        if "nth" in orders:
            self._counted += 1
            if self._counted != orders["nth"]:
                return _reply(writer, 200, body)
        if "say" in orders:
            _say(process, orders["say"])
        if orders.get("sleep_ms", 0) > 0:
            await asyncio.sleep(orders["sleep_ms"] / 1000)
        if "exit" in orders:
            _say(process, f"probe: exiting {orders['exit']}", "stderr")
            process.exit(orders["exit"])
        if orders.get("close"):
            return False
        if orders.get("close_half"):
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                b"Content-Length: 1000\r\n\r\n0123456789"
            )
            return False
        if "hog" in orders:
            process.allocate(orders["hog"] + random.randrange(max(1, orders.get("vary", 0))))
            return _reply(writer, 200, b"ok")
        if "big" in orders:
            return await _reply_big(writer, orders["big"])
        return await self._tell(writer, orders, body)

    async def _tell(
        self, writer: asyncio.StreamWriter, orders: dict[str, Any], body: bytes
    ) -> bool:
        process = self._process
        if "connect" in orders:
            host, _, port = str(orders["connect"]).rpartition(":")
            if not host:
                return _reply(writer, 400, b"connect wants host:port")
            is_open = await _reachable(process, host, int(port))
            return _reply(writer, 200, b"open" if is_open else b"closed")
        if orders.get("pid"):
            return _reply(writer, 200, b"1")
        if orders.get("hostname"):
            return _reply(writer, 200, process.hostname.encode())
        if orders.get("status", 0) >= 100:
            return _reply(writer, orders["status"], f"status {orders['status']}".encode())
        return _reply(writer, 200, body)


def _orders(body: bytes) -> dict[str, Any]:
    try:
        orders = json.loads(body)
    except ValueError:
        return {}
    return orders if isinstance(orders, dict) else {}


def _reply(writer: asyncio.StreamWriter, status: int, body: bytes) -> bool:
    reason = "OK" if status == 200 else "Probe"
    kind = "application/json" if body.startswith(b"{") else "text/plain"
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"\r\n" + body)
    return True


async def _reply_big(writer: asyncio.StreamWriter, size: int) -> bool:
    writer.write(
        f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n".encode()
    )
    while size:
        part = min(size, 64 << 10)
        writer.write(b"x" * part)
        await writer.drain()
        size -= part
    return True
