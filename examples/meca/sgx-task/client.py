"""The client's side: attest, encrypt, call, decrypt. For an executor that serves this task:

python client.py http://localhost:2591 IMAGE sbip
"""

import hashlib
import json
import os
import sys
import urllib.request
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_pem_public_key

sys.path.append(str(Path(__file__).with_name("src")))
from mock_enclave import BODY_BYTES, DATA_BYTES, HEADER_BYTES, KEY_BYTES, pem_of, session_key

IV_BYTES, TAG_BYTES = 12, 16


def key_of(attested: dict) -> ec.EllipticCurvePublicKey:
    """Take the enclave's key from its attestation.

    The quote's report must vouch for the key. A real client also has the quote's signature
    verified, and the measurement of the enclave compared with the one it expects: this quote has
    neither, which is why nothing is protected here.
    """
    quote, pem = bytes.fromhex(attested["report"]), attested["key"].encode()
    end = HEADER_BYTES + BODY_BYTES
    digest = hashlib.sha256(pem).digest()
    if quote[end - DATA_BYTES : end] != digest.ljust(DATA_BYTES, b"\0"):
        raise ValueError("the quote does not vouch for this key")
    key = load_pem_public_key(pem)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def encrypt(key: ec.EllipticCurvePublicKey, data: bytes, output_key: bytes) -> str:
    """Encrypt an input for an enclave, in hexadecimal."""
    own = ec.generate_private_key(ec.SECP384R1())
    iv = os.urandom(IV_BYTES)
    sealed = AESGCM(session_key(own, key)).encrypt(iv, data + output_key, None)
    ciphertext, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
    return (ciphertext + pem_of(own.public_key()) + iv + tag).hex()


def decrypt(output_key: bytes, sealed: str) -> bytes:
    """Decrypt an output."""
    data = bytes.fromhex(sealed)
    end = len(data) - IV_BYTES - TAG_BYTES
    iv, tag = data[end : end + IV_BYTES], data[-TAG_BYTES:]
    return AESGCM(output_key).decrypt(iv, data[:end] + tag, None)


def execute(executor: str, image: str, text: str) -> dict:
    """Send an input to an executor; what the task replied is JSON in its answer's `msg`."""
    request = {"id": image, "input": text, "use_sgx": True}
    with urllib.request.urlopen(executor, json.dumps(request).encode()) as reply:
        answer = json.load(reply)
    if not answer["success"]:
        raise SystemExit(f"the executor says: {answer['msg']}")
    told = json.loads(answer["msg"])
    if "error" in told:
        raise SystemExit(f"the task says: {told['error']}")
    return told["msg"]


def main(executor: str, image: str, text: str) -> None:
    key = key_of(execute(executor, image, "SGXRAREQUEST"))
    output_key = AESGCM.generate_key(8 * KEY_BYTES)
    sealed = json.dumps({"value": encrypt(key, text.encode(), output_key)})
    print(decrypt(output_key, execute(executor, image, sealed)).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
