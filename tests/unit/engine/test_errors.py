"""What the engines say, word for word as seen, and what becomes of it."""

from __future__ import annotations

import json

import pytest

from lading import errors
from lading.engine.docker_errors import RULES, Call, Thing, sentence, translate

CONTAINER = Call("creating container x", Thing.CONTAINER, "me/task")
NETWORK = Call("creating network n", Thing.NETWORK)
IMAGE = Call("looking at image me/task", Thing.IMAGE, "me/task")
PULL = Call("pulling image me/task", Thing.PULL, "me/task")
PUSH = Call("pushing image me/task", Thing.PUSH, "me/task")
BUILD = Call("building image me/task", Thing.BUILD, "me/task")

SEEN: list[tuple[Call, int | None, str, type[errors.EngineError]]] = [
    # Docker 20.10.
    (
        Call("connecting"),
        400,
        "Client sent an HTTP request to an HTTPS server.",
        errors.EngineUnreachable,
    ),
    (CONTAINER, 404, "No such image: nope/nope:1", errors.ImageNotFound),
    (
        CONTAINER,
        400,
        "invalid reference format: repository name must be lowercase",
        errors.ImageNameInvalid,
    ),
    (CONTAINER, 400, "Unknown runtime specified nosuch", errors.NotSupported),
    (
        CONTAINER,
        500,
        'could not select device driver "nvidia" with capabilities: [[gpu]]',
        errors.NotSupported,
    ),
    (
        CONTAINER,
        400,
        'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"',
        errors.NotSupported,
    ),
    (
        CONTAINER,
        500,
        (
            "did not receive systemd slice as cgroup parent when using systemd to manage cgroups: "
            "invalid argument"
        ),
        errors.NotSupported,
    ),
    (CONTAINER, 404, "network nonesuch not found", errors.NetworkNotFound),
    (
        CONTAINER,
        400,
        'invalid mount config for type "bind": bind source path does not exist: /x',
        errors.EngineError,
    ),
    (
        CONTAINER,
        409,
        (
            'Conflict. The container name "/a" is already in use by container "6b19". You have to '
            "remove (or rename) that container to be able to reuse that name."
        ),
        errors.NameTaken,
    ),
    (CONTAINER, 404, "No such container: nope", errors.ContainerNotFound),
    (CONTAINER, 404, "Could not find the file /nope in container 668a", errors.EngineError),
    (
        CONTAINER,
        400,
        "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        errors.EngineError,
    ),
    (NETWORK, 409, "network with name n already exists", errors.NameTaken),
    (NETWORK, 404, "network n not found", errors.NetworkNotFound),
    (
        NETWORK,
        403,
        "error while removing network: network n id 7aa9 has active endpoints",
        errors.EngineError,
    ),
    (IMAGE, 404, "no such image: me/task: No such image: me/task:latest", errors.ImageNotFound),
    (
        PULL,
        404,
        (
            "pull access denied for me/task, repository does not exist or may require "
            "'docker login': denied: requested access to the resource is denied"
        ),
        errors.ImageDenied,
    ),
    (
        PULL,
        404,
        "manifest for me/task:2 not found: manifest unknown: manifest unknown",
        errors.ImageNotFound,
    ),
    (PULL, 500, "unauthorized", errors.ImageDenied),
    (PULL, 500, 'Get "http://127.0.0.1:1/v2/": no basic auth credentials', errors.ImageDenied),
    (
        PULL,
        500,
        'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
        errors.ImagePullFailed,
    ),
    (PULL, None, "unexpected EOF", errors.ImagePullFailed),
    (PULL, None, "toomanyrequests: You have reached your pull rate limit", errors.ImagePullFailed),
    (PULL, 400, "invalid reference format", errors.ImageNameInvalid),
    (BUILD, None, "The command '/bin/sh -c false' returned a non-zero code: 1", errors.BuildFailed),
    (BUILD, 400, "dockerfile parse error line 1: unknown instruction: FORM", errors.BuildFailed),
    # Podman 4.3.
    (
        CONTAINER,
        500,
        "no such image: docker.io/nope/nope:1: image not known",
        errors.ImageNotFound,
    ),
    (
        CONTAINER,
        500,
        "normalizing image: normalizing name for compat API: invalid reference format",
        errors.ImageNameInvalid,
    ),
    (
        CONTAINER,
        500,
        "unable to find network with name or ID nonesuch: network not found",
        errors.NetworkNotFound,
    ),
    (
        CONTAINER,
        500,
        "setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=0",
        errors.NotSupported,
    ),
    (CONTAINER, 500, "statfs /nonesuch/x: no such file or directory", errors.EngineError),
    (
        CONTAINER,
        500,
        (
            'creating container storage: the container name "a" is already in use by 8ab0. '
            "You have to remove that container to be able to reuse that name: that name is "
            "already in use"
        ),
        errors.NameTaken,
    ),
    (
        CONTAINER,
        404,
        'no container with name or ID "nope" found: no such container',
        errors.ContainerNotFound,
    ),
    (CONTAINER, 404, "", errors.ContainerNotFound),
    (NETWORK, 500, "network name n already used: network already exists", errors.NameTaken),
    (
        PULL,
        None,
        "initializing source docker://r/x:1: reading manifest 1 in r/x: manifest unknown",
        errors.ImageNotFound,
    ),
    (
        PULL,
        None,
        "initializing source docker://r/x:1: reading manifest 1 in r/x: denied",
        errors.ImageDenied,
    ),
    (
        PULL,
        None,
        (
            "initializing source docker://r/x:1: unable to retrieve auth token: invalid "
            "username/password: unauthorized"
        ),
        errors.ImageDenied,
    ),
    # Pushing, to docker-registry 2.8 and to what fails as proxies do: Docker, then Podman.
    (PUSH, None, "no basic auth credentials", errors.ImageDenied),
    (PUSH, None, "unauthorized: authentication required", errors.ImageDenied),
    (PUSH, None, "tag does not exist: me/task:none", errors.ImageNotFound),
    (
        PUSH,
        None,
        'Get "http://r/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
        errors.ImagePushFailed,
    ),
    (
        PUSH,
        None,
        'Get "https://r/v2/": http: server gave HTTP response to HTTPS client',
        errors.ImagePushFailed,
    ),
    (
        PUSH,
        None,
        (
            "error parsing HTTP 405 response body: invalid character 'M' looking for beginning of "
            'value: "Method not allowed\\n"'
        ),
        errors.ImagePushFailed,
    ),
    (
        PULL,
        500,
        'Get "https://r/v2/": http: server gave HTTP response to HTTPS client',
        errors.ImagePullFailed,
    ),
    (PULL, None, "invalid checksum digest length", errors.ImagePullFailed),
    (PUSH, 400, "invalid reference format", errors.ImageNameInvalid),
    (
        PUSH,
        404,
        "failed to find image r/t/p:none: r/t/p:none: image not known",
        errors.ImageNotFound,
    ),
    (
        PUSH,
        None,
        (
            "trying to reuse blob sha256:c3 at destination: checking whether a blob exists "
            "in r/t/p: unauthorized: authentication required"
        ),
        errors.ImageDenied,
    ),
]


