"""Images to registries and from them, by an engine: again where that may help.

A registry that is restarted, overloaded or out of reach for a moment is asked again, after a pause
that doubles. What reached it before counts: engines ask for each layer first whether it is there.
One that refuses is not asked twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from lading.engine.base import Engine, Progress
from lading.engine.reference import parse
from lading.engine.shield import to_the_end
from lading.engine.spec import ImageInfo, PullStatus
from lading.errors import (
    EngineError,
    ImageNameInvalid,
    ImageNotFound,
    ImagePullFailed,
    ImagePushFailed,
)
from lading.units import format_seconds

__all__ = ["Pushed", "pull", "push"]

T = TypeVar("T")

_TRIES = 4
_PAUSE = 1.0
"""Seconds before the second try; each further pause is twice as long."""
_LONGEST = 30.0


@dataclass(frozen=True, slots=True)
class Pushed:
    """An image that is at its registry.

    Parameters
    ----------
    ref : str
        Its full name there, with registry and tag.
    digest : str
        Of its manifest, ``sha256:...``.
    """

    ref: str
    digest: str

    @property
    def pinned(self) -> str:
        """The name under which it is this image for ever: ``registry/path@sha256:...``."""
        return f"{parse(self.ref).name}@{self.digest}"


async def push(
    engine: Engine,
    image: str,
    ref: str,
    *,
    progress: Progress | None = None,
    tries: int = _TRIES,
    pause: float = _PAUSE,
) -> Pushed:
    """Name an image for a registry and put it there; once it is there, it keeps that name.

    Parameters
    ----------
    engine : Engine
    image : str
        Name or id of an image that it has.
    ref : str
        Where it goes: ``registry/path[:tag]``.
    progress : callable or None
        Told of every layer, and of every pause.
    tries : int
        How often the registry is asked at most.
    pause : float
        Seconds before the second try.

    Raises
    ------
    ImageNameInvalid, ImageNotFound
        No such name or image.
    ImageDenied
        The registry wants other credentials.
    ImagePushFailed
        It could not be reached, refused the image, or broke off, the last time as well.
    """
    reference = parse(ref)
    if reference.digest:
        raise ImageNameInvalid(ref, "a digest can't be pushed to", fix="write a tag")
    name = str(reference)
    new = not await _has(engine, name)
    await engine.tag(image, name)

    async def once() -> str:
        return await engine.push(name, progress)

    try:
        return Pushed(name, await _again(once, progress, tries, pause))
    except BaseException:
        if new:
            with contextlib.suppress(EngineError):  # the reason is worth more
                await to_the_end(engine.remove_image(name))
        raise


async def pull(
    engine: Engine,
    ref: str,
    *,
    progress: Progress | None = None,
    tries: int = _TRIES,
    pause: float = _PAUSE,
) -> ImageInfo:
    """Fetch an image from its registry.

    Parameters
    ----------
    engine : Engine
    ref : str
        ``registry/path[:tag][@digest]``.
    progress, tries, pause
        As for :func:`push`.

    Raises
    ------
    ImageNameInvalid, ImageNotFound, ImageDenied
        There is no such name or image, or the registry wants other credentials.
    ImagePullFailed
        The registry could not be reached, or broke off, the last time as well.
    """

    async def once() -> ImageInfo:
        return await engine.pull(ref, progress)

    return await _again(once, progress, tries, pause)


async def _has(engine: Engine, name: str) -> bool:
    try:
        await engine.image(name)
    except ImageNotFound:
        return False
    return True


async def _again(
    once: Callable[[], Awaitable[T]], progress: Progress | None, tries: int, pause: float
) -> T:
    for count in range(1, tries + 1):
        try:
            return await once()
        except (ImagePushFailed, ImagePullFailed) as error:
            if not error.passing or count >= tries:
                if count > 1:
                    error.message = f"{error.message} (tried {count} times)"
                raise
            # Not all who lost it come back in the same moment.
            wait = min(pause * 2 ** (count - 1), _LONGEST) * random.uniform(0.75, 1.25)  # noqa: S311
            if progress is not None:
                when = f"again in {format_seconds(wait)} (try {count + 1} of {tries})"
                progress(PullStatus(f"{error.message}; {when}"))
            await asyncio.sleep(wait)
    raise AssertionError  # the last try returned or raised
