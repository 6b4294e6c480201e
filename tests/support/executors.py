"""A real executor in a process of its own, and a client that owes nothing to ours."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_URL = re.compile(r"http://(\S+):(\d+)")
_START_S = 30.0


@dataclass(frozen=True)
class Answer:
    """One HTTP reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def msg(self) -> str:
        text: str = self.json()["msg"]
        return text

    @property
    def success(self) -> bool:
        flag: bool = self.json()["success"]
        return flag


async def ask(
    host: str,
    port: int,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Ask once, on a connection of its own."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        fields = {"Host": f"{host}:{port}", "Content-Length": str(len(body)), "Connection": "close"}
        head = "".join(
            f"{name}: {value}\r\n" for name, value in (fields | dict(headers or {})).items()
        )
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        raw = await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    top, _, content = raw.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Answer(
        int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}, content
    )


@dataclass
class ExecutorProcess:
    """`lading serve` as an operator starts it."""

    process: asyncio.subprocess.Process
    host: str
    port: int
    state: Path
    log: list[str] = field(default_factory=list)

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        return await ask(self.host, self.port, method, path, body, headers)

    async def execute(
        self,
        image: str,
        task_input: Any = "",
        *,
        path: str = "/",
        cpu: float = 0.1,
        mem: int = 32,
        resource: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Answer:
        """Send an execution; an input that is no string is sent as its JSON text."""
        if not isinstance(task_input, str):
            task_input = json.dumps(task_input)
        request = {
            "id": image,
            "resource": {"cpu": cpu, "mem": mem} | dict(resource or {}),
            "input": task_input,
        }
        return await self.ask("POST", path, json.dumps(request | fields).encode())

    async def end(self, number: int = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(timeout):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def executor_process(
    engine: str,
    state: Path,
    *flags: str,
    env: Mapping[str, str] | None = None,
    program: Sequence[str] = (sys.executable, "-m", "lading"),
) -> AsyncIterator[ExecutorProcess]:
    """Start an executor on a free port; it is ended with the block, and must end well."""
    command = [*program, "serve", "--listen", "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--engine",
        engine,
        *flags,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "LADING_STATE": str(state), **(env or {})},
    )
    assert process.stdout is not None
    lines: list[str] = []
    found = asyncio.get_running_loop().create_future()

    async def read_log(stream: asyncio.StreamReader) -> None:
        async for raw in stream:
            line = raw.decode("utf-8", "replace").rstrip()
            lines.append(line)
            match = _URL.search(line)
            if match and not found.done():
                found.set_result((match[1], int(match[2])))
        if not found.done():
            found.set_exception(AssertionError("it did not start:\n" + "\n".join(lines)))

    reader = asyncio.create_task(read_log(process.stdout))
    try:
        async with asyncio.timeout(_START_S):
            host, port = await found
        running = ExecutorProcess(process, host, port, state, lines)
        yield running
        await running.end()
        assert "Traceback" not in "\n".join(lines), "\n".join(lines)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await reader
