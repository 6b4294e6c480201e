from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from lading.engine.reference import parse
from lading.engine.registry_auth import Credentials
from lading.errors import ConfigError

HUB = "https://index.docker.io/v1/"

HELPER = """#!/bin/sh
# A credential helper: a file for each server, as `docker-credential-*` speak.
read -r server
test "$1" = get || exit 2
file="{store}/$(printf %s "$server" | tr -c 'a-z0-9.' _)"
if test -f "$file"; then cat "$file"; else
  echo "credentials not found in native keychain"; exit 1
fi
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "docker").mkdir()
    return {
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}:/usr/bin:/bin",
    }


def _config(env: dict[str, str], **content: object) -> None:
    Path(env["DOCKER_CONFIG"], "config.json").write_text(json.dumps(content))


def _basic(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def _helper(folder: Path, name: str, secrets: dict[str, tuple[str, str]]) -> None:
    for server, (user, secret) in secrets.items():
        file = "".join(c if c.islower() or c.isdigit() or c == "." else "_" for c in server)
        reply = {"ServerURL": server, "Username": user, "Secret": secret}
        (folder / file).write_text(json.dumps(reply))
    program = folder / f"docker-credential-{name}"
    program.write_text(HELPER.format(store=folder))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


async def _find(env: dict[str, str], ref: str) -> dict[str, str] | None:
    found = await Credentials(env).find(parse(ref))
    return found.as_json() if found else None


async def test_none_stored(env: dict[str, str]) -> None:
    assert await _find(env, "me/task") is None


@pytest.mark.parametrize(
    ("server", "ref"),
    [
        (HUB, "me/task"),
        ("ghcr.io", "ghcr.io/me/task:1"),
        ("https://ghcr.io", "ghcr.io/me/task:1"),
        ("https://ghcr.io/v2/", "ghcr.io/me/task:1"),
        ("localhost:5000", "localhost:5000/task"),
    ],
)
async def test_stored_in_the_file(env: dict[str, str], server: str, ref: str) -> None:
    _config(env, auths={"other.org": _basic("x", "y"), server: _basic("me", "a:b")})
    assert await _find(env, ref) == {
        "username": "me",
        "password": "a:b",
        "serveraddress": server,
    }
    assert await _find(env, "quay.io/me/task") is None


async def test_an_identity_token(env: dict[str, str]) -> None:
    _config(env, auths={"ghcr.io": {**_basic("u", "p"), "identitytoken": "tok"}})
    assert await _find(env, "ghcr.io/a/b") == {
        "identitytoken": "tok",
        "serveraddress": "ghcr.io",
    }


async def test_a_store_and_a_helper_of_one_registry(env: dict[str, str], tmp_path: Path) -> None:
    _helper(tmp_path, "all", {HUB: ("hub", "1"), "ghcr.io": ("wrong", "0")})
    one = tmp_path / "one"
    one.mkdir()
    _helper(one, "gh", {"ghcr.io": ("<token>", "tok")})
    env["PATH"] = f"{one}:{env['PATH']}"
    _config(env, auths={HUB: {}}, credsStore="all", credHelpers={"ghcr.io": "gh"})
    assert await _find(env, "python") == {
        "username": "hub",
        "password": "1",
        "serveraddress": HUB,
    }
    assert await _find(env, "ghcr.io/a/b") == {
        "identitytoken": "tok",
        "serveraddress": "ghcr.io",
    }
    credentials = Credentials(env)
    assert await credentials.find(parse("quay.io/a/b")) is None
    assert credentials.problems == []
    assert set(await credentials.all()) == {HUB, "ghcr.io"}


async def test_a_helper_that_is_missing_or_breaks_is_a_remark(
    env: dict[str, str], tmp_path: Path
) -> None:
    _config(env, credsStore="absent", auths={"ghcr.io": _basic("me", "pw")})
    credentials = Credentials(env)
    found = await credentials.find(parse("ghcr.io/a/b"))
    assert found is not None
    assert found.username == "me"
    assert "docker-credential-absent" in credentials.problems[0]
    broken = tmp_path / "docker-credential-broken"
    broken.write_text("#!/bin/sh\necho the keyring is locked >&2\nexit 1\n")
    broken.chmod(0o755)
    _config(env, credsStore="broken")
    credentials = Credentials(env)
    assert await credentials.find(parse("ghcr.io/a/b")) is None
    assert credentials.problems == ["docker-credential-broken: the keyring is locked"]


async def test_podmans_file(env: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "containers"
    folder.mkdir()
    auths = {"ghcr.io": _basic("all", "1"), "ghcr.io/me": _basic("mine", "2")}
    (folder / "auth.json").write_text(json.dumps({"auths": auths}))
    found = await _find(env, "ghcr.io/me/task")
    assert found is not None
    assert (found["username"], found["serveraddress"]) == ("mine", "ghcr.io/me")
    found = await _find(env, "ghcr.io/you/task")
    assert found is not None
    assert found["username"] == "all"
    chosen = tmp_path / "mine.json"
    chosen.write_text(json.dumps({"auths": {"ghcr.io": _basic("chosen", "3")}}))
    found = await _find({**env, "REGISTRY_AUTH_FILE": str(chosen)}, "ghcr.io/me/task")
    assert found is not None
    assert found["username"] == "chosen"


async def test_a_file_that_is_not_json_is_named(env: dict[str, str]) -> None:
    path = Path(env["DOCKER_CONFIG"], "config.json")
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json"):
        await _find(env, "python")
    path.write_text('{"auths": {"ghcr.io": {"auth": "%%%"}}}')
    with pytest.raises(ConfigError, match=r"auths\.ghcr\.io\.auth"):
        await _find(env, "ghcr.io/a/b")


async def test_secrets_are_not_printed(env: dict[str, str]) -> None:
    _config(env, auths={"ghcr.io": _basic("me", "s3cret")})
    assert "s3cret" not in repr(await Credentials(env).find(parse("ghcr.io/a/b")))
