"""What an execution costs, whom it is owed to, and the receipt for it.

The fee is that of the moment when the request came. An execution is written to the ledger before
its reply is sent: so the ledger lacks none that anybody got a reply of, and may have one whose
reply never arrived, if this process was killed in between. Who sends an idempotency key gets that
reply when asking again, and is not billed again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from lading.contracts.meca.executor import Reply
from lading.contracts.meca.request import TaskLimits, as_resource
from lading.errors import (
    InputError,
    KeyReused,
    LadingError,
    RecordError,
    RecordNotFound,
    ReplyForgotten,
)
from lading.market.appending import Book
from lading.market.catalogue import Listing, State
from lading.market.keys import host_key
from lading.market.ledger import Execution, KeptReply
from lading.market.money import fee_text, to_millionths
from lading.run.ids import new_id
from lading.units import MIB

if TYPE_CHECKING:
    from pathlib import Path

    from lading.contracts.meca.executor import Executor
    from lading.contracts.meca.options import ExecutorOptions
    from lading.contracts.meca.request import Request
    from lading.market.ledger import Entry

__all__ = ["Billed", "Billing", "open_book"]

log = logging.getLogger("lading.meca")

NONE: Final = "none"
"""The value of the knob `market` for an executor that writes no ledger."""
_IN_THREAD: Final = MIB
"""Bytes from which on a hash is computed in a thread: 1 ms."""
_LONGEST_KEY: Final = 255


@dataclass(frozen=True, slots=True)
class Billed:
    """A reply, the receipt for it (empty: none), and whether it was given before."""

    reply: Reply
    receipt: str = ""
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class _Price:
    """What the catalogue said when a request came."""

    task: str
    developer: str = ""
    fee: Decimal = Decimal(0)


@dataclass(slots=True)
class _Case:
    """One request: who asked, at what price, and what was executed once a task was called."""

    price: _Price
    client: str
    key: str = ""
    digest: str = ""
    began: float = field(default_factory=time.perf_counter)
    request: Request | None = None
    image_id: str = ""

    def called(self, request: Request, image_id: str) -> None:
        """Note that from now on something is executed."""
        self.request = request
        self.image_id = image_id

    def execution(self, request: Request, **more: Any) -> Execution:
        """Describe it for the ledger."""
        limits = request.limits
        return Execution(
            id=new_id(),
            at=time.time(),
            client=self.client,
            task=self.price.task,
            image=request.image,
            image_id=self.image_id,
            developer=self.price.developer,
            fee=self.price.fee,
            seconds=time.perf_counter() - self.began,
            cpus=limits.cpus,
            memory=limits.memory,
            gpus=limits.gpus,
            sgx=limits.sgx,
            key=self.key,
            request=self.digest,
            **more,
        )


@dataclass(slots=True)
class _Pending:
    """A request with an idempotency key that is being executed."""

    digest: str
    done: asyncio.Event


class Billing:
    """Executes requests, and writes down what is owed for them.

    Parameters
    ----------
    executor : Executor
    book : Book or None
        Opened; None: nothing is written down, and nothing owed.
    """

    def __init__(self, executor: Executor, book: Book | None) -> None:
        self._executor = executor
        self._book = book
        self._running = 0
        self._pending: dict[tuple[str, str], _Pending] = {}

    def offers(self) -> list[dict[str, object]]:
        """List what is offered, as ``GET /v1/tasks`` has it."""
        listings = self._book.names.listings if self._book else ()
        return [_offered(one) for one in listings if one.state is State.ACTIVE]

    def public_keys(self) -> list[dict[str, Any]]:
        """Return the keys that receipts are verified by, the present one first."""
        if self._book is None:
            return []
        key = self._book.key
        return [one.jwk() for one in (key.public, *key.old)]

    async def execute(
        self, request: Request, request_id: str, *, client: str = "", key: str = ""
    ) -> Billed:
        """Execute a request; it is in the ledger when this returns.

        Parameters
        ----------
        request : Request
        request_id : str
        client : str
            Who asks, as its token says; empty: anybody.
        key : str
            Its idempotency key, if it sent one.

        Raises
        ------
        KeyReused
            The key came before, with another request.
        ReplyForgotten
            It was executed and billed before, and its reply is not kept any more.
        MarketUnavailable
            The ledger can't be written: nothing is executed, or it was and the reply is withheld.
        LadingError
            Why it was refused, or failed.
        """
        book = self._book
        if book is None or request.attestation:  # a question to the enclave, and no execution
            return Billed(await self._executor.execute(request, request_id))
        book.check()
        client = client or "anonymous"
        if not key:
            case = _Case(await self._price(book, request), client)
            return await self._billed(book, request, request_id, case)
        _check_key(key)
        return await self._once(book, request, request_id, client, key)

    async def _once(
        self, book: Book, request: Request, request_id: str, client: str, key: str
    ) -> Billed:
        """Execute a request with a key, unless that was done, or is being done."""
        digest = await _digest(request)
        place = (client, key)
        while (pending := self._pending.get(place)) is not None:
            if pending.digest != digest:
                raise _reused(key)
            await pending.done.wait()  # then it was billed, or failed and may be tried again
        pending = self._pending[place] = _Pending(digest, asyncio.Event())
        try:
            if (found := await book.billed(client, key)) is not None:
                earlier, entry, kept = found
                if earlier != digest:
                    raise _reused(key)
                return _repeated(entry, kept)
            case = _Case(await self._price(book, request), client, key, digest)
            return await self._billed(book, request, request_id, case)
        finally:
            del self._pending[place]
            pending.done.set()

    async def _billed(self, book: Book, request: Request, request_id: str, case: _Case) -> Billed:
        self._running += 1
        try:
            try:
                reply = await self._executor.execute(request, request_id, case.called)
            except BaseException as error:
                await self._failed(book, case, error)
                raise
            execution = case.execution(
                case.request or request,
                input_sha256=await _sha256(request.body),
                output_sha256=await _sha256(reply.body),
                reply=KeptReply(reply.content_type, reply.body) if case.key else None,
            )
            entry = await book.append(execution, others=self._running - 1)
        finally:
            self._running -= 1
        return Billed(reply, entry.receipt)

    async def _price(self, book: Book, request: Request) -> _Price:
        """Look up what holds now, and for this request also if it changes meanwhile."""
        listing = await book.listing(request.image)
        offered = listing is not None and listing.state is State.ACTIVE
        if self._executor.options.listed_only and not offered:
            raise RecordNotFound(
                f"task {request.image!r:.300} is not offered here",
                fix="`GET /v1/tasks` lists those that are",
            )
        return _price(listing, request)

    async def _failed(self, book: Book, case: _Case, error: BaseException) -> None:
        """Write down what was executed in vain; nothing is owed for it."""
        if case.request is None:
            return
        execution = case.execution(
            case.request,
            input_sha256=hashlib.sha256(case.request.body).hexdigest(),
            error=type(error).__name__,
        )
        if not isinstance(error, LadingError):  # cancelled, maybe: nobody waits
            book.append_later(execution)
            return
        with contextlib.suppress(RecordError):  # logged; why the task failed is told
            await book.append(execution)


def _price(listing: Listing | None, request: Request) -> _Price:
    if listing is None:
        return _Price(request.image)
    if listing.state is not State.ACTIVE:
        return _Price(listing.id, listing.developer)
    return _Price(listing.id, listing.developer, listing.fee)


def _check_key(key: str) -> None:
    if len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise InputError(
            "Idempotency-Key", f"must be at most {_LONGEST_KEY} visible characters of ASCII"
        )


def _reused(key: str) -> KeyReused:
    return KeyReused(
        "Idempotency-Key",
        f"{key!r} came before, with another task, other limits or another input",
        fix="send the very same request, or another key: one for each execution that you want",
    )


def _repeated(entry: Entry, kept: KeptReply | None) -> Billed:
    if kept is None:
        raise ReplyForgotten(
            f"this was executed before, and billed as entry {entry.seq} of the ledger; its reply "
            "is not kept any more",
            fix="send another Idempotency-Key to have it executed, and billed, again",
        )
    reply = Reply(kept.body, kept.content_type, cold=False, container="", seconds=0.0)
    return Billed(reply, entry.receipt, repeated=True)


async def _sha256(data: bytes) -> str:
    if len(data) < _IN_THREAD:
        return hashlib.sha256(data).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()


async def _digest(request: Request) -> str:
    """Hash all that makes two requests the same."""
    asked = [
        request.image,
        dataclasses.astuple(request.limits),
        request.micro_vm,
        await _sha256(request.body),
    ]
    return hashlib.sha256(json.dumps(asked).encode("ascii")).hexdigest()


@contextlib.asynccontextmanager
async def open_book(options: ExecutorOptions, state: Path) -> AsyncIterator[Book | None]:
    """Open the market that the options name, with the host's key; None if there is to be none.

    Raises
    ------
    ConfigError, MarketUnavailable, RecordError
        It can't be used, or the host's key can't.
    RecordForged
        The ledger is not what this host wrote.
    """
    if options.market == NONE:
        yield None
        return
    key = await asyncio.to_thread(lambda: host_key(state, days=options.key_days))
    async with Book(
        options.market or str(state / "market.sqlite"),
        key,
        state,
        patience=options.ledger_patience,
        keep_hours=options.keep_replies,
    ) as book:
        yield book


def _offered(listing: Listing) -> dict[str, object]:
    """Write a listing as ``GET /v1/tasks`` has it: money as text, never as a float."""
    return {
        "id": listing.id,
        "cid": listing.cid,
        "image": listing.image,
        "digest": listing.digest,
        "name": listing.name,
        "description": listing.description,
        "resource": as_resource(
            TaskLimits(listing.cpus, listing.memory, listing.gpus, sgx=listing.sgx)
        ),
        "developer": listing.developer,
        "fee": fee_text(to_millionths(listing.fee)),
    }
