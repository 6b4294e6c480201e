"""Who we are to a cluster: tokens, certificates, and programs that hand them out.

Sources: https://kubernetes.io/docs/reference/access-authn-authz/authentication/ and
https://kubernetes.io/docs/reference/config-api/client-authentication.v1/.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from lading.errors import ConfigError, CredentialsRefused

__all__ = [
    "Command",
    "Credential",
    "Credentials",
    "Fixed",
    "Program",
    "TokenFile",
    "basic",
    "program",
]

_VERSIONS = (
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
)
_PROGRAM_SECONDS = 60
_FILE_SECONDS = 10.0
"""How long a token that was read from a file is used before the file is looked at again."""
_EARLY = 10.0
"""Seconds before its end that a credential is no longer used."""
_SHOWN = 500
"""Characters of what a program wrote to stderr that are shown."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What is shown to the cluster with a request.

    Parameters
    ----------
    authorization : str
        The header's value; empty for none.
    certificate, key : bytes
        A client certificate in PEM; empty for none.
    """

    authorization: str = ""
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)


class Credentials(Protocol):
    """Where credentials come from."""

    async def current(self) -> Credential:
        """Have one that should be valid now.

        Raises
        ------
        CredentialsRefused
            None can be had; the message says what was tried.
        """
        ...

    def refused(self, used: Credential) -> bool:
        """Learn that the cluster took `used` for nobody's; say whether another may be had."""
        ...


