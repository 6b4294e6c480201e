"""From a pod that was made to a program that runs: why it waits, and for how long it may.

What a cluster can't do now it tries again and again. Some of that passes (a node comes, a registry
is up again), some does not (there is no such image): the first is waited for, with a limit.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lading.engine.kubernetes.api import EVENTS, Api
from lading.engine.kubernetes.errors import Call, refusal
from lading.engine.kubernetes.mounts import IN
from lading.engine.kubernetes.state import (
    init_runs,
    is_leaving,
    never_began,
    runs,
    unschedulable,
    waiting,
    why_waiting,
)
from lading.errors import (
    EngineDenied,
    EngineError,
    ImageDenied,
    ImageNameInvalid,
    ImageNotFound,
    Unschedulable,
)
from lading.units import format_seconds

if TYPE_CHECKING:
    from lading.engine.base import OnWait
    from lading.engine.kubernetes.files import Files
    from lading.engine.kubernetes.life import Life
    from lading.engine.kubernetes.watch import Sightings

__all__ = ["Events", "until_begun"]

_OF_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})
_BACK_OFF = frozenset({"ImagePullBackOff"})
_LASTING = (ImageNotFound, ImageDenied, ImageNameInvalid)
"""What does not pass by itself."""
_IMAGE_PATIENCE = 60.0
_NODE_PATIENCE = 15.0
"""Seconds for what a node can't make now: a secret that comes a moment after the pod."""
_SILENT = 3.0
"""Seconds without a reason after which the events are asked."""
_EVENTS_PAUSE = 10.0
"""Seconds between two looks at them, for all pods together."""
_MOST_EVENTS = 500
_NO_CLAIM = re.compile(r'persistentvolumeclaim "(?P<claim>[^"]+)" not found')
_TOLD = re.compile(r"Fail|BackOff|Pulling|Unhealthy|Sandbox|Attach", re.I)


class Events:
    """What a cluster notes of pods, besides their status: asked for rarely, for all at once.

    Parameters
    ----------
    api : Api
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._asked: dict[str, float] = {}
        self._words: dict[str, str] = {}
        self._asking = asyncio.Lock()
        self._denied = False

    async def words(self, namespace: str, uid: str) -> str:
        """Give the newest words about what holds a pod up; empty where nobody says anything."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if not self._denied and now - self._asked.get(namespace, -1e9) > _EVENTS_PAUSE:
                self._asked[namespace] = now
                await self._ask(namespace)
        return self._words.get(uid, "")

    async def _ask(self, namespace: str) -> None:
        try:
            found = await self._api.call(
                "list",
                EVENTS,
                Call(f"looking at the events of namespace {namespace}"),
                namespace=namespace,
                query={"fieldSelector": "involvedObject.kind=Pod", "limit": _MOST_EVENTS},
            )
        except EngineDenied:
            self._denied = True  # nothing depends on them
            return
        for event in sorted(found.get("items") or (), key=_when):
            if _TOLD.search(str(event.get("reason") or "")):
                words = f"{event['reason']}: {event.get('message') or ''}".strip(": ")
                self._words[event["involvedObject"].get("uid", "")] = words


