"""The host's key: made once, kept where only its owner reads it, and followed by others in time.

Ed25519 (RFC 8032), written as a JSON Web Key (RFC 7517, RFC 8037), known by its thumbprint (RFC
7638). A key that is too old signs no more, and its public part stays, with the moment until which
it counts, so that what it signed can be verified for ever.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.errors import InputError, RecordError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = [
    "HostKey",
    "PublicKey",
    "decoded",
    "encoded",
    "host_key",
    "public_keys",
    "read_keys",
    "thumbprint",
]

_FILE = "host-key.json"
_OLD = "host-keys-old.json"
_TO_URL = bytes.maketrans(b"+/", b"-_")
_LEEWAY = 300.0
"""Seconds by which the clocks of two machines may differ."""


def encoded(data: bytes) -> str:
    """Write bytes as base64url without padding (RFC 7515, section 2)."""
    text = binascii.b2a_base64(data, newline=False)
    return text.translate(_TO_URL).rstrip(b"=").decode("ascii")


def decoded(text: str) -> bytes:
    """Read base64url without padding, strictly: one text for one value.

    Raises
    ------
    ValueError
        It is none.
    """
    if not text.isascii():
        raise ValueError("base64url is ASCII")
    padded = text.encode("ascii") + b"=" * (-len(text) % 4)
    try:
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if encoded(data) != text:  # bits left over, or padding
        raise ValueError("not as it would be written")
    return data


def thumbprint(x: str) -> str:
    """Return a key's id: RFC 7638 of its required members in this order and without spaces."""
    text = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"))
    return encoded(hashlib.sha256(text.encode("ascii")).digest())


@dataclass(frozen=True)
class PublicKey:
    """What a signature is verified by.

    Parameters
    ----------
    x : str
        The key itself, 32 bytes as base64url.
    since, until : float or None
        Seconds since 1970 from and up to which it signs; None: not said. Only the second counts:
        a clock that was set back would make honest signatures too early.
    """

    x: str
    since: float | None = None
    until: float | None = None

    @cached_property
    def kid(self) -> str:
        """Its id."""
        return thumbprint(self.x)

    def jwk(self) -> dict[str, Any]:
        """Write it as a JSON Web Key; its times are named as those of a token (RFC 7519)."""
        key: dict[str, Any] = {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": self.x,
            "kid": self.kid,
            "use": "sig",
            "alg": "EdDSA",
        }
        if self.since is not None:
            key["nbf"] = int(self.since)
        if self.until is not None:
            key["exp"] = int(self.until)
        return key

    @classmethod
    def read(cls, value: object) -> PublicKey:
        """Read a JSON Web Key, private or public.

        Raises
        ------
        InputError
            It is not one of Ed25519, or its id is not that of this key.
        """
        if not isinstance(value, Mapping):
            raise InputError("key", "must be a JSON Web Key, an object")
        if value.get("kty") != "OKP" or value.get("crv") != "Ed25519":
            raise InputError("key", "must be of Ed25519: kty OKP, crv Ed25519")
        x = value.get("x")
        try:
            if not isinstance(x, str) or len(decoded(x)) != 32:
                raise ValueError("it has not 32 bytes")
        except ValueError as error:
            raise InputError("key.x", f"is not 32 bytes as base64url: {error}") from None
        key = cls(x, _moment(value, "nbf"), _moment(value, "exp"))
        if value.get("kid", key.kid) != key.kid:
            raise InputError("key.kid", f"is not the thumbprint of this key, {key.kid}")
        return key

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether this key signed it."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # 20 ms

        try:
            self._verifier.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    @cached_property
    def _verifier(self) -> Any:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PublicKey,
        )

        return Ed25519PublicKey.from_public_bytes(decoded(self.x))

    def was_valid(self, moment: float) -> bool:
        """Whether it still signed at that time, give or take five minutes."""
        return self.until is None or moment <= self.until + _LEEWAY


def _moment(value: Mapping[str, Any], name: str) -> float | None:
    moment = value.get(name)
    if moment is None:
        return None
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 <= moment < 1e12:
        raise InputError(f"key.{name}", f"must be seconds since 1970, not {moment!r:.60}")
    return float(moment)


