"""One list and one watch, through whatever happens to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.staged_cluster import Broken, StagedCluster, events, refusal, reply, status

from lading.engine.kubernetes import watch as module
from lading.engine.kubernetes.watch import PodWatch
from lading.errors import CredentialsRefused, EngineDenied, EngineError, EngineUnreachable


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.001)
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.01)


def pod(name: str, version: int, uid: str = "1", phase: str = "Running") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": uid, "resourceVersion": str(version)},
        "status": {"phase": phase},
    }


def listed(version: int, *pods: dict[str, Any]) -> bytes:
    return reply(200, {"metadata": {"resourceVersion": str(version)}, "items": list(pods)})


def seen(kind: str, thing: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": thing}


@contextlib.asynccontextmanager
async def watching(
    *replies: bytes, **options: Any
) -> AsyncIterator[tuple[PodWatch, StagedCluster]]:
    cluster = StagedCluster(*replies)
    async with cluster.api(timeout=options.pop("timeout", 10)) as api:
        watch = PodWatch(api, "jobs", "lading.client=x", **options)
        try:
            await watch.start()
            yield watch, cluster
        finally:
            await watch.close()


async def test_it_goes_on_from_where_it_was() -> None:
    async with watching(
        listed(5, pod("a", 3)),
        events(seen("ADDED", pod("b", 6)), seen("MODIFIED", pod("a", 7))),
        Broken(events(seen("BOOKMARK", pod("", 20)), seen("ADDED", pod("c", 30)), end=False)[:-9]),
        events(seen("DELETED", pod("a", 21)), end=False),
    ) as (watch, cluster):
        with watch.follow("a") as sightings:
            sights = [await sightings.next() for _ in range(3)]
    versions = [sight.pod["metadata"]["resourceVersion"] for sight in sights]
    assert (versions, [sight.gone for sight in sights]) == (["3", "7", "21"], [False, False, True])
    asked = [target.partition("?")[2] for target in cluster.asked]
    assert asked[0] == "labelSelector=lading.client%3Dx"
    assert all("allowWatchBookmarks=true" in target for target in asked[1:])
    began = [target.partition("resourceVersion=")[2].partition("&")[0] for target in asked[1:]]
    assert began == ["5", "7", "20"]


async def test_what_was_deleted_while_nobody_watched() -> None:
    """410: all are listed again, and what is missing has been deleted; not what came later."""
    expired = seen("ERROR", status(410, "Expired", "too old resource version"))
    async with watching(
        listed(5, pod("a", 3), pod("b", 4)), events(expired), listed(9, pod("b", 8)),
    ) as (watch, _):  # fmt: skip
        watch.learn(pod("c", 11))
        with watch.follow("a") as one, watch.follow("b") as other:
            assert not (await one.next()).gone
            assert (await one.next()).gone
            assert [(await other.next()).pod["metadata"]["resourceVersion"] for _ in "ab"] == [
                "4",
                "8",
            ]
        assert watch.look("a") is None
        assert watch.look("c") is not None


async def test_a_version_that_is_too_old_from_the_first() -> None:
    async with watching(listed(5), refusal(410, "Expired", "too old"), listed(9, pod("a", 8))) as (
        watch,
        _,
    ):
        with watch.follow("a") as sightings:
            assert (await sightings.next()).pod["metadata"]["resourceVersion"] == "8"


async def test_another_pod_of_the_same_name() -> None:
    async with watching(
        listed(5, pod("a", 3, "old")), events(seen("ADDED", pod("a", 9, "new")), end=False)
    ) as (watch, _):
        with watch.follow("a", "old") as old, watch.follow("a", "new") as new:
            assert not (await old.next()).gone
            assert (await old.next()).gone
            assert (await new.next()).pod["metadata"]["uid"] == "new"


async def test_what_a_call_answered_is_known_at_once_and_not_told_twice() -> None:
    async with watching(
        listed(5), events(seen("ADDED", pod("a", 6)), seen("MODIFIED", pod("a", 7)), end=False)
    ) as (watch, _):
        with watch.follow("a") as sightings:
            watch.learn(pod("a", 6))
            seen_so_far = [
                (await sightings.next()).pod["metadata"]["resourceVersion"] for _ in "ab"
            ]
            watch.learn(pod("a", 6))
        assert seen_so_far == ["6", "7"]
        found = watch.look("a")
        assert found is not None
        assert found["metadata"]["resourceVersion"] == "7"


async def test_we_may_not_list() -> None:
    with pytest.raises(EngineDenied):
        async with watching(refusal(403, "Forbidden", "no")):
            pass


async def test_a_token_that_expires_meanwhile_is_told_to_all() -> None:
    gone = refusal(401, "Unauthorized", "Unauthorized")
    async with watching(listed(5, pod("a", 3)), *[gone] * 3, listed(9, pod("a", 8))) as (watch, _):
        with watch.follow("a") as one, watch.follow("b") as other:
            await one.next()
            for sightings in (one, other, one):
                with pytest.raises(CredentialsRefused):
                    await sightings.next()
        with watch.follow("c") as late, pytest.raises(CredentialsRefused):
            await late.next()
        await watch.start()  # begins anew
        found = watch.look("a")
        assert found is not None
        assert found["metadata"]["resourceVersion"] == "8"


async def test_one_refusal_may_pass() -> None:
    """An API server that was just started does not know all rules yet."""
    async with watching(
        listed(5),
        refusal(403, "Forbidden", "not yet"),
        refusal(500, "InternalError", "not yet"),
        events(seen("ADDED", pod("a", 6)), end=False),
    ) as (watch, _):
        with watch.follow("a") as sightings:
            assert not (await sightings.next()).gone


async def test_a_cluster_that_stays_away() -> None:
    cluster = StagedCluster(listed(5))
    async with cluster.api(timeout=0.05) as api:
        watch = PodWatch(api, "jobs", patience=0.1)
        await watch.start()
        with watch.follow("a") as sightings:
            cluster.replies = [b""] * 1000
            for writer in cluster._connections:
                writer.transport.abort()
            with pytest.raises(EngineUnreachable, match=r"has not answered for 100 ms: .*closed"):
                await sightings.next()
        await watch.close()


async def test_one_that_is_closed_tells_who_follows() -> None:
    async with watching(listed(5)) as (watch, _):
        with watch.follow("a") as sightings:
            waiting = asyncio.create_task(sightings.next())
            await asyncio.sleep(0)
            await watch.close()
            with pytest.raises(EngineError, match="was closed"):
                await waiting
        with pytest.raises(EngineError, match="was closed"):
            await watch.start()
