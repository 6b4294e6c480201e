"""Calls to an API server that misbehaves in ways that no real one can be made to."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from tests.support.staged_cluster import CUT, NOBODY, StagedCluster, refusal, reply, status

from lading.engine.kubernetes.api import NODES, POD_METRICS, PODS, POLICIES, Api
from lading.engine.kubernetes.auth import Credential
from lading.engine.kubernetes.config import Access, Tls
from lading.engine.kubernetes.dialling import Dial
from lading.engine.kubernetes.errors import Call, Thing
from lading.errors import (
    ConfigError,
    ContainerNotFound,
    CredentialsRefused,
    EngineError,
    EngineUnreachable,
    ReplyTooLarge,
)
from lading.http1 import Connection

DOING = Call("doing something", Thing.POD)


async def test_where_things_are() -> None:
    cluster = StagedCluster(*[reply(200)] * 6)
    async with cluster.api() as api:
        await api.call("list", PODS, DOING, namespace="", query={"limit": 3, "x": None})
        await api.call("get", PODS, DOING, name="a")
        await api.read("get", PODS, DOING, name="a", sub="log", query={"follow": False})
        await api.call("create", POLICIES, DOING, namespace="n", body={"x": 1})
        await api.call("get", POD_METRICS, DOING, name="a")
        await api.call("get", NODES, DOING, name="n", sub="proxy/stats/summary")
    assert cluster.asked == [
        "GET /api/v1/pods?limit=3",
        "GET /api/v1/namespaces/tasks/pods/a",
        "GET /api/v1/namespaces/tasks/pods/a/log?follow=false",
        "POST /apis/networking.k8s.io/v1/namespaces/n/networkpolicies",
        "GET /apis/metrics.k8s.io/v1beta1/namespaces/tasks/pods/a",
        "GET /api/v1/nodes/n/proxy/stats/summary",
    ]
    assert cluster.bodies[3] == b'{"x": 1}'
    assert dict(api.calls) == {
        ("list", "pods"): 1,
        ("get", "pods"): 2,
        ("get", "pods/log"): 1,
        ("create", "networkpolicies"): 1,
        ("get", "nodes/proxy"): 1,
    }


async def test_what_is_accepted_and_what_is_raised() -> None:
    cluster = StagedCluster(*[refusal(404, "NotFound", 'pods "a" not found')] * 2)
    async with cluster.api() as api:
        found = await api.call("get", PODS, DOING, name="a", accept=frozenset({404}))
        assert (found["kind"], found["code"]) == ("Status", 404)
        with pytest.raises(ContainerNotFound, match='pods "a" not found'):
            await api.call("get", PODS, DOING, name="a")


@pytest.mark.parametrize("code", [429, 503])
async def test_it_waits_as_long_as_it_is_asked_to(code: int) -> None:
    cluster = StagedCluster(refusal(code, "", "", "retry-after: 1"), reply(200))
    async with cluster.api() as api:
        began = time.monotonic()
        await api.call("create", PODS, DOING, body={})
        assert time.monotonic() - began >= 1
    assert len(cluster.asked) == 2


async def test_it_does_not_wait_beyond_its_time() -> None:
    cluster = StagedCluster(refusal(429, "TooManyRequests", "slow down", "retry-after: 3600"))
    async with cluster.api(timeout=5) as api:
        with pytest.raises(EngineUnreachable, match=r"slow down; it is overloaded"):
            await api.call("list", PODS, DOING)


async def test_a_quota_that_several_change_at_once() -> None:
    """Seen with 1.20: what is made at the same time in a namespace with a quota."""
    said = status(409, "Conflict", "Operation cannot be fulfilled", kind="resourcequotas")
    cluster = StagedCluster(reply(409, said), reply(409, said), reply(201))
    async with cluster.api() as api:
        await api.call("create", PODS, DOING, body={})
    assert len(cluster.asked) == 3


async def test_a_kept_connection_that_was_just_closed() -> None:
    cluster = StagedCluster(reply(200), CUT, reply(200))
    async with cluster.api() as api:
        await api.call("list", PODS, DOING)
        await api.call("delete", PODS, DOING, name="a")
    assert len(cluster.asked) == 3


async def test_what_may_have_been_made_is_not_made_twice() -> None:
    cluster = StagedCluster(reply(200), CUT, CUT, reply(201))
    async with cluster.api() as api:
        await api.call("list", PODS, DOING)
        with pytest.raises(EngineUnreachable):
            await api.call("create", PODS, DOING, body={})
        # What makes nothing may be asked again.
        await api.call("create", PODS, DOING, body={}, query={"dryRun": "All"})
    assert len(cluster.asked) == 4


async def test_a_server_that_is_away_for_a_moment_once_it_was_known() -> None:
    first, second = StagedCluster(reply(200)), StagedCluster(reply(200))
    async with first.listening() as port:
        api = Api(Access(f"http://127.0.0.1:{port}", "c", "n", NOBODY, None), 10)
        await api.call("list", PODS, DOING)
    calling = asyncio.create_task(api.call("delete", PODS, DOING, name="a"))
    await asyncio.sleep(0)
    async with second.listening(port=port):
        await calling
    await api.close()
    assert second.asked == ["DELETE /api/v1/namespaces/n/pods/a"]


async def test_a_name_that_is_not_known_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = StagedCluster(reply(200), reply(200))
    async with cluster.api() as api:
        await api.call("list", PODS, DOING)
        api._client.close()  # what is kept
        opening, failures = api._dial.__class__.__call__, [socket.gaierror(-3, "later")]

        async def dial(self: Dial) -> Connection:
            if failures:
                raise failures.pop()
            return await opening(self)

        monkeypatch.setattr(Dial, "__call__", dial)
        await api.call("create", PODS, DOING, body={})
    assert (len(cluster.asked), failures) == (2, [])


async def test_a_server_that_never_was_there() -> None:
    cluster = StagedCluster()
    async with cluster.listening() as port:
        pass
    api = Api(Access(f"http://127.0.0.1:{port}", "c", "n", NOBODY, None), 60)
    with pytest.raises(EngineUnreachable, match=rf"127.0.0.1:{port} is not reachable: Conn") as it:
        await api.call("list", PODS, DOING)
    assert "kubectl cluster-info" in it.value.fix
    await api.close()


async def test_no_answer_in_time() -> None:
    cluster = StagedCluster(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
    async with cluster.api(timeout=0.2) as api:
        with pytest.raises(EngineUnreachable, match="did not answer within 200 ms"):
            await api.call("list", PODS, DOING)


async def test_what_is_no_api() -> None:
    cluster = StagedCluster(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>")
    async with cluster.api() as api:
        with pytest.raises(EngineError, match="no cluster's API, it says '<html>'"):
            await api.call("list", PODS, DOING)


async def test_no_more_than_is_wanted() -> None:
    cluster = StagedCluster(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabcdef")
    async with cluster.api() as api:
        with pytest.raises(ReplyTooLarge):
            await api.read("get", PODS, DOING, name="a", sub="log", limit=5)


class Renewed:
    """Credentials of which another one can be had."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)

    async def current(self) -> Credential:
        return Credential(f"Bearer {self.tokens[0]}")

    def refused(self, used: Credential) -> bool:
        return len(self.tokens) > 1 and bool(self.tokens.pop(0))


