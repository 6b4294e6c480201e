"""Appending to the ledger from an event loop: what ends together is written together.

With SQLite a commit is a write into the page cache, so the loop does it itself, as
:mod:`lading.run.records` does. Where another process holds the lock, and with PostgreSQL, a thread
waits instead, and writes in one transaction all that came meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from lading.engine.shield import to_the_end
from lading.errors import LadingError, MarketUnavailable, RecordError, RecordForged
from lading.market.catalogue import Listing, Names
from lading.market.entries import Entry, Execution, KeptReply
from lading.market.ledger import TOGETHER, Ledger
from lading.market.store import open_market

if TYPE_CHECKING:
    from lading.market.keys import HostKey

__all__ = ["Book", "anchors_path", "read_anchors"]

log = logging.getLogger("lading.market")

_SPINS: Final = 3
"""How often the loop tries again at once: another process holds the lock for some 50 us."""
_COMPANY: Final = 0.002
"""Seconds that an append waits for others at the most: together they cost half of what each does
alone. Only where as many are executed as would fill a signature: with fewer, waiting costs them
more than it saves."""
_AT_ONCE: Final = 200
"""Executions of one transaction."""
_EVERY: Final = 1.0
"""Seconds between two looks at what others changed, and until what was written is on the disk."""
_UNKNOWN: Final = 0.05
"""Seconds between two looks for what is asked for and not known: it may have been listed since."""
_AGAIN: Final = 0.25
"""Seconds until what could not be written is tried again."""
_FORGET_EVERY: Final = 60.0

_Waiting = tuple[Execution, "asyncio.Future[Entry] | None"]


def anchors_path(state: Path) -> Path:
    """Return the file in which a host notes how far it knows each ledger to go."""
    return state / "ledger-heads.json"


class Book:
    """One host's view of a market: quick looks at the listings, and appends to the ledger.

    An asynchronous context manager. It belongs to one event loop.

    Parameters
    ----------
    url : str
        As for :func:`~lading.market.store.open_market`.
    key : HostKey
    state : Path
        Where it notes how far the ledger goes.
    patience : float
        Seconds for which an append is tried again while the database can't be used.
    keep_hours : float
        Hours for which replies are kept for who asks again with the same idempotency key.
    keep_bytes : int
        The most that all kept replies may take.
    """

    def __init__(
        self,
        url: str,
        key: HostKey,
        state: Path,
        *,
        patience: float = 10.0,
        keep_hours: float = 24.0,
        keep_bytes: int = 256 << 20,
    ) -> None:
        self.key = key
        self.names = Names()
        self.problem: LadingError | None = None
        """Why nothing can be appended now; None: it can, as far as is known."""
        self._url = url
        self._state = state
        self._patience = patience
        self._keep = (keep_hours * 3600.0, keep_bytes)
        self._waiting: list[_Waiting] = []
        self._soon = False
        self._timer: asyncio.TimerHandle | None = None
        self._drain: asyncio.Task[None] | None = None
        self._stop = threading.Event()
        self._version = -1
        self._seen_at = 0.0
        self._noted = (0, "")
        self._forget_at = 0.0

    async def __aenter__(self) -> Self:
        """Open the database.

        Raises
        ------
        ConfigError, MarketUnavailable, RecordError
            It can't be used; see :func:`~lading.market.store.open_market`.
        RecordForged
            The ledger is not what this host wrote or saw.
        """
        self._loop = asyncio.get_running_loop()
        self._writer = ThreadPoolExecutor(1, "ledger")
        self._looker = ThreadPoolExecutor(1, "market")
        try:
            await self._loop.run_in_executor(self._looker, self._open)
        except BaseException:
            self._shut()
            raise
        self._watch = asyncio.create_task(self._look_now_and_then())
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Write what waits, and close."""
        await to_the_end(self._close())

    def _open(self) -> None:
        # Two connections: what looks, and may wait, never holds up what writes.
        self._market = open_market(self._url)
        try:
            self._side = open_market(self._url)
        except BaseException:
            self._market.close()
            raise
        try:
            self._ledger = Ledger(self._market.database, self.key)
            if (known := read_anchors(self._state).get(self._market.shown)) is not None:
                self._ledger.expect(*known)
            self._ledger.introduce()
            self._inline = self._market.database.inline
            self._look()
        except BaseException:
            self._market.close()
            self._side.close()
            raise

    async def _close(self) -> None:
        self._watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watch
        if self._waiting:
            self._begin_draining()
        if self._drain is not None:
            await self._drain
        self._stop.set()
        await self._loop.run_in_executor(self._looker, self._last_look)
        self._shut()

    def _last_look(self) -> None:
        try:
            self._look()
        except RecordError as error:
            log.error("%s", error)  # noqa: TRY400  # its text says it all
        self._market.close()
        self._side.close()

    def _shut(self) -> None:
        self._writer.shutdown(wait=False)
        self._looker.shutdown(wait=False)

    # Appending.

    def check(self) -> None:
        """Refuse work while nothing can be written down.

        Raises
        ------
        MarketUnavailable, RecordForged
            Why nothing can.
        """
        if self.problem is not None:
            raise self.problem

    async def append(self, execution: Execution, *, others: int = 1) -> Entry:
        """Write an execution down; durable when this returns.

        Where the caller is cancelled meanwhile, it is written all the same.

        Parameters
        ----------
        others : int
            How many are executed besides: whether waiting for company is worth it.

        Raises
        ------
        MarketUnavailable
            It could not be, for as long as patience lasted.
        RecordForged
            The ledger is not what we wrote.
        """
        if not others and self._inline and not self._waiting and self._drain is None:
            try:
                return self._ledger.append([execution], wait=False)[0]
            except MarketUnavailable:
                pass  # somebody holds the lock
            except RecordError as error:
                self._lose([(execution, None)], error)
                raise
        future: asyncio.Future[Entry] = self._loop.create_future()
        self._queue(execution, future, others)
        return await future

    def append_later(self, execution: Execution) -> None:
        """Write an execution down for which nobody waits."""
        self._queue(execution, None, 0)

    def _queue(
        self, execution: Execution, future: asyncio.Future[Entry] | None, others: int
    ) -> None:
        self._waiting.append((execution, future))
        if self._drain is not None:
            return
        if others < TOGETHER or len(self._waiting) >= TOGETHER:
            if not self._soon:
                self._soon = True
                self._loop.call_soon(self._write)
        elif self._timer is None:
            self._timer = self._loop.call_later(_COMPANY, self._write)

    def _write(self) -> None:
        self._soon = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._drain is not None or not self._waiting:
            return
        if self._inline and len(self._waiting) <= _AT_ONCE:
            batch = self._waiting
            for _ in range(_SPINS):
                try:
                    entries = self._ledger.append([one for one, _ in batch], wait=False)
                except MarketUnavailable:
                    continue
                except RecordError as error:
                    self._waiting = []
                    self._lose(batch, error)
                    return
                self._waiting = []
                _settle(batch, entries)
                return
        self._begin_draining()

    def _begin_draining(self) -> None:
        if self._drain is None:
            self._drain = self._loop.create_task(self._drain_all())

    async def _drain_all(self) -> None:
        """Let the thread write until nothing waits."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
                some = [one for one, _ in batch]
                try:
                    entries = await self._loop.run_in_executor(
                        self._writer, self._append_patiently, some
                    )
                except RecordError as error:
                    self._lose(batch, error)
                else:
                    _settle(batch, entries)
        finally:
            self._drain = None

    def _append_patiently(self, some: Sequence[Execution]) -> list[Entry]:
        deadline = time.monotonic() + (0.0 if self.problem else self._patience)
        while True:
            try:
                return self._ledger.append(some)
            except MarketUnavailable:
                if time.monotonic() > deadline:
                    raise
                self._stop.wait(_AGAIN)

    def _lose(self, batch: Sequence[_Waiting], error: RecordError) -> None:
        """Tell everybody that these are not in the ledger: callers, and the operator's log."""
        if self.problem is None:
            log.error("no more work is taken, since the ledger can't be written: %s", error)
        self.problem = error
        for execution, future in batch:
            log.error("NOT IN THE LEDGER: %s", _as_text(execution))
            if future is not None and not future.done():
                future.set_exception(error)

    # Looking.

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await self._loop.run_in_executor(self._looker, self._look)
            except RecordError as error:
                if self.problem is None:
                    log.error("no more work is taken: %s", error)  # noqa: TRY400
                self.problem = error
            else:
                if self.problem is not None and not isinstance(self.problem, RecordForged):
                    log.warning("the ledger can be written again, work is taken")
                    self.problem = None

    async def listing(self, name: str) -> Listing | None:
        """Find a listing by what a request calls it; None where there is none.

        Who publishes a task and has it executed at once finds it listed.
        """
        if (found := self.names.get(name)) is None:
            now = self._loop.time()
            if now - self._seen_at > _UNKNOWN:
                self._seen_at = now
                with contextlib.suppress(RecordError):  # what looks now and then says so
                    await self._loop.run_in_executor(self._looker, self._see)
                found = self.names.get(name)
        return found

    def _see(self) -> None:
        catalogue = self._side.catalogue
        if (version := catalogue.version()) != self._version:
            self.names = catalogue.names()
            self._version = version

    def _look(self) -> None:
        """See what others changed, and leave what was written on the disk."""
        self._see()
        last = self._ledger.last
        if last != self._noted or self.problem is not None:
            side = Ledger(self._side.database, self.key)
            side.expect(*last)
            side.mark_head()
            self._side.database.keep()
            _write_anchor(self._state, self._market.shown, last)
            self._noted = last
        if time.monotonic() > self._forget_at:
            age, most = self._keep
            self._side.ledger.forget_replies(before=time.time() - age, most=most)
            self._forget_at = time.monotonic() + _FORGET_EVERY

    async def billed(self, client: str, key: str) -> tuple[str, Entry, KeptReply | None] | None:
        """Find what was billed under an idempotency key; see :meth:`Ledger.billed`.

        Raises
        ------
        MarketUnavailable, RecordForged
            It can't be known.
        """
        return await self._loop.run_in_executor(self._looker, self._side.ledger.billed, client, key)


