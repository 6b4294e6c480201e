"""The gRPC server of an inline service: a fresh process that asks another for its answers.

See :mod:`lading.contracts.golem.original.inline`, which starts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Any, NoReturn

from lading.contracts.golem import servers
from lading.contracts.golem.directories import ProviderTaskDir, RequestorTaskDir
from lading.contracts.golem.handlers import (
    AppLifecycleHandler,
    ProviderAppHandler,
    RequestorAppHandler,
)
from lading.contracts.golem.original import wire
from lading.contracts.golem.structs import Infrastructure, Subtask, Task

__all__ = ["NOT_ALIVE", "main"]

NOT_ALIVE = 75
"""Its exit code if the process that has the handlers never came to life."""
_ALIVE_SECONDS = 10.0
_LIFECYCLE_SECONDS = 5.0
"""A handler that blocks its process keeps no server from ending."""


def main(arguments: list[str]) -> None:
    """Serve until told to end.

    Parameters
    ----------
    arguments : list of str
        The side, the work directory, the port or 0, the file descriptors of the socket to who has
        the handlers and of the one to who started this.
    """
    side, work_dir, port, link, control = arguments
    # Who started this has logged what handlers raise, with where.
    logging.getLogger(servers.__name__).disabled = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever presses Ctrl-C ends the other, too
    asyncio.run(_serve(side, Path(work_dir), int(port), int(link), int(control)))


async def _serve(side: str, work_dir: Path, port: int, link: int, control: int) -> None:
    asks, its = await asyncio.open_connection(sock=socket.socket(fileno=link))
    try:
        async with asyncio.timeout(_ALIVE_SECONDS):
            await wire.read(asks)
    except TimeoutError:
        os._exit(NOT_ALIVE)
    asking = _Asking(asks, its)
    server: servers.AppServer
    if side == "requestor":
        server = servers.RequestorServer(
            work_dir, _Requestor(asking), _Lifecycle(asking), on_stopping=asking.stopping
        )
    else:
        server = servers.ProviderServer(
            work_dir, _Provider(asking), _Lifecycle(asking), on_stopping=asking.stopping
        )
    await server.start(f"127.0.0.1:{port}")
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.request_stop)
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=control))
    writer.write(f"{server.port}\n".encode())
    alone = asyncio.create_task(_until_alone(reader))
    await server.wait()
    await server.stop()
    alone.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await alone
    asking.close()
    writer.close()


async def _until_alone(reader: asyncio.StreamReader) -> NoReturn:
    """End when whoever started this has ended, however that was."""
    await reader.read()
    os._exit(1)


class _Asking:
    """Asks the process that has the handlers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read(reader))

    async def __call__(self, call: str, *arguments: Any) -> Any:
        number = next(self._numbers)
        asked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        try:
            wire.write(self._writer, {"id": number, "call": call, "arguments": arguments})
            return await asked
        except asyncio.CancelledError:
            wire.write(self._writer, {"cancel": number})
            raise
        finally:
            del self._asked[number]

    def stopping(self) -> None:
        """Say that blocking work should come to an end."""
        wire.write(self._writer, {"stopping": True})

    def close(self) -> None:
        self._reading.cancel()
        self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while (frame := await wire.read(reader)) is not None:
            asked = self._asked.get(frame["id"])
            if asked is None or asked.done():
                continue
            if "error" in frame:
                asked.set_exception(RuntimeError(frame["error"]))
            else:
                asked.set_result(frame["value"])
        os._exit(1)  # whoever has the handlers died: so does the application


class _Lifecycle(AppLifecycleHandler):
    def __init__(self, asking: _Asking) -> None:
        self._asking = asking

    async def on_before_startup(self) -> None:
        await self._tell("on_before_startup")

    async def on_after_startup(self) -> None:
        await self._tell("on_after_startup")

    async def on_before_shutdown(self) -> None:
        await self._tell("on_before_shutdown")

    async def on_after_shutdown(self) -> None:
        await self._tell("on_after_shutdown")

    async def _tell(self, event: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LIFECYCLE_SECONDS):
                await self._asking(event)


class _Requestor(RequestorAppHandler):
    def __init__(self, asking: _Asking) -> None:
        self._asking = asking

    async def create_task(
        self, task_work_dir: RequestorTaskDir, max_subtasks_count: int, task_params: dict[str, Any]
    ) -> Task:
        env_id, prerequisites, memory = await self._asking(
            "create_task", str(task_work_dir), max_subtasks_count, task_params
        )
        return Task(env_id, prerequisites, Infrastructure(memory))

    async def next_subtask(
        self, task_work_dir: RequestorTaskDir, subtask_id: str, opaque_node_id: str
    ) -> Subtask | None:
        found = await self._asking("next_subtask", str(task_work_dir), subtask_id, opaque_node_id)
        return found and Subtask(*found)

    async def verify(self, task_work_dir: RequestorTaskDir, subtask_id: str) -> Any:
        return await self._asking("verify", str(task_work_dir), subtask_id)

    async def discard_subtasks(
        self, task_work_dir: RequestorTaskDir, subtask_ids: list[str]
    ) -> list[str]:
        gone: list[str] = await self._asking("discard_subtasks", str(task_work_dir), subtask_ids)
        return gone

    async def run_benchmark(self, work_dir: Path) -> float:
        score: float = await self._asking("run_benchmark", str(work_dir))
        return score

    async def has_pending_subtasks(self, task_work_dir: RequestorTaskDir) -> bool:
        pending: bool = await self._asking("has_pending_subtasks", str(task_work_dir))
        return pending

    async def abort_task(self, task_work_dir: RequestorTaskDir) -> None:
        await self._asking("abort_task", str(task_work_dir))

    async def abort_subtask(self, task_work_dir: RequestorTaskDir, subtask_id: str) -> None:
        await self._asking("abort_subtask", str(task_work_dir), subtask_id)


class _Provider(ProviderAppHandler):
    def __init__(self, asking: _Asking) -> None:
        self._asking = asking

    async def compute(
        self, task_work_dir: ProviderTaskDir, subtask_id: str, subtask_params: dict[str, Any]
    ) -> str:
        path: str = await self._asking("compute", str(task_work_dir), subtask_id, subtask_params)
        return path

    async def run_benchmark(self, work_dir: Path) -> float:
        score: float = await self._asking("run_benchmark", str(work_dir))
        return score
