"""The protocol, with the client's side of it. `pytest` in this folder: no container, no SGX."""

import os

import client
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from mock_enclave import (
    ATTRIBUTES,
    BODY_BYTES,
    HEADER_BYTES,
    OPEN_KEYS,
    PEM_BYTES,
    MockEnclave,
    Refused,
    pem_of,
)

OUTPUT_KEY = b"0123456789012345"


def attested(enclave: MockEnclave) -> ec.EllipticCurvePublicKey:
    quote, pem = enclave.attest()
    return client.key_of({"report": quote.hex(), "key": pem.decode()})


def ask(enclave: MockEnclave, key: ec.EllipticCurvePublicKey, data: bytes) -> bytes:
    sealed = client.encrypt(key, data, OUTPUT_KEY)
    return client.decrypt(OUTPUT_KEY, enclave.run(bytes.fromhex(sealed)).hex())


@pytest.fixture
def enclave() -> MockEnclave:
    return MockEnclave()


def test_attest_encrypt_run_decrypt(enclave: MockEnclave) -> None:
    assert ask(enclave, attested(enclave), b"sbip") == b"hello sbip"
    assert ask(enclave, attested(enclave), b"") == b"hello "


def test_the_formats_are_those_of_the_contract(enclave: MockEnclave) -> None:
    quote, pem = enclave.attest()
    assert len(pem) == PEM_BYTES == 215
    assert len(quote) == HEADER_BYTES + BODY_BYTES + 4
    sealed = client.encrypt(attested(enclave), b"sbip", OUTPUT_KEY)
    assert len(bytes.fromhex(sealed)) == 263
    known = "c4631eafeb6044a9fa0300000000000000000000000072988629eb5cad55f89ad8315553727e"
    assert client.decrypt(OUTPUT_KEY, known) == b"hello sbip"


def test_the_quote_says_that_it_is_none(enclave: MockEnclave) -> None:
    quote, _ = enclave.attest()
    assert quote[ATTRIBUTES] & 2  # an enclave for debugging
    assert int.from_bytes(quote[-4:], "little") == 0  # no signature


def test_every_attestation_has_a_key_of_its_own(enclave: MockEnclave) -> None:
    first, second = attested(enclave), attested(enclave)
    assert pem_of(first) != pem_of(second)
    # Two clients at once, in any order.
    assert ask(enclave, first, b"a") == b"hello a"
    assert ask(enclave, second, b"b") == b"hello b"


def test_a_key_is_used_once(enclave: MockEnclave) -> None:
    sealed = bytes.fromhex(client.encrypt(attested(enclave), b"x", OUTPUT_KEY))
    enclave.run(sealed)
    with pytest.raises(Refused, match="still to be used"):
        enclave.run(sealed)


def test_old_keys_are_forgotten(enclave: MockEnclave) -> None:
    old = attested(enclave)
    for _ in range(OPEN_KEYS):
        newest = attested(enclave)
    assert ask(enclave, newest, b"x") == b"hello x"
    with pytest.raises(Refused, match="still to be used"):
        ask(enclave, old, b"x")


@pytest.mark.parametrize("at", [0, 10, -1, -20])
def test_what_was_changed_on_the_way_is_refused(enclave: MockEnclave, at: int) -> None:
    sealed = bytearray.fromhex(client.encrypt(attested(enclave), b"sbip", OUTPUT_KEY))
    sealed[at] ^= 1
    with pytest.raises(Refused):
        enclave.run(bytes(sealed))


def test_what_can_be_no_input_is_refused(enclave: MockEnclave) -> None:
    with pytest.raises(Refused, match="too few"):
        enclave.run(b"short")
    with pytest.raises(Refused, match="no public key"):
        enclave.run(os.urandom(300))
    other = pem_of(ec.generate_private_key(ec.SECP256R1()).public_key())
    with pytest.raises(Refused, match="public key"):
        enclave.run(bytes(20) + other.ljust(PEM_BYTES, b"\n") + bytes(28))


def test_a_client_wants_the_key_that_the_quote_vouches_for(enclave: MockEnclave) -> None:
    quote, _ = enclave.attest()
    _, other = enclave.attest()
    with pytest.raises(ValueError, match="does not vouch"):
        client.key_of({"report": quote.hex(), "key": other.decode()})


def test_another_output_key_opens_nothing(enclave: MockEnclave) -> None:
    sealed = client.encrypt(attested(enclave), b"sbip", OUTPUT_KEY)
    reply = enclave.run(bytes.fromhex(sealed)).hex()
    with pytest.raises(InvalidTag):
        client.decrypt(b"5432109876543210", reply)
