"""CIDs: known ones, all ways to write them, and what is none."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.content.cid import DAG_PB, RAW, Cid, read_varint, varint, verify
from lading.errors import ContentRefused, InputError

# One CID in every base, as the JavaScript library of multiformats writes it.
V0 = "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"
DIGEST = bytes.fromhex("c3c4733ec8affd06cf9e9ff50ffc6bcd2ec85a6170004bb709669c31de94391a")
V1 = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"

digests = st.binary(min_size=32, max_size=32)
cids = st.one_of(
    st.builds(Cid, st.just(1), st.sampled_from([RAW, DAG_PB, 0x71, 0x0129]), digests),
    st.builds(Cid, st.just(0), st.just(DAG_PB), digests),
)


def test_the_known_ones() -> None:
    assert Cid.parse(V0) == Cid(0, DAG_PB, DIGEST)
    assert Cid.parse(V1) == Cid(1, DAG_PB, DIGEST)
    assert str(Cid.parse(V0)) == V0
    assert str(Cid.parse(V1)) == V1
    # Of nothing: every implementation's first test.
    empty = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    assert str(Cid.of(b"")) == empty


def test_other_bases_are_read() -> None:
    for text in (
        "zdj7Wic6KcJAfWz1c9o4M6kq9Lwd5BfbxkVafnrojaaGiSFxM",
        "k2jmtxw8rjh1z69c6not3wtdxb0u3urbzhyll1t9jg6ox26dhi5sfi1m",
    ):
        assert Cid.parse(text) == Cid.parse(V1)


@pytest.mark.parametrize("before", ["", "ipfs://", "/ipfs/", "  "])
@pytest.mark.parametrize("after", ["", "/", "\n"])
def test_addresses_that_people_paste(before: str, after: str) -> None:
    assert Cid.parse(f"{before}{V1}{after}") == Cid(1, DAG_PB, DIGEST)


@given(cids)
def test_what_is_written_is_read(cid: Cid) -> None:
    assert Cid.parse(str(cid)) == cid
    assert Cid.from_bytes(cid.to_bytes()) == cid
    for base, alphabet in (
        ("z", "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"),
        ("k", "0123456789abcdefghijklmnopqrstuvwxyz"),
    ):
        if cid.version:
            number, text = int.from_bytes(cid.to_bytes()), ""
            while number:
                number, digit = divmod(number, len(alphabet))
                text = alphabet[digit] + text
            assert Cid.parse(base + text) == cid


@given(cids)
def test_the_short_name_can_name_an_image(cid: Cid) -> None:
    assert len(cid.short) == 10
    assert set(cid.short) <= set("abcdefghijklmnopqrstuvwxyz234567")
    assert str(Cid(1, cid.codec, cid.digest)).endswith(cid.short)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "too short"),
        ("ipfs://", "too short"),
        ("hello world", "begins no base"),
        (V1[:-1], "length"),
        (V1 + "a", "length"),
        (V1[:-1] + "j", "bits too many"),
        (V1.upper(), "begins no base"),
        ("b" + V1[1:].upper(), "characters that base 32 lacks"),
        (V0[:-1] + "0", "characters that base 58 lacks"),
        (f"z{V0}", "no base written before it"),
        ("b" + "a" * 10_000, "too long"),
        ("k" + "0" * 20, "version is 0"),
        ("bafk2bzaceaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "not SHA-256"),
        ("bafkreeaaaaaaaaaaaaaaaaaaaaaaaaaa", "not SHA-256"),
        (f"{V1}/src/app.py", "path below a CID"),
        ("ipns://example.org", "begins no base|path below"),
        ("../../etc/passwd", "path below"),
        ("бафыбейгдыр", "begins no base"),
    ],
)
def test_what_is_none(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as raised:
        Cid.parse(text)
    assert len(str(raised.value)) < 400
    assert raised.value.fix


@given(st.text(max_size=80))
def test_no_text_breaks_it(text: str) -> None:
    try:
        cid = Cid.parse(text)
    except InputError:
        return
    assert Cid.parse(str(cid)) == cid


@given(st.binary(max_size=50))
def test_no_bytes_break_it(data: bytes) -> None:
    try:
        cid = Cid.from_bytes(data)
    except ValueError:
        return
    assert cid.to_bytes() == data


@given(st.integers(0, 2**63 - 1), st.binary(max_size=5))
def test_varints(number: int, after: bytes) -> None:
    written = varint(number)
    assert read_varint(written + after, 0) == (number, len(written))
    with pytest.raises(ValueError, match="does not end"):
        read_varint(written[:-1], 0)


def test_varints_that_are_none() -> None:
    for data in (b"", b"\x80", b"\xff" * 10, b"\x81\x00"):
        with pytest.raises(ValueError, match="varint"):
            read_varint(data, 0)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_block_is_the_one_or_refused(block: bytes, other: bytes) -> None:
    cid = Cid.of(block)
    assert cid.digest == hashlib.sha256(block).digest()
    assert verify(cid, block) == block
    if other != block:
        with pytest.raises(ContentRefused, match=str(cid)):
            verify(cid, other)


def test_it_is_imported_without_anything_heavy() -> None:
    """`lading cid` has 250 ms for everything."""
    code = (
        "import sys; import lading.content.adding; "
        "heavy = {'asyncio', 'ssl', 'pydantic', 'multiformats', 'tarfile'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
