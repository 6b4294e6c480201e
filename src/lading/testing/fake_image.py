"""Images of the fake engine, and the registry that it pulls them from."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from lading.engine.spec import ImageInfo, PullStatus
from lading.errors import (
    ImageError,
    ImageNameInvalid,
    ImageNotFound,
    ImagePullFailed,
    ImagePushFailed,
)

if TYPE_CHECKING:
    from lading.engine.base import Progress
    from lading.testing.fake_process import FakeProcess

__all__ = ["FakeImage", "FakeRegistry", "Program", "normal_reference"]

Program = Callable[["FakeProcess"], Awaitable[int | None]]
"""What runs in a container; it returns the exit code (None: 0)."""

_CREATED = datetime(2024, 1, 1, tzinfo=UTC)
_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    # a host may have dots, a port and capitals; the rest of the name may not
    rf"(?P<name>(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::\d+)?/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>[a-z0-9]+:[0-9a-fA-F]{32,}))?"
)
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")


def normal_reference(ref: str) -> str:
    """Write out what a reference leaves to say: the tag ``latest``; an id stays as it is.

    Raises
    ------
    ImageNameInvalid
        It is no reference.
    """
    if _ID.fullmatch(ref):
        return ref
    match = _REFERENCE.fullmatch(ref)
    if match is None:
        raise ImageNameInvalid(
            ref,
            "invalid reference format",
            status=400,
            fix="write NAME, NAME:TAG or NAME@sha256:DIGEST, in lower case",
        )
    if match["digest"]:
        return f"{match['name']}@{match['digest']}"
    return f"{match['name']}:{match['tag'] or 'latest'}"


@dataclass(frozen=True)
class FakeImage:
    """An image whose program is a coroutine function.

    Parameters
    ----------
    ref : str
        Its name and tag.
    program : callable
        ``async def program(process: FakeProcess) -> int``.
    entrypoint, command : tuple of str
        As in an image; the program sees them in ``process.argv``. A container whose ``command``
        names another program than ``entrypoint[0]`` can't start: the image has only this one.
    env, labels : mapping
        The image's own.
    files : mapping of str to bytes
        Absolute paths; one that ends in ``/`` is an empty directory.
    user : str
        ``uid[:gid]``; empty is root.
    exposed : tuple of int
        TCP ports that the image says it listens on.
    directory : str
        Where it says its program starts; the program's paths are absolute all the same.
    """

    ref: str
    program: Program
    entrypoint: tuple[str, ...] = ("/program",)
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    user: str = ""
    exposed: tuple[int, ...] = ()
    directory: str = ""

    @cached_property
    def layer(self) -> bytes:
        """Its files, as a tar archive."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(self.files):
                item = tarfile.TarInfo(path.strip("/"))
                item.type = tarfile.DIRTYPE if path.endswith("/") else tarfile.REGTYPE
                item.mode, item.size = 0o755, len(self.files[path])
                tar.addfile(item, io.BytesIO(self.files[path]))
        return buffer.getvalue()

    @cached_property
    def config(self) -> bytes:
        """All but its name, as the JSON of an OCI image's configuration."""
        program = f"{self.program.__module__}.{getattr(self.program, '__qualname__', '')}"
        value = {
            "architecture": "amd64",
            "os": "linux",
            "created": _CREATED.isoformat(),
            "config": {
                "Entrypoint": list(self.entrypoint),
                "Cmd": list(self.command),
                "Env": [f"{name}={text}" for name, text in self.env.items()],
                "Labels": dict(self.labels),
                "User": self.user,
                "WorkingDir": self.directory,
                "ExposedPorts": {f"{port}/tcp": {} for port in self.exposed},
            },
            "rootfs": {"type": "layers", "diff_ids": [_sha256(self.layer)]},
            "history": [{"created_by": program}],
        }
        return json.dumps(value, sort_keys=True).encode()

    @cached_property
    def id(self) -> str:
        """``sha256:...`` of all but its name: the same image has the same id under every name."""
        return _sha256(self.config)

    @property
    def digest(self) -> str:
        """``sha256:...`` under which a registry would know it."""
        return _sha256(self.id.encode())

    def renamed(self, ref: str) -> FakeImage:
        """The same image under another name."""
        return dataclasses.replace(self, ref=ref)

    def info(self, tags: tuple[str, ...], digests: tuple[str, ...]) -> ImageInfo:
        """Describe it as an engine does that has it under these names."""
        return ImageInfo(
            id=self.id,
            tags=tags,
            digests=digests,
            size=sum(len(content) for content in self.files.values()),
            created=_CREATED,
            labels=dict(self.labels),
            entrypoint=self.entrypoint,
            command=self.command,
            env=dict(self.env),
            user=self.user,
            exposed=self.exposed,
            architecture="amd64",
            directory=self.directory,
        )


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class FakeRegistry:
    """Where a fake engine pulls from, and pushes to.

    Parameters
    ----------
    contents : mapping of str to FakeImage or ImageError
        What a pull of that reference gives: an image, or an error such as
        :class:`~lading.errors.ImageDenied`.
    seconds : float
        How long a pull takes.
    layers : int
        In how many parts its progress is told.

    Attributes
    ----------
    pulls : list of str
        Every reference that was asked for, in order.
    pushes : list of str
        Every reference that was put there, in order.
    """

    def __init__(
        self,
        contents: Mapping[str, FakeImage | ImageError] | None = None,
        *,
        seconds: float = 0.0,
        layers: int = 2,
    ) -> None:
        self._contents = {normal_reference(ref): item for ref, item in (contents or {}).items()}
        self.seconds = seconds
        self.layers = layers
        self.pulls: list[str] = []
        self.pushes: list[str] = []

    def publish(self, ref: str, item: FakeImage | ImageError) -> None:
        """Put an image there, or an error; what was there is replaced."""
        self._contents[normal_reference(ref)] = item

    async def fetch(self, ref: str, progress: Progress | None = None) -> FakeImage:
        """Give the image to an engine.

        Raises
        ------
        ImageError
            The one that was put there, or :class:`~lading.errors.ImageNotFound`.
        """
        name = normal_reference(ref)
        self.pulls.append(ref)
        tell = progress or (lambda _: None)
        tell(PullStatus(text=f"Pulling {name}"))
        item = self._contents.get(name)
        if item is None:
            raise ImageNotFound(
                ref,
                "the registry has no such image",
                status=404,
                fix="check the name, or publish it to the FakeRegistry",
            )
        if isinstance(item, ImageError):
            raise item
        total = max(1, sum(len(content) for content in item.files.values()) // self.layers)
        for number in range(self.layers):
            layer = f"layer{number}"
            tell(PullStatus(text="Downloading", layer=layer, current=0, total=total))
            await asyncio.sleep(self.seconds / self.layers)
            tell(PullStatus(text="Downloading", layer=layer, current=total, total=total))
            tell(PullStatus(text="Pull complete", layer=layer))
        tell(PullStatus(text=f"Digest: {item.digest}"))
        return item.renamed(ref)

    async def accept(self, ref: str, image: FakeImage, progress: Progress | None = None) -> str:
        """Take an image from an engine, and give its digest.

        Raises
        ------
        ImageError
            The one that is published under this reference.
        """
        name = normal_reference(ref)
        item = self._contents.get(name)
        if isinstance(item, ImagePullFailed):
            refused = ImagePushFailed(ref, item.message, fix=item.fix)
            refused.passing = item.passing
            raise refused
        if isinstance(item, ImageError):
            raise item
        tell = progress or (lambda _: None)
        tell(PullStatus(text=f"The push refers to repository [{name.rpartition(':')[0]}]"))
        tell(PullStatus(text="Pushing", layer="layer", current=0, total=len(image.layer)))
        await asyncio.sleep(self.seconds)
        self._contents[name] = image
        self._contents[f"{name.rpartition(':')[0]}@{image.digest}"] = image
        self.pushes.append(ref)
        tell(PullStatus(text=f"digest: {image.digest}"))
        return image.digest
