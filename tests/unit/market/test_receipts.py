"""Receipts: what holds, and what is a forgery."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from lading.errors import InputError, RecordForged
from lading.market import receipts
from lading.market.keys import HostKey, PublicKey, decoded, encoded, host_key


@pytest.fixture
def key(tmp_path: Path) -> HostKey:
    return host_key(tmp_path)


def body(**fields: Any) -> bytes:
    facts = {
        "at": int(time.time() * 1e6),
        "seq": 7,
        "owed": "0.250000",
        "input_sha256": hashlib.sha256(b"in").hexdigest(),
        "output_sha256": hashlib.sha256(b"out").hexdigest(),
    }
    return json.dumps(facts | fields, sort_keys=True).encode()


def made(key: HostKey, **fields: Any) -> str:
    return receipts.sign(key, body(**fields))[1]


def test_a_receipt_holds(key: HostKey) -> None:
    text = made(key)
    found = receipts.verify(text + "\n", key.public, input=b"in", output=b"out")
    assert found.entry["owed"] == "0.250000"
    assert found.key.kid == key.kid
    assert found.hash == hashlib.sha256(decoded(text.split(".")[1])).hexdigest()
    head = json.loads(decoded(text.split(".")[0]))
    assert head == {"alg": "EdDSA", "kid": key.kid, "typ": "lading-receipt+jws"}


@pytest.mark.parametrize("what", [{"input": b"other"}, {"output": b"out\n"}, {"output": b""}])
def test_about_something_else(key: HostKey, what: dict[str, bytes]) -> None:
    with pytest.raises(RecordForged, match="is about another"):
        receipts.verify(made(key), key.public, **what)


def test_changed(key: HostKey) -> None:
    head, payload, signature = made(key).split(".")
    richer = encoded(decoded(payload).replace(b"0.25", b"9.25"))
    with pytest.raises(RecordForged, match="was changed"):
        receipts.verify(f"{head}.{richer}.{signature}", key.public)


def test_signed_by_somebody_else(key: HostKey, tmp_path: Path) -> None:
    other = host_key(tmp_path / "other")
    with pytest.raises(RecordForged, match="is not trusted here"):
        receipts.verify(made(other), key.public)
    # Nor if it says that it was signed by the one that is trusted.
    head, payload, _ = made(key).split(".")
    forged = encoded(other.sign(f"{head}.{payload}".encode()))
    with pytest.raises(RecordForged, match="is not of key"):
        receipts.verify(f"{head}.{payload}.{forged}", [key.public, other.public])


@pytest.mark.parametrize("algorithm", ["none", "HS256", "", None])
def test_no_algorithm_of_the_senders_choice(key: HostKey, algorithm: str | None) -> None:
    _, payload, signature = made(key).split(".")
    head = {"alg": algorithm, "kid": key.kid, "typ": "lading-receipt+jws"}
    text = f"{encoded(json.dumps(head).encode())}.{payload}.{signature}"
    with pytest.raises(RecordForged, match="algorithm"):
        receipts.verify(text, key.public)


def test_a_critical_header_is_not_passed_over(key: HostKey) -> None:
    head = {"alg": "EdDSA", "kid": key.kid, "typ": "lading-receipt+jws", "crit": ["b64"]}
    message = f"{encoded(json.dumps(head).encode())}.{encoded(body())}"
    text = f"{message}.{encoded(key.sign(message.encode()))}"
    with pytest.raises(RecordForged):
        receipts.verify(text, key.public)


def test_a_key_after_its_end(key: HostKey) -> None:
    ended = PublicKey(key.public.x, until=time.time() - 3600)
    with pytest.raises(RecordForged, match="did not sign at the time"):
        receipts.verify(made(key), ended)
    before = int((time.time() - 7200) * 1e6)
    assert receipts.verify(made(key, at=before), ended).entry["at"] == before


def test_a_clock_that_was_set_back_makes_no_forgery(key: HostKey) -> None:
    early = int((time.time() - 10 * 86_400) * 1e6)
    assert receipts.verify(made(key, at=early), key.public)


@pytest.mark.parametrize(
    "text", ["", "a.b", "a.b.c.d", "....", "é.é.é", "x" * 100_000, "e30.e30.", "W10.e30.AAAA"]
)
def test_what_is_none(key: HostKey, text: str) -> None:
    with pytest.raises(InputError):
        receipts.verify(text, key.public)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"1", b'{"at": "x", "seq": 1}', b"\xff"])
def test_signed_and_meaningless(key: HostKey, payload: bytes) -> None:
    with pytest.raises(InputError):
        receipts.verify(receipts.sign(key, payload)[1], key.public)


def test_the_mark_of_a_head_is_no_receipt_and_the_other_way_round(key: HostKey) -> None:
    signature = receipts.sign_head(key, 7, "0" * 64)
    assert receipts.head_holds(key.public, 7, "0" * 64, signature)
    for seq, digest, text in (
        (8, "0" * 64, signature),
        (7, "1" * 64, signature),
        (7, "0" * 64, ""),
    ):
        assert not receipts.head_holds(key.public, seq, digest, text)
    assert not receipts.head_holds(key.public, 7, "0" * 64, made(key).split(".")[2])


def test_an_entry_of_a_group(key: HostKey) -> None:
    some = [body(seq=number) for number in (7, 8, 9)]
    hashes = [hashlib.sha256(one).hexdigest() for one in some]
    _, proof = receipts.sign_group(key, 7, hashes)
    for one in some:
        text = receipts.disclosing(proof, one)
        assert receipts.verify(text, key.public, input=b"in").entry["seq"] in (7, 8, 9)
    for wrong in (body(seq=10), body(seq=-1), body(seq=8, owed="9"), b"{}", b"[]", b"\xff"):
        with pytest.raises(RecordForged, match="none of those that are signed"):
            receipts.verify(receipts.disclosing(proof, wrong), key.public)
