"""What a pod's status says of its container, in our words.

Only the container ``main`` counts: others are there to help it, and a pod runs for as long as any
of them. Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from lading.engine.kubernetes.labels import ID_LABEL, NETWORK_LABEL, labels_of
from lading.engine.kubernetes.pod import MAIN
from lading.engine.spec import ContainerInfo, Exit, Limits, Network, State
from lading.units import quantity

__all__ = [
    "Waiting",
    "anything_runs",
    "container_info",
    "exit_of",
    "identity",
    "image_id",
    "init_runs",
    "is_leaving",
    "lost",
    "main_container",
    "moment",
    "never_began",
    "runs",
    "unschedulable",
    "waiting",
    "why_waiting",
]

Pod = Mapping[str, Any]

KILLED = 137
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_OUT_OF_MEMORY = "OOMKilled"
_NOT_BEGUN = frozenset({"ContainerCannotRun", "StartError"})
"""Why a container ended whose first program the node's runtime could not even start."""
_FAILED = "Failed"


class Waiting(NamedTuple):
    """Why a container of a pod waits.

    Parameters
    ----------
    reason, words : str
        The kubelet's; empty if it says nothing.
    image : str
        What that container is to run.
    helps : bool
        Whether it is not the one that counts.
    """

    reason: str = ""
    words: str = ""
    image: str = ""
    helps: bool = False


def identity(pod: Pod) -> str:
    """Write what a container is known by: namespace, name, and which of all of that name."""
    meta = pod["metadata"]
    nonce = (meta.get("labels") or {}).get(ID_LABEL) or meta["uid"]
    return f"{meta['namespace']}/{meta['name']}/{nonce}"


def container_info(pod: Pod) -> ContainerInfo:
    """Read a pod as a container."""
    meta, status, main = pod["metadata"], pod.get("status") or {}, _spec(pod)
    end = exit_of(pod)
    state = State.RUNNING if runs(pod) else State.CREATED
    if end is not None:
        state = State.EXITED
    network = (meta.get("labels") or {}).get(NETWORK_LABEL, str(Network.DEFAULT))
    return ContainerInfo(
        id=identity(pod),
        name=meta["name"],
        image=main.get("image", ""),
        image_id=image_id(pod),
        state=state,
        labels=labels_of(pod),
        created=moment(meta.get("creationTimestamp")) or _NEVER,
        exit=end,
        limits=_limits(main),
        networks={network: status.get("podIP", "") if state is State.RUNNING else ""},
    )


def exit_of(pod: Pod) -> Exit | None:
    """Say how it ended; None if it has not."""
    ended = _state(pod).get("terminated")
    if ended is not None:
        finished = moment(ended.get("finishedAt")) or _NEVER
        reason, words = str(ended.get("reason") or ""), str(ended.get("message") or "")
        return Exit(
            int(ended.get("exitCode", KILLED)),
            reason == _OUT_OF_MEMORY,
            moment(ended.get("startedAt")) or finished,
            finished,
            # A program's own last words are its own; what the node says is ours to tell.
            (words or reason) if reason in _NOT_BEGUN else _cluster_says(pod),
        )
    if (pod.get("status") or {}).get("phase") == _FAILED:
        return lost(pod)
    return None


def lost(pod: Pod) -> Exit:
    """Say how one ended of which the cluster keeps no end: its node is gone, or it was deleted."""
    status = pod.get("status") or {}
    began = (_state(pod).get("running") or {}).get("startedAt") or status.get("startTime")
    finished = _not_ready_since(pod) or datetime.now(UTC)
    return Exit(KILLED, False, moment(began) or finished, finished, _cluster_says(pod))


def _not_ready_since(pod: Pod) -> datetime | None:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") == "False":
            return moment(condition.get("lastTransitionTime"))
    return None


def _cluster_says(pod: Pod) -> str:
    """Say why the cluster ended a pod: it was evicted, preempted, or its node is gone."""
    status = pod.get("status") or {}
    reason, words = str(status.get("reason") or ""), str(status.get("message") or "")
    if not reason:  # newer clusters say it in a condition
        for condition in status.get("conditions") or ():
            if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
                reason = str(condition.get("reason") or "")
                words = str(condition.get("message") or "")
    return f"{reason}: {words.strip()}" if reason and words else reason or words