@pytest.mark.parametrize(("call", "status", "text", "kind"), SEEN)
def test_what_was_seen(
    call: Call, status: int | None, text: str, kind: type[errors.EngineError]
) -> None:
    error = translate(call, status, text)
    assert type(error) is kind
    assert text in error.message
    assert error.status == status
    if isinstance(error, errors.ImageError):
        assert error.image == "me/task"
    else:
        assert call.doing in error.message


@pytest.mark.parametrize(
    ("text", "passing"),
    [
        # docker-registry that was killed, and what proxies in front of one say.
        ('Get "http://r/v2/": dial tcp 127.0.0.1:1: connect: connection refused', True),
        ('Put "http://r/v2/t/p/blobs/uploads/1": EOF', True),
        (
            'Patch "http://r/v2/t": read tcp 127.0.0.1:1->127.0.0.1:2: connection reset by peer',
            True,
        ),
        ("received unexpected HTTP status: 503 Service Unavailable", True),
        ('error parsing HTTP 429 response body: unexpected end of JSON input: ""', True),
        ("failed to read from destination repository t/p: 502 (Bad Gateway)", True),
        ("failed to read from destination repository t/p: 429 (Too Many Requests)", True),
        ("net/http: TLS handshake timeout", True),
        ("dial tcp: lookup r on 127.0.0.1:53: server misbehaving", True),
        ('error parsing HTTP 413 response body: unexpected end of JSON input: ""', False),
        ("writing blob: initiating layer upload: StatusCode: 405, Method not allowed", False),
        ("x509: certificate signed by unknown authority", False),
        ('Get "https://r/v2/": http: server gave HTTP response to HTTPS client', False),
        ("manifest invalid: manifest invalid", False),
    ],
)
def test_what_may_pass_by_itself(text: str, passing: bool) -> None:
    push, pull = translate(PUSH, None, text), translate(PULL, None, text)
    assert isinstance(push, errors.ImagePushFailed)
    assert isinstance(pull, errors.ImagePullFailed)
    assert (push.passing, pull.passing) == (passing, passing)
    assert push.fix


# Not said by the engine in so many words: found by us, before or after.
ELSEWHERE = {
    errors.EngineTooOld,
    errors.ImageFileNotFound,
    errors.ImageError,
}

# What only a cluster refuses: kubernetes/test_errors.py.
OF_CLUSTERS = {
    errors.CredentialsRefused,
    errors.EngineDenied,
    errors.NamespaceNotFound,
    errors.QuotaExceeded,
    errors.Unschedulable,
}


def _tree(kind: type[errors.EngineError]) -> set[type[errors.EngineError]]:
    return {kind}.union(*(_tree(child) for child in kind.__subclasses__()))


def test_every_engine_error_comes_from_somewhere() -> None:
    seen = {kind for _, _, _, kind in SEEN}
    assert seen | ELSEWHERE | OF_CLUSTERS == _tree(errors.EngineError)


def test_every_rule_decides_something_seen() -> None:
    used = set()
    for call, status, text, _ in SEEN:
        used.add(
            next((i for i, r in enumerate(RULES) if r.matches(call, status, text.lower())), -1)
        )
    by_status_only = {i for i, rule in enumerate(RULES) if rule.pattern is None and rule.status}
    assert set(range(len(RULES))) - used <= by_status_only


@pytest.mark.parametrize("thing", list(Thing))
@pytest.mark.parametrize("status", [None, 400, 404, 409, 500, 503])
def test_what_was_never_seen_keeps_its_words(thing: Thing, status: int | None) -> None:
    error = translate(Call("doing it", thing, "me/task"), status, "a new sentence")
    assert "a new sentence" in str(error)
    assert error.status == status


def test_the_sentence_in_a_reply() -> None:
    assert sentence(b'{"message":"why"}\n') == "why"
    podman = {"cause": "c", "message": "m: c", "response": 500}
    assert sentence(json.dumps(podman).encode()) == "m: c"
    assert sentence(b'{"cause":"c","message":""}') == "c"
    assert sentence(b"page not found\n") == "page not found"
    assert sentence(b"") == ""
