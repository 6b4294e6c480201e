"""The catalogue: which tasks are offered, by whom, with which limits, and for what fee."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from lading.errors import InputError, RecordNotFound
from lading.market.database import Database, Transaction
from lading.market.money import checked_fee, from_millionths, to_millionths

__all__ = ["Catalogue", "Change", "Listing", "Names", "State", "last_ten"]

_COLUMNS = (
    "id, cid, image, digest, name, description, millicpus, memory, gpus, sgx, developer, fee, "
    "state, published, changed, profile"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SHORT = 10  # characters of a CID that stand for it as an image's name (contract 1)
_LEAST = 4  # characters that the beginning of a name must have


class State(StrEnum):
    """Whether a task is offered."""

    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Listing:
    """A task that is offered.

    Parameters
    ----------
    id : str
        Its CID, or where it has none, its image as published; empty: that one.
    cid : str or None
        Of its folder, as text without a scheme.
    image : str or None
        The reference that it was pushed to, or that hosts build it as.
    digest : str or None
        Of the image's manifest: ``sha256:`` and 64 digits.
    name, description : str
        For people.
    cpus : float
        Cores.
    memory : int
        Bytes.
    gpus : int
    sgx : bool
    developer : str
        Who is owed the fee.
    fee : Decimal
        For each successful execution; at most six decimal places.
    state : State
    published, changed : float
        Seconds since 1970, UTC; 0: now.
    profile : str
        What the CID depends on besides the content, as JSON.
    """

    id: str = ""
    cid: str | None = None
    image: str | None = None
    digest: str | None = None
    name: str = ""
    description: str = ""
    cpus: float = 1.0
    memory: int = 128 << 20
    gpus: int = 0
    sgx: bool = False
    developer: str = ""
    fee: Decimal = Decimal(0)
    state: State = State.ACTIVE
    published: float = 0.0
    changed: float = 0.0
    profile: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What a listing was after one change of it; `changed` in seconds since 1970."""

    changed: float
    digest: str | None
    developer: str
    fee: Decimal
    state: State


def last_ten(cid: str) -> str:
    """Return the end of a CID, by which hosts name the image built from it (contract 1)."""
    return cid[-_SHORT:]


@dataclass(frozen=True, slots=True)
class Names:
    """Every name under which listings are found; a snapshot, for quick looks.

    Parameters
    ----------
    listings : tuple of Listing
        By id.
    """

    listings: tuple[Listing, ...] = ()
    _by_name: Mapping[str, Listing] = field(default_factory=dict)

    @classmethod
    def of(cls, listings: Iterable[Listing], digests: Iterable[tuple[str, str]] = ()) -> Names:
        """Index listings.

        Parameters
        ----------
        listings : iterable of Listing
        digests : iterable of (str, str)
            Listing's id and a digest that it once had.
        """
        # Where two share a name, the active one has it, and of these the latest.
        ordered = sorted(listings, key=lambda one: (one.state is State.ACTIVE, one.published))
        old: dict[str, list[str]] = {}
        for listing_id, digest in digests:
            old.setdefault(listing_id, []).append(digest)
        found: dict[str, Listing] = {}
        for listing in ordered:
            for name in _names(listing, old.get(listing.id, ())):
                found[name] = listing
        found |= {one.id: one for one in ordered}  # but an id is its own
        return cls(tuple(sorted(listings, key=lambda one: one.id)), found)

    def get(self, name: str) -> Listing | None:
        """Find a listing by what programs call it, not by its name for people; 0.2 us."""
        return self._by_name.get(name)

    def find(self, name: str) -> Listing:
        """Find a listing by a name or the unique beginning of its id, image or name.

        Raises
        ------
        RecordNotFound
            There is none, or more than one.
        """
        name = name.strip()
        if (found := self.get(name)) is not None:
            return found
        some = {
            one.id: one
            for one in self.listings
            if one.name == name
            or (
                len(name) >= _LEAST
                and any(text.startswith(name) for text in (one.id, one.image or "", one.name))
            )
        }
        if len(named := [one for one in some.values() if one.name == name]) == 1:
            return named[0]
        if len(some) == 1:
            return some.popitem()[1]
        if some:
            shown = ", ".join(sorted(some)[:5])
            raise RecordNotFound(
                f"{len(some)} tasks have a name that begins with {name!r}: {shown}",
                fix="write its CID, or enough of that",
            )
        raise RecordNotFound(
            f"no task {name!r} is listed here",
            fix="`lading tasks list --all` shows those that are, `lading push` lists one",
        )


