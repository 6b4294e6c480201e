"""Whether the ledger is what was written: every hash, every link, every signature, both ends."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from lading.errors import InputError, LadingError
from lading.market import receipts
from lading.market.database import Database
from lading.market.entries import NOTHING, Entry
from lading.market.keys import PublicKey, decoded
from lading.market.ledger import Ledger

__all__ = ["Report", "verify"]

_TOLD: Final = 20
"""Problems that are told one by one."""


@dataclass
class Report:
    """What verification found.

    Parameters
    ----------
    entries : int
        How many there are.
    seq, hash
        Of the last one: keep them elsewhere, and pass them to the next verification.
    signed : dict of str to int
        By the id of each host's key, how many entries it signed.
    problems : list of str
        Why the ledger is not to be trusted; empty: it holds.
    more : int
        Problems beyond those.
    notes : list of str
        What is no proof of anything.
    """

    entries: int = 0
    seq: int = 0
    hash: str = NOTHING
    signed: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    more: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def add(self, text: str) -> None:
        """Note a problem."""
        if len(self.problems) < _TOLD:
            self.problems.append(text)
        else:
            self.more += 1


def verify(
    database: Database,
    trusted: Iterable[PublicKey] = (),
    *,
    known: Iterable[tuple[int, str, str]] = (),
    kept: Iterable[str] = (),
) -> Report:
    """Verify the ledger in a database; blocks: 5,000 entries a second, in bounded memory.

    Parameters
    ----------
    database : Database
    trusted : iterable of PublicKey
        Those of hosts that are known from elsewhere than from this database.
    known : iterable of (int, str, str)
        Number and hash of entries that must be in it, and where that is known from.
    kept : iterable of str
        Receipts whose entries must be in it.

    Raises
    ------
    MarketUnavailable
        The database can't be read.
    """
    report = Report()
    keys = _Keys(database, trusted, report)
    wanted = [*_heads(database, keys, report), *known, *_receipts(kept, keys, report)]
    found = _walk(Ledger(database), keys, report, {seq for seq, _, _ in wanted})
    for seq, digest, source in wanted:
        if (hash_found := found.get(seq)) is None:
            report.add(f"entry {seq} is missing: {source} has it")
        elif hash_found != digest:
            report.add(f"entry {seq} is another than {source} has")
    for client, seq in database.read(
        "SELECT client, seq FROM lading_key_used WHERE seq > ?", (report.seq,)
    ):
        report.add(f"entry {seq} is missing: an idempotency key of {client!r} was billed under it")
    return report


def _walk(ledger: Ledger, keys: _Keys, report: Report, wanted: set[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    signed: Counter[str] = Counter()
    earlier = 0
    signatures = _Signatures(keys, report)
    expected, previous, at = 1, NOTHING, 0
    for entry in ledger.entries():
        if entry.seq != expected:
            gone = str(expected) if entry.seq == expected + 1 else f"{expected} to {entry.seq - 1}"
            report.add(f"entry {gone} is missing")
        elif entry.previous != previous:
            report.add(f"entry {entry.seq} does not follow the one before it: one was changed")
        digest = hashlib.sha256(entry.body).hexdigest()
        if digest != entry.hash:
            report.add(f"entry {entry.seq} was changed: its hash is of something else")
        else:
            signatures.check(entry)
        if entry.seq in wanted:
            found[entry.seq] = digest
        earlier += entry.at < at
        signed[entry.host] += 1
        report.entries += 1
        expected, previous, at = entry.seq + 1, entry.hash, entry.at
        report.seq, report.hash = entry.seq, entry.hash
    signatures.end()
    report.signed = dict(signed)
    if earlier:
        report.notes.append(
            f"{earlier} entries ended before the one that they follow: hosts' clocks differ, or "
            "one was set back"
        )
    return found


class _Signatures:
    """Checks the signatures of entries in their order, those that were signed together at once."""

    def __init__(self, keys: _Keys, report: Report) -> None:
        self._keys = keys
        self._report = report
        self._group: list[Entry] = []

    def check(self, entry: Entry) -> None:
        if self._group and entry.signature != self._group[0].signature:
            self.end()
        if entry.group is not None:
            self._group.append(entry)
        elif (why := self._keys.refuses(entry)) is not None:
            self._report.add(f"entry {entry.seq}: {why}")

    def end(self) -> None:
        """Check the group that is complete now."""
        some, self._group = self._group, []
        if some and (why := self._keys.refuses_group(some)) is not None:
            name = (
                f"entry {some[0].seq}"
                if len(some) == 1
                else (f"entries {some[0].seq} to {some[-1].seq}")
            )
            self._report.add(f"{name}: {why}")


class _Keys:
    """The hosts' keys: those that are trusted, and those that only the database knows."""

    def __init__(self, database: Database, trusted: Iterable[PublicKey], report: Report) -> None:
        self._trusted = {key.kid: key for key in trusted}
        self._here: dict[str, PublicKey] = {}
        self._noted: set[str] = set()
        self._report = report
        for kid, jwk in database.read("SELECT kid, jwk FROM lading_host_key"):
            try:
                key = PublicKey.read(json.loads(jwk))
            except (ValueError, RecursionError):
                report.add(f"the public key {kid} in the database is broken")
            else:
                self._here[key.kid] = key

    def find(self, kid: str) -> PublicKey | None:
        if (key := self._trusted.get(kid)) is not None:
            return key
        if (key := self._here.get(kid)) is not None and kid not in self._noted:
            self._noted.add(kid)
            self._report.notes.append(
                f"key {kid} is known from this database only: whoever can write to it may have "
                "made it (--key FILE names one that you know from its host)"
            )
        return key

    def refuses(self, entry: Entry) -> str | None:
        """Say why the signature of an entry does not hold; None: it does."""
        key = self.find(entry.host)
        if key is None:
            return f"it is signed by key {entry.host}, which nobody knows"
        try:
            signature = decoded(entry.signature)
        except ValueError:
            return "its signature is none"
        if not key.verifies(receipts.signed_bytes(entry.host, entry.body), signature):
            return f"its signature is not of key {entry.host}: it was changed"
        return self._ended(key, entry)

    def refuses_group(self, some: list[Entry]) -> str | None:
        """Say why the signature of entries that were signed together does not hold."""
        host, group = some[0].host, some[0].group
        assert group is not None
        first, last, signature = group
        if [entry.seq for entry in some] != list(range(first, last + 1)):
            return f"signed together with all of {first} to {last}, some of which are missing"
        key = self.find(host)
        if key is None:
            return f"signed by key {host}, which nobody knows"
        hashes = [entry.hash for entry in some]
        if any(entry.host != host for entry in some) or not receipts.group_holds(
            key, first, hashes, signature
        ):
            return f"their signature is not of key {host}: one was changed"
        return next((why for entry in some if (why := self._ended(key, entry))), None)

    def _ended(self, key: PublicKey, entry: Entry) -> str | None:
        if not key.was_valid(entry.at / 1e6):
            moment = datetime.fromtimestamp(key.until or 0, UTC).isoformat(timespec="seconds")
            return f"key {entry.host} signed only until {moment}"
        return None

    def all(self) -> list[PublicKey]:
        return [*self._trusted.values(), *self._here.values()]


def _heads(database: Database, keys: _Keys, report: Report) -> list[tuple[int, str, str]]:
    """How far each host said that the ledger went."""
    found = []
    for host, seq, digest, signature in database.read(
        "SELECT host, seq, hash, signature FROM lading_ledger_head WHERE seq > 0"
    ):
        key = keys.find(host)
        if key is None or not receipts.head_holds(key, seq, digest, signature):
            report.add(f"the mark of host {host}, how far the ledger goes, is not signed by it")
        else:
            found.append((seq, digest, f"the signed mark of host {host}"))
    return found


def _receipts(kept: Iterable[str], keys: _Keys, report: Report) -> list[tuple[int, str, str]]:
    found = []
    for number, text in enumerate(kept, 1):
        try:
            receipt = receipts.verify(text, keys.all())
            seq = receipt.entry["seq"]
            if not isinstance(seq, int):
                raise InputError("receipt", "names no entry")
        except LadingError as error:
            report.add(f"receipt {number}: {error.message}")
        else:
            found.append((seq, receipt.hash, f"receipt {number}"))
    return found
