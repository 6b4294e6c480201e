"""What starts an application and stops it, wherever that runs."""

from __future__ import annotations

from abc import ABC, abstractmethod

from lading.errors import AppShutDown

__all__ = ["ShutdownException", "TaskApiService", "target_of"]

ShutdownException = AppShutDown
"""A call was in progress, or is made, while the application is told to end."""


class TaskApiService(ABC):
    """One run of an application: as a requestor or as a provider, in its work directory."""

    @abstractmethod
    def running(self) -> bool:
        """Whether it runs."""

    @abstractmethod
    async def start(self, command: str, port: int) -> tuple[str, int]:
        """Start it, as with the arguments `command`: ``requestor 50005``.

        Returns
        -------
        tuple of str and int
            Where it is reached: host and port, or a target of gRPC that begins with ``unix`` and
            any number.
        """

    @abstractmethod
    async def stop(self) -> None:
        """End it by force."""

    @abstractmethod
    async def wait_until_shutdown_complete(self) -> None:
        """Wait until it has ended, and let go of what it was."""


def target_of(host: str, port: int) -> str:
    """Write what :meth:`TaskApiService.start` returned as gRPC wants it."""
    if host.startswith(("unix:", "unix-abstract:")):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
