"""Image references, parsed here so that a typing error is named before an engine is asked.

Source: the grammar of https://github.com/distribution/reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lading.errors import ImageNameInvalid

__all__ = ["Reference", "is_image_id", "parse"]

DEFAULT_REGISTRY = "docker.io"

_ID = re.compile(r"sha256:[0-9a-f]{64}|[0-9a-f]{64}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,}")
_NAME_LENGTH = 255
_LENGTH = 1024  # with tag and digest; what is longer isn't quoted in an error


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference.

    Parameters
    ----------
    text : str
        As the caller wrote it.
    registry : str
        Host, with its port if one was given; ``docker.io`` by default.
    path : str
        Within the registry; ``library/`` is filled in for Docker Hub.
    tag, digest : str
        Empty where absent; a reference with neither means the tag ``latest``.
    """

    text: str
    registry: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and path."""
        return f"{self.registry}/{self.path}"

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on the engine's own machine, as its name says."""
        import ipaddress  # noqa: PLC0415  # few ask

        has_port = ":" in self.registry and not self.registry.endswith("]")
        host = self.registry.rpartition(":")[0] if has_port else self.registry
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def version(self) -> str:
        """What is fetched: the digest if there is one, else the tag, else ``latest``."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        return f"{self.name}{'@' if self.digest else ':'}{self.version}"


def is_image_id(text: str) -> bool:
    """Whether it is the full id of an image (64 hexadecimal digits), not a name."""
    return _ID.fullmatch(text) is not None


def parse(text: str) -> Reference:
    """Read a reference.

    Parameters
    ----------
    text : str
        ``[registry[:port]/]path[:tag][@digest]``.

    Raises
    ------
    ImageNameInvalid
        It is none; the message says which part is wrong.
    """
    if len(text) > _LENGTH:
        raise ImageNameInvalid(
            f"{text[:60]}...", f"the name has {len(text)} characters", fix="shorten it"
        )
    if is_image_id(text):
        raise ImageNameInvalid(text, "this is an image's id, not a name", fix="write its name")
    if not text.strip():
        raise ImageNameInvalid(text, "the name is empty", fix="write one such as python:3.11")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _invalid(text, f"{digest!r} is no digest", "write it as sha256: and 64 digits")
    name, tag = _split_tag(rest)
    if tag is not None and not _TAG.fullmatch(tag):
        raise _invalid(
            text, f"{tag!r} is no tag", "use at most 128 letters, digits, '_', '.' and '-'"
        )
    registry, path = _split_registry(text, name)
    for component in path.split("/"):
        if not _COMPONENT.fullmatch(component):
            raise _invalid(text, _what_is_wrong(component), "use a name such as me/my-task:1")
    if len(registry) + 1 + len(path) > _NAME_LENGTH:
        raise _invalid(text, f"the name has more than {_NAME_LENGTH} characters", "shorten it")
    return Reference(text, registry, path, tag or "", digest)


def _split_tag(rest: str) -> tuple[str, str | None]:
    name, colon, tag = rest.rpartition(":")
    if colon and "/" not in tag:
        return name, tag
    return rest, None


def _split_registry(text: str, name: str) -> tuple[str, str]:
    first, slash, path = name.partition("/")
    # Without a dot or a port only "localhost" is a host: anything else is a user of Docker Hub.
    is_host = any(mark in first for mark in ".:") or first == "localhost" or first != first.lower()
    if not slash or not is_host:
        return DEFAULT_REGISTRY, name if slash else f"library/{name}"
    if not _REGISTRY.fullmatch(first) or (first != first.lower() and "." not in first):
        hint = "names are written in lower case" if first != first.lower() else "check the host"
        raise _invalid(text, f"{first!r} is no registry", hint)
    if first in (DEFAULT_REGISTRY, f"index.{DEFAULT_REGISTRY}"):
        return DEFAULT_REGISTRY, path if "/" in path else f"library/{path}"
    return first, path


def _what_is_wrong(component: str) -> str:
    if not component:
        return "a part of the name is empty"
    if component != component.lower():
        return f"{component!r} has upper-case letters"
    return (
        f"{component!r} is no part of a name: lower-case letters and digits, with single '.', "
        "'_', '__' or dashes between them"
    )


def _invalid(text: str, reason: str, fix: str) -> ImageNameInvalid:
    return ImageNameInvalid(text, reason, fix=fix)
