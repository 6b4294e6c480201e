"""The executor under test: ours, started here, or any other by its address."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks.docker_api import Api

__all__ = ["Answer", "Executor", "ExecutorError", "elsewhere", "free_port", "server", "started"]

_PATIENCE_S = 60.0


class ExecutorError(Exception):
    """The executor did not start, or did not do what it was asked."""


@dataclass(frozen=True)
class Answer:
    """A reply of ``POST /``."""

    message: str
    headers: dict[str, str]
    seconds: float


@dataclass
class Executor:
    """An executor that answers.

    Parameters
    ----------
    address, port
        Where.
    pid : int or None
        Of its process, where we started it.
    owners : set of str
        The values of ``lading.owner`` that its containers carried.
    """

    address: str
    port: int
    pid: int | None = None
    owners: set[str] = field(default_factory=set)

    @property
    def ours(self) -> bool:
        """Whether we started it, and so may look into it."""
        return self.pid is not None

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection; the caller closes it."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=_PATIENCE_S * 2)
        connection.connect()
        return connection

    def execute(
        self, task: dict[str, Any], connection: http.client.HTTPConnection | None = None
    ) -> Answer:
        """Run a task.

        Raises
        ------
        ExecutorError
            It did not succeed.
        """
        body = json.dumps(task).encode()
        with contextlib.ExitStack() as stack:
            if connection is None:
                connection = stack.enter_context(contextlib.closing(self.connect()))
            began = time.perf_counter()
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            raw = response.read()
            seconds = time.perf_counter() - began
        found = json.loads(raw)
        if response.status != 200 or not isinstance(found, dict) or not found.get("success"):
            raise ExecutorError(f"POST / of {task.get('id')}: {response.status} {raw[:500]!r}")
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(found["msg"], headers, seconds)

    def call(self, method: str, path: str) -> bytes:
        """Make any other call.

        Raises
        ------
        ExecutorError
            The status is not 200.
        """
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path)
            response = connection.getresponse()
            raw = response.read()
        if response.status != 200:
            raise ExecutorError(f"{method} {path}: {response.status} {raw[:500]!r}")
        return raw

    def forget_warm(self) -> None:
        """Have every warm container removed, so that the next call is a cold one."""
        self.call("POST", "/pause")
        self.call("POST", "/unpause")

    def gauge(self, name: str) -> float:
        """Read one of our metrics, as ``lading_waiting`` or ``lading_containers{state="idle"}``."""
        for line in self.call("GET", "/metrics").decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        raise ExecutorError(f"GET /metrics: there is no {name}")

    def wait_for(self, **wanted: int) -> None:
        """Wait for numbers of containers by state (idle=1, busy=2) or requests (waiting=1000).

        Raises
        ------
        ExecutorError
            They don't come within a minute.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            found = {
                state: self.gauge(
                    "lading_waiting"
                    if state == "waiting"
                    else f'lading_containers{{state="{state}"}}'
                )
                for state in wanted
            }
            if found == wanted:
                return
            if time.monotonic() > deadline:
                raise ExecutorError(f"waited a minute for {wanted}, and there are {found}")
            time.sleep(0.05)


def free_port() -> int:
    """Find a port that nobody uses."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a process that was just started listens.

    Raises
    ------
    ExecutorError
        It ended, or does not listen within a minute.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise ExecutorError(f"it did not start:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.02)


@contextlib.contextmanager
def server(
    command: list[str], port: int, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that listens on a port while the block runs."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lading-bench-")))
        log = folder / "log"
        output: IO[bytes] = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            command,
            env={**os.environ, "LADING_STATE": str(folder / "state"), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C is ours to handle, in our order
        )
        stack.callback(_end, process)
        wait_for_port(port, process, log)
        yield process


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=_PATIENCE_S * 2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def started(engine: str, *flags: str) -> Iterator[Executor]:
    """Our executor while the block runs; no container of it is left behind.

    Parameters
    ----------
    engine : str
        Address of the container engine.
    flags : str
        For ``lading serve``, beside its address.
    """
    program = Path(sys.executable).with_name("lading")
    command = [str(program)] if program.exists() else [sys.executable, "-m", "lading"]
    port = free_port()
    command += ["serve", "--listen", f"127.0.0.1:{port}", *flags]
    found: Executor | None = None
    try:
        with server(command, port, {"DOCKER_HOST": engine}) as process:
            found = Executor("127.0.0.1", port, process.pid)
            yield found
    finally:
        _sweep(engine, found.owners if found else set())


def _sweep(engine: str, owners: set[str]) -> None:
    """Remove what an executor that did not end in order has left."""
    api = Api(engine)
    try:
        for owner in owners:
            for item in api.labelled(f"lading.owner={owner}"):
                print(f"the executor left {item['Names']} behind", file=sys.stderr)
                api.remove(item["Id"])
    finally:
        api.close()


def elsewhere(url: str) -> Executor:
    """An executor that somebody else started.

    Raises
    ------
    ExecutorError
        The address can't be used, or nobody answers.
    """
    parts = urllib.parse.urlsplit(url if "//" in url else f"//{url}")
    try:
        address = socket.gethostbyname(parts.hostname or "")
        found = Executor(address, parts.port or 2591)
        found.connect().close()
    except OSError as error:
        raise ExecutorError(f"{url}: {error}") from None
    return found
