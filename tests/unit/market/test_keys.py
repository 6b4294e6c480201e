"""The host's key: made once, private, followed by another in time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lading.errors import InputError, RecordError
from lading.market.keys import (
    PublicKey,
    decoded,
    encoded,
    host_key,
    public_keys,
    read_keys,
    thumbprint,
)

X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"  # RFC 8037, appendix A


def test_the_thumbprint_is_that_of_the_standard() -> None:
    assert thumbprint(X) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"  # RFC 8037, A.3


def test_signatures_are_those_of_the_standard(tmp_path: Path) -> None:
    """RFC 8037, appendix A.4."""
    key = {"kty": "OKP", "crv": "Ed25519", "x": X}
    key["d"] = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
    (tmp_path / "host-key.json").write_text(json.dumps(key))
    (tmp_path / "host-key.json").chmod(0o600)
    message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    signature = host_key(tmp_path).sign(message)
    assert encoded(signature) == (
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
    assert PublicKey(X).verifies(message, signature)
    assert not PublicKey(X).verifies(message + b"x", signature)
    assert not PublicKey(X).verifies(message, signature[:-1])


def test_it_is_made_once_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    first = host_key(tmp_path / "state")
    assert host_key(tmp_path / "state").kid == first.kid
    path = tmp_path / "state/host-key.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["host-key.json"]
    assert "d" not in first.public.jwk()
    path.chmod(0o640)
    with pytest.raises(RecordError, match="can be read by others"):
        host_key(tmp_path / "state")


def test_of_processes_that_make_it_at_once_all_have_the_same(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from lading.market.keys import host_key; "
        "sys.stdin.readline(); print(host_key(Path(sys.argv[1])).kid)"
    )
    some = [
        subprocess.Popen(
            [sys.executable, "-c", program, tmp_path / "state"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    kids = {one.communicate("go\n", timeout=60)[0] for one in some}
    assert len(kids) == 1
    assert [one.name for one in (tmp_path / "state").iterdir()] == ["host-key.json"]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"kty": "RSA"}', json.dumps({"kty": "OKP", "crv": "Ed25519", "x": X})]
)
def test_what_is_no_private_key_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "host-key.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(RecordError, match="is no key"):
        host_key(tmp_path)
    assert path.read_text() == text


def test_another_takes_over_and_the_old_one_stays_known(tmp_path: Path) -> None:
    first = host_key(tmp_path)
    assert host_key(tmp_path, days=1).kid == first.kid
    aged = json.loads((tmp_path / "host-key.json").read_text())
    aged["nbf"] = int(time.time() - 2 * 86_400)
    (tmp_path / "host-key.json").write_text(json.dumps(aged))
    second = host_key(tmp_path, days=1)
    assert second.kid != first.kid
    assert [one.kid for one in second.old] == [first.kid]
    assert [one.kid for one in public_keys(tmp_path)] == [second.kid, first.kid]
    old = second.old[0]
    assert old.was_valid(time.time())
    assert not old.was_valid(time.time() + 3600)
    assert all("d" not in one for one in json.loads(
        (tmp_path / "host-keys-old.json").read_text())["keys"])  # fmt: skip


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kty": "EC"}, "key"),
        ({"crv": "X25519"}, "key"),
        ({"x": "AAAA"}, "key.x"),
        ({"x": X + "="}, "key.x"),
        ({"x": 7}, "key.x"),
        ({"kid": "another"}, "key.kid"),
        ({"exp": "soon"}, "key.exp"),
    ],
)
def test_what_is_no_public_key_is_said_so(change: dict[str, object], field: str) -> None:
    with pytest.raises(InputError) as caught:
        PublicKey.read(PublicKey(X).jwk() | change)
    assert caught.value.field == field


def test_a_file_has_one_key_or_a_set(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(PublicKey(X).jwk()))
    assert [one.x for one in read_keys(path)] == [X]
    path.write_text(json.dumps({"keys": [PublicKey(X).jwk()] * 2}))
    assert [one.x for one in read_keys(path)] == [X, X]
    for text in ("nonsense", "[1]", '{"keys": [1]}'):
        path.write_text(text)
        with pytest.raises(InputError):
            read_keys(path)
    with pytest.raises(InputError, match="can't be read"):
        read_keys(tmp_path / "absent")


@pytest.mark.parametrize("text", ["a", "YQ==", "YR", "a+b/", "ä", "Y Q"])
def test_base64url_is_read_strictly(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decoded(text)
    assert decoded("YQ") == b"a"
