"""Registry credentials, from where ``docker login`` and ``podman login`` leave them.

Sources: https://docs.docker.com/reference/cli/docker/login/ (``auths``, ``credsStore``,
``credHelpers``), https://github.com/docker/docker-credential-helpers (the protocol), and
containers-auth.json(5).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lading.engine.reference import DEFAULT_REGISTRY, Reference
from lading.errors import ConfigError

__all__ = ["Credentials", "RegistryAuth", "docker_config"]

_HUB = "https://index.docker.io/v1/"
_HELPER_SECONDS = 30
_TOKEN_USER = "<token>"  # noqa: S105 - the helpers' word for "the secret is an identity token"


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    """What one registry wants to hear."""

    server: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def as_json(self) -> dict[str, str]:
        """Write it as the Docker Engine API wants it."""
        if self.identity_token:
            return {"identitytoken": self.identity_token, "serveraddress": self.server}
        return {
            "username": self.username,
            "password": self.password,
            "serveraddress": self.server,
        }


def docker_config(env: Mapping[str, str]) -> Path:
    """Where Docker's client keeps its configuration."""
    return Path(env.get("DOCKER_CONFIG") or Path(env.get("HOME") or "/root") / ".docker")


class Credentials:
    """What the user has stored, in Docker's file and in Podman's.

    Parameters
    ----------
    env : mapping
        The environment.

    Attributes
    ----------
    problems : list of str
        Why credentials that are configured could not be had; they explain a later refusal.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[str] = []

    async def find(self, reference: Reference) -> RegistryAuth | None:
        """Find the credentials for an image's registry; None if the user has none.

        Raises
        ------
        ConfigError
            A file can't be read as JSON.
        """
        for path in self._files():
            config = await asyncio.to_thread(_load, path)
            if found := await self._in_file(config, _keys(reference)):
                return found
        return None

    async def all(self) -> dict[str, dict[str, str]]:
        """Every registry that is named in the files, for a build that pulls from any of them."""
        found: dict[str, dict[str, str]] = {}
        for path in self._files():
            config = await asyncio.to_thread(_load, path)
            for server in {**_section(config, "auths"), **_section(config, "credHelpers")}:
                if server not in found and (auth := await self._in_file(config, (server,))):
                    found[server] = auth.as_json()
        return found

    def _files(self) -> list[Path]:
        env = self._env
        files = [docker_config(env) / "config.json"]
        if chosen := env.get("REGISTRY_AUTH_FILE"):
            files.append(Path(chosen))
        elif runtime := env.get("XDG_RUNTIME_DIR"):
            files.append(Path(runtime) / "containers/auth.json")
        return files

    async def _in_file(self, config: dict[str, Any], keys: tuple[str, ...]) -> RegistryAuth | None:
        helpers = _section(config, "credHelpers")
        auths = {_host(name): (name, entry) for name, entry in _section(config, "auths").items()}
        for key in keys:
            server, entry = auths.get(_host(key), (key, {}))
            helper = helpers.get(key) or helpers.get(_host(key))
            if "/" not in key or key == _HUB:  # the store knows registries, not parts of them
                helper = helper or config.get("credsStore")
            if helper and (auth := await self._ask(str(helper), server)):
                return auth
            if auth := _stored(server, entry):
                return auth
        return None

    async def _ask(self, helper: str, server: str) -> RegistryAuth | None:
        program = f"docker-credential-{helper}"
        try:
            process = await asyncio.create_subprocess_exec(
                program, "get", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE, env=dict(self._env),
            )  # fmt: skip
        except OSError as error:
            self._problem(f"{program}: {error.strerror}")
            return None
        try:
            async with asyncio.timeout(_HELPER_SECONDS):
                out, err = await process.communicate(server.encode())
        except TimeoutError:
            self._problem(f"{program}: no answer within {_HELPER_SECONDS} s")
            return None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return self._read(program, server, process.returncode, out, err)

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    def _read(
        self, program: str, server: str, code: int | None, out: bytes, err: bytes
    ) -> RegistryAuth | None:
        if code == 0:
            try:
                reply = json.loads(out)
                user, secret = str(reply["Username"]), str(reply["Secret"])
            except (ValueError, KeyError, TypeError):
                self._problem(f"{program}: its reply is not what the protocol says")
                return None
            if user == _TOKEN_USER:
                return RegistryAuth(server, identity_token=secret)
            return RegistryAuth(server, user, secret)
        words = (out or err).decode(errors="replace").strip()
        if "credentials not found" not in words:
            self._problem(f"{program}: {words or f'exit code {code}'}")
        return None


def _keys(reference: Reference) -> tuple[str, ...]:
    if reference.registry == DEFAULT_REGISTRY:
        return (_HUB, DEFAULT_REGISTRY)
    # Podman's file may name a part of a registry: the longest match counts.
    parts = reference.name.split("/")
    return tuple("/".join(parts[:count]) for count in range(len(parts), 0, -1))


def _host(name: str) -> str:
    """Docker's file may spell a registry as a URL; both spellings mean the same."""
    if name == _HUB:
        return name
    for scheme in ("https://", "http://"):
        if name.startswith(scheme):
            return name.removeprefix(scheme).partition("/")[0]
    return name


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    value = config.get(name)
    return value if isinstance(value, dict) else {}


def _stored(server: str, entry: Any) -> RegistryAuth | None:
    if not isinstance(entry, dict):
        return None
    if token := entry.get("identitytoken"):
        return RegistryAuth(server, identity_token=str(token))
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if text := entry.get("auth"):
        try:
            user, _, password = base64.b64decode(text, validate=True).decode().partition(":")
        except (binascii.Error, ValueError, TypeError):
            raise ConfigError(
                f"auths.{server}.auth", "it is not user:password in base64", fix="log in again"
            ) from None
    return RegistryAuth(server, user, password.strip("\0")) if user else None


def _load(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except ValueError as error:
        raise ConfigError(str(path), f"it is not JSON: {error}", fix="repair it") from error
    return found if isinstance(found, dict) else {}
