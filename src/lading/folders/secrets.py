"""Secrets, told by their shape, by the name that they are given, or by that of their file.

Shapes are those that the issuers document for scanners, so that a hit is certain. A long random
word is likely one where something like ``api_key`` is set to it.
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
    certain : bool
        Whether its shape tells it, and not only what stands before it.
    """

    kind: str
    line: int
    certain: bool = True


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
    rb"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\\r|\\n|\s){0,8}"
    rb"(?:[A-Za-z-]{1,40}: [^\n]{0,200}\s{1,4}){0,8}[A-Za-z0-9+/=]{16}"
)
_EXAMPLE = re.compile(rb"EXAMPLE|example|xxxx|XXXX|0000000000|1234567890|abcdefghij")
_AWS = re.compile(
    rb"secret_?(?:access_?)?key[\"']?\s*[:=]\s*[\"']?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
    re.IGNORECASE,
)
_CALLED = (b"secret", b"token", b"passw", b"apikey", b"api_key", b"access_key", b"accountkey")
"""What the names of secrets have in them."""
_SET_TO = re.compile(rb"\w{5,30}[\"']?[^\S\n]*[:=][^\S\n]*[\"']?([A-Za-z0-9+/=_-]{20,200})")
_LOOKED_AT = 1000
"""Places of one file at which such a name stands."""
_RANDOM = (re.compile(rb"[0-9]"), re.compile(rb"[a-z]"), re.compile(rb"[A-Z]"))
"""What a random word of that length has, and a word of people or a digest has not."""
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
    places = _called_so(content)
    for place in places:
        if (match := _AWS.match(content, place)) and not _is_made_up(match[1]):
            found.setdefault("a secret key of AWS", place)
    if found:
        return [
            Secret(kind, _line(content, place))
            for kind, place in sorted(found.items(), key=lambda item: item[1])
        ]
    for place in places:
        match = _SET_TO.match(content, place)
        if match and all(one.search(match[1]) for one in _RANDOM) and not _is_made_up(match[1]):
            return [Secret("what looks like a secret", _line(content, place), certain=False)]
    return []


def _called_so(content: bytes) -> list[int]:
    """Find where something is called like a secret; a search for literals runs at memory speed."""
    places: list[int] = []
    lowered = content.lower()
    for word in _CALLED:
        at = lowered.find(word)
        while at >= 0 and len(places) < _LOOKED_AT:
            places.append(at)
            at = lowered.find(word, at + len(word))
    return sorted(places)


def _line(content: bytes, place: int) -> int:
    return content.count(b"\n", 0, place) + 1


def _is_made_up(token: bytes) -> bool:
    """Whether it stands in a manual: hardly any different characters, or a telling word."""
    return bool(_EXAMPLE.search(token)) or len(set(token[6:])) < 6
