"""What a pod's status says, as API servers from 1.20 on write it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lading.engine.kubernetes.state import (
    Waiting,
    container_info,
    exit_of,
    image_id,
    init_runs,
    is_leaving,
    never_began,
    runs,
    unschedulable,
    waiting,
    why_waiting,
)
from lading.engine.spec import Limits, State

STARTED, FINISHED = "2026-11-26T19:00:01Z", "2026-11-26T19:00:04Z"


def pod(state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    """A pod whose container is in a state."""
    statuses = [
        {"name": "lading-keep", "state": {"running": {"startedAt": STARTED}}},
        {"name": "main", "state": state, "imageID": "docker-pullable://r/x@sha256:" + "0" * 64},
    ]
    return {
        "metadata": {
            "name": "a",
            "namespace": "jobs",
            "uid": "u",
            "creationTimestamp": "2026-11-26T19:00:00Z",
            "labels": {"lading.id": "0123456789ab", "team": "blue", "lading.network": "net"},
        },
        "spec": {
            "containers": [
                {"name": "lading-keep", "image": "busybox"},
                {
                    "name": "main",
                    "image": "x:1",
                    "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}},
                },
            ]
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.9",
            **({"containerStatuses": statuses} if state is not None else {}),
            **status,
        },
    }


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason,
            "message": message,
            "startedAt": STARTED,
            "finishedAt": FINISHED,
        }
    }


def test_one_that_runs() -> None:
    found = pod({"running": {"startedAt": STARTED}})
    info = container_info(found)
    assert info.id == "jobs/a/0123456789ab"
    assert (info.name, info.image, info.state) == ("a", "x:1", State.RUNNING)
    assert info.image_id == "r/x@sha256:" + "0" * 64
    assert info.labels == {"team": "blue"}
    assert info.limits == Limits(cpus=1.5, memory=64 << 20)
    assert info.networks == {"net": "10.0.0.9"}
    assert (info.exit, info.pid) == (None, None)
    assert runs(found)
    assert why_waiting(found) == ""


def test_how_it_ended() -> None:
    """Whoever helps it may still run."""
    info = container_info(pod(ended(3)))
    assert info.state is State.EXITED
    assert info.exit is not None
    assert (info.exit.code, info.exit.out_of_memory, info.exit.error) == (3, False, "")
    assert info.exit.started == datetime(2026, 11, 26, 19, 0, 1, tzinfo=UTC)
    assert info.exit.seconds == 3
    killed = exit_of(pod(ended(137, "OOMKilled")))
    assert killed is not None
    assert killed.out_of_memory


def test_its_own_last_words_are_no_error_of_the_cluster() -> None:
    end = exit_of(pod(ended(1, "Error", "what it wrote to /dev/termination-log")))
    assert end is not None
    assert end.error == ""


def test_a_program_that_could_not_be_begun() -> None:
    for reason in ("ContainerCannotRun", "StartError"):
        found = pod(ended(128, reason, "exec: no such file"))
        assert never_began(found) == (reason, "exec: no such file")
        end = exit_of(found)
        assert end is not None
        assert end.error == "exec: no such file"
    assert never_began(pod(ended(128))) is None


def test_an_evicted_pod_says_why() -> None:
    words = "The node was low on resource: memory."
    end = exit_of(pod(None, phase="Failed", reason="Evicted", message=words))
    assert end is not None
    assert (end.code, end.error) == (137, f"Evicted: {words}")
    condition = {
        "type": "DisruptionTarget", "status": "True",
        "reason": "PreemptionByScheduler", "message": "for a more important one",
    }  # fmt: skip
    end = exit_of(pod(ended(143), phase="Failed", conditions=[condition]))
    assert end is not None
    assert (end.code, end.error) == (143, "PreemptionByScheduler: for a more important one")


def test_why_it_waits() -> None:
    words = "0/3 nodes are available: 3 Insufficient memory."
    condition = {"type": "PodScheduled", "status": "False", "message": words}
    found = pod(None, phase="Pending", conditions=[condition])
    assert container_info(found).state is State.CREATED
    assert unschedulable(found) == why_waiting(found) == words.rstrip(".")
    assert why_waiting(pod(None, phase="Pending")) == "waits for a node"
    made = pod({"waiting": {"reason": "ContainerCreating"}}, phase="Pending")
    made["spec"]["nodeName"] = "n1"
    assert waiting(made).reason == ""
    assert why_waiting(made) == "being made on node n1"
    pulls = pod({"waiting": {"reason": "ErrImagePull", "message": "no such host"}})
    assert waiting(pulls) == Waiting("ErrImagePull", "no such host", "x:1")
    assert why_waiting(pulls) == "ErrImagePull: no such host"


def test_what_goes_before_it() -> None:
    state = [{"name": "lading-in", "state": {"running": {}}}]
    found = pod(None, phase="Pending", initContainerStatuses=state)
    assert init_runs(found, "lading-in")
    assert not init_runs(found, "other")
    state[0]["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": "m"}}
    found["spec"]["initContainers"] = [{"name": "lading-in", "image": "tools:1"}]
    assert waiting(found) == Waiting("ImagePullBackOff", "m", "tools:1", helps=True)
    keeper = {"name": "lading-keep", "state": {"waiting": {"reason": "ErrImagePull"}}}
    found["status"] = {"containerStatuses": [keeper]}
    assert waiting(found) == Waiting("ErrImagePull", "", "busybox", helps=True)


def test_a_pod_of_somebody_else() -> None:
    """The first container counts, and it is known by its uid."""
    found = pod({"running": {}})
    found["metadata"]["labels"] = None
    found["spec"]["containers"] = [{"name": "web", "image": "nginx"}]
    info = container_info(found)
    assert (info.id, info.image, info.labels) == ("jobs/a/u", "nginx", {})
    assert not is_leaving(found)
    found["metadata"]["deletionTimestamp"] = FINISHED
    assert is_leaving(found)


def test_ids_of_images() -> None:
    for text, expected in [
        ("docker://sha256:ab", "sha256:ab"),
        ("docker-pullable://x@sha256:ab", "x@sha256:ab"),
        ("docker.io/library/x@sha256:ab", "docker.io/library/x@sha256:ab"),
        ("sha256:ab", "sha256:ab"),
        ("", ""),
    ]:
        found = pod({"running": {}})
        found["status"]["containerStatuses"][1]["imageID"] = text
        assert image_id(found) == expected
