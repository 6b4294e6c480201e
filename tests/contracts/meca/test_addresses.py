"""Ids that are addresses of content, in all ways in which they are written."""

from __future__ import annotations

import base64

import pytest

from lading.content.cid import Cid
from lading.contracts.meca.addresses import (
    canonical,
    cid_of,
    image_name,
    is_address,
    short_name,
)
from lading.contracts.meca.request import TaskLimits, read_request
from lading.errors import InputError
from lading.units import MIB

CID = Cid.of(b"a folder", 0x70)
TEXT = str(CID)
OLD = str(Cid(0, 0x70, CID.digest))


@pytest.mark.parametrize(
    "written", [TEXT, OLD, f"ipfs://{TEXT}", f"/ipfs/{TEXT}", f"ipfs://{OLD}", f" ipfs://{TEXT}/ "]
)
def test_one_content_has_one_name(written: str) -> None:
    assert canonical(written.strip()) == TEXT
    assert read_request(b'{"id": "%s"}' % written.encode()).image == TEXT
    assert cid_of(written.strip()) == CID


@pytest.mark.parametrize(
    "image",
    [
        "busybox", "b" * 59, "bafy/folder:1", f"registry.example/{TEXT}:1", f"{TEXT[-10:]}:latest",
        TEXT.upper(), TEXT[:-1], f"{TEXT}:latest", "Qm" + "1" * 44, "sha256:" + "a" * 64,
    ],
)  # fmt: skip
def test_names_of_images_stay_what_they_are(image: str) -> None:
    assert not is_address(image)
    assert canonical(image) == image


@pytest.mark.parametrize("wrong", ["ipfs://", "ipfs://x", f"/ipfs/{TEXT}/src", f"ipfs://{TEXT}x"])
def test_what_begins_as_an_address_must_be_one(wrong: str) -> None:
    with pytest.raises(InputError) as caught:
        read_request(b'{"id": "%s"}' % wrong.encode())
    assert caught.value.field == "id"


def test_names_of_what_is_made_of_it() -> None:
    assert image_name(CID) == f"lading.invalid/{TEXT}:latest"
    assert short_name(CID) == f"{TEXT[-10:]}:latest"
    assert base64.b32encode(CID.to_bytes()).decode().lower().startswith(TEXT[1:50])


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ("", TaskLimits(2.5, 300 * MIB, 1, sgx=True)),
        ('"resource": {}', TaskLimits(2.5, 300 * MIB, 1, sgx=True)),
        ('"resource": {"cpu": 1}', TaskLimits(1, 300 * MIB, 1, sgx=True)),
        ('"resource": {"memory": 64}', TaskLimits(2.5, 64 * MIB, 1, sgx=True)),
        ('"resource": {"resource": {"mem": 64}}', TaskLimits(2.5, 64 * MIB, 1, sgx=True)),
        ('"resource": {"use_gpu": false}', TaskLimits(2.5, 300 * MIB, 0, sgx=True)),
        ('"resource": {"useGpu": true, "gpuCount": 2}', TaskLimits(2.5, 300 * MIB, 2, sgx=True)),
        ('"resource": {"use_sgx": false}', TaskLimits(2.5, 300 * MIB, 1, sgx=False)),
    ],
)
def test_what_is_not_said_is_as_declared(said: str, holds: TaskLimits) -> None:
    request = read_request(f'{{"id": "{TEXT}"{"," if said else ""} {said}}}'.encode())
    assert request.over(TaskLimits(2.5, 300 * MIB, 1, sgx=True)).limits == holds


def test_an_enclave_that_is_asked_for_beside_the_limits() -> None:
    request = read_request(f'{{"id": "{TEXT}", "use_sgx": true}}'.encode())
    assert request.over(TaskLimits()).limits == TaskLimits(sgx=True)
