"""What all commands of ``lading golem`` that need containers stand on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lading.cli import failures
from lading.cli.images import fetch, sweep_quietly
from lading.cli.run_options import Pull
from lading.contracts.golem.driver.journal import Journal, journal_path
from lading.settings import EngineOptions, state_directory

if TYPE_CHECKING:
    from lading.contracts.golem.driver.container import Circumstances, Place
    from lading.contracts.golem.driver.journal import AppReference
    from lading.contracts.golem.driver.options import DriverOptions
    from lading.contracts.golem.driver.provider import ContainerProviders
    from lading.contracts.golem.driver.requestor import RequestorApp
    from lading.engine import Engine, EngineInfo, ImageInfo
    from lading.run.ownership import Owner
    from lading.run.records import Records

__all__ = ["ENGINE_FILE", "Session", "begun_on", "session"]

ENGINE_FILE = "engine"
"""In a task's home: the address of the engine on which it was begun."""


@dataclass(frozen=True)
class Session:
    """An engine, and who we are on it.

    Parameters
    ----------
    state : Path
        The directory of our state.
    pull : Pull
        When images are fetched.
    """

    engine: Engine
    info: EngineInfo
    owner: Owner
    records: Records
    journal: Journal
    state: Path
    pull: Pull

    async def place(self, options: DriverOptions) -> Place:
        """Say where and how containers are made.

        Raises
        ------
        InputError
            A limit is none.
        NotSupported
            Containers without a network can't be reached here.
        """
        from lading.contracts.golem.driver.container import Place  # noqa: PLC0415

        how = circumstances(options)
        if not how.network:
            await self.engine.open_door(self.owner.labels())
        return Place(self.engine, self.info, self.owner, self.records, how)

    async def fetch(self, name: str) -> ImageInfo:
        """Have an image, with progress where it has to be pulled."""
        return await fetch(self.engine, name, self.pull)

    async def requestor(
        self, place: Place, app: AppReference, home: Path, task_id: str
    ) -> RequestorApp:
        """Make what runs the requestor's side of an application on a task's home."""
        from lading.contracts.golem.driver.requestor import RequestorApp  # noqa: PLC0415

        # gRPC takes a tenth of a second to import: meanwhile, the engine is asked.
        loading = asyncio.create_task(asyncio.to_thread(_load_grpc))
        try:
            image = await self.fetch(app.image)
            work = home / "work"
            await asyncio.to_thread(lambda: work.mkdir(parents=True, exist_ok=True, mode=0o700))
            if task_id:
                await asyncio.to_thread((home / ENGINE_FILE).write_text, self.info.address, "utf-8")
            gpus = await self._gpus(app)
        finally:
            await asyncio.wait({loading})
        return RequestorApp(
            place,
            image,
            work,
            name=f"{app.name} requestor",
            image_name=app.image,
            detail={"golem_task": task_id} if task_id else {},
            gpus=gpus,
        )

    async def _gpus(self, app: AppReference) -> tuple[str, ...]:
        """Lend one to a requestor whose definition asks for GPUs."""
        if not app.definition:
            return ()
        from lading.contracts.golem.appdefs import AppDefinition  # noqa: PLC0415
        from lading.contracts.golem.constants import DOCKER_GPU_ENV_ID  # noqa: PLC0415

        if AppDefinition.from_json(app.definition).requestor_env != DOCKER_GPU_ENV_ID:
            return ()
        from lading.host.gpus import lend  # noqa: PLC0415

        return await lend(1, self.info)

    @contextlib.asynccontextmanager
    async def providers(
        self, place: Place, app: AppReference, on_wait: Callable[[int, str], None]
    ) -> AsyncIterator[ContainerProviders]:
        """Have what runs the provider's side, while the block runs."""
        from lading.contracts.golem.driver.provider import ContainerProviders  # noqa: PLC0415
        from lading.contracts.golem.driver.room import ProviderRoom  # noqa: PLC0415
        from lading.engine.shield import to_the_end  # noqa: PLC0415

        made = ContainerProviders(
            place, ProviderRoom(self.info), self.fetch, app=app.name, on_wait=on_wait
        )
        try:
            yield made
        finally:
            await to_the_end(made.close())


def begun_on(home: Path, options: EngineOptions) -> EngineOptions:
    """Choose the engine on which a task was begun, unless another is named: it has the images."""
    if not options.engine:
        with contextlib.suppress(OSError):
            return replace(options, engine=(home / ENGINE_FILE).read_text("utf-8"))
    return options


def _load_grpc() -> None:
    import lading.contracts.golem.clients  # noqa: F401, PLC0415


def circumstances(options: DriverOptions) -> Circumstances:
    """Read how containers are run."""
    from lading.contracts.golem.driver.container import Circumstances  # noqa: PLC0415
    from lading.units import cores, size  # noqa: PLC0415

    return Circumstances(
        network=options.network,
        memory=size(options.memory, "--memory") if options.memory is not None else None,
        cpus=cores(options.cpu, "--cpu") if options.cpu is not None else None,
        runtime=options.runtime,
    )


@contextlib.asynccontextmanager
async def session(
    engine_options: EngineOptions, pull: Pull = Pull.MISSING
) -> AsyncIterator[Session]:
    """Open all that is needed, and sweep away what others left behind meanwhile."""
    from lading.cli.run_processing import ours  # noqa: PLC0415
    from lading.engine.discovery import open_engine  # noqa: PLC0415

    state = state_directory().absolute()
    async with await open_engine(engine_options) as engine:
        with ours(state) as (owner, records), Journal(journal_path(state)) as journal:
            info = await engine.info()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(sweep_quietly(engine, state, records))
                    yield Session(engine, info, owner, records, journal, state, pull)
            except BaseExceptionGroup as errors:
                raise failures.first(errors) from errors
