"""What an author needs to test a Golem application: in this process, and in its containers.

::

    def test_it(tmp_path):
        app = InlineApp(MyRequestor, MyProvider, directory=tmp_path)
        done = app.run({"words": 3}, resources=[Path("text.txt")], nodes=2)
        assert done.files() == {"count.txt": b"3"}

Both kinds are driven by the same driver as ``lading golem run``, over gRPC. As pytest fixtures:
:mod:`lading.testing.golem_fixtures`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from lading.contracts.golem.blocking import Executor
from lading.contracts.golem.clients import ProviderAppClient, RequestorAppClient
from lading.contracts.golem.directories import ProviderTaskDir
from lading.contracts.golem.driver.container import Circumstances, Place
from lading.contracts.golem.driver.events import Event
from lading.contracts.golem.driver.journal import Journal, journal_path
from lading.contracts.golem.driver.nodes import Node, Providers, Requestor, Work
from lading.contracts.golem.driver.options import DriverOptions
from lading.contracts.golem.driver.provider import ContainerProviders
from lading.contracts.golem.driver.records import AppReference, Assignment
from lading.contracts.golem.driver.requestor import RequestorApp
from lading.contracts.golem.driver.room import ProviderRoom
from lading.contracts.golem.driver.task import check_assignment, run_task, task_home
from lading.contracts.golem.environments import Prerequisites
from lading.contracts.golem.handlers import ProviderAppHandler, RequestorAppHandler
from lading.contracts.golem.servers import AppServer, ProviderServer, RequestorServer
from lading.engine import Engine
from lading.engine.discovery import open_engine
from lading.engine.shield import to_the_end
from lading.errors import RunError, TimedOut
from lading.run.bridge import blocking
from lading.run.build_context import archive, trial_tag
from lading.run.images import pull_if_absent
from lading.run.ownership import Owner
from lading.settings import engine_options
from lading.units import cores, size

__all__ = ["Computed", "ContainerApp", "InlineApp", "build_image"]

R = TypeVar("R", bound=RequestorAppHandler)
P = TypeVar("P", bound=ProviderAppHandler)

_LOOPBACK = "127.0.0.1"
_DEFAULTS: Mapping[str, Any] = {"nodes": 2, "rest": 0.1}
"""Options of the driver that differ in tests: a node that failed is not left alone for long."""


@dataclass(frozen=True)
class Computed:
    """A task that was computed.

    Parameters
    ----------
    output : Path
        The directory with its results.
    done, failed : int
        Subtasks that were verified; tries that failed.
    events : tuple of Event
        What the driver told, in order; see :mod:`lading.contracts.golem.driver.events`.
    """

    output: Path
    done: int
    failed: int
    events: tuple[Event, ...] = field(repr=False)

    def files(self) -> dict[str, bytes]:
        """Read all results, by their paths below :attr:`output`; blocks."""
        return {
            str(path.relative_to(self.output)): path.read_bytes()
            for path in sorted(self.output.rglob("*"))
            if path.is_file()
        }


class _App(ABC):
    """What both kinds of applications have in common."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self._numbers = itertools.count(1)

    def run(
        self,
        params: Mapping[str, Any],
        *,
        resources: Sequence[Path] = (),
        output: Path | None = None,
        **options: Any,
    ) -> Computed:
        """Have a task computed; blocks until it is. See :meth:`compute`."""
        return blocking(lambda: self.compute(params, resources=resources, output=output, **options))

    async def compute(
        self,
        params: Mapping[str, Any],
        *,
        resources: Sequence[Path] = (),
        output: Path | None = None,
        **options: Any,
    ) -> Computed:
        """Have a task computed, as ``lading golem run`` does.

        Parameters
        ----------
        params : mapping
            What ``create_task`` gets.
        resources : sequence of Path
            Files, and directories whose content goes to ``task_inputs_dir``.
        output : Path or None
            For the results; None: a new directory, ``output-1`` and so on.
        **options
            As of :class:`~lading.contracts.golem.driver.options.DriverOptions`: ``nodes`` (here 2),
            ``max_subtasks``, ``retries``, ``subtask_timeout``, ``replicas`` and so on.

        Raises
        ------
        GolemTaskFailed
            It can't be finished.
        AppError
            ``create_task`` refused the parameters.
        InputError
            An option, or a resource, can't be used.
        """
        assignment = Assignment(
            AppReference(self.name, self.name),
            dict(params),
            tuple(resources),
            output or self.directory / f"output-{next(self._numbers)}",
            DriverOptions(**{**_DEFAULTS, **options}),
        )
        await check_assignment(assignment)
        state = self.directory / "state"
        home = task_home(state, assignment.task_id)
        work = home / "work"
        await asyncio.to_thread(lambda: work.mkdir(parents=True))
        events: list[Event] = []
        with Journal(journal_path(state)) as journal:
            async with self._opened(work, assignment.options) as (requestor, providers):
                outcome = await run_task(
                    requestor, providers, journal, assignment, home=home, on_event=events.append
                )
        return Computed(outcome.output, outcome.done, outcome.failed, tuple(events))

    @abstractmethod
    def _opened(
        self, work: Path, options: DriverOptions
    ) -> AbstractAsyncContextManager[tuple[Requestor, Providers]]:
        """Have both sides of it, while the block runs."""


