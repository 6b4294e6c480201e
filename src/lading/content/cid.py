"""Content identifiers: the hash of a block, with how it was made, as text and as bytes.

Ours rather than the library `multiformats`: that one takes 60 to 140 ms to import and 130
microseconds to make a CID (6.6 s for a folder of 50,000 files); this takes 1 ms and 1 microsecond.

Formats: `CID <https://github.com/multiformats/cid>`_, `multibase
<https://github.com/multiformats/multibase>`_, `multihash
<https://github.com/multiformats/multihash>`_.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Self

from lading.errors import ContentRefused, InputError

__all__ = ["DAG_PB", "RAW", "Cid", "read_varint", "varint", "verify"]

RAW = 0x55
"""The codec of a block that is bytes and nothing else: a piece of a file."""
DAG_PB = 0x70
"""The codec of a block with links: a folder, or a file of several pieces."""

_SHA2_256 = b"\x12\x20"
"""How a multihash of SHA-256 begins: its code, and 32 bytes of length."""
_DIGEST = 32
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LONGEST = 120
"""Characters: what is longer is no CID of SHA-256, whatever its base, and not worth decoding."""
_MOST_VARINT = 9
"""Bytes, as multiformats have it."""


def varint(number: int) -> bytes:
    """Write an unsigned number as a varint: seven bits a byte, the lowest first."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, at: int, most: int = _MOST_VARINT) -> tuple[int, int]:
    """Read a varint.

    Parameters
    ----------
    data : bytes
    at : int
        Where it begins.
    most : int
        Bytes that it may have.

    Returns
    -------
    (int, int)
        The number, and where what follows begins.

    Raises
    ------
    ValueError
        It does not end, or is longer than it need be.
    """
    number = shift = 0
    for index in range(at, min(at + most, len(data))):
        byte = data[index]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise ValueError("a varint is longer than it need be")
            return number, index + 1
        shift += 7
    raise ValueError("a varint does not end")


@dataclass(frozen=True, slots=True)
class Cid:
    """A content identifier with SHA-256, the hash that Kubo and contract 1 use.

    Parameters
    ----------
    version : int
        0 (text in base 58, always `DAG_PB`) or 1.
    codec : int
        How the block is to be read: `RAW`, `DAG_PB` or another of multicodec's table.
    digest : bytes
        32 bytes.
    """

    version: int
    codec: int
    digest: bytes

    @classmethod
    def of(cls, block: bytes, codec: int = RAW) -> Self:
        """Make the CID, version 1, of a block."""
        return cls(1, codec, hashlib.sha256(block).digest())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a CID as people write it.

        Parameters
        ----------
        text : str
            Version 0 (``Qm...``), or version 1 in base 32 (``b``), 36 (``k``) or 58 (``z``); also
            ``ipfs://CID`` and ``/ipfs/CID``.

        Raises
        ------
        InputError
            It is no CID, has another hash than SHA-256, or is the path of something below a CID.
        """
        name = text.strip()
        for prefix in ("ipfs://", "/ipfs/"):
            name = name.removeprefix(prefix)
        name = name.removesuffix("/")
        if "/" in name:
            raise InputError(
                "cid", f"{text!r} is a path below a CID", fix="give the CID of the task's folder"
            )
        try:
            return cls.from_bytes(_decoded(name))
        except ValueError as error:
            raise InputError(
                "cid",
                f"{text[:_LONGEST]!r} is no CID: {error}",
                fix="write one such as bafybei... or ipfs://bafybei...",
            ) from None

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a CID as it stands in blocks.

        Raises
        ------
        ValueError
            It is none, or has another hash than SHA-256.
        """
        if data[:2] == _SHA2_256:
            return cls(0, DAG_PB, _only_digest(data))
        version, at = read_varint(data, 0)
        if version != 1:
            raise ValueError(f"its version is {version}, not 0 or 1")
        codec, at = read_varint(data, at)
        return cls(1, codec, _only_digest(data[at:]))

    def to_bytes(self) -> bytes:
        """Write it as it stands in blocks."""
        if self.version == 0:
            return _SHA2_256 + self.digest
        return b"\x01" + varint(self.codec) + _SHA2_256 + self.digest

    def __str__(self) -> str:
        """Write it as `ipfs` does: version 0 in base 58, version 1 in base 32."""
        data = self.to_bytes()
        if self.version == 0:
            return _from_number(int.from_bytes(data), _BASE58)
        return "b" + base64.b32encode(data).decode().rstrip("=").lower()

    @property
    def short(self) -> str:
        """Its last 10 characters in base 32: what contract 1 names an image by."""
        return str(Cid(1, self.codec, self.digest))[-10:]


def verify(cid: Cid, block: bytes) -> bytes:
    """Return the block, if it is the one that the CID names.

    Raises
    ------
    ContentRefused
        Its hash is another.
    """
    if hashlib.sha256(block).digest() != cid.digest:
        raise ContentRefused(
            f"block {cid} is refused: the {len(block)} bytes that came have another hash",
            fix="whoever sent them is broken or lies; fetch from another",
        )
    return block


def _only_digest(multihash: bytes) -> bytes:
    if multihash[:2] != _SHA2_256:
        raise ValueError("its hash is not SHA-256")
    if len(multihash) != len(_SHA2_256) + _DIGEST:
        raise ValueError(f"its hash has {len(multihash) - len(_SHA2_256)} bytes, not {_DIGEST}")
    return multihash[len(_SHA2_256) :]


def _decoded(name: str) -> bytes:
    if not 8 <= len(name) <= _LONGEST:
        raise ValueError("it is too short or too long")
    if len(name) == 46 and name.startswith("Qm"):
        return _to_bytes(name, _BASE58)
    base, rest = name[0], name[1:]
    if base == "b":
        return _base32(rest)
    if base == "z":
        data = _to_bytes(rest, _BASE58)
    elif base == "k":
        data = _to_bytes(rest, _BASE36)
    else:
        raise ValueError(f"{base!r} begins no base that is known here")
    if data[:2] == _SHA2_256:
        raise ValueError("version 0 has no base written before it")
    return data


def _base32(text: str) -> bytes:
    if not set(text) <= set(_BASE32):
        raise ValueError("it has characters that base 32 lacks")
    try:
        data = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except binascii.Error:
        raise ValueError("its length is not one of base 32") from None
    if base64.b32encode(data).decode().rstrip("=").lower() != text:
        raise ValueError("its last character has bits too many")
    if data[:2] == _SHA2_256:
        raise ValueError("version 0 is written in base 58, without a base before it")
    return data


def _to_bytes(text: str, alphabet: str) -> bytes:
    number = 0
    for char in text:
        digit = alphabet.find(char)
        if digit < 0:
            raise ValueError(f"it has characters that base {len(alphabet)} lacks")
        number = number * len(alphabet) + digit
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return bytes(zeros) + number.to_bytes(-(-number.bit_length() // 8))


def _from_number(number: int, alphabet: str) -> str:
    out = ""
    while number:
        number, digit = divmod(number, len(alphabet))
        out = alphabet[digit] + out
    return out
