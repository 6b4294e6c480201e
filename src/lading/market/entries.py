"""What stands in the ledger: executions, and the entries that they become."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final

from lading.market import receipts
from lading.market.money import fee_text

__all__ = ["COLUMNS", "NOTHING", "Entry", "Execution", "KeptReply", "body_of"]

NOTHING: Final = "0" * 64
"""The hash before the first entry."""
COLUMNS: Final = (
    "seq, id, at, client, task, image, image_id, developer, fee, owed, input_sha256, "
    "output_sha256, microseconds, millicpus, memory, gpus, sgx, success, error, repeats, host, "
    "previous, hash, signature"
)
_quote = json.encoder.encode_basestring


@dataclass(frozen=True, slots=True)
class KeptReply:
    """A reply that is given again to who asks again with the same idempotency key."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution, to be written down.

    Parameters
    ----------
    id : str
        Unique: an execution is in the ledger once, however often it is appended.
    at : float
        When it ended, in seconds since 1970, UTC.
    client : str
        Who asked.
    task : str
        The listing's id, or the image as it was asked for.
    image, image_id : str
        As it was asked for, and the engine's id of it.
    developer : str
        Empty: nobody is owed anything.
    fee : Decimal
        When the request came.
    input_sha256, output_sha256 : str
        Of the bytes that the task got and replied; the second is empty where it failed.
    seconds, cpus, memory, gpus, sgx
        How long it took, and what it was allowed: cores, bytes, whole GPUs, the enclave.
    error : str
        The kind of its failure; empty: it succeeded.
    key, request : str
        The idempotency key, if there was one, and the SHA-256 of what was asked for with it.
    reply : KeptReply or None
        To be kept for that key.
    """

    id: str
    at: float
    client: str
    task: str
    image: str
    image_id: str = ""
    developer: str = ""
    fee: Decimal = Decimal(0)
    input_sha256: str = ""
    output_sha256: str = ""
    seconds: float = 0.0
    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0
    sgx: bool = False
    error: str = ""
    key: str = ""
    request: str = ""
    reply: KeptReply | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger; all numbers whole: millionths, microseconds, thousandths of cores.

    Parameters
    ----------
    seq : int
        From 1 on, without a gap.
    owed : int
        The fee if it succeeded, 0 otherwise, and for what was billed before.
    repeats : int
        The entry under which the same idempotency key was billed; 0: none.
    host : str
        The id of the key that signed it.
    previous, hash : str
        SHA-256, of the entry before and of this one.
    signature : str
        Of this entry alone; or ``FIRST-LAST.`` and the one of these entries together.
    told : str
        Its receipt, where that is known.
    """

    seq: int
    id: str
    at: int
    client: str
    task: str
    image: str
    image_id: str
    developer: str
    fee: int
    owed: int
    input_sha256: str
    output_sha256: str
    microseconds: int
    millicpus: int
    memory: int
    gpus: int
    sgx: int
    success: int
    error: str
    repeats: int
    host: str
    previous: str
    hash: str = ""
    signature: str = ""
    told: str = field(default="", compare=False)

    @property
    def body(self) -> bytes:
        """What is hashed and signed."""
        return body_of(self.row())

    def row(self) -> tuple[Any, ...]:
        """Its columns, in order."""
        return _in_order(self)

    @property
    def group(self) -> tuple[int, int, str] | None:
        """First and last of those that it was signed with, and the signature; None: alone."""
        span, dot, signature = self.signature.partition(".")
        first, dash, last = span.partition("-")
        if not (dot and dash and first.isdecimal() and last.isdecimal()):
            return None
        return int(first), int(last), signature

    @property
    def receipt(self) -> str:
        """The receipt that belongs to it; of one signed with others as :meth:`Ledger.get` has it.

        Raises
        ------
        ValueError
            It was signed with others, which are not known here.
        """
        if self.told:
            return self.told
        if self.group is not None:
            raise ValueError(f"entry {self.seq} was signed with others")
        return receipts.receipt_text(self.host, self.body, self.signature)

    def facts(self) -> dict[str, Any]:
        """What it says, for people and programs: money as text."""
        facts: dict[str, Any] = json.loads(self.body)
        return facts | {"hash": self.hash}


_in_order: Final[Callable[[Entry], tuple[Any, ...]]] = attrgetter(*COLUMNS.split(", "))


def body_of(row: Sequence[Any]) -> bytes:
    """Write what an entry says, from its columns.

    JSON Canonicalization Scheme (RFC 8785), by hand: it is written for every call, and a third of
    the time that the encoder takes.
    """
    (seq, ident, at, client, task, image, image_id, developer, fee, owed, taken, given, micros,
     millicpus, memory, gpus, sgx, success, error, repeats, host, previous, *_) = row  # fmt: skip
    return (
        f'{{"at":{at},"client":{_quote(client)},"developer":{_quote(developer)},'
        f'"error":{_quote(error)},"fee":"{fee_text(fee)}","gpus":{gpus},"host":{_quote(host)},'
        f'"id":{_quote(ident)},"image":{_quote(image)},"image_id":{_quote(image_id)},'
        f'"input_sha256":{_quote(taken)},"memory":{memory},"microseconds":{micros},'
        f'"millicpus":{millicpus},"output_sha256":{_quote(given)},"owed":"{fee_text(owed)}",'
        f'"previous":{_quote(previous)},"repeats":{repeats},"seq":{seq},'
        f'"sgx":{_truth(sgx)},"success":{_truth(success)},"task":{_quote(task)},"v":1}}'
    ).encode()


def _truth(value: int) -> str:
    return "true" if value == 1 else "false" if value == 0 else str(value)