def never_began(pod: Pod) -> tuple[str, str] | None:
    """Say why its first program could not be started at all: reason and words; or None."""
    ended = _state(pod).get("terminated") or {}
    reason = str(ended.get("reason") or "")
    return (reason, str(ended.get("message") or "")) if reason in _NOT_BEGUN else None


def runs(pod: Pod) -> bool:
    """Whether its program runs."""
    return "running" in _state(pod)


def anything_runs(pod: Pod) -> bool:
    """Whether any container of it runs, those that help it, too."""
    status = pod.get("status") or {}
    listed = [*(status.get("initContainerStatuses") or ())]
    listed += status.get("containerStatuses") or ()
    return any("running" in (item.get("state") or {}) for item in listed)


def init_runs(pod: Pod, name: str) -> bool:
    """Whether a container runs that goes before it."""
    status = pod.get("status") or {}
    return any(
        item.get("name") == name and "running" in (item.get("state") or {})
        for item in status.get("initContainerStatuses") or ()
    )


def is_leaving(pod: Pod) -> bool:
    """Whether it is being deleted."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def waiting(pod: Pod) -> Waiting:
    """Say which container of it waits, the helpers' too, and why; empty if none says."""
    status = pod.get("status") or {}
    listed = [*(status.get("initContainerStatuses") or ())]
    listed += status.get("containerStatuses") or ()
    for item in listed:
        found = (item.get("state") or {}).get("waiting") or {}
        reason = str(found.get("reason") or "")
        if reason not in ("", "ContainerCreating", "PodInitializing"):
            name = str(item.get("name") or "")
            return Waiting(
                reason,
                str(found.get("message") or ""),
                _image(pod, name),
                name != _spec(pod)["name"],
            )
    return Waiting()


def _image(pod: Pod, container: str) -> str:
    """Find what image a container of it has, as its manifest names it."""
    listed = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    return next((str(item.get("image", "")) for item in listed if item["name"] == container), "")


def why_waiting(pod: Pod) -> str:
    """Say why it does not run yet, in the cluster's words; empty if it does, or did."""
    if runs(pod) or exit_of(pod) is not None:
        return ""
    found = waiting(pod)
    if found.reason:
        return f"{found.reason}: {found.words}" if found.words else found.reason
    if unscheduled := unschedulable(pod):
        return unscheduled
    node = (pod.get("spec") or {}).get("nodeName")
    return f"being made on node {node}" if node else "waits for a node"


def unschedulable(pod: Pod) -> str:
    """Say why no node takes it, in the scheduler's words; empty if one does."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason") or "").rstrip(".")
    return ""


def image_id(pod: Pod) -> str:
    """Say what it ran: ``sha256:...`` or ``name@sha256:...``; empty if that is not known yet."""
    text = str(_status(pod).get("imageID") or "")
    return re.sub(r"^[a-z-]+://", "", text)


def moment(text: object) -> datetime | None:
    """Read a time of the API: RFC 3339, in whole seconds mostly."""
    if not text:
        return None
    return datetime.fromisoformat(str(text).replace("Z", "+00:00")).astimezone(UTC)


def _limits(main: Mapping[str, Any]) -> Limits:
    limits = (main.get("resources") or {}).get("limits") or {}
    cpus, memory = limits.get("cpu"), limits.get("memory")
    return Limits(
        cpus=quantity(str(cpus)) if cpus else None,
        memory=int(quantity(str(memory))) if memory else None,
    )


def _spec(pod: Pod) -> Mapping[str, Any]:
    """Find its container among those that help it: by its name, or else the first."""
    listed = pod["spec"]["containers"]
    return next((item for item in listed if item["name"] == MAIN), listed[0])


def main_container(pod: Pod) -> str:
    """Name the container that counts."""
    return str(_spec(pod)["name"])


def _status(pod: Pod) -> Mapping[str, Any]:
    name = _spec(pod)["name"]
    listed = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((item for item in listed if item.get("name") == name), {})


def _state(pod: Pod) -> Mapping[str, Any]:
    state: Mapping[str, Any] = _status(pod).get("state") or {}
    return state