def _settle(batch: Sequence[_Waiting], entries: Sequence[Entry]) -> None:
    for (_, future), entry in zip(batch, entries, strict=True):
        if future is not None and not future.done():  # whoever waited may have been cancelled
            future.set_result(entry)


def _as_text(execution: Execution) -> str:
    shown: dict[str, Any] = {
        name: getattr(execution, name)
        for name in ("id", "at", "client", "task", "developer", "input_sha256", "output_sha256",
                     "seconds", "error", "key")
    }  # fmt: skip
    return json.dumps(shown | {"fee": str(execution.fee)}, ensure_ascii=False)


def read_anchors(state: Path) -> dict[str, tuple[int, str]]:
    """Read how far this host knows each ledger to go: by its address, number and hash.

    Raises
    ------
    RecordError
        The file can't be read.
    """
    try:
        found = json.loads(anchors_path(state).read_text("utf-8"))
        return {str(name): (int(seq), str(digest)) for name, (seq, digest) in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{anchors_path(state)}, where this host notes how far the ledger goes, can't be "
            f"read: {error}",
            fix="`lading ledger verify`, then move that file away",
        ) from None


def _write_anchor(state: Path, market: str, last: tuple[int, str]) -> None:
    path = anchors_path(state)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        anchors = read_anchors(state) | {market: last}
        temporary.write_text(json.dumps(anchors, indent=2) + "\n", "utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise MarketUnavailable(
            f"{path} can't be written: {error.strerror}", fix="make room on the disk"
        ) from None