class HostKey:
    """The private key of a host.

    Parameters
    ----------
    private : Ed25519PrivateKey
    public : PublicKey
    old : tuple of PublicKey
        Those that signed before it.
    """

    def __init__(
        self, private: Ed25519PrivateKey, public: PublicKey, old: tuple[PublicKey, ...] = ()
    ) -> None:
        self.public = public
        self.old = old
        self.kid = public.kid
        self._private = private

    def sign(self, message: bytes) -> bytes:
        """Sign; 50 us."""
        return self._private.sign(message)

    def after(self, old: tuple[PublicKey, ...]) -> HostKey:
        """Return this key as the one that follows others."""
        return HostKey(self._private, self.public, old)


def host_key(state: Path, *, days: float = 0.0) -> HostKey:
    """Read the host's key in a state directory, make it where there is none; blocks.

    Parameters
    ----------
    state : Path
    days : float
        After so many, another key takes over; 0: never.

    Raises
    ------
    RecordError
        It can't be read or written, others can read it, or it is no key.
    """
    path = state / _FILE
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _make(path)
        found = _read_private(path)
        begun = found.public.since or path.stat().st_mtime
        if days and time.time() > begun + days * 86_400:
            _retire(state, found.public)
            _replace(path)
            found = _read_private(path)
        old = _read_old(state / _OLD)
    except OSError as error:
        raise RecordError(
            f"the host's key {path} can't be used: {error.strerror or error}",
            fix="see that this user may read and write it",
        ) from None
    return found.after(old)


def _make(path: Path) -> None:
    """Write a new key, whole or not at all; of two processes that do it, one wins."""
    temporary = _write_new(path)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()


def _replace(path: Path) -> None:
    _write_new(path).replace(path)


def _write_new(path: Path) -> Path:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )

    private = Ed25519PrivateKey.generate()
    public = PublicKey(encoded(private.public_key().public_bytes_raw()), since=int(time.time()))
    jwk = public.jwk() | {"d": encoded(private.private_bytes_raw())}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    _write(temporary, jwk)
    return temporary


def _write(path: Path, value: object) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123
        json.dump(value, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(descriptor)


def _read_private(path: Path) -> HostKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )

    if (mode := path.stat().st_mode) & 0o077:
        raise RecordError(
            f"the host's key {path} can be read by others (mode {mode & 0o777:o}): "
            "who has it can forge receipts",
            fix=f"chmod 600 {path}; if others may have it, move it away: a new one is made",
        )
    try:
        jwk = json.loads(path.read_text("ascii"))
        public = PublicKey.read(jwk)
        private = Ed25519PrivateKey.from_private_bytes(decoded(jwk["d"]))
        if encoded(private.public_key().public_bytes_raw()) != public.x:
            raise ValueError("its two halves do not belong together")
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"the host's key {path} is no key: {error}",
            fix="restore it, or move it away: a new one is made",
        ) from None
    return HostKey(private, public)


def _retire(state: Path, key: PublicKey) -> None:
    old = [one for one in _read_old(state / _OLD) if one.kid != key.kid]
    ended = PublicKey(key.x, key.since, time.time())
    temporary = state / f".{_OLD}.{os.getpid()}.{os.urandom(4).hex()}"
    _write(temporary, {"keys": [one.jwk() for one in (*old, ended)]})
    temporary.replace(state / _OLD)


def _read_old(path: Path) -> tuple[PublicKey, ...]:
    return tuple(_read_set(path, path.read_bytes())) if path.exists() else ()


def public_keys(state: Path) -> list[PublicKey]:
    """Read the public keys of this host, the present one first, without making any.

    Raises
    ------
    RecordError
        A file of them can't be read.
    """
    found: list[PublicKey] = []
    try:
        for path in (state / _FILE, state / _OLD):
            if path.exists():
                found += _read_set(path, path.read_bytes())
    except (OSError, InputError) as error:
        raise RecordError(f"the host's keys in {state} can't be read: {error}") from None
    return found


def read_keys(path: Path) -> list[PublicKey]:
    """Read a file with a JSON Web Key, or a set of them (RFC 7517, section 5).

    Raises
    ------
    InputError
        It can't be read, or holds something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError("key", f"{path} can't be read: {error.strerror}") from None
    return _read_set(path, data)


def _read_set(path: Path, data: bytes) -> list[PublicKey]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise InputError("key", f"{path} is not JSON") from None
    many = value.get("keys") if isinstance(value, Mapping) else None
    values: Iterable[object] = many if isinstance(many, list) else [value]
    return [PublicKey.read(one) for one in values]