def _names(listing: Listing, digests: Iterable[str]) -> Iterable[str]:
    # Not its name for people: whoever chose that could ask money for others' images.
    if cid := listing.cid:
        short = last_ten(cid)
        yield from (cid, f"ipfs://{cid}", f"/ipfs/{cid}", short, f"{short}:latest")
    image = listing.image
    if image:
        path = _path(image)
        yield from (image, f"registry://{image}")
        if image == path:
            yield f"{path}:latest"
        elif image == f"{path}:latest":
            yield path
    for digest in (*digests, listing.digest):
        if digest:
            yield digest
            if image:
                yield from (f"{_path(image)}@{digest}", f"{image}@{digest}")


def _path(image: str) -> str:
    """Return an image's name without tag and digest."""
    name = image.partition("@")[0]
    path, colon, tag = name.rpartition(":")
    return path if colon and "/" not in tag else name


class Catalogue:
    """The listings in one database; every method blocks.

    Raises
    ------
    MarketUnavailable
        By every method: the database can't be used now.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def publish(self, listing: Listing) -> Listing:
        """List a task, or what has become of it: what it was before stays known.

        The same CID, or the same image where there is no CID, is the same listing. A task that was
        retired is offered again.

        Returns
        -------
        Listing
            As it is stored.

        Raises
        ------
        InputError
            It has neither CID nor image, or a field can't be stored.
        """
        listing = _checked(listing)
        now = time.time()
        with self._database.begin() as transaction:
            old = _one(transaction, listing.id)
            published = old.published if old else listing.published or now
            listing = replace(listing, state=State.ACTIVE, published=published, changed=now)
            _store(transaction, listing, new=old is None)
        return _as_stored(listing)

    def set_fee(self, name: str, fee: Decimal) -> Listing:
        """Change a fee: for requests that come from about a second later on.

        Raises
        ------
        RecordNotFound
            There is no such listing, or more than one.
        InputError
            See :func:`lading.market.money.parse_fee`.
        """
        return self._change(name, fee=checked_fee(fee))

    def retire(self, name: str) -> Listing:
        """Offer a task no longer; the ledger keeps what is owed. Raises as :meth:`set_fee`."""
        return self._change(name, state=State.RETIRED)

    def _change(self, name: str, **fields: Any) -> Listing:
        with self._database.begin() as transaction:
            listing = replace(_all_names(transaction).find(name), **fields, changed=time.time())
            _store(transaction, listing, new=False)
        return _as_stored(listing)

    def find(self, name: str) -> Listing:
        """Find a listing.

        Parameters
        ----------
        name : str
            Its CID (also after ``ipfs://``), the last ten characters of it (also with
            ``:latest``), its image, a digest that it has or had, its name, or the unique beginning
            of one of these.

        Raises
        ------
        RecordNotFound
            There is none, or more than one.
        """
        return self.names().find(name)

    def names(self) -> Names:
        """Take a snapshot of all listings."""
        return _all_names(self._database)

    def history(self, listing_id: str) -> list[Change]:
        """Return what a listing was after each change of it, the first first."""
        rows = self._database.read(
            "SELECT changed, digest, developer, fee, state FROM lading_listing_change "
            "WHERE listing = ? ORDER BY number",
            (listing_id,),
        )
        return [
            Change(at / 1e6, digest, who, from_millionths(fee), State(state))
            for at, digest, who, fee, state in rows
        ]

    def version(self) -> int:
        """Return a number that grows with every change of any listing."""
        rows = self._database.read("SELECT value FROM lading_market WHERE name = ?", ("change",))
        return int(rows[0][0])

    def list(self, *, retired: bool = False) -> list[Listing]:
        """Return the listings, the latest first; also the retired ones if asked for."""
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM lading_listing ORDER BY published DESC, id"  # noqa: S608
        )
        listings = [_listing(row) for row in rows]
        return [one for one in listings if retired or one.state is State.ACTIVE]


def _all_names(reader: Database | Transaction) -> Names:
    rows = reader.read(f"SELECT {_COLUMNS} FROM lading_listing")  # noqa: S608
    digests = reader.read(
        "SELECT DISTINCT listing, digest FROM lading_listing_change WHERE digest IS NOT NULL"
    )
    return Names.of([_listing(row) for row in rows], [(row[0], row[1]) for row in digests])


def _one(transaction: Transaction, listing_id: str) -> Listing | None:
    rows = transaction.read(
        f"SELECT {_COLUMNS} FROM lading_listing WHERE id = ?",  # noqa: S608
        (listing_id,),
    )
    return _listing(rows[0]) if rows else None


def _store(transaction: Transaction, listing: Listing, *, new: bool) -> None:
    row = _row(listing)
    if not new:
        transaction.write("DELETE FROM lading_listing WHERE id = ?", [(listing.id,)])
    marks = ", ".join("?" * len(row))
    transaction.write(f"INSERT INTO lading_listing ({_COLUMNS}) VALUES ({marks})", [row])  # noqa: S608
    ((number,),) = transaction.read(
        "SELECT COUNT(*) FROM lading_listing_change WHERE listing = ?", (listing.id,)
    )
    transaction.write(
        "INSERT INTO lading_listing_change VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                listing.id,
                number + 1,
                round(listing.changed * 1e6),
                listing.digest,
                listing.developer,
                to_millionths(listing.fee),
                str(listing.state),
            )
        ],
    )
    transaction.write("UPDATE lading_market SET value = value + 1 WHERE name = ?", [("change",)])


def _row(listing: Listing) -> tuple[Any, ...]:
    return (
        listing.id,
        listing.cid,
        listing.image,
        listing.digest,
        listing.name,
        listing.description,
        round(listing.cpus * 1000),
        listing.memory,
        listing.gpus,
        int(listing.sgx),
        listing.developer,
        to_millionths(listing.fee),
        str(listing.state),
        round(listing.published * 1e6),
        round(listing.changed * 1e6),
        listing.profile,
    )


def _listing(row: tuple[Any, ...]) -> Listing:
    listing_id, cid, image, digest, name, description, millicpus, memory, gpus, sgx, *rest = row
    developer, fee, state, published, changed, profile = rest
    return Listing(
        id=listing_id,
        cid=cid,
        image=image,
        digest=digest,
        name=name,
        description=description,
        cpus=millicpus / 1000,
        memory=memory,
        gpus=gpus,
        sgx=bool(sgx),
        developer=developer,
        fee=from_millionths(fee),
        state=State(state),
        published=published / 1e6,
        changed=changed / 1e6,
        profile=profile,
    )


def _as_stored(listing: Listing) -> Listing:
    return _listing(_row(listing))


def _checked(listing: Listing) -> Listing:
    cid = (listing.cid or "").strip() or None
    image = (listing.image or "").strip() or None
    if not cid and not image:
        raise InputError("image", "a listing needs a CID or an image")
    if cid and not (cid.isascii() and cid.isalnum()):
        raise InputError("cid", f"{cid!r:.80} is no CID: write it without ipfs://")
    if listing.digest and not _DIGEST.fullmatch(listing.digest):
        raise InputError("digest", f"must be sha256: and 64 digits, not {listing.digest!r:.80}")
    for name, value in (("cpus", listing.cpus), ("memory", listing.memory)):
        if not 0 < value < 1 << 62:
            raise InputError(name, f"must be more than 0, not {value}")
    if not 0 <= listing.gpus < 1 << 31:
        raise InputError("gpus", f"must be 0 or more, not {listing.gpus}")
    if listing.id not in ("", cid or image):
        raise InputError("id", "is the CID, or the image where there is none; leave it out")
    return replace(
        listing,
        id=cid or image or "",
        cid=cid,
        image=_line(image, "image", 500) if image else None,
        digest=listing.digest or None,
        name=_line(listing.name, "name", 200),
        developer=_developer(listing.developer),
        description=_text(listing.description, "description", 20_000),
        profile=_text(listing.profile, "profile", 2_000),
        fee=checked_fee(listing.fee),
    )


def _developer(name: str) -> str:
    name = _line(name, "developer", 200)
    if name and not name[0].isalnum():  # a spreadsheet takes what begins with = + - @ as a formula
        raise InputError("developer", f"must begin with a letter or digit, not {name!r:.60}")
    return name


def _line(text: str, field: str, most: int) -> str:
    text = _text(text, field, most).strip()
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in text):
        raise InputError(field, "must be one line, without control characters")
    return text


def _text(text: str, field: str, most: int) -> str:
    if len(text) > most:
        raise InputError(field, f"is longer than {most} characters")
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InputError(field, "holds a character that no database can store")
    return text
