"""The contract between Lading and a container engine: small enough to memorise.

An :class:`Engine` knows images, networks and containers; a :class:`Container` lives from
``create`` to ``remove``. Every driver, and the fake in :mod:`lading.testing`, does the same under
``tests/conformance``.

Every call may raise :class:`~lading.errors.EngineUnreachable` and
:class:`~lading.errors.EngineError`; the calls name the others. Cancelling a call leaves the engine
as it was or as it would have been: nothing half-done, and nothing of ours open.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, Self, runtime_checkable

from lading.engine.spec import (
    ContainerInfo,
    ContainerSpec,
    EngineInfo,
    Exit,
    ImageInfo,
    LogChunk,
    NetworkInfo,
    NetworkSpec,
    Placement,
    PullStatus,
    Stats,
)

__all__ = ["Container", "Engine", "OnWait", "Progress", "Selective"]

Progress = Callable[[PullStatus], None]
"""Told of every step of a pull or build, on the event loop; must not block."""

OnWait = Callable[[str], None]
"""Told, on the event loop, why a container does not run yet, in the engine's words; of the end of
the waiting by an empty text. Must not block."""


class Container(Protocol):
    """One container, alive or not."""

    @property
    def id(self) -> str:
        """The engine's id of it."""

    @property
    def name(self) -> str:
        """Its name on the engine."""

    @property
    def news_delay(self) -> float:
        """Seconds that the news of its end may take: who lost it to that waits for so long."""
        ...

    @property
    def stats_interval(self) -> float:
        """Seconds between two looks at what it uses; 0 where a look costs next to nothing."""

    async def start(self, on_wait: OnWait | None = None) -> None:
        """Start it; a container that runs already is left alone.

        Parameters
        ----------
        on_wait : callable or None
            Told what it waits for, where an engine has to find a place or an image for it first.

        Raises
        ------
        NotSupported
            The engine lacks the runtime or the GPU driver that the spec asks for.
        ContainerNotFound
            It is gone.
        """
        ...

    async def inspect(self) -> ContainerInfo:
        """Look at it now.

        Raises
        ------
        ContainerNotFound
            It is gone.
        """
        ...

    async def wait(self) -> Exit:
        """Wait until it has ended, without polling; returns at once if it has.

        Raises
        ------
        ContainerNotFound
            It is gone, or was removed meanwhile.
        """
        ...

    def logs(self, *, follow: bool = False, tail: int | None = None) -> AsyncIterator[LogChunk]:
        """What it wrote so far, and with `follow` what it writes until it ends.

        Parameters
        ----------
        follow : bool
            Go on until the container ends; chunks come as they are written, without polling.
            One that was not started yet has nothing to follow: start it first, nothing is missed.
        tail : int or None
            Begin with the last `tail` lines; None begins at the beginning.

        Raises
        ------
        ContainerNotFound
            It is gone.
        """
        ...

    def attached(self) -> AbstractAsyncContextManager[AsyncIterator[LogChunk]]:
        """Listen to it from before its start: exactly what it writes, until it ends.

        Engines keep logs as text: what is no UTF-8 may be kept as something else, and the end of
        what is followed may be lost. Who listens has every byte, but must read on, since what is
        not read halts who writes.

        Raises
        ------
        ContainerNotFound
            It is gone.
        """
        ...

    async def stats(self) -> Stats:
        """What it uses; zeros once it has ended.

        Raises
        ------
        ContainerNotFound
            It is gone.
        """
        ...

    async def connect(self, port: int) -> socket.socket:
        """Open a TCP connection to a port that it listens on.

        Returns
        -------
        socket.socket
            Connected and non-blocking; the caller closes it.

        Raises
        ------
        ConnectionError
            Nothing listens there (yet), or the container does not run (any more).
        NotSupported
            This container can't be reached from here; the message says what to change.
        """
        ...

    async def put(self, path: str, archive: bytes) -> None:
        """Unpack a tar archive into an existing directory of the container."""
        ...

    async def get(self, path: str) -> bytes:
        """Fetch a file or directory as a tar archive.

        Raises
        ------
        FileNotFoundError
            There is no such path in it.
        """
        ...

    async def kill(self, signal: str = "SIGKILL") -> None:
        """Send it a signal; nothing happens if it has ended."""
        ...

    async def stop(self, grace: float = 10.0) -> None:
        """Ask it to end (SIGTERM), and kill it after `grace` seconds; nothing if it has ended."""
        ...

    async def remove(self) -> None:
        """Kill it if it runs, and remove it with its anonymous volumes; nothing if it is gone."""
        ...


@runtime_checkable
class Selective(Protocol):
    """A container that can tell what has changed in a copy that it has of a directory of ours."""

    async def changed(
        self, path: str, known: Mapping[str, str]
    ) -> tuple[dict[str, str], bytes] | None:
        """Look at a directory, and fetch what is new.

        Parameters
        ----------
        path : str
            Target of a mount that is a copy and may be written to, absolute.
        known : mapping
            What was answered the last time; empty the first time.

        Returns
        -------
        (dict of str to str, bytes) or None
            All paths below it with their states, and tar archives, one after the other, with
            those that may have changed. None: this can't be said, :meth:`Container.get` has all.
        """
        ...


