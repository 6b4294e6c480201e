"""What clusters say, word for word as seen, and what becomes of it."""

from __future__ import annotations

import json

import pytest

from lading import errors
from lading.engine.kubernetes.errors import REASONS, WAITING, Call, Thing, refusal, translate

POD = Call("starting container x", Thing.POD, "me/task:1")
OF_POLICY = Call("removing network n", Thing.NETWORK)

RBAC = (
    'pods is forbidden: User "system:serviceaccount:jobs:runner" cannot create resource "pods" in '
    'API group "" in the namespace "jobs"'
)
SEEN: list[tuple[Call, int, str, str, dict[str, object], type[errors.EngineError]]] = [
    # Kubernetes 1.20.
    (POD, 401, "Unauthorized", "Unauthorized", {}, errors.CredentialsRefused),
    (POD, 403, "Forbidden", RBAC, {"kind": "pods"}, errors.EngineDenied),
    (
        POD,
        403,
        "Forbidden",
        (
            'pods "x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, '
            "limited: "
            "pods=1"
        ),
        {"kind": "pods"},
        errors.QuotaExceeded,
    ),
    (
        POD,
        403,
        "Forbidden",
        'pods "x" is forbidden: failed quota: small: must specify limits.cpu,limits.memory',
        {"kind": "pods"},
        errors.QuotaExceeded,
    ),
    (
        POD,
        403,
        "Forbidden",
        'pods "x" is forbidden: maximum memory usage per Container is 64Mi, but limit is 128Mi',
        {"kind": "pods"},
        errors.QuotaExceeded,
    ),
    (
        POD,
        403,
        "Forbidden",
        'pods "x" is forbidden: pod rejected: RuntimeClass "gvisor" not found',
        {"kind": "pods"},
        errors.NotSupported,
    ),
    (
        POD,
        403,
        "Forbidden",
        (
            'pods "x" is forbidden: error looking up service account jobs/me: serviceaccount "me" '
            "not "
            "found"
        ),
        {"kind": "pods"},
        errors.EngineDenied,
    ),
    (
        POD,
        403,
        "Forbidden",
        (
            'pods "x" is forbidden: unable to create new content in namespace jobs because it is '
            "being "
            "terminated"
        ),
        {"kind": "pods", "causes": [{"reason": "NamespaceTerminating"}]},
        errors.NamespaceNotFound,
    ),
    # Kubernetes 1.25 and newer.
    (
        POD,
        403,
        "Forbidden",
        'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
        {"kind": "pods"},
        errors.EngineDenied,
    ),
    (
        POD,
        404,
        "NotFound",
        'namespaces "jobs" not found',
        {"kind": "namespaces"},
        errors.NamespaceNotFound,
    ),
    (POD, 404, "NotFound", 'pods "x" not found', {"kind": "pods"}, errors.ContainerNotFound),
    (
        OF_POLICY,
        404,
        "NotFound",
        'networkpolicies.networking.k8s.io "n" not found',
        {"kind": "networkpolicies"},
        errors.NetworkNotFound,
    ),
    (
        POD,
        404,
        "NotFound",
        "the server could not find the requested resource",
        {},
        errors.NotSupported,
    ),
    (POD, 409, "AlreadyExists", 'pods "x" already exists', {"kind": "pods"}, errors.NameTaken),
    (
        POD,
        409,
        "Conflict",
        (
            "Operation cannot be fulfilled on Pod x: Precondition failed: UID in precondition: a, "
            "UID in object meta: b"
        ),
        {"kind": "Pod"},
        errors.ContainerNotFound,
    ),
    (POD, 410, "Expired", "too old resource version: 1 (2)", {}, errors.EngineError),
    (POD, 503, "ServiceUnavailable", "apiserver not ready", {}, errors.EngineUnreachable),
]


@pytest.mark.parametrize(("call", "code", "reason", "words", "details", "kind"), SEEN)
def test_what_was_seen(
    call: Call,
    code: int,
    reason: str,
    words: str,
    details: dict[str, object],
    kind: type[errors.EngineError],
) -> None:
    said = {"kind": "Status", "code": code, "reason": reason, "message": words, "details": details}
    error = translate(call, code, json.dumps(said).encode())
    assert type(error) is kind
    assert error.status == code
    assert str(error).startswith(f"{call.doing} failed: ")


def test_a_permission_that_is_missing_is_named() -> None:
    error = translate(POD, 403, {"reason": "Forbidden", "message": RBAC})
    assert isinstance(error, errors.EngineDenied)
    assert (error.verb, error.resource, error.namespace) == ("create", "pods", "jobs")
    assert error.message == (
        "starting container x failed: 'system:serviceaccount:jobs:runner' may not create pods in "
        "namespace 'jobs'"
    )
    assert error.fix == (
        "ask for a Role in namespace 'jobs' with the rule "
        '{apiGroups: [""], resources: ["pods"], verbs: ["create"]}, '
        "bound to 'system:serviceaccount:jobs:runner'"
    )


