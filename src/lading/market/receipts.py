"""Receipts: an entry of the ledger, signed by the host, for whoever paid to keep.

JSON Web Signature in its compact form (RFC 7515), by EdDSA (RFC 8037). What is signed is the entry
word for word as the ledger hashes it, so a receipt also proves where in the chain it stands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from lading.errors import InputError, RecordForged
from lading.market.keys import HostKey, PublicKey, decoded, encoded

__all__ = ["Receipt", "head_holds", "receipt_text", "sign", "sign_head", "signed_bytes", "verify"]

TYPE: Final = "lading-receipt+jws"
_HEAD_TYPE: Final = "lading-head+jws"
_MOST: Final = 16_384
"""Characters of a receipt: more than any that we write."""


@lru_cache(maxsize=64)
def _head(kid: str, kind: str = TYPE) -> str:
    head = {"alg": "EdDSA", "kid": kid, "typ": kind}
    return encoded(json.dumps(head, separators=(",", ":")).encode("ascii"))


def sign(key: HostKey, body: bytes) -> str:
    """Sign what an entry says; returns the signature as base64url.

    Parameters
    ----------
    key : HostKey
    body : bytes
        :attr:`lading.market.ledger.Entry.body`.
    """
    return encoded(key.sign(f"{_head(key.kid)}.{encoded(body)}".encode("ascii")))


def receipt_text(kid: str, body: bytes, signature: str) -> str:
    """Put a receipt together."""
    return f"{_head(kid)}.{encoded(body)}.{signature}"


def signed_bytes(kid: str, body: bytes) -> bytes:
    """Return what the signature of an entry is of."""
    return f"{_head(kid)}.{encoded(body)}".encode("ascii")


def _head_message(kid: str, seq: int, digest: str) -> str:
    said = json.dumps({"hash": digest, "seq": seq}, separators=(",", ":"))
    return f"{_head(kid, _HEAD_TYPE)}.{encoded(said.encode('ascii'))}"


def sign_head(key: HostKey, seq: int, digest: str) -> str:
    """Sign how far the ledger goes; returns the signature as base64url."""
    return encoded(key.sign(_head_message(key.kid, seq, digest).encode("ascii")))


def head_holds(key: PublicKey, seq: int, digest: str, signature: str) -> bool:
    """Whether a key signed that the ledger went so far."""
    try:
        return key.verifies(_head_message(key.kid, seq, digest).encode(), decoded(signature))
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt whose signature holds.

    Parameters
    ----------
    entry : dict
        What it says: see ``docs/reference/market.md``.
    hash : str
        By which the next entry of the ledger refers to it.
    key : PublicKey
        That signed it.
    """

    entry: dict[str, Any]
    hash: str
    key: PublicKey


def verify(
    text: str,
    keys: PublicKey | Iterable[PublicKey],
    *,
    input: bytes | None = None,  # noqa: A002  # as people call it
    output: bytes | None = None,
) -> Receipt:
    """Verify a receipt.

    Parameters
    ----------
    text : str
        The value of ``X-Lading-Receipt``.
    keys : PublicKey or iterable of PublicKey
        Those that are trusted.
    input, output : bytes or None
        What the task was sent, and what it replied, if that is to be verified, too.

    Raises
    ------
    InputError
        It is no receipt.
    RecordForged
        None of the keys signed it, the key did not sign any more or not yet, or it is about
        another input or output.
    """
    head, body, signature, signed = _take_apart(text)
    known = {key.kid: key for key in ([keys] if isinstance(keys, PublicKey) else keys)}
    key = known.get(str(head["kid"]))
    if key is None:
        raise RecordForged(
            f"the receipt is signed by key {head['kid']!r:.80}, which is not trusted here",
            fix="get the host's key from whom you trust: `GET /v1/key` of its executor has it",
        )
    if not key.verifies(signed, signature):
        raise RecordForged(f"the receipt's signature is not of key {key.kid}: it was changed")
    entry = _entry(body)
    if not key.was_valid(entry["at"] / 1e6):
        raise RecordForged(
            f"key {key.kid} did not sign at the time that the receipt names",
            fix="whoever has that key now may have made it",
        )
    for name, content in (("input", input), ("output", output)):
        if content is not None and hashlib.sha256(content).hexdigest() != entry[f"{name}_sha256"]:
            raise RecordForged(
                f"the receipt is about another {name}: its SHA-256 is {entry[f'{name}_sha256']}",
                fix=f"the {name} must be the very bytes, without a newline more or less",
            )
    return Receipt(entry, hashlib.sha256(body).hexdigest(), key)


def _take_apart(text: str) -> tuple[dict[str, Any], bytes, bytes, bytes]:
    text = text.strip()
    parts = text.split(".")
    if len(parts) != 3 or len(text) > _MOST:
        raise InputError("receipt", "is none: three parts with dots between them are expected")
    try:
        head = json.loads(decoded(parts[0]))
        body, signature = decoded(parts[1]), decoded(parts[2])
    except (ValueError, RecursionError) as error:
        raise InputError("receipt", f"is none: {error}") from None
    if not isinstance(head, dict) or head.get("typ") != TYPE or "kid" not in head:
        raise InputError("receipt", "is a signature of something else")
    if head.get("alg") != "EdDSA" or "crit" in head:  # never what the sender prefers
        raise RecordForged(f"the receipt's algorithm is {head.get('alg')!r:.40}, not EdDSA")
    return head, body, signature, f"{parts[0]}.{parts[1]}".encode("ascii")


def _entry(body: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(body)
        if not isinstance(entry["at"], int):
            raise TypeError("at")
        _ = entry["input_sha256"], entry["output_sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError("receipt", "is signed, and says nothing that we understand") from None
    return dict(entry)
