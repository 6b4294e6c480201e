"""The ledger: every execution, in the order in which they were written, each bound to the last.

An entry is hashed with the hash of the one before it, and signed by the host that wrote it. What
that shows, and what it can't, is said in ``docs/explanation/ledger.md``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from lading.errors import InputError, MarketUnavailable, RecordForged
from lading.market import receipts
from lading.market.database import Conflict, Database, Sqlite, Transaction
from lading.market.entries import COLUMNS, NOTHING, Entry, Execution, KeptReply, body_of
from lading.market.money import from_millionths, to_millionths

if TYPE_CHECKING:
    from lading.market.keys import HostKey

__all__ = ["TOGETHER", "By", "Entry", "Execution", "KeptReply", "Ledger", "Sum"]

By = Literal["task", "client", "developer"]
_INSERT: Final = (
    f"INSERT INTO lading_ledger ({COLUMNS}) "  # noqa: S608
    f"VALUES ({', '.join('?' * len(COLUMNS.split(', ')))})"
)
_SELECT: Final = f"SELECT {COLUMNS} FROM lading_ledger"  # noqa: S608
_REPEATS: Final = COLUMNS.split(", ").index("repeats")
TOGETHER: Final = 8
"""Entries that are signed together: a receipt goes into a header, and grows with each."""
_PAGE: Final = 1000
"""Entries that are read at once."""


@dataclass(frozen=True, slots=True)
class Sum:
    """What one task, client or developer comes to.

    Parameters
    ----------
    name : str
    executions, successes : int
    seconds : float
        That they took together.
    owed : Decimal
    """

    name: str
    executions: int
    successes: int
    seconds: float
    owed: Decimal


class _Draft(NamedTuple):
    """An entry before it is signed: its columns up to the hash, what it says, and the hash."""

    row: tuple[Any, ...]
    body: bytes
    hash: str


@lru_cache(maxsize=256)
def _millionths(fee: Decimal) -> int:
    return to_millionths(fee)


def _text(value: str, most: int = 500) -> str:
    """Make a text storable: PostgreSQL takes no NUL, and no database half a surrogate pair."""
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode()
    return value[:most].replace("\0", "\ufffd")


class Ledger:
    """The ledger in one database; every method blocks.

    Parameters
    ----------
    database : Database
    key : HostKey or None
        What is appended is signed with it; None: nothing can be.

    Raises
    ------
    MarketUnavailable
        By every method: the database can't be used now. What was to be appended may be in it all
        the same where the connection broke; append it again, it will not be there twice.
    """

    def __init__(self, database: Database, key: HostKey | None = None) -> None:
        self._database = database
        self._key = key
        self._last: tuple[int, str] = (0, NOTHING)
        """The last entry that we have seen."""
        self._own = False
        """Whether we have seen any."""

    @property
    def last(self) -> tuple[int, str]:
        """Number and hash of the last entry that this object has seen."""
        return self._last

    def append(self, executions: Sequence[Execution], *, wait: bool = True) -> list[Entry]:
        """Write executions down, in one transaction; durable when this returns.

        Parameters
        ----------
        executions : sequence of Execution
        wait : bool
            Wait for other processes, up to five seconds; otherwise fail at once.

        Returns
        -------
        list of Entry
            In the order of `executions`. For one whose idempotency key was billed before, an entry
            with nothing owed, that says so.

        Raises
        ------
        RecordForged
            The ledger is shorter than it was, or its end is another: what is appended now would
            hide that.
        """
        if self._own and len(executions) == 1 and isinstance(self._database, Sqlite):
            try:
                entry = self._append_quickly(self._database, executions[0])
            except MarketUnavailable:
                if not wait:
                    raise
                entry = None
            if entry is not None:
                return [entry]
        with self._database.begin(wait=wait) as transaction:
            head = self._read_head(transaction)
            known = self._already(transaction, executions) if head != self._last else {}
            new: dict[str, _Draft] = {}
            for execution in executions:
                if execution.id not in known and execution.id not in new:
                    draft = self._draft(execution, head, _billed(transaction, execution))
                    head = (draft.row[0], draft.hash)
                    new[execution.id] = draft
                    _use_up(transaction, execution, draft)
            if new:
                drafts = list(new.values())
                entries = [
                    entry
                    for start in range(0, len(drafts), TOGETHER)
                    for entry in self._signed(drafts[start : start + TOGETHER])
                ]
                transaction.write(_INSERT, [entry.row() for entry in entries])
                known |= zip(new, entries, strict=True)
        self._last, self._own = head, True
        return [known[execution.id] for execution in executions]

    def _signed(self, drafts: list[_Draft]) -> list[Entry]:
        """Sign what follows each other: one alone, several together."""
        assert self._key is not None
        if len(drafts) == 1:
            row, body, digest = drafts[0]
            signature, told = receipts.sign(self._key, body)
            return [Entry(*(*row, digest, signature, told))]
        first, last = drafts[0].row[0], drafts[-1].row[0]
        signature, proof = receipts.sign_group(self._key, first, [one.hash for one in drafts])
        signature = f"{first}-{last}.{signature}"
        return [
            Entry(*(*row, digest, signature, receipts.disclosing(proof, body)))
            for row, body, digest in drafts
        ]

    def _append_quickly(self, database: Sqlite, execution: Execution) -> Entry | None:
        """Append after the last entry that we know; None if somebody else has, or there is a key.

        Where another process has appended meanwhile, the number is taken.
        """
        if execution.key:
            return None
        (entry,) = self._signed([self._draft(execution, self._last, 0)])
        try:
            database.insert(_INSERT, entry.row())
        except Conflict:
            return None
        self._last = (entry.seq, entry.hash)
        return entry

    def _read_head(self, transaction: Transaction) -> tuple[int, str]:
        rows = transaction.read("SELECT seq, hash FROM lading_ledger ORDER BY seq DESC LIMIT 1")
        head = (int(rows[0][0]), str(rows[0][1])) if rows else (0, NOTHING)
        seq, known = self._last
        if head[0] < seq:
            raise RecordForged(
                f"the ledger at {self._database.shown} ends at entry {head[0]}, and we wrote or "
                f"saw entry {seq}: its end was removed",
                fix="find out who did, restore it, then start again",
            )
        if seq and head != self._last:
            found = transaction.read("SELECT hash FROM lading_ledger WHERE seq = ?", (seq,))
            if not found or found[0][0] != known:
                raise RecordForged(
                    f"entry {seq} of the ledger at {self._database.shown} is not what we saw",
                    fix="`lading ledger verify` says more; find out who changed it",
                )
        return head

    def _already(self, transaction: Transaction, some: Sequence[Execution]) -> dict[str, Entry]:
        """Find those that a commit of which we heard no more has written after what we knew."""
        wanted = {one.id for one in some}
        rows = transaction.read(f"{_SELECT} WHERE seq > ? ORDER BY seq", (self._last[0],))
        return {row[1]: self._proven(Entry(*row)) for row in rows if row[1] in wanted}

    def _draft(self, execution: Execution, head: tuple[int, str], repeats: int) -> _Draft:
        key = self._key
        if key is None:
            raise InputError("key", "a ledger is written to with the host's key")
        fee = _millionths(execution.fee)
        success = not execution.error
        row = (
            head[0] + 1,
            execution.id,
            round(execution.at * 1e6),
            _text(execution.client),
            _text(execution.task),
            _text(execution.image),
            execution.image_id,
            _text(execution.developer),
            fee,
            fee if success and not repeats else 0,
            execution.input_sha256,
            execution.output_sha256,
            round(execution.seconds * 1e6),
            round(execution.cpus * 1000),
            min(execution.memory, (1 << 53) - 1),
            execution.gpus,
            int(execution.sgx),
            int(success),
            execution.error,
            repeats,
            key.kid,
            head[1],
        )
        body = body_of(row)
        return _Draft(row, body, hashlib.sha256(body).hexdigest())

    # Reading.

    def entries(
        self, *, since: float = 0.0, after: int = 0, where: dict[By, str] | None = None
    ) -> Iterator[Entry]:
        """Yield entries in their order, a thousand at a time.

        Parameters
        ----------
        since : float
            Only what ended from then on; seconds since 1970.
        after : int
            Only those with a higher number.
        where : dict or None
            Only of these task, client, developer.
        """
        chosen = list((where or {}).items())
        more = "".join(f" AND {_checked(name)} = ?" for name, _ in chosen)
        while True:
            rows = self._database.read(
                f"{_SELECT} WHERE seq > ? AND at >= ?{more} ORDER BY seq LIMIT {_PAGE}",
                (after, round(since * 1e6), *(value for _, value in chosen)),
            )
            yield from (Entry(*row) for row in rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def before_last(self, count: int, *, since: float = 0.0) -> int:
        """Return the number after which the last `count` entries come; 0: all do."""
        rows = self._database.read(
            "SELECT seq FROM lading_ledger WHERE at >= ? ORDER BY seq DESC LIMIT 1 OFFSET ?",
            (round(since * 1e6), count),
        )
        return int(rows[0][0]) if rows else 0

    def sums(self, by: By, *, since: float = 0.0) -> list[Sum]:
        """Add up by task, client or developer; the most owed first.

        Whole units and millionths are added up apart: together they might pass what a database
        holds.
        """
        column = _checked(by)
        rows = self._database.read(
            f"SELECT {column}, COUNT(*), SUM(success), SUM(microseconds), "  # noqa: S608
            "SUM(owed / 1000000), SUM(owed % 1000000) FROM lading_ledger "
            f"WHERE at >= ? GROUP BY {column}",
            (round(since * 1e6),),
        )
        found = [
            Sum(
                name,
                int(executions),
                int(successes),
                int(microseconds) / 1e6,
                from_millionths(int(units) * 1_000_000 + int(rest)),
            )
            for name, executions, successes, microseconds, units, rest in rows
        ]
        return sorted(found, key=lambda one: (-one.owed, one.name))

    def get(self, seq: int) -> Entry | None:
        """Return one entry; None if there is none of that number."""
        rows = self._database.read(f"{_SELECT} WHERE seq = ?", (seq,))
        return self._proven(Entry(*rows[0])) if rows else None

    def _proven(self, entry: Entry) -> Entry:
        """Add what the signature of an entry that was signed with others is of."""
        if (group := entry.group) is None:
            return entry
        first, last, signature = group
        rows = self._database.read(
            "SELECT hash FROM lading_ledger WHERE seq BETWEEN ? AND ? ORDER BY seq", (first, last)
        )
        hashes = [row[0] for row in rows]
        proof = receipts.group_text(entry.host, first, hashes, signature)
        return replace(entry, told=receipts.disclosing(proof, entry.body))

    # Idempotency keys.

    def billed(self, client: str, key: str) -> tuple[str, Entry, KeptReply | None] | None:
        """Find what was billed under a client's idempotency key.

        Returns
        -------
        (str, Entry, KeptReply or None) or None
            The SHA-256 of the request, the entry, and the reply where it is still kept.
        """
        rows = self._database.read(
            "SELECT request, seq FROM lading_key_used WHERE client = ? AND idempotency_key = ?",
            (_text(client), key),
        )
        if not rows:
            return None
        request, seq = rows[0]
        entry = self.get(seq)
        if entry is None:
            raise RecordForged(f"entry {seq} of the ledger is gone, and a key was billed under it")
        kept = self._database.read(
            "SELECT content_type, body FROM lading_reply WHERE seq = ?", (seq,)
        )
        reply = KeptReply(kept[0][0], bytes(kept[0][1])) if kept else None
        return request, entry, reply

    def forget_replies(self, *, before: float, most: int) -> None:
        """Forget kept replies: those from before a time, then the oldest beyond `most` bytes."""
        rows = self._database.read("SELECT seq, at, size FROM lading_reply ORDER BY seq DESC")
        size = 0
        gone: list[tuple[Any, ...]] = []
        for seq, at, one in rows:
            size += one
            if at < before * 1e6 or size > most:
                gone.append((seq,))
        if gone:
            with self._database.begin() as transaction:
                transaction.write("DELETE FROM lading_reply WHERE seq = ?", gone)

    # What verification stands on.

    def expect(self, seq: int, digest: str) -> None:
        """Know an entry from elsewhere: a ledger without it is refused."""
        self._last = (seq, digest)

    def introduce(self) -> None:
        """Leave the host's public keys where those who verify find them.

        Raises
        ------
        RecordForged
            See :meth:`append`.
        """
        assert self._key is not None
        rows = [(key.kid, json.dumps(key.jwk())) for key in (self._key.public, *self._key.old)]
        with self._database.begin() as transaction:
            transaction.write(
                "INSERT INTO lading_host_key VALUES (?, ?) "
                "ON CONFLICT (kid) DO UPDATE SET jwk = excluded.jwk",
                rows,
            )
            self._last, self._own = self._read_head(transaction), True

    def mark_head(self) -> None:
        """Leave, signed, how far the ledger goes: what is missing before that is noticed."""
        assert self._key is not None
        seq, digest = self._last
        signature = receipts.sign_head(self._key, seq, digest)
        with self._database.begin() as transaction:
            transaction.write(
                "INSERT INTO lading_ledger_head VALUES (?, ?, ?, ?) ON CONFLICT (host) DO UPDATE "
                "SET seq = excluded.seq, hash = excluded.hash, signature = excluded.signature",
                [(self._key.kid, seq, digest, signature)],
            )


def _checked(by: str) -> str:
    if by not in ("task", "client", "developer"):
        raise InputError("by", f"must be task, client or developer, not {by!r:.40}")
    return by


def _billed(transaction: Transaction, execution: Execution) -> int:
    """Return the entry under which a key was billed, 0 if it was not."""
    if not execution.key or execution.error:
        return 0
    rows = transaction.read(
        "SELECT seq FROM lading_key_used WHERE client = ? AND idempotency_key = ?",
        (_text(execution.client), execution.key),
    )
    return int(rows[0][0]) if rows else 0


def _use_up(transaction: Transaction, execution: Execution, draft: _Draft) -> None:
    """Note that a key is billed, and keep the reply."""
    seq, _, at, client, *_ = draft.row
    if not execution.key or execution.error or draft.row[_REPEATS]:
        return
    row = (client, execution.key, execution.request, seq)
    transaction.write("INSERT INTO lading_key_used VALUES (?, ?, ?, ?)", [row])
    if execution.reply is not None:
        body = execution.reply.body
        kept = (seq, at, execution.reply.content_type, len(body), body)
        transaction.write("INSERT INTO lading_reply VALUES (?, ?, ?, ?, ?)", [kept])