class Engine(Protocol):
    """A container engine."""

    async def info(self) -> EngineInfo:
        """What it is and has."""
        ...

    async def image(self, ref: str) -> ImageInfo:
        """Look at an image that the engine has; never asks a registry.

        Raises
        ------
        ImageNotFound
            The engine does not have it.
        ImageNameInvalid
            `ref` is no reference.
        """
        ...

    async def pull(self, ref: str, progress: Progress | None = None) -> ImageInfo:
        """Fetch an image from its registry, with the credentials that the user has stored for it.

        Raises
        ------
        ImageNameInvalid, ImageNotFound, ImageDenied, ImagePullFailed
            What went wrong, in the registry's words.
        """
        ...

    async def push(self, ref: str, progress: Progress | None = None) -> str:
        """Put an image into its registry, with the credentials that the user has stored for it.

        Parameters
        ----------
        ref : str
            Name of an image that the engine has, with registry and tag: where it goes.

        Returns
        -------
        str
            The manifest's digest, ``sha256:...``: what pins it there.

        Raises
        ------
        ImageNameInvalid, ImageNotFound, ImageDenied, ImagePushFailed
            What went wrong, in the registry's words.
        """
        ...

    async def tag(self, image: str, ref: str) -> None:
        """Give an image a further name; another image that has it loses it.

        Raises
        ------
        ImageNotFound, ImageNameInvalid
        """
        ...

    def save(self, image: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Read an image as a tar archive such as ``docker save`` writes, in pieces as they come.

        Raises
        ------
        ImageNotFound, ImageNameInvalid
        """
        ...

    async def load(self, archive: AsyncIterable[bytes]) -> ImageInfo:
        """Take an image from a tar archive such as ``docker save`` writes, with its names.

        Parameters
        ----------
        archive : async iterable of bytes
            Read no faster than the engine takes it; what it raises is raised.

        Returns
        -------
        ImageInfo
            The image; of several the last.

        Raises
        ------
        EngineError
            It is no such archive.
        """
        ...

    async def remove_image(self, ref: str) -> None:
        """Take a name from an image, and remove the image with its last one; nothing if none is.

        Raises
        ------
        EngineError
            A container needs it.
        """
        ...

    async def build(
        self,
        context: bytes | AsyncIterable[bytes],
        tag: str,
        *,
        args: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        platform: str | None = None,
        target: str | None = None,
        network: bool = True,
        progress: Progress | None = None,
    ) -> ImageInfo:
        """Build an image from a tar archive that holds a ``Dockerfile`` at its root.

        Parameters
        ----------
        context : bytes or async iterable of bytes
            In pieces it is read no faster than the engine takes it, and what it raises is raised.
            It may be read a second time if it can be, so no iterator: where the first builder
            can't get at a base image.
        tag : str
            Name of the image.
        args, labels : mapping
            Arguments of the Dockerfile; labels besides its own. Where the engine can do that, the
            argument ``SOURCE_DATE_EPOCH`` is when everything in the image was made.
        platform : str or None
            As ``linux/arm64``; None: the engine's own.
        target : str or None
            The stage of the Dockerfile to build; None: its last.
        network : bool
            Whether its RUN steps reach the engine's usual network; otherwise they have none. What
            the engine itself fetches (FROM, ADD of an address) it fetches all the same.
        progress : callable or None
            Told of steps, and of every line that they write.

        Raises
        ------
        BuildFailed
            With the failing step and its last lines.
        """
        ...

    async def read_file(
        self, image: str, path: str, *, labels: Mapping[str, str] | None = None
    ) -> bytes:
        """Read one file out of an image without running it.

        Parameters
        ----------
        labels : mapping
            What a helper carries, if there has to be one, so that sweeping finds it.

        Raises
        ------
        ImageNotFound
            The engine does not have the image.
        ImageFileNotFound
            The image holds no such file.
        """
        ...

    async def create(self, spec: ContainerSpec) -> Container:
        """Make a container; it does not run yet.

        Raises
        ------
        ImageNotFound, NameTaken, NetworkNotFound, NotSupported
            What is missing or in the way.
        """
        ...

    async def container(self, id_or_name: str) -> Container:
        """Find a container.

        Raises
        ------
        ContainerNotFound
            There is none.
        """
        ...

    async def containers(self, labels: Mapping[str, str]) -> list[ContainerInfo]:
        """All containers, running or not, that carry all these labels (an empty value: any).

        ``limits`` and ``exit`` of what is listed may be left out: :meth:`Container.inspect` has
        them.
        """
        ...

    async def create_network(self, spec: NetworkSpec) -> NetworkInfo:
        """Make a network.

        Raises
        ------
        NameTaken
            There is one of that name. If it is internal and `spec` is, too, its way to the host
            is closed by then, whoever made it.
        """
        ...

    async def networks(self, labels: Mapping[str, str] | None = None) -> list[NetworkInfo]:
        """All networks that carry all these labels (an empty value: any)."""
        ...

    async def remove_network(self, name: str) -> None:
        """Remove a network; nothing if there is none.

        Raises
        ------
        EngineError
            Containers are attached to it.
        """
        ...

    async def open_door(self, labels: Mapping[str, str]) -> None:
        """See to it that containers on ``Network.NONE`` can be reached from here.

        Parameters
        ----------
        labels : mapping
            What a helper carries, if there has to be one, so that sweeping finds it.

        Raises
        ------
        NotSupported
            It can't be done; the message says why.
        """
        ...

    def placed(self, placement: Placement) -> Self:
        """Return this engine as one that looks for images where `placement` says.

        On a cluster that takes containers for a moment: these are in its namespace, with its
        credentials for registries. Both are one connection: only the first is closed.
        """
        ...

    async def close(self) -> None:
        """Let go of every connection; containers are not touched."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...
