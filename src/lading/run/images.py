"""Images as runs need them: here, or pulled once however many wait for it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from lading.engine.base import Engine, Progress
from lading.engine.shield import to_the_end
from lading.engine.spec import ImageInfo, PullStatus
from lading.errors import ImageNotFound

__all__ = ["Images", "pull_if_absent"]

_FRESH = 1.0
"""Seconds after which the engine is asked again: a tag may have moved to another image."""
_REMEMBERED = 1000
"""References to remember."""


@dataclass(eq=False)
class _Flight:
    """One look for an image, and who waits for it."""

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
    """

    def __init__(self, engine: Engine, *, fresh: float = _FRESH) -> None:
        self._engine = engine
        self._fresh = fresh
        self._known: dict[str, tuple[float, ImageInfo]] = {}
        self._flights: dict[str, _Flight] = {}

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
        """
        if (found := self.known(ref)) is not None:
            return found
        flight = self._flights.get(ref)
        if flight is None:
            flight = self._flights[ref] = _Flight()
            flight.task = asyncio.create_task(self._look(ref, flight), name=f"image {ref}")
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
            if flight.waiters == 0 and not flight.task.done():
                self._leave(ref, flight)
                flight.task.cancel()
                await to_the_end(_ended(flight.task))

    async def _look(self, ref: str, flight: _Flight) -> ImageInfo:
        try:
            try:
                found = await self._engine.image(ref)
            except ImageNotFound:
                found = await self._engine.pull(ref, flight.tell)
            self._known.pop(ref, None)
            self._known[ref] = (time.monotonic(), found)
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
            return found
        finally:
            self._leave(ref, flight)

    def _leave(self, ref: str, flight: _Flight) -> None:
        if self._flights.get(ref) is flight:
            del self._flights[ref]


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
