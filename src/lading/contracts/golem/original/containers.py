"""An application in a container of this machine's engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from lading.contracts.golem.driver.container import AppContainer, AppRun, Place
from lading.contracts.golem.original.services import TaskApiService
from lading.engine.discovery import open_engine
from lading.engine.shield import to_the_end
from lading.errors import EngineError, InputError, LadingError, RunError
from lading.run.bridge import blocking
from lading.run.images import pull_if_absent
from lading.run.ownership import Owner
from lading.settings import engine_options, state_directory

__all__ = ["DockerTaskApiService", "is_docker_available"]

_GRACE = 5.0

_logger = logging.getLogger(__name__)


def is_docker_available() -> bool:
    """Whether a container engine answers: Docker, Podman, whichever there is."""

    async def look() -> None:
        async with await open_engine(engine_options()):
            pass

    try:
        blocking(look)
    except LadingError:
        return False
    return True


class DockerTaskApiService(TaskApiService):
    """One run of an image, which is removed at its end; the end of its log is logged then.

    Parameters
    ----------
    image : str
        Its reference; it is pulled if it is missing.
    work_dir : Path
        Its work directory.
    vm_name : str or None
        Without any meaning here.
    """

    def __init__(self, image: str, work_dir: Path, vm_name: str | None = "default") -> None:
        del vm_name
        self._image = image
        self._work_dir = work_dir
        self._container: AppContainer | None = None
        self._resources = contextlib.AsyncExitStack()

    async def start(self, command: str, port: int) -> tuple[str, int]:
        """Start it: as ``requestor`` or ``provider``, on that side's usual port in the container.

        Returns
        -------
        tuple of str and int
            The name of a Unix socket that leads to its port, as gRPC writes it, and the port.

        Raises
        ------
        EngineError
            The image can't be had, or the engine refused.
        RunError
            It ended before its port listened.
        """
        side = command.split(maxsplit=1)[0]
        if side not in ("requestor", "provider"):
            raise InputError("command", f"{command!r} is neither requestor nor provider")
        try:
            self._container = await self._started(side)
            await self._container.until_listening()
        except BaseException:
            await to_the_end(self._close())
            raise
        return self._container.target, port

    async def _started(self, side: str) -> AppContainer:
        engine = await self._resources.enter_async_context(await open_engine(engine_options()))
        owner = await asyncio.to_thread(Owner.claim, state_directory())
        self._resources.push_async_callback(asyncio.to_thread, owner.release)
        image = await pull_if_absent(engine, self._image)
        place = Place(engine, await engine.info(), owner, None)
        name = f"{self._image} {side}"
        return await AppContainer.start(
            place, AppRun(side, image, self._image, self._work_dir, name)
        )

    def running(self) -> bool:
        """Whether it runs."""
        return self._container is not None and self._container.running.alive

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL after five seconds."""
        if self._container is not None and self.running():
            with contextlib.suppress(EngineError):
                await self._container.running.container.stop(_GRACE)

    async def wait_until_shutdown_complete(self) -> None:
        """Wait until it has ended; the container is removed then."""
        if self._container is None:
            return
        try:
            with contextlib.suppress(RunError, EngineError):
                await self._container.running.wait()
        finally:
            await to_the_end(self._close())

    async def _close(self) -> None:
        container, self._container = self._container, None
        try:
            if container is not None:
                await container.close()
                if text := container.running.tail.tail():
                    _logger.info("%s:\n%s", container.running.task, text)
        finally:
            await self._resources.aclose()
