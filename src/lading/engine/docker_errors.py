"""The one seam between what Docker and Podman say and what we raise.

Both answer with a status and a sentence. Statuses are not enough (Podman says 500 for nearly
everything, Docker says 404 for four kinds of things), so the sentence decides where it is known,
then the status, and what is known of neither is an :class:`~lading.errors.EngineError` in the
engine's own words. Sentences are matched in lower case, the first rule that matches wins.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from lading import errors

__all__ = ["Call", "Thing", "sentence", "translate"]


class Thing(enum.Enum):
    """What a call is about: it decides what 404 and 409 mean."""

    ENGINE = enum.auto()
    CONTAINER = enum.auto()
    NETWORK = enum.auto()
    IMAGE = enum.auto()
    PULL = enum.auto()
    PUSH = enum.auto()
    BUILD = enum.auto()


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked of the engine, for the message.

    Parameters
    ----------
    doing : str
        Completes "the engine failed ...": ``creating container x``.
    thing : Thing
    image : str
        The reference as the caller wrote it, where one is involved.
    """

    doing: str
    thing: Thing = Thing.ENGINE
    image: str = ""


Make = Callable[[Call, int | None, str], errors.EngineError]


@dataclass(frozen=True, slots=True)
class Rule:
    """Which sentences or statuses, about which things, become which error."""

    make: Make
    pattern: str | None = None
    status: int | None = None
    things: frozenset[Thing] = frozenset(Thing)

    def matches(self, call: Call, status: int | None, text: str) -> bool:
        """Whether this rule decides."""
        return (
            call.thing in self.things
            and (self.status is None or self.status == status)
            and (self.pattern is None or re.search(self.pattern, text) is not None)
        )


def sentence(body: bytes) -> str:
    """Take the engine's words out of the body of its reply."""
    try:
        found = json.loads(body)
    except ValueError:
        return body.decode(errors="replace").strip()[:2000]
    if isinstance(found, dict):
        return str(found.get("message") or found.get("cause") or found).strip()
    return str(found)


def translate(call: Call, status: int | None, text: str) -> errors.EngineError:
    """Turn the engine's refusal into one of our errors.

    Parameters
    ----------
    call : Call
        What was asked.
    status : int or None
        The HTTP status; None for an error inside a stream that began well.
    text : str
        The engine's sentence, see :func:`sentence`.
    """
    lowered = text.lower()
    for rule in RULES:
        if rule.matches(call, status, lowered):
            return rule.make(call, status, text)
    return _plain(errors.EngineError)(call, status, text)


def _plain(kind: type[errors.EngineError], fix: str = "") -> Make:
    def make(call: Call, status: int | None, text: str) -> errors.EngineError:
        words = text or f"the engine answered {status} without a word"
        return kind(f"{call.doing} failed: {words}", status=status, fix=fix)

    return make


def _image(kind: type[errors.ImageError], fix: str = "") -> Make:
    def make(call: Call, status: int | None, text: str) -> errors.EngineError:
        return kind(call.image, text, status=status, fix=fix)

    return make


def _passing(kind: type[errors.ImagePullFailed | errors.ImagePushFailed], fix: str) -> Make:
    def make(call: Call, status: int | None, text: str) -> errors.EngineError:
        error = kind(call.image, text, status=status, fix=fix)
        error.passing = True
        return error

    return make


_PULL = frozenset({Thing.PULL})
_PUSH = frozenset({Thing.PUSH})
_BUILD = frozenset({Thing.BUILD})
_IMAGE = frozenset({Thing.IMAGE})
_CONTAINER = frozenset({Thing.CONTAINER})
_NETWORK = frozenset({Thing.NETWORK})
_LOGIN = "log in to that registry (docker login, podman login) with an account that may read it"
_LOGIN_TO_WRITE = (
    "log in to that registry (docker login, podman login) with an account that may write there"
)
_NO_TLS = (
    "give it a certificate that the engine trusts, or let the engine speak plain HTTP with it: "
    "insecure-registries in Docker's daemon.json, insecure = true in Podman's registries.conf"
)
_DENIED = (
    r"unauthorized|authentication required|no basic auth|(?<!permission )\bdenied\b|forbidden"
    r"|invalid username/password|incorrect username|status(?: code)?:? 40[13]\b"
    r"|40[13] \((?:unauthorized|forbidden)\)"
)
_NOT_TRUSTED = r"http response to https client|x509:|certificate|tls: (?!handshake timeout)"
_DOWN = (
    r"connection refused|connection reset|broken pipe|\beof\b|closed network connection|timeout"
    r"|timed out|deadline exceeded|no route to host|network is unreachable|temporary failure"
    r"|no such host|server misbehaving|too ?many ?requests|goaway|internal error"
    r"|(?:status(?: code)?:?|http) (?:5\d\d|429)\b|\b5\d\d \(?(?:internal|bad|service|gateway)"
    r"|unexpected http status: 5|blob upload (?:unknown|invalid)|server closed"
)
"""A registry that is away, overloaded, or was restarted meanwhile."""


