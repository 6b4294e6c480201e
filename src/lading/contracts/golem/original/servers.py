"""Servers as the original has them: they start, are waited for, and stop."""

from __future__ import annotations

from pathlib import Path

from lading.contracts.golem import servers
from lading.contracts.golem.handlers import (
    AppLifecycleHandler,
    ProviderAppHandler,
    RequestorAppHandler,
)

__all__ = ["AppServer", "ProviderAppServer", "RequestorAppServer"]


class AppServer:
    """One side of an application on a port of all addresses; see its subclasses.

    Parameters
    ----------
    server : lading.contracts.golem.servers.AppServer
    port : int
    """

    def __init__(self, server: servers.AppServer, port: int) -> None:
        self._server = server
        self._port = int(port)

    async def start(self) -> None:
        """Begin to answer calls.

        Raises
        ------
        InputError
            It can't listen there.
        """
        await self._server.start(f"[::]:{self._port}")

    async def wait_until_shutdown(self) -> None:
        """Wait until it has been told to end."""
        await self._server.wait()

    async def stop(self) -> None:
        """End."""
        await self._server.stop()


class RequestorAppServer(AppServer):
    """The long-running side of an application.

    Parameters
    ----------
    work_dir : Path
    port : int
    handler : RequestorAppHandler
    lifecycle : AppLifecycleHandler or None
    """

    def __init__(
        self,
        work_dir: Path,
        port: int,
        handler: RequestorAppHandler,
        lifecycle: AppLifecycleHandler | None = None,
    ) -> None:
        super().__init__(servers.RequestorServer(work_dir, handler, lifecycle), port)


class ProviderAppServer(AppServer):
    """The side of an application that computes.

    Parameters
    ----------
    work_dir : Path
    port : int
    handler : ProviderAppHandler
    lifecycle : AppLifecycleHandler or None
    """

    def __init__(
        self,
        work_dir: Path,
        port: int,
        handler: ProviderAppHandler,
        lifecycle: AppLifecycleHandler | None = None,
    ) -> None:
        super().__init__(servers.ProviderServer(work_dir, handler, lifecycle), port)
