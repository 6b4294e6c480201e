"""Providers: each subtask in a fresh container on its node's directory, and benchmarks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lading.contracts.golem.driver.container import AppContainer, AppRun, Place
from lading.contracts.golem.driver.copies import bring, bring_all
from lading.contracts.golem.environments import Prerequisites
from lading.engine.shield import to_the_end
from lading.errors import AppError, AppGone, LadingError, OutOfMemory, TimedOut
from lading.host.capacity import Resources
from lading.run.records import RunState
from lading.units import MIB, format_seconds

if TYPE_CHECKING:
    from lading.contracts.golem.clients import ProviderAppClient
    from lading.contracts.golem.driver.nodes import Node, Work
    from lading.contracts.golem.driver.room import ProviderRoom
    from lading.engine import ImageInfo

__all__ = ["ContainerProviders", "Fetch"]

T = TypeVar("T")

Fetch = Callable[[str], Awaitable["ImageInfo"]]
"""Has an image, or pulls it."""

_SURE = 0.8
"""The part of the fastest start so far that no start falls below."""
_END_SECONDS = 2.0
"""That a provider has to end by itself after its answer, before it is killed."""


class ContainerProviders:
    """Computes subtasks in containers of an engine.

    Parameters
    ----------
    place : Place
    room : ProviderRoom
        What the machine lends.
    fetch : callable
        Has an image, or pulls it; asked once for each, so that a task is computed by the same
        bytes from its first subtask to its last.
    app : str
        The application, as people call it.
    on_wait : callable or None
        Told what a node waits for, by its number, and with an empty text that it goes on.
    """

    def __init__(
        self,
        place: Place,
        room: ProviderRoom,
        fetch: Fetch,
        *,
        app: str,
        on_wait: Callable[[int, str], None] | None = None,
    ) -> None:
        self._place = place
        self._room = room
        self._fetch = fetch
        self._app = app
        self._on_wait = on_wait or (lambda _node, _text: None)
        self.starts: dict[str, float] = {}
        """Seconds from the start of a container until it listened, the shortest, by image."""
        self._images: dict[str, asyncio.Task[ImageInfo]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def compute(self, node: Node, work: Work, *, deadline: float | None) -> Path:
        """Compute a subtask; see :meth:`lading.contracts.golem.driver.nodes.Providers.compute`."""
        wants = Prerequisites.read(work.env_id, work.prerequisites)
        detail = {
            "golem_task": work.task_id,
            "subtask": work.subtask_id,
            "node": node.number,
        }
        once = _Once(
            self,
            wants,
            node.directory,
            name=f"{self._app} subtask {work.subtask_id}",
            detail=detail,
            min_memory_mib=work.min_memory_mib,
            on_wait=lambda text: self._on_wait(node.number, text),
        )

        async def fetch(container: AppContainer, result: Path) -> None:
            if self._place.copies(node.directory):
                await bring(container.running.container, result, node.directory)

        return await once.run(
            "Compute",
            lambda client: client.compute(work.task_id, work.subtask_id, work.params),
            deadline,
            fetch,
        )

    async def benchmark(
        self,
        env_id: str,
        prerequisites: dict[str, Any],
        directory: Path,
        *,
        deadline: float | None = None,
    ) -> float:
        """Ask a provider container how fast this machine is.

        Parameters
        ----------
        env_id : str
        prerequisites : dict
        directory : Path
            An empty one, for it to work in.
        deadline : float or None
            Seconds.

        Raises
        ------
        RunError
            It did not say.
        """
        wants = Prerequisites.read(env_id, prerequisites)
        once = _Once(
            self,
            wants,
            directory,
            name=f"{self._app} benchmark",
            detail={},
            min_memory_mib=0.0,
            on_wait=lambda text: self._on_wait(0, text),
        )
        return await once.run("RunBenchmark", lambda client: client.run_benchmark(), deadline)

    async def close(self) -> None:
        """Wait until the last containers are removed."""
        for task in self._images.values():
            task.cancel()
        while pending := {*self._ending, *self._images.values()} - self._done():
            await asyncio.wait(pending)

    def _done(self) -> set[asyncio.Task[Any]]:
        return {task for task in (*self._ending, *self._images.values()) if task.done()}

    # For each run.

    @property
    def place(self) -> Place:
        """Where containers are made."""
        return self._place

    @property
    def room(self) -> ProviderRoom:
        """What the machine lends."""
        return self._room

    async def image(self, reference: str) -> ImageInfo:
        """Have an image; the same bytes for as long as this object lives."""
        task = self._images.get(reference)
        if task is None or (task.done() and (task.cancelled() or task.exception())):

            async def fetched() -> ImageInfo:
                return await self._fetch(reference)

            task = asyncio.create_task(fetched(), name=f"image {reference}")
            self._images[reference] = task
        return await asyncio.shield(task)

    def end_later(self, container: AppContainer, room: contextlib.AsyncExitStack) -> None:
        """Let a container end that has answered, remove it and give its room back.

        Nobody has to wait for that: after its answer, all that is left for it to do is to end.
        """

        async def end() -> None:
            async with room:
                await asyncio.wait({container.running.exited}, timeout=_END_SECONDS)
                # What can't be removed now is swept by the next command.
                with contextlib.suppress(LadingError):
                    await container.close(state=RunState.SUCCEEDED)

        task = asyncio.create_task(end(), name=f"end {container.running.container.name}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class _Once:
    """One call of one fresh provider container."""

    def __init__(
        self,
        providers: ContainerProviders,
        wants: Prerequisites,
        directory: Path,
        *,
        name: str,
        detail: dict[str, Any],
        min_memory_mib: float,
        on_wait: Callable[[str], None],
    ) -> None:
        self._providers = providers
        self._wants = wants
        self._directory = directory
        self._name = name
        self._detail = detail
        self._min_memory_mib = min_memory_mib
        self._on_wait = on_wait

    async def run(
        self,
        call: str,
        ask: Callable[[ProviderAppClient], Awaitable[T]],
        deadline: float | None,
        fetch: Callable[[AppContainer, T], Awaitable[None]] | None = None,
    ) -> T:
        """Wait for the image and for room, then call it within the deadline.

        Parameters
        ----------
        fetch : callable or None
            Brings what it answered with, while the container is still there.
        """
        image = await self._providers.image(self._wants.reference)
        limits = self._providers.place.circumstances.limits(self._min_memory_mib)
        asked_for = int(self._min_memory_mib * MIB)
        resources = Resources(
            cpus=limits.cpus or 0.0,
            memory=max(limits.memory or 0, asked_for),
            gpus=int(self._wants.gpu),
        )
        async with contextlib.AsyncExitStack() as stack:
            lent = await stack.enter_async_context(
                self._providers.room.of(resources, self._on_wait)
            )
            container: AppContainer | None = None
            try:
                # What a cluster takes to find a place for it is not the application's time.
                cluster = self._providers.place.info.cluster
                async with asyncio.timeout(None if cluster else deadline) as limit:
                    container = await AppContainer.start(
                        self._providers.place,
                        AppRun(
                            "provider",
                            image,
                            self._wants.reference,
                            self._directory,
                            self._name,
                            self._detail,
                            limits=limits,
                            memory_request=asked_for or None,
                            gpus=lent.gpus,
                        ),
                        on_wait=self._on_wait,
                    )
                    if cluster and deadline is not None:
                        limit.reschedule(asyncio.get_running_loop().time() + deadline)
                    answer = await self._asked(container, call, ask)
                    if fetch is not None:
                        await fetch(container, answer)
            except TimeoutError:
                error: Exception = TimeoutError()
                if limit.expired():
                    error = self._late(call, deadline, container)
                await self._failed(container, error)
                raise error from None
            except BaseException as error:
                await self._failed(container, error)
                raise
            self._providers.end_later(container, stack.pop_all())
        return answer

    async def _asked(
        self, container: AppContainer, call: str, ask: Callable[[ProviderAppClient], Awaitable[T]]
    ) -> T:
        from lading.contracts.golem.clients import ProviderAppClient  # noqa: PLC0415 - grpc

        known = self._providers.starts
        began = time.monotonic()
        await container.until_listening(_SURE * known.get(self._wants.reference, 0.0))
        took = time.monotonic() - began
        known[self._wants.reference] = min(took, known.get(self._wants.reference, took))
        client = await container.while_it_runs(ProviderAppClient.connect(container.target))

        async def asked() -> T:
            return await ask(client)

        try:
            return await container.while_it_runs(asked())
        except AppGone as error:
            why = await container.why()
            if why is not None:
                raise why from error
            raise AppGone(
                call,
                error.status,
                f"{self._name}: {error.text}",
                logs=container.running.tail.tail(),
                fix="see its log",
            ) from error
        except AppError as error:
            # A process that it started may have been killed, which it knows only as a failure.
            why = await container.why()
            if isinstance(why, OutOfMemory):
                raise why from error
            error.logs = error.logs or container.running.tail.tail()
            raise
        finally:
            await to_the_end(client.close())

    async def _failed(self, container: AppContainer | None, error: BaseException) -> None:
        if container is None:
            return
        if isinstance(error, asyncio.CancelledError):
            await container.close(state=RunState.CANCELLED)
            return
        if self._providers.place.copies(self._directory):
            await bring_all(container.running.container, self._directory)
        words = error.message if isinstance(error, LadingError) else repr(error)
        await container.close(state=RunState.FAILED, error=words)

    def _late(self, call: str, deadline: float | None, container: AppContainer | None) -> TimedOut:
        assert deadline is not None
        return TimedOut(
            f"{self._name}: {call} was not answered within {format_seconds(deadline)}",
            seconds=deadline,
            logs=container.running.tail.tail() if container is not None else "",
            fix="allow it more time with --subtask-timeout",
        )