def _rule(
    make: Make, pattern: str = "", *, status: int | None = None, things: frozenset[Thing]
) -> Rule:
    return Rule(make, pattern or None, status, things)


RULES: tuple[Rule, ...] = (
    _rule(
        _plain(
            errors.EngineUnreachable,
            "it wants TLS: set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the folder with "
            "ca.pem, cert.pem and key.pem",
        ),
        r"http request to an https server",
        things=frozenset(Thing),
    ),
    # Building: whatever goes wrong in the middle is the build's failure.
    _rule(_image(errors.BuildFailed), things=_BUILD),
    # Pulling and pushing: the registry's words, through the engine.
    _rule(_image(errors.ImageDenied, _LOGIN), _DENIED, things=_PULL),
    _rule(_image(errors.ImageDenied, _LOGIN_TO_WRITE), _DENIED, things=_PUSH),
    _rule(
        _image(errors.ImageNotFound, "check its name and tag, and that it was pushed"),
        r"manifest unknown|name unknown|not found: manifest|repository .* not found"
        r"|no such image|no matching manifest|reading manifest .* not found",
        things=_PULL,
    ),
    _rule(
        _image(errors.ImageNotFound, "build it first, or give an image that name"),
        r"no such image|image not known|tag does not exist|an image does not exist locally",
        things=_PUSH,
    ),
    _rule(_image(errors.ImageNameInvalid), r"invalid reference format", things=_PULL | _PUSH),
    _rule(_image(errors.ImagePullFailed, _NO_TLS), _NOT_TRUSTED, things=_PULL),
    _rule(_image(errors.ImagePushFailed, _NO_TLS), _NOT_TRUSTED, things=_PUSH),
    _rule(_image(errors.ImageNotFound), status=404, things=_PULL | _PUSH),
    _rule(
        _passing(errors.ImagePullFailed, "check the network and the registry, then try again"),
        _DOWN,
        things=_PULL,
    ),
    _rule(
        _passing(errors.ImagePushFailed, "check the network and the registry, then try again"),
        _DOWN,
        things=_PUSH,
    ),
    _rule(
        _image(errors.ImagePullFailed, "check the network and the registry, then try again"),
        things=_PULL,
    ),
    _rule(
        _image(errors.ImagePushFailed, "see what the registry accepts: its log says more"),
        things=_PUSH,
    ),
    # Images.
    _rule(
        _image(errors.ImageNotFound, "pull or build it first"),
        r"no such image|image not known|unable to find image",
        things=_IMAGE | _CONTAINER,
    ),
    _rule(
        _image(errors.ImageNameInvalid, "use a name such as me/my-task:1"),
        r"invalid reference format|repository name must be lowercase",
        things=_IMAGE | _CONTAINER,
    ),
    _rule(_image(errors.ImageNotFound), status=404, things=_IMAGE),
    # Containers.
    _rule(
        _plain(errors.NotSupported),
        r"unknown runtime|runtime .* not found|no such runtime|invalid runtime name",
        things=_CONTAINER,
    ),
    _rule(
        _plain(errors.NotSupported, "name no control group: systemd places them on this host"),
        r"cgroup-parent for systemd|did not receive systemd slice",
        things=_CONTAINER,
    ),
    _rule(
        _plain(
            errors.NotSupported,
            "install the vendor's container toolkit on the engine's host, or ask for no GPU",
        ),
        r"could not select device driver|unresolvable cdi|cdi device injection failed"
        r"|nvidia-container-cli|unknown or invalid device request",
        things=_CONTAINER,
    ),
    _rule(
        _plain(errors.NetworkNotFound, "create it first"),
        r"network .*not found|no such network|unable to find network",
        things=_CONTAINER | _NETWORK,
    ),
    _rule(
        _plain(errors.NameTaken, "choose another name, or remove what has it"),
        r"name .*already (?:in use|used|exists)|already in use by|network already exists"
        r"|network with name .* already exists",
        things=_CONTAINER | _NETWORK,
    ),
    _rule(
        _plain(errors.EngineError, "create it on the engine's host first"),
        r"bind source path does not exist|statfs .*no such file",
        things=_CONTAINER,
    ),
    _rule(
        _plain(errors.ContainerNotFound),
        r"no such container|no container with|container .* (?:not found|does not exist)",
        things=_CONTAINER,
    ),
    _rule(
        _plain(errors.EngineError),  # the caller knows what was looked for in the container
        r"could not find the file|no such file or directory",
        things=_CONTAINER,
    ),
    _rule(_plain(errors.ContainerNotFound), status=404, things=_CONTAINER),
    _rule(_plain(errors.NetworkNotFound), status=404, things=_NETWORK),
)
"""In order of precedence."""
