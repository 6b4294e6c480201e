"""The one seam between what a cluster says and what we raise.

A refused call comes with a ``Status`` object: a code, a reason of a fixed set, a sentence, and
what it is about. The reason decides mostly; where one reason stands for several things (403 is a
missing permission, a used-up quota, and any admission plugin's veto) the sentence does. Why a
container does not start is told in other places, by the kubelet: :func:`refusal`.

Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md,
"Response Status Kind".
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lading import errors
from lading.engine import docker_errors

__all__ = ["REASONS", "WAITING", "Call", "Thing", "refusal", "status_of", "translate"]

_QUOTED = 300
"""Characters of a reply that is no Status which are shown."""


class Thing(enum.Enum):
    """What a call is about: it decides what "not found" and "already exists" mean."""

    CLUSTER = enum.auto()
    POD = enum.auto()
    NETWORK = enum.auto()
    SECRET = enum.auto()
    IMAGE = enum.auto()


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked of the cluster, for the message.

    Parameters
    ----------
    doing : str
        Completes "... failed": ``creating container x``.
    thing : Thing
    image : str
        The reference as the caller wrote it, where one is involved.
    helper : bool
        Whether that is not the task's image, but that of a container that helps it.
    """

    doing: str
    thing: Thing = Thing.CLUSTER
    image: str = ""
    helper: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What the cluster said, taken apart.

    Parameters
    ----------
    code : int
        The HTTP status.
    reason, message : str
        Of the Status object; empty where there was none.
    about : str
        The plural that it is about, as ``pods``; empty if it does not say.
    causes : tuple of (str, str, str)
        Reason, field and message of each.
    """

    code: int
    reason: str = ""
    message: str = ""
    about: str = ""
    causes: tuple[tuple[str, str, str], ...] = ()


Make = Callable[[Call, Said], errors.EngineError]


def status_of(code: int, body: bytes | Mapping[str, Any]) -> Said:
    """Take a Status object apart, or whatever came in its place."""
    found: Any = body
    if isinstance(body, bytes):
        try:
            found = json.loads(body)
        except ValueError:
            found = body.decode(errors="replace").strip()[:_QUOTED]
    if not isinstance(found, Mapping):
        return Said(code, message=str(found))
    details = found.get("details") or {}
    causes = tuple(
        tuple(str(cause.get(key) or "") for key in ("reason", "field", "message"))
        for cause in details.get("causes") or ()
    )
    return Said(
        int(found.get("code") or code),
        str(found.get("reason") or ""),
        str(found.get("message") or "").strip(),
        str(details.get("kind") or ""),
        causes,  # type: ignore[arg-type]  # three each
    )


def translate(call: Call, code: int, body: bytes | Mapping[str, Any]) -> errors.EngineError:
    """Turn the cluster's refusal into one of our errors.

    Parameters
    ----------
    call : Call
        What was asked.
    code : int
        The HTTP status.
    body : bytes or mapping
        What came with it, or the Status object inside a watch.
    """
    said = status_of(code, body)
    make = REASONS.get(said.reason) or _BY_CODE.get(said.code) or _plain(errors.EngineError)
    return make(call, said)


def refusal(call: Call, reason: str, message: str) -> errors.EngineError:
    """Say why a container does not start, from what its status says it waits for.

    Parameters
    ----------
    call : Call
        With the image.
    reason, message : str
        Of ``containerStatuses[].state.waiting`` (or ``terminated``, where it could not be begun).
    """
    make = WAITING.get(reason, _of_runtime)
    error = make(call, Said(0, reason, message.strip()))
    if isinstance(error, errors.ImageError):
        error.fix = _HELPER if call.helper else error.fix
    elif not error.fix and _TOO_LITTLE.search(message):
        error.fix = "give it more memory: --memory, or resources.limits.memory in its file"
    return error


_HELPER = (
    "it copies a task's files there and back: push it to where the nodes fetch images, load it "
    "into them (kind load docker-image), or name another that has a static busybox by "
    "--cluster-helper"
)
_TOO_LITTLE = re.compile(
    r"minimum memory|memory limit (?:is )?too low|memory\.(?:max|limit_in_bytes)|cannot allocate"
    r"|out of memory|\boom\b",
    re.IGNORECASE,
)


# What is raised.


def _words(call: Call, said: Said) -> str:
    words = said.message or (
        f"the cluster answered {said.code} without a word" if said.code else said.reason
    )
    return f"{call.doing} failed: {words}"


def _plain(kind: type[errors.EngineError], fix: str = "") -> Make:
    def make(call: Call, said: Said) -> errors.EngineError:
        return kind(_words(call, said), status=said.code or None, fix=fix)

    return make


def _not_found(call: Call, said: Said) -> errors.EngineError:
    status = said.code
    if said.about == "namespaces" or re.match(r"namespaces? \"", said.message):
        return _no_namespace(call, said)
    if said.message.startswith("the server could not find the requested resource"):
        return errors.NotSupported(
            f"{call.doing} failed: this cluster does not have that", status=status
        )
    if said.about == "pods" or (not said.about and call.thing is Thing.POD):
        return errors.ContainerNotFound(_words(call, said), status=status)
    if said.about == "networkpolicies" or call.thing is Thing.NETWORK:
        return errors.NetworkNotFound(_words(call, said), status=status, fix="create it first")
    return errors.EngineError(_words(call, said), status=status)


def _no_namespace(call: Call, said: Said) -> errors.EngineError:
    return errors.NamespaceNotFound(
        _words(call, said),
        status=said.code,
        fix="create it (kubectl create namespace), or name another with "
        "--engine kubernetes://CONTEXT/NAMESPACE",
    )


def _conflict(call: Call, said: Said) -> errors.EngineError:
    if "Precondition failed: UID" in said.message:
        # Another one has its name meanwhile, and what was meant is gone.
        return errors.ContainerNotFound(_words(call, said), status=said.code)
    return errors.EngineError(_words(call, said), status=said.code, fix="try again")


_DENIED = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)" '
    r'in API group "(?P<group>[^"]*)"(?: in the namespace "(?P<namespace>[^"]*)")?'
)
_QUOTA = re.compile(
    r"exceeded quota|failed quota|limited to \d|(?:maximum|minimum) \S+ usage per"
    r"|max limit to request ratio|insufficient quota"
)
_LACKING = re.compile(
    r"RuntimeClass \S+ not found|runtimeClassName .*not found|no PriorityClass with name"
    r"|is not a supported|feature gate"
)
_SECURITY = re.compile(r"violates PodSecurity|pod security policy|podsecurity", re.IGNORECASE)
_ANONYMOUS = "system:anonymous"


def _forbidden(call: Call, said: Said) -> errors.EngineError:
    words, status = _words(call, said), said.code
    if found := _DENIED.search(said.message):
        return _no_permission(call, said, found)
    if any(cause[0] == "NamespaceTerminating" for cause in said.causes):
        return _no_namespace(call, said)
    if _QUOTA.search(said.message):
        fix = "wait until others have ended, ask for less, or have the namespace's quota raised"
        if "must specify" in said.message:
            fix = "say how much it needs: --cpus and --memory, or resources in its file"
        elif "usage per" in said.message or "ratio" in said.message:
            fix = "ask for what the namespace's LimitRange allows for one container"
        return errors.QuotaExceeded(words, status=status, fix=fix)
    if _LACKING.search(said.message):
        return errors.NotSupported(words, status=status)
    if _SECURITY.search(said.message):
        fix = "run it sealed and as a user other than root, or in a namespace that allows it"
    elif "error looking up service account" in said.message:
        fix = "create that service account, or name another"
    else:
        fix = "ask whoever runs the cluster: one of its admission rules says no"
    return errors.EngineDenied(words, status=status, fix=fix)


def _no_permission(call: Call, said: Said, found: re.Match[str]) -> errors.EngineDenied:
    user, verb, resource = found["user"], found["verb"], found["resource"]
    group, namespace = found["group"], found["namespace"] or ""
    where = f"namespace {namespace!r}" if namespace else "the whole cluster"
    role = f"a Role in {where}" if namespace else "a ClusterRole"
    if user == _ANONYMOUS:
        who, fix = "nobody", "the context has no credentials: log in to the cluster first"
    else:
        who = f"{user!r}"
        fix = (
            f'ask for {role} with the rule {{apiGroups: ["{group}"], resources: ["{resource}"], '
            f'verbs: ["{verb}"]}}, bound to {user!r}'
        )
    return errors.EngineDenied(
        f"{call.doing} failed: {who} may not {verb} {resource} in {where}",
        verb=verb,
        resource=resource,
        namespace=namespace,
        status=said.code,
        fix=fix,
    )


def _invalid(call: Call, said: Said) -> errors.EngineError:
    fields = ", ".join(dict.fromkeys(cause[1] for cause in said.causes if cause[1]))
    return errors.EngineError(
        _words(call, said),
        status=said.code,
        fix=f"change what ends up in the pod's {fields}" if fields else "",
    )


_LOGIN = (
    "log in again; if it is an account of a pod, its token was not renewed, or the pod's "
    "account was removed"
)
_AWAY = "see whether the cluster's control plane is up and keeps up, then try again"
_REFUSED = _plain(errors.CredentialsRefused, _LOGIN)
_BUSY = _plain(errors.EngineUnreachable, _AWAY)

REASONS: Mapping[str, Make] = {
    "Unauthorized": _REFUSED,
    "Forbidden": _forbidden,
    "NotFound": _not_found,
    "AlreadyExists": _plain(errors.NameTaken, "choose another name, or remove what has it"),
    "Conflict": _conflict,
    "Gone": _plain(errors.EngineError),
    "Expired": _plain(errors.EngineError),  # the watch lists again, nobody else asks for the past
    "Invalid": _invalid,
    "BadRequest": _plain(errors.EngineError),
    "MethodNotAllowed": _plain(errors.NotSupported),
    "NotAcceptable": _plain(errors.NotSupported),
    "UnsupportedMediaType": _plain(errors.NotSupported),
    "RequestEntityTooLarge": _plain(errors.EngineError, "give it less to carry: environment, args"),
    "ServerTimeout": _BUSY,
    "Timeout": _BUSY,
    "TooManyRequests": _plain(errors.EngineUnreachable, "it is overloaded: try again later"),
    "ServiceUnavailable": _BUSY,
    "StoreReadError": _plain(errors.EngineError),
    "InternalError": _plain(errors.EngineError),
}
"""Every reason of a Status (``metav1.StatusReason``)."""

_BY_CODE: Mapping[int, Make] = {
    400: REASONS["BadRequest"],
    401: _REFUSED,
    403: _forbidden,
    404: _not_found,
    409: _conflict,
    429: REASONS["TooManyRequests"],
    502: _BUSY,
    503: _BUSY,
    504: _BUSY,
}
"""What something before the API server, or an admission webhook, says without a reason."""


# Why a container does not start.

_REGISTRY_LOGIN = (
    "give the cluster credentials for that registry: an imagePullSecret of the namespace's "
    "service account, or registry credentials in the task's file"
)
_NO_IMAGE = (
    "see whether its name is right, push it to where the nodes fetch images, or load it into them "
    "(kind load docker-image)"
)
_IN_CONTAINERD = re.compile(r"failed to resolve reference .*: not found$|: not found$")


def _of_registry(call: Call, said: Said) -> errors.EngineError:
    """The registry's words, through the node's runtime: in Docker's or in containerd's words."""
    words = said.message or said.reason
    if _IN_CONTAINERD.search(words.rstrip()):
        return errors.ImageNotFound(call.image, words, fix=_NO_IMAGE)
    asked = docker_errors.Call(call.doing, docker_errors.Thing.PULL, call.image)
    error = docker_errors.translate(asked, None, words)
    if isinstance(error, errors.ImageDenied):
        error.fix = f"{_NO_IMAGE}; or {_REGISTRY_LOGIN}"
    elif isinstance(error, errors.ImageNotFound):
        error.fix = _NO_IMAGE
    elif isinstance(error, errors.ImagePullFailed):
        # Where the nodes have it, no registry is asked.
        error.fix = f"{_NO_IMAGE}; or {error.fix}"
    return error


def _of_runtime(call: Call, said: Said) -> errors.EngineError:
    """The node's own words about a container that it can't make or start."""
    asked = docker_errors.Call(call.doing, docker_errors.Thing.CONTAINER, call.image)
    words = f"{said.reason}: {said.message}" if said.message else said.reason
    return docker_errors.translate(asked, None, words)


def _image(kind: type[errors.ImageError], fix: str) -> Make:
    def make(call: Call, said: Said) -> errors.EngineError:
        return kind(call.image, said.message or said.reason, fix=fix)

    return make


WAITING: Mapping[str, Make] = {
    "ErrImagePull": _of_registry,
    "ImagePullBackOff": _of_registry,
    "RegistryUnavailable": _of_registry,
    "ErrImageNeverPull": _image(errors.ImageNotFound, _NO_IMAGE),
    "InvalidImageName": _image(errors.ImageNameInvalid, "use a name such as me/my-task:1"),
    "ImageInspectError": _image(errors.ImageError, "remove the image from the node"),
    "SignatureValidationFailed": _image(errors.ImageDenied, "sign it as the cluster wants it"),
    "CreateContainerConfigError": _plain(errors.EngineError),
    "CreateContainerError": _of_runtime,
    "RunContainerError": _of_runtime,
    "StartError": _of_runtime,
    "ContainerCannotRun": _of_runtime,
    "PreCreateHookError": _of_runtime,
    "PreStartHookError": _of_runtime,
    "PostStartHookError": _of_runtime,
}
"""Every reason for which the kubelet does not start a container, though it goes on trying."""
