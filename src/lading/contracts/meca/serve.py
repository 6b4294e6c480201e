"""``lading serve``: the executor as a process, from its first check to its last container gone."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lading.contracts.meca.app import create_app
from lading.contracts.meca.billing import Billing, open_book
from lading.contracts.meca.executor import Executor
from lading.contracts.meca.fetched import forget_dead
from lading.contracts.meca.front import is_loopback
from lading.contracts.meca.tokens import Tokens, read_tokens
from lading.engine.discovery import open_engine
from lading.errors import ConfigError
from lading.run.ownership import Owner, SweepReport, sweep
from lading.run.records import Records, records_path
from lading.settings import state_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lading.contracts.meca.options import ExecutorOptions

__all__ = ["serve"]

log = logging.getLogger("lading.meca")
logging.getLogger("uvicorn").setLevel(logging.WARNING)  # we say what it would say

_BACKLOG = 2048
_FILES = 65_536
"""Descriptors that the process may have: at the usual 1024, callers beyond those get no answer."""
_MOST_HEAD = 64 * 1024
"""Bytes of headers that a request may have."""


def check_listen(options: ExecutorOptions) -> tuple[str, int]:
    """Read the address to serve on, and refuse one that would be open to strangers.

    Returns
    -------
    (str, int)
        Host and port; port 0 lets the system choose.

    Raises
    ------
    ConfigError
        It is no address, or it is beyond loopback and there is neither a token nor ``no_token``.
    """
    host, colon, port = options.listen.rpartition(":")
    host = host.strip("[]")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError("listen", f"{options.listen!r} is not HOST:PORT")
    if not options.token and not options.tokens and not options.no_token and not is_loopback(host):
        raise ConfigError(
            "listen",
            f"{options.listen} can be reached from other machines, and there is no token",
            fix="set LADING_TOKEN, or --no-token on a network that you trust",
        )
    return host, int(port)


class _Protocol(HttpToolsProtocol):
    """uvicorn's, with an end to the heads and trailers that it keeps: callers have none."""

    _since_body = 0

    def data_received(self, data: bytes) -> None:
        self._since_body += len(data)
        super().data_received(data)
        if self._since_body:
            if self.cycle is not None and not self.cycle.more_body and "method" in self.scope:
                self._since_body = 0  # the request is whole
            elif self._since_body > _MOST_HEAD:
                self.send_400_response(f"more than {_MOST_HEAD} bytes of headers")

    def on_body(self, body: bytes) -> None:
        self._since_body = 0
        super().on_body(body)


class _Server(uvicorn.Server):
    """uvicorn, which says when it serves, and when the end has begun."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        on_serving: Callable[[], None],
        on_ending: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._on_serving = on_serving
        self._on_ending = on_ending
        self._loop = asyncio.get_running_loop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_serving()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            before = signal.getsignal(signal.SIGHUP)
            if before is not signal.SIG_IGN:  # as under nohup
                signal.signal(signal.SIGHUP, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(signal.SIGHUP, before)

    def handle_exit(self, sig: int, frame: object) -> None:
        # First of all: once `should_exit` is set, a Ctrl-C counts as the second.
        super().handle_exit(sig, frame)  # type: ignore[arg-type]
        # A signal may come in the middle of whatever the queue and the pool are doing.
        self._loop.call_soon_threadsafe(self._on_ending)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:  # a second Ctrl-C: whoever is still served is told so
            for task in self.server_state.tasks:
                task.cancel()

    def end(self) -> None:
        """Take no new work, finish what runs, and return from ``serve``."""
        self._on_ending()
        self.should_exit = True


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host or "0.0.0.0", port))  # noqa: S104  # checked by check_listen
    except OSError as error:
        listener.close()
        raise ConfigError(
            "listen",
            f"can't listen on {host}:{port}: {error.strerror}",
            fix="end what listens there (ss -ltnp shows it), or choose another port",
        ) from None
    return listener


def _allow_files() -> None:
    """Raise the soft limit of descriptors, as far as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def serve(
    options: ExecutorOptions,
    *,
    warnings: Sequence[str] = (),
    announce: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until a signal or ``POST /stop``, then leave nothing behind.

    Parameters
    ----------
    options : ExecutorOptions
    warnings : sequence of str
        Logged first.
    announce : callable
        Told the address once it is served.

    Raises
    ------
    LadingError
        It can't start: the message says why and what to do.
    """
    host, port = check_listen(options)
    _allow_files()
    for warning in warnings:
        log.warning("%s", warning)
    tokens, more = await asyncio.to_thread(_tokens, options)
    for warning in more:
        log.warning("%s", warning)
    state = state_directory({"LADING_STATE": options.state}) if options.state else state_directory()
    listener = _bind(host, port)
    with contextlib.closing(listener), _records(state) as records:
        async with await open_engine(options) as engine:
            with _owner(state) as owner:
                _log_sweep(await sweep(engine, state, records))
                for path in await asyncio.to_thread(forget_dead, state):
                    log.warning("removed %s, which a process that died had fetched", path)
                # The ledger is open for as long as anything is executed.
                async with (
                    open_book(options, state) as book,
                    Executor(engine, options, records=records, owner=owner) as executor,
                ):
                    billing = Billing(executor, book)
                    await _serve_http(executor, billing, tokens, listener, announce)


def _tokens(options: ExecutorOptions) -> tuple[Tokens, list[str]]:
    clients, warnings = read_tokens(Path(options.tokens)) if options.tokens else ({}, [])
    return Tokens(options.token, clients), warnings


def _log_sweep(report: SweepReport) -> None:
    for name in (*report.containers, *report.networks):
        log.warning("removed %s, which a process that died left behind", name)
    if report.lost:
        log.warning("%d runs of processes that died are recorded as lost", report.lost)
    for problem in report.failed:
        log.error("could not remove what a process that died left behind: %s", problem)


@contextlib.contextmanager
def _records(state: Path) -> Iterator[Records]:
    records = Records(records_path(state))
    try:
        yield records
    finally:
        records.close()


@contextlib.contextmanager
def _owner(state: Path) -> Iterator[Owner]:
    owner = Owner.claim(state)
    try:
        yield owner
    finally:
        owner.release()


async def _serve_http(
    executor: Executor,
    billing: Billing,
    tokens: Tokens,
    listener: socket.socket,
    announce: Callable[[str], None],
) -> None:
    app = create_app(executor, billing, tokens, stop=lambda: server.end())  # noqa: PLW0108  # bound below
    config = uvicorn.Config(
        app,
        http=_Protocol,
        loop="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        backlog=_BACKLOG,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=max(1, round(executor.options.drain)),
        timeout_keep_alive=75,
    )
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    server = _Server(
        config,
        on_serving=lambda: announce(f"http://{shown}:{port}"),
        on_ending=executor.stop_accepting,
    )
    # What is there by now stays: the collector need not look through it again and again.
    gc.collect()
    gc.freeze()
    await server.serve(sockets=[listener])