class InlineApp(_App):
    """An application of handlers, served in this process.

    Parameters
    ----------
    requestor : type or RequestorAppHandler
        The requestor's side: a class, or anything that makes a handler when it is called, is
        called for every task; a handler itself is used for all.
    provider : type or ProviderAppHandler
        The provider's side, likewise for every subtask.
    directory : Path
        Gets what tasks keep, and their results.
    """

    def __init__(
        self,
        requestor: RequestorAppHandler | Callable[[], RequestorAppHandler] | None = None,
        provider: ProviderAppHandler | Callable[[], ProviderAppHandler] | None = None,
        *,
        directory: Path,
    ) -> None:
        super().__init__("inline", directory)
        self._requestor = requestor
        self._provider = provider

    @contextlib.asynccontextmanager
    async def requestor(self, work_dir: Path | None = None) -> AsyncIterator[RequestorAppClient]:
        """Serve the requestor's side while the block runs; gives a client of it.

        Parameters
        ----------
        work_dir : Path or None
            Where it has its tasks' directories; None: `directory` itself.
        """
        server = RequestorServer(work_dir or self.directory, _made(self._requestor, "requestor"))
        async with (
            _served(server) as target,
            await RequestorAppClient.connect(target) as client,
        ):
            yield client

    @contextlib.asynccontextmanager
    async def provider(self, task_dir: Path) -> AsyncIterator[ProviderAppClient]:
        """Serve the provider's side for one call; gives a client of it.

        Parameters
        ----------
        task_dir : Path
            The task's directory at the provider; ``subtask_inputs`` is made in it.
        """
        await asyncio.to_thread(ProviderTaskDir(task_dir).prepare)
        server = ProviderServer(task_dir, _made(self._provider, "provider"))
        async with _served(server) as target, await ProviderAppClient.connect(target) as client:
            yield client

    @contextlib.asynccontextmanager
    async def _opened(
        self, work: Path, options: DriverOptions
    ) -> AsyncIterator[tuple[Requestor, Providers]]:
        del options  # what they say of containers is of no use here
        server = RequestorServer(work, _made(self._requestor, "requestor"))
        async with (
            _threads(),
            _served(server) as target,
            await _InlineRequestor.connect(target) as requestor,
        ):
            requestor.server = server
            yield requestor, _InlineProviders(self)