async def test_a_token_that_has_expired_is_renewed_once() -> None:
    cluster = StagedCluster(refusal(401, "Unauthorized", "Unauthorized"), reply(200))
    async with cluster.api(credentials=Renewed("old", "new")) as api:
        await api.call("create", PODS, DOING, body={})
    assert ["bearer old" in cluster.heads[0], "bearer new" in cluster.heads[1]] == [True, True]


async def test_a_token_that_is_refused_for_good() -> None:
    cluster = StagedCluster(*[refusal(401, "Unauthorized", "Unauthorized")] * 2)
    async with cluster.api(credentials=Renewed("old", "new", "newer")) as api:
        with pytest.raises(CredentialsRefused, match="log in again"):
            await api.call("list", PODS, DOING)
    assert len(cluster.asked) == 2


# TLS.


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Of ``other.test``, signed by itself."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=other.test",
         "-addext", "subjectAltName=DNS:other.test", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def _serving(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def _ask(certificate: tuple[Path, Path], tls: Tls) -> None:
    cluster = StagedCluster(reply(200), reply(200))
    async with cluster.api(context=_serving(certificate), tls=tls) as api:
        await api.call("list", PODS, DOING)
        await api.call("list", PODS, DOING)


async def test_a_certificate_of_an_authority_that_is_trusted(
    certificate: tuple[Path, Path],
) -> None:
    await _ask(certificate, Tls(certificate[0].read_bytes(), server_name="other.test"))


async def test_a_certificate_that_is_not_to_be_verified(certificate: tuple[Path, Path]) -> None:
    await _ask(certificate, Tls(verify=False))


async def test_a_certificate_of_another_authority(certificate: tuple[Path, Path]) -> None:
    with pytest.raises(EngineUnreachable, match=r"not to be trusted: self.signed") as it:
        await _ask(certificate, Tls(server_name="other.test"))
    assert "certificate-authority" in it.value.fix


async def test_a_certificate_of_another_server(certificate: tuple[Path, Path]) -> None:
    with pytest.raises(EngineUnreachable, match="not to be trusted") as it:
        await _ask(certificate, Tls(certificate[0].read_bytes()))
    assert "tls-server-name" in it.value.fix


async def test_what_speaks_no_tls() -> None:
    cluster = StagedCluster()
    async with cluster.listening() as port:
        api = Api(Access(f"https://127.0.0.1:{port}", "c", "n", NOBODY, Tls()), 10)
        asking = asyncio.create_task(api.call("list", PODS, DOING))
        while not cluster._connections:
            await asyncio.sleep(0.01)
        for writer in cluster._connections:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(EngineUnreachable, match="does not speak TLS"):
            await asking
        await api.close()


async def test_what_is_no_certificate() -> None:
    with pytest.raises(ConfigError, match="no certificate in PEM"):
        await Api(Access("https://127.0.0.1:1", "c", "n", NOBODY, Tls(b"x")), 1).call(
            "list", PODS, DOING
        )


async def test_a_client_certificate(certificate: tuple[Path, Path]) -> None:
    context = _serving(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificate[0])
    cert, key = (path.read_bytes() for path in certificate)

    class Ours:
        async def current(self) -> Credential:
            return Credential("", cert, key)

        def refused(self, used: Credential) -> bool:
            return False

    cluster = StagedCluster(reply(200))
    async with cluster.api(
        context=context, tls=Tls(cert, server_name="other.test"), credentials=Ours()
    ) as api:
        await api.call("list", PODS, DOING)