def test_a_permission_for_the_whole_cluster() -> None:
    words = (
        'nodes is forbidden: User "me" cannot list resource "nodes" in API group "" at the cluster '
        "scope"
    )
    error = translate(POD, 403, {"reason": "Forbidden", "message": words})
    assert error.message.endswith("'me' may not list nodes in the whole cluster")
    assert error.fix.startswith("ask for a ClusterRole with the rule")


def test_without_credentials() -> None:
    error = translate(POD, 403, {"message": RBAC.replace("system:serviceaccount:jobs:runner",
                                                         "system:anonymous")})  # fmt: skip
    assert "nobody may not" not in error.fix
    assert "log in to the cluster first" in error.fix


def test_a_field_that_is_invalid_is_named() -> None:
    said = {
        "reason": "Invalid",
        "message": 'Pod "x" is invalid: spec.containers[0].image: Required value',
        "details": {"causes": [{"field": "spec.containers[0].image"}]},
    }
    error = translate(POD, 422, said)
    assert type(error) is errors.EngineError
    assert error.fix == "change what ends up in the pod's spec.containers[0].image"


def test_the_words_of_pod_security_are_kept() -> None:
    words = 'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
    error = translate(POD, 403, {"reason": "Forbidden", "message": words})
    assert words in error.message
    assert "sealed" in error.fix


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (401, errors.CredentialsRefused),
        (403, errors.EngineDenied),
        (429, errors.EngineUnreachable),
        (500, errors.EngineError),
        (502, errors.EngineUnreachable),
        (504, errors.EngineUnreachable),
    ],
)
def test_what_something_in_between_says(code: int, kind: type[errors.EngineError]) -> None:
    error = translate(POD, code, b"<html>nothing here</html>")
    assert type(error) is kind
    assert "nothing here" in error.message
    assert "without a word" in translate(POD, code, b"").message


def test_every_reason_of_a_status_is_known() -> None:
    """Those of ``metav1.StatusReason``, in Kubernetes 1.33."""
    assert set(REASONS) == {
        "Unauthorized", "Forbidden", "NotFound", "AlreadyExists", "Conflict", "Gone", "Invalid",
        "ServerTimeout", "StoreReadError", "Timeout", "TooManyRequests", "BadRequest",
        "MethodNotAllowed", "NotAcceptable", "RequestEntityTooLarge", "UnsupportedMediaType",
        "InternalError", "Expired", "ServiceUnavailable",
    }  # fmt: skip


PULLED: list[tuple[str, str, type[errors.EngineError]]] = [
    # dockershim.
    (
        "ErrImagePull",
        (
            "rpc error: code = Unknown desc = Error response from daemon: pull access denied for "
            "me/task, repository does not exist or may require 'docker login': denied: requested "
            "access to the resource is denied"
        ),
        errors.ImageDenied,
    ),
    (
        "ErrImagePull",
        (
            "rpc error: code = Unknown desc = Error response from daemon: manifest for me/task:1 "
            "not found: manifest unknown: manifest unknown"
        ),
        errors.ImageNotFound,
    ),
    (
        "ErrImagePull",
        (
            "rpc error: code = Unknown desc = Error response from daemon: Get "
            "https://registry.test/v2/: dial tcp: lookup registry.test: no such host"
        ),
        errors.ImagePullFailed,
    ),
    # containerd.
    (
        "ErrImagePull",
        (
            'rpc error: code = NotFound desc = failed to pull and unpack image "me/task:1": '
            'failed to resolve reference "docker.io/me/task:1": docker.io/me/task:1: not found'
        ),
        errors.ImageNotFound,
    ),
    (
        "ErrImagePull",
        (
            'failed to pull and unpack image "docker.io/me/task:1": failed to resolve reference '
            '"docker.io/me/task:1": failed to authorize: failed to fetch oauth token: unexpected '
            "status from GET request: 401 Unauthorized"
        ),
        errors.ImageDenied,
    ),
    ("ImagePullBackOff", 'Back-off pulling image "me/task:1"', errors.ImagePullFailed),
    (
        "ErrImageNeverPull",
        'Container image "me/task:1" is not present with pull policy of Never',
        errors.ImageNotFound,
    ),
    ("InvalidImageName", 'Failed to apply default image tag "A:B:C"', errors.ImageNameInvalid),
    ("CreateContainerConfigError", 'secret "s" not found', errors.EngineError),
    (
        "CreateContainerError",
        "Error response from daemon: Unknown runtime specified gvisor",
        errors.NotSupported,
    ),
    ("SomethingNew", "never heard of", errors.EngineError),
]


@pytest.mark.parametrize(("reason", "words", "kind"), PULLED)
def test_why_a_container_does_not_start(
    reason: str, words: str, kind: type[errors.EngineError]
) -> None:
    error = refusal(POD, reason, words)
    assert type(error) is kind
    assert words in error.message


def test_credentials_of_a_registry_are_the_clusters() -> None:
    assert "imagePullSecret" in refusal(POD, "ErrImagePull", "401 Unauthorized").fix


def test_every_reason_for_waiting_has_words() -> None:
    for reason in WAITING:
        assert reason in refusal(POD, reason, "").message