class ContainerApp(_App):
    """An application's image, run in containers of this machine's engine.

    Parameters
    ----------
    image : str
        Its reference; it is pulled if it is missing. :func:`build_image` makes one.
    directory : Path
        Gets what tasks keep, and their results.
    """

    def __init__(self, image: str, *, directory: Path) -> None:
        super().__init__(image, directory)

    @contextlib.asynccontextmanager
    async def _opened(
        self, work: Path, options: DriverOptions
    ) -> AsyncIterator[tuple[Requestor, Providers]]:
        how = Circumstances(
            network=options.network,
            memory=size(options.memory, "memory") if options.memory is not None else None,
            cpus=cores(options.cpu, "cpu") if options.cpu is not None else None,
            runtime=options.runtime,
        )
        async with _place(self.directory / "state", how) as place:
            image = await pull_if_absent(place.engine, self.name)
            requestor = RequestorApp(
                place, image, work, name=f"{self.name} requestor", image_name=self.name
            )
            providers = ContainerProviders(
                place,
                ProviderRoom(place.info),
                lambda name: pull_if_absent(place.engine, name),
                app=self.name,
            )
            try:
                async with requestor:
                    yield requestor, providers
            finally:
                await to_the_end(providers.close())


def build_image(folder: Path, *, tag: str = "", args: Mapping[str, str] | None = None) -> str:
    """Build an application's image from its folder; blocks until it is there.

    Parameters
    ----------
    folder : Path
        Holds a ``Dockerfile``.
    tag : str
        Its name; by default ``lading-task/<folder>:dev``.
    args : mapping or None
        Build arguments.

    Returns
    -------
    str
        Its name.

    Raises
    ------
    BuildFailed
        With the builder's last lines.
    """
    name = tag or trial_tag(folder.resolve().name)

    async def build() -> None:
        context = await asyncio.to_thread(archive, folder)
        async with await open_engine(engine_options()) as engine:
            await engine.build(context, name, args=args)

    blocking(build)
    return name


class _InlineRequestor(RequestorAppClient):
    """The requestor's side as the driver wants it."""

    server: AppServer

    async def shutdown(self) -> None:
        await super().shutdown()
        await self.server.stop()

    async def revive(self) -> None:
        raise RunError(
            "the requestor's handler does not answer, and lives in this process",
            fix="let it do its blocking work by Executor.run",
        )


class _InlineProviders:
    """Computes each subtask by a server of its own."""

    def __init__(self, app: InlineApp) -> None:
        self._app = app

    async def compute(self, node: Node, work: Work, *, deadline: float | None) -> Path:
        Prerequisites.read(work.env_id, work.prerequisites)  # what nobody could run is an error
        try:
            async with asyncio.timeout(deadline) as limit, self._app.provider(node.directory) as it:
                return await it.compute(work.task_id, work.subtask_id, work.params)
        except TimeoutError:
            if deadline is None or not limit.expired():
                raise
            text = f"subtask {work.subtask_id} did not end within {deadline:g} s"
            raise TimedOut(text, seconds=deadline) from None

    async def close(self) -> None:
        """Do nothing: nothing is kept."""


def _made(given: Any, side: str) -> Any:
    """Make a handler, where something was given that makes one."""
    assert given is not None, f"this application was made without a {side}"
    wanted = "create_task" if side == "requestor" else "compute"
    return given if not isinstance(given, type) and hasattr(given, wanted) else given()


@contextlib.asynccontextmanager
async def _served(server: AppServer) -> AsyncIterator[str]:
    await server.start(f"{_LOOPBACK}:0")
    try:
        yield f"{_LOOPBACK}:{server.port}"
    finally:
        await to_the_end(server.stop())


_running = 0
"""How many tasks this process computes inline; they share the threads of blocking work."""


@contextlib.asynccontextmanager
async def _threads() -> AsyncIterator[None]:
    """End the threads of blocking work with the last task that may use them."""
    global _running  # noqa: PLW0603
    _running += 1
    try:
        yield
    finally:
        _running -= 1
        if not _running:
            await to_the_end(Executor.wait_for_shutdown())
            Executor.initialize()


@contextlib.asynccontextmanager
async def _place(state: Path, how: Circumstances) -> AsyncIterator[Place]:
    engine: Engine
    async with await open_engine(engine_options()) as engine:
        owner = await asyncio.to_thread(Owner.claim, state)
        try:
            if not how.network:
                await engine.open_door(owner.labels())
            yield Place(engine, await engine.info(), owner, None, how)
        finally:
            await asyncio.to_thread(owner.release)
