"""Programs in a pod where they can't be had; the rest needs a real cluster."""

from __future__ import annotations

import sys

import pytest
from tests.support.staged_cluster import CUT, NOBODY, StagedCluster, refusal

from lading.engine.kubernetes.api import Api
from lading.engine.kubernetes.config import Access
from lading.engine.kubernetes.errors import Call, Thing
from lading.engine.kubernetes.streams import Forwards, execute
from lading.errors import (
    ContainerNotFound,
    CredentialsRefused,
    EngineDenied,
    EngineError,
    EngineUnreachable,
    NotSupported,
)

DOING = Call("doing something", Thing.POD)
NO_EXEC = (
    'pods "a" is forbidden: User "me" cannot get resource "pods/exec" in API group "" in the '
    'namespace "tasks"'
)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(403, "Forbidden", NO_EXEC), EngineDenied),
        (refusal(404, "NotFound", 'pods "a" not found'), ContainerNotFound),
        (refusal(401, "Unauthorized", "Unauthorized"), CredentialsRefused),
        (refusal(200), EngineError),
        (CUT, EngineUnreachable),
    ],
)
async def test_what_is_refused(answer: bytes, kind: type[EngineError]) -> None:
    cluster = StagedCluster(answer, answer)
    async with cluster.api() as api:
        with pytest.raises(kind, match=r"^doing something failed: "):
            await execute(api, "a", "main", ["tar"], DOING)
        forwards = Forwards(api)
        with pytest.raises(kind):
            await forwards.connect("a", 80, DOING)
        await forwards.close()
    assert cluster.asked == [
        (
            "GET /api/v1/namespaces/tasks/pods/a/exec?"
            "container=main&stdout=true&stderr=true&command=tar"
        ),
        "GET /api/v1/namespaces/tasks/pods/a/portforward?ports=80",
    ]
    assert "sec-websocket-protocol: v4.channel.k8s.io" in cluster.heads[0]
    assert dict(api.calls) == {("get", "pods/exec"): 1, ("get", "pods/portforward"): 1}


async def test_nobody_answers() -> None:
    cluster = StagedCluster()
    async with cluster.listening() as port:
        pass
    api = Api(Access(f"http://127.0.0.1:{port}", "c", "n", NOBODY, None), 10)
    with pytest.raises(EngineUnreachable, match="not reachable: Connection refused"):
        await execute(api, "a", "main", ["tar"], DOING)
    await api.close()


async def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)
    async with StagedCluster().api() as api:
        with pytest.raises(NotSupported, match=r"pip install '\.\[kubernetes\]'"):
            await execute(api, "a", "main", ["tar"], DOING)
