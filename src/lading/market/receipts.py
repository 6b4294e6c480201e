"""Receipts: an entry of the ledger, signed by the host, for whoever paid to keep.

JSON Web Signature in its compact form (RFC 7515), by EdDSA (RFC 8037). What is signed is the entry
word for word as the ledger hashes it, so a receipt also proves where in the chain it stands.

A signature costs as much as all else that is done for an entry. So entries that are written
together are signed together: the signature is of their hashes, and the entry itself follows after
a ``~``, as disclosures do in RFC 9901. Nothing of the other entries is told by that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from lading.errors import InputError, RecordForged
from lading.market.keys import HostKey, PublicKey, decoded, encoded

__all__ = [
    "Receipt",
    "disclosing",
    "group_holds",
    "group_text",
    "head_holds",
    "receipt_text",
    "sign",
    "sign_group",
    "sign_head",
    "signed_bytes",
    "verify",
]

TYPE: Final = "lading-receipt+jws"
GROUP_TYPE: Final = "lading-receipts+jws"
_HEAD_TYPE: Final = "lading-head+jws"
_MOST: Final = 65_536
"""Characters of a receipt: more than any that we write."""


@lru_cache(maxsize=64)
def _head(kid: str, kind: str = TYPE) -> str:
    head = {"alg": "EdDSA", "kid": kid, "typ": kind}
    return encoded(json.dumps(head, separators=(",", ":")).encode("ascii"))


def sign(key: HostKey, body: bytes) -> tuple[str, str]:
    """Sign what an entry says.

    Parameters
    ----------
    key : HostKey
    body : bytes
        :attr:`lading.market.entries.Entry.body`.

    Returns
    -------
    (str, str)
        The signature as base64url, and the whole receipt.
    """
    message = f"{_head(key.kid)}.{encoded(body)}"
    signature = encoded(key.sign(message.encode("ascii")))
    return signature, f"{message}.{signature}"


def disclosing(proof: str, body: bytes) -> str:
    """Put the receipt of one entry of a group together."""
    return f"{proof}~{encoded(body)}"


def receipt_text(kid: str, body: bytes, signature: str) -> str:
    """Put a receipt together."""
    return f"{_head(kid)}.{encoded(body)}.{signature}"


def signed_bytes(kid: str, body: bytes) -> bytes:
    """Return what the signature of an entry is of."""
    return f"{_head(kid)}.{encoded(body)}".encode("ascii")


def _group_message(kid: str, first: int, hashes: Sequence[str]) -> str:
    said = json.dumps({"first": first, "hashes": hashes}, separators=(",", ":"))
    return f"{_head(kid, GROUP_TYPE)}.{encoded(said.encode('ascii'))}"


def sign_group(key: HostKey, first: int, hashes: Sequence[str]) -> tuple[str, str]:
    """Sign entries that follow each other, by their hashes.

    Parameters
    ----------
    first : int
        The number of the first.

    Returns
    -------
    (str, str)
        The signature as base64url, and the whole JWS.
    """
    message = _group_message(key.kid, first, hashes)
    signature = encoded(key.sign(message.encode("ascii")))
    return signature, f"{message}.{signature}"


def group_text(kid: str, first: int, hashes: Sequence[str], signature: str) -> str:
    """Put the JWS of a group together."""
    return f"{_group_message(kid, first, hashes)}.{signature}"


def group_holds(key: PublicKey, first: int, hashes: Sequence[str], signature: str) -> bool:
    """Whether a key signed entries that follow each other."""
    try:
        message = _group_message(key.kid, first, hashes).encode("ascii")
        return key.verifies(message, decoded(signature))
    except ValueError:
        return False


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
    head, payload, signature, signed, disclosed = _take_apart(text)
    known = {key.kid: key for key in ([keys] if isinstance(keys, PublicKey) else keys)}
    key = known.get(str(head["kid"]))
    if key is None:
        raise RecordForged(
            f"the receipt is signed by key {head['kid']!r:.80}, which is not trusted here",
            fix="get the host's key from whom you trust: `GET /v1/key` of its executor has it",
        )
    if not key.verifies(signed, signature):
        raise RecordForged(f"the receipt's signature is not of key {key.kid}: it was changed")
    body = payload if disclosed is None else _disclosed(payload, disclosed)
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


def _disclosed(payload: bytes, body: bytes) -> bytes:
    """Return an entry that follows a signed list of hashes, if its own is there."""
    try:
        said = json.loads(payload)
        expected = said["hashes"][_entry(body)["seq"] - said["first"]]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        expected = None
    if expected != hashlib.sha256(body).hexdigest():
        raise RecordForged("the receipt's entry is none of those that are signed: it was changed")
    return body


def _take_apart(text: str) -> tuple[dict[str, Any], bytes, bytes, bytes, bytes | None]:
    text = text.strip()
    jws, tilde, more = text.partition("~")
    parts = jws.split(".")
    if len(parts) != 3 or len(text) > _MOST:
        raise InputError("receipt", "is none: three parts with dots between them are expected")
    try:
        head = json.loads(decoded(parts[0]))
        payload, signature = decoded(parts[1]), decoded(parts[2])
        disclosed = decoded(more) if tilde else None
    except (ValueError, RecursionError) as error:
        raise InputError("receipt", f"is none: {error}") from None
    kind = GROUP_TYPE if tilde else TYPE
    if not isinstance(head, dict) or head.get("typ") != kind or "kid" not in head:
        raise InputError("receipt", "is a signature of something else")
    if head.get("alg") != "EdDSA" or "crit" in head:  # never what the sender prefers
        raise RecordForged(f"the receipt's algorithm is {head.get('alg')!r:.40}, not EdDSA")
    return head, payload, signature, f"{parts[0]}.{parts[1]}".encode("ascii"), disclosed


def _entry(body: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(body)
        if not isinstance(entry["at"], int) or not isinstance(entry["seq"], int):
            raise TypeError("at")
        _ = entry["input_sha256"], entry["output_sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError("receipt", "is signed, and says nothing that we understand") from None
    return dict(entry)
