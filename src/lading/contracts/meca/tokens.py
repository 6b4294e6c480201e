"""Who may come in, by name: the operator's one token, and a file with one for each client."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lading.errors import ConfigError

__all__ = ["ANYBODY", "OPERATOR", "Tokens", "read_tokens"]

ANYBODY: Final = "anonymous"
OPERATOR: Final = "operator"
"""Who has the single token, and may do everything."""
_NAME: Final = re.compile(r"\w[\w.@+-]{0,99}")
_LEAST: Final = 16


class Tokens:
    """Finds out who sent a request.

    Parameters
    ----------
    token : str
        The operator's; empty: there is none.
    clients : mapping of str to str
        Name to token; they may have tasks executed, and nothing else.
    """

    def __init__(self, token: str = "", clients: Mapping[str, str] | None = None) -> None:
        self._operator = _header(token) if token else b""
        # Looked up by its hash: how long that takes tells nothing of the tokens.
        self._clients = {
            hashlib.sha256(_header(one)).digest(): name for name, one in (clients or {}).items()
        }
        self.needed = bool(token or self._clients)
        """Whether everybody needs one."""

    def who(self, authorization: bytes) -> str:
        """Name who sends this ``Authorization`` header; empty: nobody we know."""
        if self._operator and hmac.compare_digest(authorization, self._operator):
            return OPERATOR
        if not self._clients:
            return ""
        return self._clients.get(hashlib.sha256(authorization).digest(), "")


def _header(token: str) -> bytes:
    return f"Bearer {token}".encode()


def read_tokens(file: Path) -> tuple[dict[str, str], list[str]]:
    """Read a file of tokens: lines of ``name: token``, empty lines, and comments after ``#``.

    Returns
    -------
    (dict of str to str, list of str)
        Tokens by name, and warnings.

    Raises
    ------
    ConfigError
        It can't be read, or a line can't be used; no token is ever told.
    """
    try:
        text = file.read_text("utf-8")
        mode = file.stat().st_mode
    except OSError as error:
        raise ConfigError("tokens", f"{file} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError("tokens", f"{file} is not UTF-8") from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, token = _read_line(f"{file}, line {number}", line)
        if name in found:
            raise ConfigError("tokens", f"{file}, line {number}: {name!r} is there already")
        if token in found.values():
            raise ConfigError("tokens", f"{file}, line {number}: another has the same token")
        found[name] = token
    if not found:
        raise ConfigError("tokens", f"{file} has no line such as 'ann: TOKEN'")
    warnings = []
    if mode & 0o077:
        warnings.append(f"{file} can be read by others on this machine: chmod 600 {file}")
    return found, warnings


def _read_line(place: str, line: str) -> tuple[str, str]:
    name, colon, token = (part.strip() for part in line.partition(":"))
    if not colon or not _NAME.fullmatch(name):
        raise ConfigError("tokens", f"{place}: must be a name, a colon and a token")
    if name in (ANYBODY, OPERATOR):
        raise ConfigError("tokens", f"{place}: {name!r} is a name of ours")
    if len(token) < _LEAST or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            "tokens",
            f"{place}: a token has at least {_LEAST} visible characters, of ASCII",
            fix="`openssl rand -hex 24` makes one",
        )
    return name, token
