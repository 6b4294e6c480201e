"""Secrets, told by their shape or by the name of their file.

Shapes are those that the issuers document for scanners, so that a hit means something; what is
only likely (long random words) is not looked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Secret", "secret_file", "secrets_in"]


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that was found; never its text.

    Parameters
    ----------
    kind : str
        ``a private key``.
    line : int
        Counted from 1.
    """

    kind: str
    line: int


# A literal that is quickly found, the whole shape, and what it is.
_SHAPES: tuple[tuple[bytes, re.Pattern[bytes], str], ...] = tuple(
    (literal, re.compile(rb"(?<![A-Za-z0-9_-])" + shape), kind)
    for literal, shape, kind in (
        (b"AKIA", rb"AKIA[0-9A-Z]{16}(?![0-9A-Za-z])", "an access key of AWS"),
        (b"ASIA", rb"ASIA[0-9A-Z]{16}(?![0-9A-Za-z])", "an access key of AWS"),
        (b"ghp_", rb"ghp_[A-Za-z0-9]{36}", "a token of GitHub"),
        (b"gho_", rb"gho_[A-Za-z0-9]{36}", "a token of GitHub"),
        (b"ghs_", rb"ghs_[A-Za-z0-9]{36}", "a token of GitHub"),
        (b"github_pat_", rb"github_pat_[A-Za-z0-9_]{60,}", "a token of GitHub"),
        (b"glpat-", rb"glpat-[A-Za-z0-9_-]{20,}", "a token of GitLab"),
        (b"xoxb-", rb"xoxb-[0-9A-Za-z-]{20,}", "a token of Slack"),
        (b"xoxp-", rb"xoxp-[0-9A-Za-z-]{20,}", "a token of Slack"),
        (b"AIza", rb"AIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])", "a key of Google's APIs"),
        (b"sk_live_", rb"sk_live_[0-9A-Za-z]{24,}", "a key of Stripe"),
        (b"sk-ant-", rb"sk-ant-[0-9A-Za-z_-]{32,}", "a key of a language model's API"),
        (b"sk-proj-", rb"sk-proj-[0-9A-Za-z_-]{32,}", "a key of a language model's API"),
        (b"hf_", rb"hf_[A-Za-z]{34}(?![0-9A-Za-z])", "a token of Hugging Face"),
        (b"npm_", rb"npm_[A-Za-z0-9]{36}(?![0-9A-Za-z])", "a token of npm"),
        (b"pypi-AgE", rb"pypi-AgE[A-Za-z0-9_-]{50,}", "a token of PyPI"),
        (b"dckr_pat_", rb"dckr_pat_[A-Za-z0-9_-]{20,}", "a token of Docker Hub"),
        (b"AGE-SECRET-KEY-1", rb"AGE-SECRET-KEY-1[0-9A-Z]{58}", "a private key of age"),
    )
)
_PEM = b"PRIVATE KEY"
# The first line of a key's body must follow, or it is a program that looks for such lines.
_PEM_SHAPE = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----\s*"
    rb"(?:\\n|\s)*(?:[A-Za-z-]+: [^\n]*\s+)*[A-Za-z0-9+/=]{16}"
)
_EXAMPLE = re.compile(rb"EXAMPLE|example|xxxx|XXXX|0000000000|1234567890|abcdefghij")
_OF_REGISTRIES = (".npmrc", ".docker/config.json", ".dockerconfigjson", ".dockercfg")
_AUTHS = re.compile(rb'"auth"\s*:\s*"[A-Za-z0-9+/=]{8,}"|_authToken\s*=\s*[^\s$]{8,}')

_NAMES = {
    ".env": "an environment file",
    ".netrc": "passwords of hosts",
    ".pgpass": "passwords of databases",
    ".pypirc": "credentials of a package index",
    ".git-credentials": "credentials of Git",
    ".htpasswd": "passwords",
    "id_rsa": "a private key of SSH",
    "id_dsa": "a private key of SSH",
    "id_ecdsa": "a private key of SSH",
    "id_ed25519": "a private key of SSH",
}
_ENDINGS = {
    ".p12": "a key store",
    ".pfx": "a key store",
    ".jks": "a key store",
    ".keystore": "a key store",
    ".kdbx": "a password store",
}
_ENV = re.compile(r"\.env\.(?!example$|sample$|template$|dist$|defaults?$).+|.+\.env")


def secret_file(path: str) -> str:
    """Say which secret a file of this name holds; an empty text if its name tells of none.

    Parameters
    ----------
    path : str
        Relative, with slashes.
    """
    name = path.rpartition("/")[2].lower()
    if name in _NAMES:
        return _NAMES[name]
    if _ENV.fullmatch(name):
        return _NAMES[".env"]
    if path.endswith((".aws/credentials", ".kube/config")):
        return "credentials of a cloud"
    _, dot, ending = name.rpartition(".")
    return _ENDINGS.get(dot + ending, "") if dot else ""


def secrets_in(path: str, content: bytes) -> list[Secret]:
    """Find secrets in a file's content, at most one of each kind.

    Parameters
    ----------
    path : str
    content : bytes
    """
    found: dict[str, int] = {}
    if _PEM in content and (match := _PEM_SHAPE.search(content)):
        found["a private key"] = match.start()
    for literal, shape, kind in _SHAPES:
        # The search for the literal alone runs at memory speed, and most files have none.
        if literal in content:
            for match in shape.finditer(content):
                if not _is_made_up(match[0]):
                    found.setdefault(kind, match.start())
                    break
    if path.endswith(_OF_REGISTRIES) and (match := _AUTHS.search(content)):
        found["credentials of a registry"] = match.start()
    return [
        Secret(kind, content.count(b"\n", 0, place) + 1)
        for kind, place in sorted(found.items(), key=lambda item: item[1])
    ]


def _is_made_up(token: bytes) -> bool:
    """Whether it stands in a manual: hardly any different characters, or a telling word."""
    return bool(_EXAMPLE.search(token)) or len(set(token[6:])) < 6
