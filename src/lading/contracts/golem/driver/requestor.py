"""The requestor's application in its long-lived container: called, watched, and brought back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from lading.contracts.golem.constants import SUBTASK_OUTPUTS_DIR
from lading.contracts.golem.driver.container import AppContainer, AppRun, Place
from lading.contracts.golem.driver.copies import Mirror
from lading.engine.shield import to_the_end
from lading.errors import (
    AppError,
    AppGone,
    ContainerNotFound,
    EngineError,
    LadingError,
    RunError,
)
from lading.run.records import RunState

if TYPE_CHECKING:
    from lading.contracts.golem.clients import RequestorAppClient
    from lading.contracts.golem.structs import Subtask, Task, VerifyResult
    from lading.engine import ImageInfo

__all__ = ["IMAGE_VARIABLE", "RequestorApp"]

T = TypeVar("T")

IMAGE_VARIABLE = "LADING_APP_IMAGE"
"""By which a requestor's side learns what its image is called, always with a tag: nothing in an
image says so, and most applications answer ``CreateTask`` with their own image."""
_SHUTDOWN_SECONDS = 10.0
"""That an app has to end after Shutdown was answered."""


class RequestorApp:
    """A requestor's application; ``async with RequestorApp(...) as app`` starts and removes it.

    Its calls are those of :class:`~lading.contracts.golem.clients.RequestorCalls`. Each that meets
    an app whose container has ended raises :class:`~lading.errors.AppGone` at once, with why.

    Parameters
    ----------
    place : Place
    image : ImageInfo
        One that the engine has.
    work_dir : Path
        Its work directory; it exists.
    name : str
        What errors and records call it.
    image_name : str
        What its user called the image.
    detail : dict
        What its record tells besides: ``golem_task``.
    gpus : tuple of str
        Devices that are lent to it.
    on_restart : callable or None
        Awaited after each :meth:`revive`.
    """

    def __init__(
        self,
        place: Place,
        image: ImageInfo,
        work_dir: Path,
        *,
        name: str,
        image_name: str = "",
        detail: dict[str, Any] | None = None,
        gpus: tuple[str, ...] = (),
        on_restart: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.on_restart = on_restart
        self._place = place
        self._name = name
        self._run = AppRun(
            "requestor",
            image,
            image_name or image.id,
            work_dir,
            name,
            detail or {},
            gpus=gpus,
            env={IMAGE_VARIABLE: _tagged(image_name or image.id)},
        )
        self._container: AppContainer | None = None
        self._client: RequestorAppClient | None = None
        self._ended_well = False
        self._mirror = Mirror(work_dir) if place.copies(work_dir) else None

    async def __aenter__(self) -> Self:
        """Start it, and wait until it serves.

        Raises
        ------
        RunError
            It did not become ready, or ended.
        EngineError
            The engine refused.
        """
        await self._start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Remove it, whatever it does."""
        await to_the_end(self._remove())

    async def revive(self) -> None:
        """Start it anew on the same work directory, in place of the one that died.

        Raises
        ------
        RunError
            It did not become ready, or ended.
        EngineError
            The engine refused.
        """
        if self._mirror is not None and self._container is not None:
            with contextlib.suppress(LadingError):  # then it goes on from its latest answer
                await self._mirror.pull(self._container.running.container)
        await to_the_end(self._remove())
        await self._start()
        if self.on_restart is not None:
            await self.on_restart()

    # The calls.

    async def create_task(
        self, task_id: str, max_subtasks_count: int, task_params: dict[str, Any]
    ) -> Task:
        """Begin a task."""
        if self._mirror is not None and await self._mirror.has_more(task_id):
            # Of a try that died: a copy of what is here has nothing of that.
            await to_the_end(self._remove())
            await self._start()
        return await self._call(
            "CreateTask",
            lambda client: client.create_task(task_id, max_subtasks_count, task_params),
            needs=task_id,
            changes=True,
        )

    async def has_pending_subtasks(self, task_id: str) -> bool:
        """Ask whether there is work to hand out."""
        return await self._call(
            "HasPendingSubtasks", lambda client: client.has_pending_subtasks(task_id)
        )

    async def next_subtask(
        self, task_id: str, subtask_id: str, opaque_node_id: str
    ) -> Subtask | None:
        """Ask for a piece of work; None: this node gets nothing."""
        return await self._call(
            "NextSubtask",
            lambda client: client.next_subtask(task_id, subtask_id, opaque_node_id),
            changes=True,
        )

    async def verify(self, task_id: str, subtask_id: str) -> tuple[VerifyResult, str | None]:
        """Ask for the verdict on a result, and why."""
        return await self._call(
            "Verify",
            lambda client: client.verify(task_id, subtask_id),
            needs=f"{task_id}/{SUBTASK_OUTPUTS_DIR}/{subtask_id}",
            changes=True,
        )

    async def discard_subtasks(self, task_id: str, subtask_ids: list[str]) -> list[str]:
        """Have results forgotten; return the ids of all that are gone with them."""
        return await self._call(
            "DiscardSubtasks",
            lambda client: client.discard_subtasks(task_id, subtask_ids),
            changes=True,
        )

    async def run_benchmark(self) -> float:
        """Ask how fast the machine is."""
        return await self._call("RunBenchmark", lambda client: client.run_benchmark())

    async def abort_task(self, task_id: str) -> None:
        """Give a task up."""
        await self._call("AbortTask", lambda client: client.abort_task(task_id), changes=True)

    async def abort_subtask(self, task_id: str, subtask_id: str) -> None:
        """Give a subtask up."""
        await self._call(
            "AbortSubtask", lambda client: client.abort_subtask(task_id, subtask_id), changes=True
        )

    async def shutdown(self) -> None:
        """Ask it to end, and wait until it has, for ten seconds at the most."""
        with contextlib.suppress(AppGone):  # some end before they answer
            await self._call("Shutdown", lambda client: client.shutdown())
        if self._container is not None:
            exited = self._container.running.exited
            await asyncio.wait({exited}, timeout=_SHUTDOWN_SECONDS)
            if self._mirror is not None:
                await self._mirror.pull(self._container.running.container)
            self._ended_well = True
        await to_the_end(self._remove())

    # Inside.

    async def _call(
        self,
        name: str,
        ask: Callable[[RequestorAppClient], Awaitable[T]],
        *,
        needs: str = "",
        changes: bool = False,
    ) -> T:
        """Ask it; where its work directory is a copy, give it what it needs, and take what is new.

        Parameters
        ----------
        needs : str
            A directory below the work directory, to which we have written.
        changes : bool
            Whether the application may write to its work directory before it answers.
        """
        if self._mirror is None or self._container is None:
            return await self._asked(name, ask)
        container = self._container.running.container
        try:
            async with self._mirror.turn:
                if needs:
                    await self._mirror.push(container, needs)
                try:
                    answer = await self._asked(name, ask)
                except AppGone:
                    raise
                except AppError:
                    if changes:
                        await self._mirror.pull(container)
                    raise
                if changes:
                    await self._mirror.pull(container)
        except ContainerNotFound as error:
            raise self._gone(name, error) from error
        return answer

    async def _asked(self, name: str, ask: Callable[[RequestorAppClient], Awaitable[T]]) -> T:
        container, client = self._container, self._client
        if container is None or client is None:
            raise AppGone(name, "UNAVAILABLE", f"{self._name} does not run")

        async def asked() -> T:
            return await ask(client)

        try:
            return await container.while_it_runs(asked())
        except AppGone as error:
            why = await container.why()
            raise self._gone(name, why or error) from error
        except AppError:
            raise
        except RunError as error:
            raise self._gone(name, error) from error

    def _gone(self, call: str, why: LadingError) -> AppGone:
        text = why.text if isinstance(why, AppError) else why.message
        logs = why.logs if isinstance(why, RunError) else ""
        return AppGone(call, "UNAVAILABLE", text, logs=logs, fix=why.fix)

    async def _start(self) -> None:
        from lading.contracts.golem.clients import RequestorAppClient  # noqa: PLC0415 - grpc

        self._ended_well = False
        if self._mirror is not None:
            await self._mirror.begin()
        try:
            self._container = container = await AppContainer.start(self._place, self._run)
        except EngineError as error:
            if not (error.fix or self._run.image.entrypoint):
                # Then the engine looked for a program that is called "requestor".
                error.fix = (
                    f"is {self._name} a Golem application? The image of one has an ENTRYPOINT "
                    "that takes: requestor PORT"
                )
            raise
        try:
            await container.until_listening()
            self._client = await container.while_it_runs(
                RequestorAppClient.connect(container.target)
            )
        except BaseException as error:
            message = error.message if isinstance(error, LadingError) else ""
            await to_the_end(self._remove(message))
            raise

    async def _remove(self, error: str = "") -> None:
        client, self._client = self._client, None
        container, self._container = self._container, None
        try:
            if client is not None:
                await client.close()
        finally:
            if container is not None:
                # One that had to be killed after its Shutdown has done its work all the same.
                state = RunState.SUCCEEDED if self._ended_well else None
                await container.close(state=RunState.FAILED if error else state, error=error)


def _tagged(name: str) -> str:
    """Write the tag that a name means; a digest stands in its place."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
