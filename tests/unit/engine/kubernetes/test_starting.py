"""From made to running: what is waited for, for how long, and what is told meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest
from tests.unit.engine.kubernetes.test_state import ended, pod

from lading.engine.kubernetes.api import Api
from lading.engine.kubernetes.life import Life
from lading.engine.kubernetes.starting import Events, until_begun
from lading.engine.kubernetes.watch import Sight, Sightings
from lading.engine.spec import ContainerSpec
from lading.errors import (
    ContainerNotFound,
    EngineError,
    ImageDenied,
    ImageNotFound,
    ImagePullFailed,
    Unschedulable,
)

RUNS = pod({"running": {}})
UNSCHEDULED = pod(
    None,
    phase="Pending",
    conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes: no memory"}],
)


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return pod({"waiting": {"reason": reason, "message": message}}, phase="Pending")


class Noted(Events):
    """What a cluster notes of pods, without one."""

    def __init__(self, *words: str) -> None:
        super().__init__(api=None)  # type: ignore[arg-type]  # asks nobody
        self.left = deque(words)

    async def words(self, namespace: str, uid: str) -> str:
        return self.left.popleft() if self.left else ""


async def begin(
    *pods: dict[str, Any], patience: float = 60, events: Events | None = None, **options: Any
) -> list[str]:
    """Let a pod go through these states; returns what was told."""
    sightings = Sightings("")
    for found in pods:
        sightings.told(Sight(found))
    told: list[str] = []
    life = Life("jobs", "a", ContainerSpec("x:1"))
    await until_begun(
        life,
        sightings,
        files=None,
        events=events or Noted(),
        patience=patience,
        on_wait=told.append,
        **options,
    )
    return told


async def test_nothing_is_told_of_one_that_starts_at_once() -> None:
    assert await begin(pod(None, phase="Pending"), waits("ContainerCreating"), RUNS) == []
    assert await begin(pod(ended(3))) == []


async def test_each_reason_is_told_once_and_then_its_end() -> None:
    told = await begin(UNSCHEDULED, UNSCHEDULED, waits("ErrImagePull", "dial tcp: refused"), RUNS)
    assert told[0] == "0/3 nodes: no memory"
    assert "dial tcp: refused" in told[1]
    assert told[2:] == [""]


async def test_no_node_takes_it() -> None:
    with pytest.raises(Unschedulable, match="within 10 ms: 0/3 nodes: no memory; ask for less"):
        await begin(UNSCHEDULED, patience=0.01)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("manifest for x:1 not found: manifest unknown: manifest unknown", ImageNotFound),
        ("pull access denied for x, repository does not exist or may require login", ImageDenied),
    ],
)
async def test_what_a_registry_surely_refuses_is_not_waited_for(
    words: str, error: type[EngineError]
) -> None:
    with pytest.raises(error):
        await begin(waits("ErrImagePull", words))


async def test_the_registrys_words_outlast_the_back_off() -> None:
    with pytest.raises(ImagePullFailed, match="dial tcp: connection refused"):
        await begin(
            waits("ErrImagePull", "dial tcp: connection refused"),
            waits("ImagePullBackOff", "Back-off pulling image"),
            patience=0.01,
        )


def helper_waits(reason: str, message: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    found = pod(
        {"waiting": {"reason": "PodInitializing"}},
        phase="Pending",
        initContainerStatuses=[{"name": "lading-in", "state": state}],
    )
    found["spec"]["initContainers"] = [{"name": "lading-in", "image": "tools:1"}]
    return found


@pytest.mark.parametrize("lasting", [True, False])
async def test_a_helpers_image_is_not_taken_for_the_tasks(*, lasting: bool) -> None:
    words = "manifest unknown" if lasting else "dial tcp: connection refused"
    with pytest.raises(ImageNotFound if lasting else ImagePullFailed) as raised:
        await begin(
            helper_waits("ErrImagePull", words),
            helper_waits("ImagePullBackOff", "Back-off pulling image"),
            patience=0.01,
        )
    assert raised.value.message == f"image 'tools:1': {words}"
    assert "--cluster-helper" in raised.value.fix


async def test_a_back_off_of_another_image_has_its_own_words() -> None:
    with pytest.raises(ImagePullFailed, match="image 'x:1': Back-off"):
        await begin(
            helper_waits("ErrImagePull", "dial tcp: connection refused"),
            waits("ImagePullBackOff", "Back-off"),
            patience=0.01,
        )


async def test_a_claim_that_is_not_there() -> None:
    words = '0/1 nodes are available: 1 persistentvolumeclaim "lost" not found'
    unscheduled = pod(
        None,
        phase="Pending",
        conditions=[{"type": "PodScheduled", "status": "False", "message": words}],
    )
    with pytest.raises(Unschedulable) as raised:
        await begin(unscheduled, patience=0.01)
    assert "the claim lost is not in namespace jobs" in raised.value.fix


async def test_what_its_first_program_can_not_live_on() -> None:
    words = "Error response from daemon: Minimum memory limit allowed is 6MB"
    with pytest.raises(EngineError, match="Minimum memory") as raised:
        await begin(waits("CreateContainerError", words), patience=0.01)
    assert "--memory" in raised.value.fix


@pytest.mark.parametrize(
    ("reason", "words", "error"),
    [
        ("ErrImageNeverPull", "not present with pull policy of Never", ImageNotFound),
        ("ErrImagePull", "failed to resolve reference x:1: not found", ImageNotFound),
        ("ErrImagePull", "dial tcp: lookup registry-1.docker.io: no such host", ImagePullFailed),
        ("ErrImagePull", "pull access denied, or may require login: denied", ImageDenied),
    ],
)
async def test_an_image_that_no_node_has(reason: str, words: str, error: type[EngineError]) -> None:
    with pytest.raises(error) as raised:
        await begin(waits(reason, words), patience=0.01)
    for word in ("name is right", "push it", "kind load docker-image"):
        assert word in raised.value.fix


async def test_a_registry_that_is_up_again() -> None:
    told = await begin(waits("ErrImagePull", "dial tcp: refused"), waits("ContainerCreating"), RUNS)
    assert told[-1] == ""


async def test_a_program_that_can_not_be_begun() -> None:
    never = pod(ended(128, "ContainerCannotRun", 'exec: "/nowhere": no such file'))
    with pytest.raises(EngineError, match="/nowhere"):
        await begin(never)
    assert await begin(never, any_program=True) == []


async def test_somebody_deletes_it_meanwhile() -> None:
    leaving = waits("ContainerCreating")
    leaving["metadata"]["deletionTimestamp"] = "2026-11-26T19:00:04Z"
    with pytest.raises(ContainerNotFound):
        await begin(leaving)


async def test_what_the_events_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lading.engine.kubernetes.starting._SILENT", 0.001)
    words = 'FailedMount: secret "x" not found'
    told: list[str] = []
    with pytest.raises(EngineError, match=words):
        await begin(waits("ContainerCreating"), patience=0.05, events=Noted(*[words] * 1000))
    sightings = Sightings("")
    sightings.told(Sight(waits("ContainerCreating")))

    def tell(reason: str) -> None:
        told.append(reason)
        if len(told) == 2:
            sightings.told(Sight(RUNS))

    pulls = ["Pulling: Pulling image x"] * 100 + ["Pulled: there it is"] * 1000
    async with asyncio.timeout(10):
        await until_begun(
            Life("jobs", "a", ContainerSpec("x:1")),
            sightings,
            files=None,
            events=Noted(*pulls),
            patience=0.01,  # a pull may take longer
            on_wait=tell,
        )
    assert told == ["Pulling: Pulling image x", "Pulled: there it is", ""]


class Cluster(Api):
    """Answers the list of events, and counts how often it is asked."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.events = events
        self.asked = 0

    async def call(self, *_: Any, **__: Any) -> dict[str, Any]:
        self.asked += 1
        return {"items": list(self.events)}


def event(uid: str, reason: str, message: str, last: str) -> dict[str, Any]:
    return {
        "involvedObject": {"uid": uid},
        "reason": reason,
        "message": message,
        "lastTimestamp": last,
    }


async def test_events_are_asked_for_once_for_all() -> None:
    cluster = Cluster(
        event("a", "FailedMount", "newest", "2026-11-26T19:00:02Z"),
        event("a", "FailedMount", "older", "2026-11-26T19:00:01Z"),
        event("b", "Pulling", "image x", "2026-11-26T19:00:01Z"),
        event("b", "Scheduled", "to n1", "2026-11-26T19:00:03Z"),
    )
    events = Events(cluster)
    found = await asyncio.gather(*(events.words("jobs", uid) for uid in ("a", "b", "c")))
    assert found == ["FailedMount: newest", "Pulling: image x", ""]
    assert cluster.asked == 1
