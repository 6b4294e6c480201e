"""When a container can be used: its mark was seen, its port listens, its page answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from lading.engine.base import Container
from lading.engine.spec import Exit
from lading.errors import InputError, NotReady
from lading.http1 import open_socket
from lading.run.logs import LogTail
from lading.units import format_seconds

__all__ = ["Readiness", "until_ready"]

_FIRST_WAIT = 0.001
_LONGEST_WAIT = 0.05


@dataclass(frozen=True, slots=True)
class Readiness:
    """What to wait for; all that is given must come, in this order, under one deadline.

    Parameters
    ----------
    mark : bytes or None
        Printed on stdout or stderr.
    port : int or None
        Accepts a TCP connection.
    http : str or None
        Path that answers a GET on `port` with a 2xx status.
    timeout : float
        Seconds for all of it, from the container's start.

    Raises
    ------
    InputError
        `http` without `port`.
    """

    mark: bytes | None = None
    port: int | None = None
    http: str | None = None
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if self.http is not None and self.port is None:
            raise InputError("http", "a path needs a port to ask it on", fix="set port")


class _Progress:
    """What is still missing, as a clause."""

    def __init__(self) -> None:
        self.missing = ""


async def until_ready(
    readiness: Readiness,
    *,
    task: str,
    container: Container,
    tail: LogTail,
    exited: asyncio.Future[Exit],
) -> bool:
    """Wait until a container is ready or has ended.

    Parameters
    ----------
    task : str
        What to call it in an error.
    tail : LogTail
        Follows its log, with ``readiness.mark`` as its mark.
    exited : Future
        Done as soon as it has ended.

    Returns
    -------
    bool
        False if it ended first; `exited` says how.

    Raises
    ------
    NotReady
        The deadline is over; the message says what came and what didn't.
    """
    progress = _Progress()
    passing = asyncio.create_task(_pass(readiness, container, tail, progress))
    either: set[asyncio.Future[Any]] = {passing, exited}
    try:
        await asyncio.wait(either, timeout=readiness.timeout, return_when=asyncio.FIRST_COMPLETED)
        if exited.done():
            return False
        if passing.done():
            passing.result()
            return True
    finally:
        passing.cancel()
        await asyncio.wait({passing})
        if not passing.cancelled():
            passing.exception()
    raise NotReady(
        f"{task} is not ready: it {progress.missing} after {format_seconds(readiness.timeout)}",
        logs=tail.tail(),
        fix="see its log; give it more time if it is only slow",
    )


async def _pass(
    readiness: Readiness, container: Container, tail: LogTail, progress: _Progress
) -> None:
    done = ""
    if readiness.mark is not None:
        mark = readiness.mark.decode("utf-8", "replace")
        progress.missing = f"never printed its mark {mark!r}"
        await tail.marked.wait()
        done = f"printed its mark {mark!r} but "
    if readiness.port is None:
        return
    progress.missing = f"{done or 'runs but '}nothing listens on port {readiness.port}"
    async for _ in _tries():
        try:
            (await container.connect(readiness.port)).close()
        except ConnectionError:
            continue
        break
    if readiness.http is not None:
        await _answers(readiness.http, readiness.port, container, progress)


async def _answers(path: str, port: int, container: Container, progress: _Progress) -> None:
    where = f"listens on port {port} but GET {path}"
    progress.missing = f"{where} does not answer"
    async for _ in _tries():
        try:
            status = await _status(path, port, container)
        except ConnectionError:
            continue
        if 200 <= status < 300:
            return
        progress.missing = f"{where} answers with status {status}"


async def _status(path: str, port: int, container: Container) -> int:
    sock = await container.connect(port)
    try:
        connection = await open_socket(sock)
    except BaseException:
        sock.close()
        raise
    try:
        headers = (("host", f"localhost:{port}"), ("connection", "close"))
        return (await connection.send("GET", path, headers)).status
    finally:
        connection.close()


async def _tries() -> AsyncIterator[None]:
    """Yield for ever, at growing distances: who is nearly ready is found at once."""
    wait = _FIRST_WAIT
    while True:
        yield
        await asyncio.sleep(wait)
        wait = min(wait * 1.5, _LONGEST_WAIT)
