"""Images as runs need them: here, or pulled once however many wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from lading.engine.base import Engine, Progress
from lading.engine.shield import to_the_end
from lading.engine.spec import ImageInfo, PullStatus
from lading.errors import ImageNotFound, QueueFull

__all__ = ["Get", "Images", "by_name", "pull_if_absent"]

Get = Callable[[str, Progress], Awaitable[ImageInfo]]
"""How an image is had that the engine lacks; told of every step, on the event loop."""

_FRESH = 1.0
"""Seconds after which the engine is asked again: a tag may have moved to another image."""
_REMEMBERED = 1000
"""References to remember."""
_AT_ONCE = 4
"""Images to pull at the same time: more would only share the same line."""


@dataclass(eq=False)
class _Flight:
    """One look for an image, or one pull, and who waits for it."""

    waiters: int = 0
    listeners: list[Progress] = field(default_factory=list)
    task: asyncio.Task[ImageInfo] | None = None

    def tell(self, status: PullStatus) -> None:
        for listener in tuple(self.listeners):
            listener(status)


class Images:
    """The images of one engine.

    Parameters
    ----------
    engine : Engine
    fresh : float
        Seconds that an answer of the engine is believed.
    limit : int or None
        How many may wait for pulls at most, all images together; None: as many as come.
    get : callable or None
        What is done instead of a pull.
    at_once : int
        How many pulls there are at the same time.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        fresh: float = _FRESH,
        limit: int | None = None,
        get: Get | None = None,
        at_once: int = _AT_ONCE,
    ) -> None:
        self._engine = engine
        self._fresh = fresh
        self._limit = limit
        self._known: dict[str, tuple[float, ImageInfo]] = {}
        self._looks: dict[str, _Flight] = {}
        self._pulls: dict[str, _Flight] = {}
        self._waiting = 0
        self._get = get or engine.pull
        self._turns = asyncio.Semaphore(at_once)

    def known(self, ref: str) -> ImageInfo | None:
        """Return what the engine said within the last second, without asking it."""
        entry = self._known.get(ref)
        if entry is None or time.monotonic() - entry[0] > self._fresh:
            return None
        return entry[1]

    async def have(self, ref: str, progress: Progress | None = None) -> ImageInfo:
        """Return an image that the engine has, or pull it; together with all who want it now.

        A waiter who is cancelled leaves the pull to the others; with the last one it ends.

        Parameters
        ----------
        progress : callable or None
            Told of the pull, if there is one.

        Raises
        ------
        ImageNameInvalid, ImageNotFound, ImageDenied, ImagePullFailed
            It can't be had, in the words of who refused.
        QueueFull
            It has to be pulled, and as many as may wait for pulls already.
        """
        if (found := self.known(ref)) is not None:
            return found
        try:
            found = await self._share(self._looks, ref, self._look, None)
        except ImageNotFound:
            if self._limit is not None and self._waiting >= self._limit:
                raise QueueFull(
                    f"image {ref!r} has to be pulled, and {self._waiting} requests wait for "
                    "pulls already, which is as many as may",
                    fix="try again later, or pull it on the host before",
                ) from None
            self._waiting += 1
            try:
                found = await self._share(self._pulls, ref, self._pull, progress)
            finally:
                self._waiting -= 1
        return found

    async def _share(
        self,
        flights: dict[str, _Flight],
        ref: str,
        work: Callable[[str, _Flight], Coroutine[None, None, ImageInfo]],
        progress: Progress | None,
    ) -> ImageInfo:
        """Do something once for all who want it now."""
        flight = flights.get(ref)
        if flight is None:
            flight = flights[ref] = _Flight()
            flight.task = asyncio.create_task(work(ref, flight), name=f"image {ref}")
        assert flight.task is not None
        flight.waiters += 1
        if progress is not None:
            flight.listeners.append(progress)
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if progress is not None:
                flight.listeners.remove(progress)
            if flight.task.done() or flight.waiters == 0:
                if flights.get(ref) is flight:
                    del flights[ref]
                if not flight.task.done():
                    flight.task.cancel()
                    await to_the_end(_ended(flight.task))

    async def _look(self, ref: str, _: _Flight) -> ImageInfo:
        return self._remember(ref, await self._engine.image(ref))

    async def _pull(self, ref: str, flight: _Flight) -> ImageInfo:
        async with self._turns:
            return self._remember(ref, await self._get(ref, flight.tell))

    def _remember(self, ref: str, found: ImageInfo) -> ImageInfo:
        self._known.pop(ref, None)
        self._known[ref] = (time.monotonic(), found)
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return found


async def _ended(task: asyncio.Task[ImageInfo]) -> None:
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


_of_engine: WeakKeyDictionary[Engine, Images] = WeakKeyDictionary()


async def pull_if_absent(engine: Engine, ref: str, progress: Progress | None = None) -> ImageInfo:
    """Do :meth:`Images.have` with the :class:`Images` that all callers share for this engine."""
    images = _of_engine.get(engine)
    if images is None:
        images = _of_engine[engine] = Images(engine)
    return await images.have(ref, progress)


def by_name(ref: str) -> ImageInfo:
    """Tell nothing of an image but its name: for a cluster, which knows more once it runs."""
    return ImageInfo(
        id="",
        tags=(ref,),
        digests=(),
        size=0,
        created=None,
        labels={},
        entrypoint=(),
        command=(),
        env={},
        user="",
        exposed=(),
        architecture="",
        reference=ref,
    )
