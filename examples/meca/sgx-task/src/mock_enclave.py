"""The protocol of an enclave, without an enclave.

THIS PROTECTS NOTHING. Keys and inputs lie in the plain memory of an ordinary process, and the quote
is signed by nobody. It is for trying out clients and hosts on machines without SGX.

What goes over the wire is that of MECAnywhere's SGX tasks: P-384, HKDF-SHA256, AES-128-GCM.
"""

import hashlib
from collections import deque
from threading import Lock

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from work import work

PEM_BYTES = 215
"""Of a public key of P-384, with its final newline."""
KEY_BYTES, IV_BYTES, TAG_BYTES = 16, 12, 16
TAIL_BYTES = PEM_BYTES + IV_BYTES + TAG_BYTES

HEADER_BYTES, BODY_BYTES, DATA_BYTES = 48, 384, 64
"""Of a quote of version 3: its header, the enclave's report, and the data at the report's end."""
ATTRIBUTES = HEADER_BYTES + 48
DEBUG = 0b10

OPEN_KEYS = 64
"""Attestations that may be answered yet; more forget the oldest."""


class Refused(ValueError):
    """A request that was not made for this enclave; the text says why."""


class MockEnclave:
    """Makes a key for each attestation, and uses it once."""

    def __init__(self) -> None:
        self._keys: deque[ec.EllipticCurvePrivateKey] = deque(maxlen=OPEN_KEYS)
        self._lock = Lock()

    def attest(self) -> tuple[bytes, bytes]:
        """Give a quote, and the public key that its report vouches for, as PEM.

        Several callers may be between here and :meth:`run`: each has its own key.
        """
        key = ec.generate_private_key(ec.SECP384R1())
        pem = pem_of(key.public_key())
        with self._lock:
            self._keys.append(key)
        return mock_quote(pem), pem

    def run(self, sealed: bytes) -> bytes:
        """Decrypt an input, do the work, and encrypt what comes with the caller's output key."""
        if len(sealed) < TAIL_BYTES + KEY_BYTES:
            raise Refused(f"{len(sealed)} bytes are too few for an encrypted input")
        ciphertext, tail = sealed[:-TAIL_BYTES], sealed[-TAIL_BYTES:]
        pem, iv, tag = tail[:PEM_BYTES], tail[PEM_BYTES:-TAG_BYTES], tail[-TAG_BYTES:]
        try:
            caller = load_pem_public_key(pem)
        except ValueError:
            raise Refused("there is no public key where it should be") from None
        if not isinstance(caller, ec.EllipticCurvePublicKey) or caller.curve.name != "secp384r1":
            raise Refused("the public key is not one of P-384")
        plain = self._open(caller, ciphertext + tag, iv)
        data, output_key = plain[:-KEY_BYTES], plain[-KEY_BYTES:]
        return seal(output_key, work(data))

    def _open(self, caller: ec.EllipticCurvePublicKey, ciphertext: bytes, iv: bytes) -> bytes:
        """Decrypt with the key that it was encrypted for: the tag tells which one that is."""
        with self._lock:
            keys = list(self._keys)
        for key in reversed(keys):
            try:
                plain = AESGCM(session_key(key, caller)).decrypt(iv, ciphertext, None)
            except InvalidTag:
                continue
            with self._lock:
                if key not in self._keys:
                    break  # somebody sent the same at the same time
                self._keys.remove(key)
            return plain
        raise Refused("it was not encrypted for a key of this enclave that is still to be used")


def session_key(key: ec.EllipticCurvePrivateKey, other: ec.EllipticCurvePublicKey) -> bytes:
    """Agree on the key of a session; both ends find the same."""
    secret = key.exchange(ec.ECDH(), other)
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"info").derive(secret)


def seal(key: bytes, data: bytes) -> bytes:
    """Encrypt an output: ciphertext, initialisation vector, tag."""
    iv = AESGCM.generate_key(128)[:IV_BYTES]  # random
    sealed = AESGCM(key).encrypt(iv, data, None)
    return sealed[:-TAG_BYTES] + iv + sealed[-TAG_BYTES:]


def pem_of(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def mock_quote(pem: bytes) -> bytes:
    """Lay out a quote as an enclave's host does, for a key; there is no signature in it.

    So no verifier takes it for one. It says besides that the enclave is one for debugging, whose
    memory anybody may read.
    """
    header = bytearray(HEADER_BYTES)
    header[0:2] = (3).to_bytes(2, "little")  # version
    header[2:4] = (2).to_bytes(2, "little")  # to be signed with ECDSA on P-256
    data = hashlib.sha256(pem).digest().ljust(DATA_BYTES, b"\0")
    quote = bytearray(header + bytes(BODY_BYTES - DATA_BYTES) + data)
    quote[ATTRIBUTES] = DEBUG
    return bytes(quote) + (0).to_bytes(4, "little")  # bytes of the signature
