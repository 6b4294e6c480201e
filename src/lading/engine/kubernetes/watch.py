"""All pods of one client, as one list and one watch bring them.

A watch is cut often: by the server after some minutes, by whatever lies between, by a restart.
It goes on from the version that it has seen; where that is too old by then (410), all are listed
again, and what is missing from the list has been deleted meanwhile. Nothing is polled.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lading.engine.docker_streams import json_values
from lading.engine.kubernetes.api import PODS, Api
from lading.engine.kubernetes.errors import Call, Thing, translate
from lading.errors import EngineError, EngineUnreachable
from lading.units import format_seconds

__all__ = ["PodWatch", "Sight", "Sightings"]

_SERVER_SECONDS = 300
"""How long a watch is open before the server ends it, so that one that hangs is noticed."""
_SILENT_SECONDS = _SERVER_SECONDS + 30
_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_REFUSALS = 3
"""One refusal may pass: an API server that was just started does not know all its rules yet."""
_PATIENCE = 300.0
_GONE = 410

Pod = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sight:
    """A pod as it was seen.

    Parameters
    ----------
    pod : dict
        The object; of one that is gone the last that is known.
    gone : bool
        Whether it was deleted.
    """

    pod: Pod
    gone: bool = False


class Sightings:
    """What becomes of one pod, from now on."""

    def __init__(self, uid: str) -> None:
        self._uid = uid
        self._waiting: deque[Sight | EngineError] = deque()
        self._wake: asyncio.Event = asyncio.Event()

    def told(self, sight: Sight | EngineError) -> None:
        """Keep what there is to see, if it is of the pod that is meant."""
        if isinstance(sight, Sight) and self._uid not in ("", _uid(sight.pod)):
            return
        self._waiting.append(sight)
        self._wake.set()

    async def next(self) -> Sight:
        """Wait for the next; every one is handed over, in order.

        Raises
        ------
        EngineUnreachable
            The cluster did not answer for too long.
        EngineError
            It does not let us watch (any more), or the watch was closed.
        """
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        found = self._waiting.popleft()
        if isinstance(found, EngineError):
            self._waiting.append(found)  # for whoever asks again
            raise found
        return found


class PodWatch:
    """What the pods of a namespace do, for all who follow one of them.

    Parameters
    ----------
    api : Api
    namespace : str
    selector, fields : str
        Which pods: by labels, by fields (``metadata.name=x``).
    patience : float
        Seconds without an answer after which those who follow are told that the cluster is away.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        selector: str = "",
        *,
        fields: str = "",
        patience: float = _PATIENCE,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._query = {"labelSelector": selector or None, "fieldSelector": fields or None}
        self._patience = patience
        self._call = Call(f"watching the pods of namespace {namespace}", Thing.POD)
        self._known: dict[str, Pod] = {}
        self._followers: dict[str, list[Sightings]] = {}
        self._listed = ""
        self._heard = 0.0
        self._end = EngineError(f"{self._call.doing} failed: it was not begun")
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """List what is there and watch from then on; nothing if that was begun.

        Raises
        ------
        EngineError
            What the refusal to list or the cluster's silence means.
        """
        async with self._starting:
            if self._closed:
                raise self._end
            if self._task is None or self._task.done():
                await self._list()
                self._task = asyncio.create_task(self._run(), name="lading-pod-watch")

    def look(self, name: str) -> Pod | None:
        """Give the newest that is known of a pod; None if there is none of that name."""
        return self._known.get(name)

    def learn(self, pod: Pod) -> None:
        """Take what another call answered, if the watch has not brought something newer."""
        known = self._known.get(pod["metadata"]["name"])
        if known is None or not _newer(_version(known), _version(pod)):
            self._see(pod)

    @contextlib.contextmanager
    def follow(self, name: str, uid: str = "") -> Iterator[Sightings]:
        """Follow one pod, whether it is there yet or not; begins with what is known of it.

        Parameters
        ----------
        uid : str
            Of the pod that is meant; empty for any of that name.
        """
        sightings = Sightings(uid)
        self._followers.setdefault(name, []).append(sightings)
        if name in self._known:
            sightings.told(Sight(self._known[name]))
        if self._closed or (self._task is not None and self._task.done()):
            sightings.told(self._end)
        try:
            yield sightings
        finally:
            left = self._followers[name]
            left.remove(sightings)
            if not left:
                del self._followers[name]

    async def close(self) -> None:
        """Watch no more; whoever still follows is told."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._fail(EngineError(f"{self._call.doing} failed: the watch was closed"))

    # How it is kept up.

    async def _run(self) -> None:
        try:
            await self._go_on()
        except EngineError as error:
            self._fail(error)

    async def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        pause, refusals, self._heard = _PAUSE, 0, loop.time()
        while True:
            began = loop.time()
            try:
                if not self._listed:
                    await self._list()
                await self._watch()
                refusals, self._heard = 0, loop.time()
            except EngineError as error:
                if error.status == _GONE:
                    self._listed = ""
                elif isinstance(error, EngineUnreachable) or error.status == 500:
                    if loop.time() - self._heard > self._patience:
                        raise self._away(error) from error
                else:
                    refusals += 1
                    if refusals == _REFUSALS:
                        raise
            pause = _PAUSE if self._heard > began + 1 else min(2 * pause, _LONGEST_PAUSE)
            # Several clients that lost the same server don't come back at the same moment.
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret

    async def _list(self) -> None:
        found = await self._api.call(
            "list", PODS, self._call, namespace=self._namespace, query=self._query
        )
        self._heard = asyncio.get_running_loop().time()
        version = str(found["metadata"].get("resourceVersion") or "")
        there = {pod["metadata"]["name"]: pod for pod in found.get("items") or ()}
        for name, pod in list(self._known.items()):
            # What was made after the list is none that has gone.
            if name not in there and not _newer(_version(pod), version):
                self._lose(pod)
        for pod in there.values():
            self.learn(pod)
        self._listed = version

    async def _watch(self) -> None:
        """Watch until the connection or the server's time for it ends."""
        query = {
            **self._query,
            "resourceVersion": self._listed,
            "allowWatchBookmarks": True,
            "timeoutSeconds": _SERVER_SECONDS,
        }
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(_SILENT_SECONDS),
                self._api.stream(
                    "watch", PODS, self._call, namespace=self._namespace,
                    query={"watch": True, **query},
                ) as response,
            ):  # fmt: skip
                self._heard = asyncio.get_running_loop().time()
                try:
                    async for event in json_values(response.chunks()):
                        self._take(str(event["type"]), event["object"])
                except ValueError as error:  # cut in the middle of one
                    raise EngineUnreachable(
                        f"{self._call.doing} failed: what came is no watch's event"
                    ) from error

    def _take(self, kind: str, thing: dict[str, Any]) -> None:
        self._heard = asyncio.get_running_loop().time()
        if kind == "ERROR":
            raise translate(self._call, int(thing.get("code") or 500), thing)
        self._listed = _version(thing)
        if kind == "DELETED":
            self._lose(thing)
        elif kind != "BOOKMARK":
            self._see(thing)

    def _see(self, pod: Pod) -> None:
        name = pod["metadata"]["name"]
        known = self._known.get(name)
        if known is not None:
            if _version(known) == _version(pod):
                return
            if _uid(known) != _uid(pod):
                self._lose(known)
        self._known[name] = pod
        self._tell(name, Sight(pod))

    def _lose(self, pod: Pod) -> None:
        name = pod["metadata"]["name"]
        known = self._known.get(name)
        if known is not None and _uid(known) == _uid(pod):
            del self._known[name]
        self._tell(name, Sight(pod, gone=True))

    def _tell(self, name: str, sight: Sight | EngineError) -> None:
        for follower in self._followers.get(name, ()):
            follower.told(sight)

    def _fail(self, error: EngineError) -> None:
        self._end = error
        self._listed = ""  # from the beginning, if somebody starts it again
        for name in self._followers:
            self._tell(name, error)

    def _away(self, error: EngineError) -> EngineUnreachable:
        return EngineUnreachable(
            f"{self._call.doing} failed: the cluster has not answered for "
            f"{format_seconds(self._patience)}: {error.message}",
            fix=error.fix,
        )


def _uid(pod: Pod) -> str:
    return str(pod["metadata"].get("uid") or "")


def _version(pod: Pod) -> str:
    return str(pod["metadata"].get("resourceVersion") or "")


def _newer(one: str, other: str) -> bool:
    """Whether a version came after another; every API server in use counts them up."""
    return one.isdigit() and other.isdigit() and int(one) > int(other)
