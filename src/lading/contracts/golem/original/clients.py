"""Clients that start the application that they call, and stop it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from lading.contracts.golem import clients
from lading.contracts.golem.constants import PROVIDER_PORT, REQUESTOR_PORT
from lading.contracts.golem.original.services import TaskApiService, target_of
from lading.contracts.golem.structs import Subtask, Task, VerifyResult
from lading.contracts.golem.tls import ClientTls
from lading.engine.shield import to_the_end
from lading.errors import AppGone, AppShutDown, LadingError

__all__ = ["AppClient", "ProviderAppClient", "RequestorAppClient"]

T = TypeVar("T")
C = TypeVar("C", bound=clients.AppClient)

_LOOK = 0.1
"""Seconds between two looks whether the application still runs, while it gets ready."""


class AppClient(Generic[C]):
    """What both clients have in common.

    Parameters
    ----------
    service : TaskApiService
        Runs already.
    calls : lading.contracts.golem.clients.AppClient
        Connected with it.
    """

    DEFAULT_PORT: ClassVar[int]
    SOFT_SHUTDOWN_TIMEOUT: ClassVar[float] = 5.0
    """Seconds in which an application has to end by itself."""
    _SIDE: ClassVar[str]
    _CALLS: ClassVar[type[clients.AppClient]]

    def __init__(self, service: TaskApiService, calls: C) -> None:
        self._service = service
        self._calls = calls
        self._ending: asyncio.Task[None] | None = None
        self._told_to_end = asyncio.Event()

    @classmethod
    async def create(
        cls,
        service: TaskApiService,
        port: int | None = None,
        ssl_context: ClientTls | None = None,
    ) -> Self:
        """Start an application and wait, for 15 seconds at most, until it answers.

        Parameters
        ----------
        service : TaskApiService
        port : int or None
            Where it should listen; 50005 for a requestor, 50006 for a provider.
        ssl_context : ClientTls or None
            From ``golem_task_api.ssl.create_client_ssl_context``.

        Raises
        ------
        NotReady
            It did not answer.
        AppGone
            It ended instead.
        """
        port = cls.DEFAULT_PORT if port is None else port
        try:
            host, there = await service.start(f"{cls._SIDE} {port}", port)
            opening = cls._CALLS.connect(target_of(host, there), tls=ssl_context)
            calls: Any = await _while_running(service, opening)
        except BaseException:
            await to_the_end(_end(service))
            raise
        return cls(service, calls)

    async def run_benchmark(self) -> float:
        """Ask how fast the machine is."""
        return await self._ask("RunBenchmark", self._calls.run_benchmark())

    async def shutdown(self, timeout: float = SOFT_SHUTDOWN_TIMEOUT) -> None:
        """End the application; calls in progress raise ShutdownException. May be called again.

        Parameters
        ----------
        timeout : float
            Seconds until it is ended by force.
        """
        if self._ending is None:
            self._told_to_end.set()
            self._ending = asyncio.create_task(self._end(timeout))
        await asyncio.shield(self._ending)

    async def _end(self, timeout: float) -> None:
        try:
            with contextlib.suppress(TimeoutError, LadingError):
                async with asyncio.timeout(timeout):
                    if self._service.running():
                        await self._calls.shutdown()
                    await self._service.wait_until_shutdown_complete()
        finally:
            await self._calls.close()
            await _end(self._service)

    async def _ask(self, call: str, asked: Coroutine[Any, Any, T]) -> T:
        if self._told_to_end.is_set():
            asked.close()
            raise _told(call)
        asking = asyncio.ensure_future(asked)
        ending = asyncio.create_task(self._told_to_end.wait())
        try:
            await asyncio.wait({asking, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise _told(call)
            return await asking
        finally:
            for task in (asking, ending):
                task.cancel()
            await asyncio.gather(asking, ending, return_exceptions=True)


class RequestorAppClient(AppClient[clients.RequestorAppClient]):
    """Calls an application's requestor; errors are those of our own client."""

    DEFAULT_PORT = REQUESTOR_PORT
    _SIDE = "requestor"
    _CALLS = clients.RequestorAppClient

    async def create_task(
        self, task_id: str, max_subtasks_count: int, task_params: dict[str, Any]
    ) -> Task:
        """Begin a task."""
        asked = self._calls.create_task(task_id, max_subtasks_count, task_params)
        return await self._ask("CreateTask", asked)

    async def next_subtask(
        self, task_id: str, subtask_id: str, opaque_node_id: str
    ) -> Subtask | None:
        """Ask for a piece of work; None: this node gets nothing."""
        asked = self._calls.next_subtask(task_id, subtask_id, opaque_node_id)
        return await self._ask("NextSubtask", asked)

    async def verify(self, task_id: str, subtask_id: str) -> tuple[VerifyResult, str | None]:
        """Ask for the verdict on a result, and why."""
        return await self._ask("Verify", self._calls.verify(task_id, subtask_id))

    async def discard_subtasks(self, task_id: str, subtask_ids: list[str]) -> list[str]:
        """Have results forgotten; return the ids of all that are gone with them."""
        asked = self._calls.discard_subtasks(task_id, subtask_ids)
        return await self._ask("DiscardSubtasks", asked)

    async def has_pending_subtasks(self, task_id: str) -> bool:
        """Ask whether there is work to hand out."""
        asked = self._calls.has_pending_subtasks(task_id)
        return await self._ask("HasPendingSubtasks", asked)

    async def abort_task(self, task_id: str) -> None:
        """Give a task up."""
        await self._ask("AbortTask", self._calls.abort_task(task_id))

    async def abort_subtask(self, task_id: str, subtask_id: str) -> None:
        """Give a subtask up."""
        await self._ask("AbortSubtask", self._calls.abort_subtask(task_id, subtask_id))


class ProviderAppClient(AppClient[clients.ProviderAppClient]):
    """Calls an application's provider, which ends by itself after its first call."""

    DEFAULT_PORT = PROVIDER_PORT
    _SIDE = "provider"
    _CALLS = clients.ProviderAppClient

    async def compute(self, task_id: str, subtask_id: str, subtask_params: dict[str, Any]) -> Path:
        """Have a subtask computed; return its result's path, relative to the task's directory."""
        asked = self._calls.compute(task_id, subtask_id, subtask_params)
        return await self._ask("Compute", asked)


def _told(call: str) -> AppShutDown:
    return AppShutDown(call, "CANCELLED", "the application was told to end")


async def _while_running(service: TaskApiService, opening: Coroutine[Any, Any, T]) -> T:
    """Wait for a connection, but not with an application that has ended."""
    connecting = asyncio.ensure_future(opening)
    try:
        while not connecting.done():
            await asyncio.wait({connecting}, timeout=_LOOK)
            if not connecting.done() and not service.running():
                why = "the application ended before it answered"
                raise AppGone("Check", "UNAVAILABLE", why, fix="see what it printed")
        return await connecting
    finally:
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)


async def _end(service: TaskApiService) -> None:
    if service.running():
        await service.stop()
    await service.wait_until_shutdown_complete()