def _when(event: dict[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


@dataclass
class _Wait:
    """What holds one pod up, since when, and what that means if it lasts."""

    life: Life
    call: Call
    patience: float
    on_wait: OnWait | None
    events: Events
    since: float
    reason: str = ""
    error: EngineError | None = None
    image: str = ""
    told: str = ""
    silent_since: float = field(default=0.0)

    def see(self, pod: dict[str, Any], now: float) -> None:
        """Take a new state; raises what does not pass by itself."""
        found = waiting(pod)
        if found.reason:
            # A back-off has no words of its own.
            if found.reason not in _BACK_OFF or self.error is None or found.image != self.image:
                call = replace(self.call, image=found.image, helper=True)
                self.error = refusal(call if found.helps else self.call, *found[:2])
                self.image = found.image
            if isinstance(self.error, _LASTING):
                raise self.error
            kind = "image" if found.reason in _OF_IMAGE else "node"
        elif words := unschedulable(pod):
            kind = "scheduler"
            self.error = Unschedulable(
                f"{self.call.doing} failed: no node took it within "
                f"{format_seconds(self.patience)}: {words}",
                fix=_no_node(words, self.life.namespace),
            )
        else:
            kind, self.error = "", None
        if kind != self.reason:
            self.reason, self.since, self.silent_since = kind, now, now
        if kind:
            of_image = kind == "image" and self.error is not None
            self.tell(self.error.message if of_image and self.error else why_waiting(pod))

    @property
    def limit(self) -> float:
        """Seconds for which this may last."""
        if self.reason == "image":
            return min(self.patience, _IMAGE_PATIENCE)
        if self.reason == "node":
            return min(self.patience, _NODE_PATIENCE)
        return self.patience

    def tell(self, words: str) -> None:
        """Tell the caller, once each."""
        if self.on_wait is not None and words != self.told:
            self.on_wait(words)
            self.told = words

    async def overdue(self, now: float) -> None:
        """Raise what it means that this has lasted so long; else see what the events say."""
        if self.reason and now - self.since >= self.limit:
            assert self.error is not None
            raise self.error
        if self.reason or now - self.silent_since < _SILENT:
            return
        # A pull may take as long as it likes; a volume that can't be mounted may not.
        self.silent_since = now
        assert self.life.pod is not None
        words = await self.events.words(self.life.namespace, self.life.uid)
        words = words or why_waiting(self.life.pod)
        self.tell(words)
        if not words.startswith("Fail"):
            self.since = now
        elif now - self.since >= self.patience:
            raise EngineError(
                f"{self.call.doing} failed: it does not run after "
                f"{format_seconds(self.patience)}: {words}",
                fix="see to what its node lacks; --cluster-patience waits longer",
            )

    def next_look(self, now: float) -> float:
        """Seconds until the next time that :meth:`overdue` has something to do."""
        due = self.since + self.limit if self.reason else self.silent_since + _SILENT
        return max(due - now, 0.0)


def _no_node(words: str, namespace: str) -> str:
    """Say what to do about what the scheduler said."""
    if found := _NO_CLAIM.search(words):
        return (
            f"the claim {found['claim']} is not in namespace {namespace}: create it there "
            f"(kubectl -n {namespace} get pvc lists what is), name another in --cluster-files or "
            "the task's file, or run in its namespace with --engine kubernetes://CONTEXT/NAMESPACE"
        )
    return "ask for less, or add nodes; --cluster-patience waits longer"


async def until_begun(
    life: Life,
    sightings: Sightings,
    *,
    files: Files | None,
    events: Events,
    patience: float,
    on_wait: OnWait | None = None,
    any_program: bool = False,
) -> None:
    """Wait until the program of a pod runs, or has ended; fills the copies that it gets meanwhile.

    Parameters
    ----------
    files : Files or None
        None if nothing is copied.
    patience : float
        Seconds for which a cluster may find no node for it.
    on_wait : callable or None
        Told why it does not run yet.
    any_program : bool
        Whether it may end without having begun its program.

    Raises
    ------
    ImageNotFound, ImageDenied, ImagePullFailed, ImageNameInvalid
        In the registry's words.
    Unschedulable
        In the scheduler's.
    ContainerNotFound
        Somebody removed it meanwhile.
    EngineError
        Its node can't make it.
    """
    loop = asyncio.get_running_loop()
    now = loop.time()
    wait = _Wait(life, life.call("starting"), patience, on_wait, events, now, silent_since=now)
    try:
        while True:
            try:
                async with asyncio.timeout(wait.next_look(loop.time())):
                    sight = await sightings.next()
            except TimeoutError:
                await wait.overdue(loop.time())
                continue
            pod = sight.pod
            life.learn(pod)
            if sight.gone or is_leaving(pod):
                raise life.gone()
            if not any_program and (begun := never_began(pod)):
                raise refusal(wait.call, *begun)
            if life.end is not None or runs(pod):
                return
            wait.see(pod, loop.time())
            if files is not None and init_runs(pod, IN):
                await files.copy_in()
                files = None
    finally:
        if wait.told:
            wait.tell("")
