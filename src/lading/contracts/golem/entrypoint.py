"""How an application starts: as its container's arguments say, until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from lading.contracts.golem.blocking import Executor
from lading.contracts.golem.handlers import (
    AppLifecycleHandler,
    ProviderAppHandler,
    RequestorAppHandler,
)
from lading.contracts.golem.servers import AppServer, ProviderServer, RequestorServer

__all__ = ["main"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_servers = 0
"""How many servers this process runs in all; tests run several."""


async def main(  # noqa: PLR0917  # as applications call it
    work_dir: Path,
    argv: Sequence[str],
    requestor_handler: RequestorAppHandler | None = None,
    requestor_lifecycle_handler: AppLifecycleHandler | None = None,
    provider_handler: ProviderAppHandler | None = None,
    provider_lifecycle_handler: AppLifecycleHandler | None = None,
) -> None:
    """Serve one side of an application until Shutdown, SIGTERM or, as a provider, its one call.

    Parameters
    ----------
    work_dir : Path
        The work directory: ``Path("/", constants.WORK_DIR)`` in a container.
    argv : sequence of str
        What the container was started with: ``requestor 50005`` or ``provider 50006``.
    requestor_handler, requestor_lifecycle_handler
        The requestor's side; None: the application has none.
    provider_handler, provider_lifecycle_handler
        The provider's side; None: the application has none.

    Raises
    ------
    SystemExit
        With code 2, if the arguments make no sense.
    InputError
        If it can't listen on that port.
    """
    side, port = _read_arguments(argv)
    server: AppServer
    if side == "requestor":
        if requestor_handler is None:
            _refuse("this application has no requestor's side")
        server = RequestorServer(
            work_dir, requestor_handler, requestor_lifecycle_handler, on_stopping=_interrupt
        )
    else:
        if provider_handler is None:
            _refuse("this application has no provider's side")
        server = ProviderServer(
            work_dir, provider_handler, provider_lifecycle_handler, on_stopping=_interrupt
        )
        # It ends after one call, and Python would go through all that was imported several times
        # to end: 25 of the 155 ms of processor time that an empty subtask costs here.
        gc.freeze()
    with _counted(), _signals(server):
        # Of all addresses, with IPv6 or without.
        await server.serve(f"[::]:{port}")
        if _servers == 1:
            await Executor.wait_for_shutdown()


def _read_arguments(argv: Sequence[str]) -> tuple[str, int]:
    if len(argv) != 2:
        _refuse(f"there are {len(argv)} arguments")
    side, port = (str(word) for word in argv)  # some give the port as a number
    if side not in ("requestor", "provider"):
        _refuse(f"{side!r} is neither requestor nor provider")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        _refuse(f"{port!r} is no port")
    return side, int(port)


def _refuse(reason: str) -> NoReturn:
    sys.stderr.write(f"{reason}; the arguments are: requestor PORT, or provider PORT\n")
    raise SystemExit(2)


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    global _servers  # noqa: PLW0603
    if _servers == 0:
        Executor.initialize()
    _servers += 1
    try:
        yield
    finally:
        _servers -= 1


def _interrupt() -> None:
    """Tell blocking work to end, which can't be cancelled, unless it may be another server's."""
    if _servers == 1:
        Executor.request_shutdown()


@contextlib.contextmanager
def _signals(server: AppServer) -> Iterator[None]:
    """End in good order at SIGTERM or SIGINT, and at the second one at once.

    The first process of a container would ignore them.
    """
    loop = asyncio.get_running_loop()

    def restore() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    def told() -> None:
        restore()
        server.request_stop()

    # In another thread than the first one, signals are somebody else's.
    with contextlib.suppress(RuntimeError, ValueError):
        for number in _SIGNALS:
            loop.add_signal_handler(number, told)
    try:
        yield
    finally:
        restore()
