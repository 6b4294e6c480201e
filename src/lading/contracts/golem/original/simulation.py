"""Drives a whole task against an application, one subtask after the other, for its tests."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from lading.contracts.golem.constants import REQUESTOR_PORT
from lading.contracts.golem.directories import (
    ProviderDir,
    ProviderTaskDir,
    RequestorDir,
    RequestorTaskDir,
)
from lading.contracts.golem.handlers import (
    AppLifecycleHandler,
    ProviderAppHandler,
    RequestorAppHandler,
)
from lading.contracts.golem.original.clients import ProviderAppClient, RequestorAppClient
from lading.contracts.golem.original.inline import InlineTaskApiService
from lading.contracts.golem.original.services import TaskApiService
from lading.contracts.golem.structs import Task, VerifyResult

__all__ = ["TaskLifecycleUtil"]

_ANYBODY = "test-node"


class TaskLifecycleUtil:
    """Plays requestor and provider in a directory.

    Parameters
    ----------
    work_dir : Path
        Exists and is empty; gets ``requestor`` and ``provider``.

    Attributes
    ----------
    req_dir : RequestorDir
    prov_dir : ProviderDir
    requestor_client : RequestorAppClient or None
        While :meth:`init_requestor` is open.
    provider_client : ProviderAppClient or None
        Since :meth:`start_provider`.
    """

    def __init__(self, work_dir: Path) -> None:
        self.work_dir = Path(work_dir)
        self.req_dir = RequestorDir(self.work_dir, "requestor")
        self.req_dir.mkdir()
        self.prov_dir = ProviderDir(self.work_dir, "provider")
        self.prov_dir.mkdir()
        self.requestor_client: RequestorAppClient | None = None
        self.provider_client: ProviderAppClient | None = None
        self._provider_service: TaskApiService | None = None
        self._provider_dir: ProviderTaskDir | None = None

    # The provider.

    def init_provider(
        self, get_task_api_service: Callable[[Path], TaskApiService], task_id: str
    ) -> ProviderTaskDir:
        """Say what computes a task's subtasks, and make its directory.

        Parameters
        ----------
        get_task_api_service : callable
            Gets the provider's directory of this task.
        task_id : str
        """
        directory = self.prov_dir.task_dir(task_id)
        directory.prepare()
        self._provider_dir = directory
        self._provider_service = get_task_api_service(directory)
        return directory

    def init_provider_with_handler(
        self,
        provider_handler: ProviderAppHandler,
        task_id: str,
        lifecycle_handler: AppLifecycleHandler | None = None,
    ) -> ProviderTaskDir:
        """Say which handler computes a task's subtasks; see :meth:`init_provider`."""
        return self.init_provider(
            lambda work_dir: InlineTaskApiService(
                work_dir,
                provider_handler=provider_handler,
                provider_lifecycle_handler=lifecycle_handler,
            ),
            task_id,
        )

    async def start_provider(self) -> None:
        """Start the provider; it is good for one call."""
        assert self._provider_service is not None, "init_provider comes first"
        self.provider_client = await ProviderAppClient.create(self._provider_service)

    async def run_provider_benchmark(self) -> float:
        """Start the provider, ask it how fast the machine is, and end it."""
        await self.start_provider()
        assert self.provider_client is not None
        try:
            return await self.provider_client.run_benchmark()
        finally:
            await self.shutdown_provider()

    async def shutdown_provider(self) -> None:
        """End the provider; may be called again."""
        if self.provider_client is not None:
            await self.provider_client.shutdown()

    # The requestor.

    @contextlib.asynccontextmanager
    async def init_requestor(
        self,
        get_task_api_service: Callable[[Path], TaskApiService],
        port: int = REQUESTOR_PORT,
    ) -> AsyncIterator[RequestorAppClient]:
        """Start the requestor; it ends with the block.

        Parameters
        ----------
        get_task_api_service : callable
            Gets the requestor's work directory.
        port : int
        """
        client = await RequestorAppClient.create(get_task_api_service(self.req_dir), port)
        self.requestor_client = client
        try:
            yield client
        finally:
            await client.shutdown()

    @contextlib.asynccontextmanager
    async def init_requestor_with_handler(
        self,
        requestor_handler: RequestorAppHandler,
        lifecycle_handler: AppLifecycleHandler | None = None,
        port: int = REQUESTOR_PORT,
    ) -> AsyncIterator[RequestorAppClient]:
        """Start a handler as the requestor; see :meth:`init_requestor`."""

        def service(work_dir: Path) -> TaskApiService:
            return InlineTaskApiService(
                work_dir,
                requestor_handler=requestor_handler,
                requestor_lifecycle_handler=lifecycle_handler,
            )

        async with self.init_requestor(service, port) as client:
            yield client

    async def create_task(
        self,
        task_id: str,
        max_subtasks_count: int,
        resources: list[Path],
        task_params: dict[str, Any],
    ) -> Task:
        """Make a task's directories, put its resources there and begin it."""
        await asyncio.to_thread(self.req_dir.task_dir(task_id).prepare)
        await asyncio.to_thread(self.put_resources_to_requestor, resources, task_id)
        return await self._requestor.create_task(task_id, max_subtasks_count, task_params)

    # A whole task.

    async def simulate_task(
        self,
        get_task_api_service: Callable[[Path], TaskApiService],
        max_subtasks_count: int,
        task_params: dict[str, Any],
        resources: list[Path],
    ) -> RequestorTaskDir:
        """Compute a task from its beginning to its end.

        Returns
        -------
        RequestorTaskDir
            Its results are in ``task_outputs_dir``.

        Raises
        ------
        AssertionError
            A result was refused, or can't be verified.
        """
        task_id = uuid.uuid4().hex
        async with self.init_requestor(get_task_api_service):
            await self.create_task(task_id, max_subtasks_count, resources, task_params)
            self.init_provider(get_task_api_service, task_id)
            await self.compute_remaining_subtasks(task_id, _ANYBODY)
        return self.req_dir.task_dir(task_id)

    async def compute_remaining_subtasks(
        self, task_id: str, opaque_node_id: str = _ANYBODY
    ) -> list[str]:
        """Compute and verify until nothing is pending.

        Returns
        -------
        list of str
            The subtasks that were computed, in order.

        Raises
        ------
        AssertionError
            A result was refused, or can't be verified.
        """
        computed: list[str] = []
        awaiting: list[str] = []
        while await self._requestor.has_pending_subtasks(task_id):
            subtask_id, verdict = await self.compute_next_subtask(task_id, opaque_node_id)
            computed.append(subtask_id)
            if verdict is VerifyResult.AWAITING_DATA:
                awaiting.append(subtask_id)
            else:
                _accepted(subtask_id, verdict)
                awaiting = await self._still_awaiting(task_id, awaiting)
        assert not awaiting, f"no verdict on {', '.join(awaiting)}, and nothing is pending"
        return computed

    async def compute_next_subtask(
        self, task_id: str, opaque_node_id: str
    ) -> tuple[str, VerifyResult]:
        """Have one subtask handed out, computed by a fresh provider, and verified.

        Raises
        ------
        AssertionError
            Nothing was handed out.
        """
        subtask_id = uuid.uuid4().hex
        subtask = await self._requestor.next_subtask(task_id, subtask_id, opaque_node_id)
        assert subtask is not None, f"{task_id}: {opaque_node_id} was refused a subtask"
        await asyncio.to_thread(self.copy_resources_from_requestor, subtask.resources, task_id)
        await self.start_provider()
        assert self.provider_client is not None
        try:
            result = await self.provider_client.compute(task_id, subtask_id, subtask.params)
        finally:
            await self.shutdown_provider()
        await asyncio.to_thread(self.copy_result_from_provider, result, task_id, subtask_id)
        verdict, _ = await self._requestor.verify(task_id, subtask_id)
        return subtask_id, verdict

    async def _still_awaiting(self, task_id: str, awaiting: list[str]) -> list[str]:
        left = []
        for subtask_id in awaiting:
            verdict, _ = await self._requestor.verify(task_id, subtask_id)
            if verdict is VerifyResult.AWAITING_DATA:
                left.append(subtask_id)
            else:
                _accepted(subtask_id, verdict)
        return left

    # Files.

    def put_resources_to_requestor(self, resources: list[Path], task_id: str) -> None:
        """Copy what a task's user gives."""
        for resource in resources:
            shutil.copy2(resource, self.req_dir.task_dir(task_id).task_inputs_dir)

    def copy_resources_from_requestor(self, resources: list[str], task_id: str) -> None:
        """Copy what a subtask needs to the provider."""
        there = self.req_dir.task_dir(task_id).subtask_inputs_dir
        for name in resources:
            shutil.copy2(there / name, self._here(task_id).subtask_inputs_dir)

    def copy_result_from_provider(
        self, output_filepath: Path, task_id: str, subtask_id: str
    ) -> None:
        """Copy a subtask's result to the requestor."""
        there = self.req_dir.task_dir(task_id).subtask_outputs_dir(subtask_id)
        there.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self._here(task_id) / output_filepath, there)

    def _here(self, task_id: str) -> ProviderTaskDir:
        return self._provider_dir or self.prov_dir.task_dir(task_id)

    @property
    def _requestor(self) -> RequestorAppClient:
        assert self.requestor_client is not None, "init_requestor comes first"
        return self.requestor_client


def _accepted(subtask_id: str, verdict: VerifyResult) -> None:
    assert verdict is VerifyResult.SUCCESS, f"subtask {subtask_id}: verified as {verdict.name}"