class Fixed:
    """One that never changes."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    async def current(self) -> Credential:
        """Have it."""
        return self._credential

    def refused(self, used: Credential) -> bool:  # noqa: ARG002
        """There is no other."""
        return False


class TokenFile:
    """A bearer token in a file that somebody renews, as the kubelet does for service accounts.

    Parameters
    ----------
    path : Path
    beside : Credential
        A client certificate that is shown besides, and the token that is used where the file
        can't be read.
    """

    def __init__(self, path: Path, beside: Credential) -> None:
        self._path = path
        self._beside = beside
        self._token = ""
        self._read_at = float("-inf")

    async def current(self) -> Credential:
        """Have what the file holds, as of a few seconds ago."""
        if time.monotonic() - self._read_at > _FILE_SECONDS:
            try:
                text = await asyncio.to_thread(self._path.read_text)
            except (OSError, UnicodeDecodeError) as error:
                if not self._beside.authorization and not self._token:
                    raise CredentialsRefused(
                        f"the token can't be read from {self._path}: {error}",
                        fix="see whether the file is there and may be read",
                    ) from error
            else:
                self._token = text.strip()
                self._read_at = time.monotonic()
        if not self._token:
            return self._beside
        return Credential(f"Bearer {self._token}", self._beside.certificate, self._beside.key)

    def refused(self, used: Credential) -> bool:
        """Look at the file again, unless it was just looked at."""
        stale = used.authorization != f"Bearer {self._token}"
        fresh = time.monotonic() - self._read_at < 1
        self._read_at = float("-inf")
        return stale or not fresh


@dataclass(frozen=True, slots=True)
class Command:
    """A program that hands out credentials, as a kubeconfig names it."""

    argv: tuple[str, ...]
    version: str
    env: Mapping[str, str]
    cluster: Mapping[str, Any] | None
    hint: str


class Program:
    """Credentials from a program (``exec`` in a kubeconfig), kept until they expire."""

    def __init__(self, command: Command, beside: Credential) -> None:
        self._command = command
        self._beside = beside
        self._kept: Credential | None = None
        self._until = float("inf")
        self._busy = asyncio.Lock()

    async def current(self) -> Credential:
        """Have what the program said; it is run once for all who wait."""
        async with self._busy:
            if self._kept is None or time.time() > self._until - _EARLY:
                self._kept, self._until = self._read(await self._run())
            return self._kept

    def refused(self, used: Credential) -> bool:
        """Run it again, unless that was done since."""
        if used is self._kept:
            self._kept = None
        return True

    async def _run(self) -> bytes:
        command = self._command
        spec: dict[str, Any] = {"interactive": False}
        if command.cluster is not None:
            spec["cluster"] = dict(command.cluster)
        asked = {"apiVersion": command.version, "kind": "ExecCredential", "spec": spec}
        env = {**command.env, "KUBERNETES_EXEC_INFO": json.dumps(asked)}
        try:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise self._failed(f"can't be run: {os.strerror(error.errno or 0)}") from error
        try:
            async with asyncio.timeout(_PROGRAM_SECONDS):
                said, complained = await process.communicate()
        except TimeoutError as error:
            raise self._failed(f"did not end within {_PROGRAM_SECONDS} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await asyncio.shield(process.wait())
        if process.returncode:
            words = complained.decode(errors="replace").strip()[-_SHOWN:]
            raise self._failed(f"ended with {process.returncode}: {words or 'without a word'}")
        return said

    def _read(self, said: bytes) -> tuple[Credential, float]:
        try:
            found = json.loads(said)
            version, status = found["apiVersion"], found["status"]
            if version != self._command.version:
                raise self._failed(f"speaks {version}, not {self._command.version}")
            token = str(status.get("token") or "")
            certificate = str(status.get("clientCertificateData") or "").encode()
            key = str(status.get("clientKeyData") or "").encode()
            ends = status.get("expirationTimestamp")
            until = datetime.fromisoformat(str(ends)).timestamp() if ends else float("inf")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._failed("said what is no ExecCredential") from error
        if not token and not (certificate and key):
            raise self._failed("handed out neither a token nor a certificate with its key")
        return (
            Credential(
                f"Bearer {token}" if token else self._beside.authorization,
                certificate or self._beside.certificate,
                key or self._beside.key,
            ),
            until,
        )

    def _failed(self, what: str) -> CredentialsRefused:
        command = self._command
        return CredentialsRefused(
            f"the program that hands out the cluster's credentials, {command.argv[0]}, {what}",
            fix=command.hint or f"see what `{' '.join(command.argv)}` says",
        )


def program(
    entry: Mapping[str, Any],
    folder: Path,
    *,
    env: Mapping[str, str],
    cluster: Mapping[str, Any],
    beside: Credential,
) -> Program:
    """Read the ``exec`` of a user in a kubeconfig.

    Parameters
    ----------
    folder : Path
        Of the kubeconfig: where a relative command is looked for.
    env : mapping
        What the program inherits.
    cluster : mapping
        What it is told of the cluster if it wants to know.
    beside : Credential
        What else the user has.

    Raises
    ------
    ConfigError
        It names no program, speaks a version that nobody does, or wants a terminal.
    """
    name = str(entry.get("command") or "")
    version = str(entry.get("apiVersion") or "")
    if not name:
        raise ConfigError("users.user.exec.command", "no program is named", fix="name one")
    if version not in _VERSIONS:
        raise ConfigError(
            "users.user.exec.apiVersion",
            f"{version!r} is none that can be spoken with {name}",
            fix=f"use {' or '.join(_VERSIONS)}",
        )
    if entry.get("interactiveMode") == "Always":
        raise ConfigError(
            "users.user.exec.interactiveMode",
            f"{name} wants to be run in a terminal, which it can't be",
            fix="log in by it yourself, and use a token or a certificate",
        )
    if "/" in name and not name.startswith("/"):
        name = str(folder / name)
    more = {str(item["name"]): str(item["value"]) for item in entry.get("env") or ()}
    argv = (name, *(str(part) for part in entry.get("args") or ()))
    told = cluster if entry.get("provideClusterInfo") else None
    hint = str(entry.get("installHint") or "")
    return Program(Command(argv, version, {**env, **more}, told, hint), beside)


def basic(username: str, password: str) -> str:
    """Write the header of a name and its password (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
