"""Building an image by a Docker or Podman engine.

BuildKit is there in every Docker since 19.03, and may be asked over the Engine API without the
session that Docker's own client opens: the archive is the body, as for the classic builder. What
it can't do without one is ask us for registry credentials, and it asks for some (``no active
sessions``) wherever a registry wants a token, Docker Hub's for everybody included. So a base image
that the engine lacks is pulled by the engine first, which has the credentials from us, and
BuildKit finds it there. Where that does not help, the classic builder takes them in a header.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING

from lading.engine.base import Progress
from lading.engine.build_story import BuildStory
from lading.engine.docker_errors import Call, Thing
from lading.engine.docker_images import DockerImages
from lading.engine.docker_streams import json_values, stream_error
from lading.engine.docker_wire import header_json, query
from lading.engine.reference import parse
from lading.engine.spec import ImageInfo, PullStatus
from lading.errors import BuildFailed, ImageError, ImageNotFound

if TYPE_CHECKING:
    from lading.http1 import Body

__all__ = ["DockerBuilds"]

EPOCH = "SOURCE_DATE_EPOCH"
"""The build argument that BuildKit knows by itself, since 0.11: when everything was made, in
seconds since 1970; Podman has a field for it (https://reproducible-builds.org/specs/)."""

_HEADER = 512
_KIND = slice(156, 157)
"""Bytes of a tar archive's entry before its content, and where its kind stands (pax(1))."""

_CLASSIC = "1"
"""The builder that an operator chose with ``"features": {"buildkit": false}``."""

_BASE_FAILED = re.compile(r"step '(?:\[internal\] load metadata|resolve image config) for ")
_NO_BASE = "see that its registry can be reached, or name a base image that is here"

_WANTS_LOGIN = re.compile(
    r"no active sessions?|failed to authorize|authorization failed|unauthorized|access denied"
    r"|no basic auth|authentication required|insufficient_scope|40[13] (?:unauthorized|forbidden)",
    re.IGNORECASE,
)


class DockerBuilds(DockerImages):
    """What :class:`~lading.engine.docker.DockerEngine` does with a build context."""

    _buildkit: bool | None = None
    """Whether this engine builds with BuildKit; None: nobody asked it yet."""

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
        """Build an image from a tar archive that holds a ``Dockerfile`` at its root."""
        reference = parse(tag)
        fields: dict[str, str | int | None] = {
            "t": str(reference) if self._podman else tag,  # Podman: localhost/ for no registry
            "rm": 1,
            "forcerm": 1,
            "buildargs": json.dumps(dict(args)) if args else None,
            "labels": json.dumps(dict(labels)) if labels else None,
            "platform": platform,
            "target": target,
            **self._network_fields(network=network),
            "timestamp": (args or {}).get(EPOCH) if self._podman else None,
        }
        tell = progress or _to_nobody
        if await self._has_buildkit():
            await self._by_buildkit(tag, context, fields, tell)
        else:
            await self._build(tag, context, fields, await self._credentials.all(), tell)
        return await self.image(tag)

    async def _by_buildkit(
        self,
        tag: str,
        context: Body,
        fields: Mapping[str, str | int | None],
        tell: Progress,
    ) -> None:
        story = BuildStory()
        try:
            await self._newly(tag, context, fields, tell, story)
        except BuildFailed as error:
            if not _WANTS_LOGIN.search(error.message):
                raise
            if isinstance(context, AsyncIterator):  # it can't be read again
                error.fix = "pull its base images first"
                raise
        else:
            return
        if await self._pull_bases(tag, story.bases, tell):
            try:
                await self._newly(tag, context, fields, tell, BuildStory())
            except BuildFailed as error:
                if not _WANTS_LOGIN.search(error.message):
                    raise
            else:
                return
        tell(PullStatus(text="a registry wants credentials: the classic builder takes them"))
        await self._build(tag, context, fields, await self._credentials.all(), tell)

    async def _newly(
        self,
        tag: str,
        context: Body,
        fields: Mapping[str, str | int | None],
        tell: Progress,
        story: BuildStory,
    ) -> None:
        """Try it with BuildKit; a large context does not stay with it."""
        body = recognized(context) if isinstance(context, bytes) else _Counted(context)
        try:
            await self._build(tag, body, {**fields, "version": 2}, {}, tell, story=story)
        except BuildFailed:
            await self._forget(body)
            raise
        await self._forget(body)

    async def _forget(self, body: bytes | _Counted) -> None:
        from lading.engine import buildkit_leftovers  # noqa: PLC0415  # most are small

        sent = len(body) if isinstance(body, bytes) else body.count
        if sent >= buildkit_leftovers.WORTH_REMOVING:
            await buildkit_leftovers.remove_context(self._api, sent)

    async def _pull_bases(self, tag: str, bases: Iterable[str], tell: Progress) -> bool:
        """Pull those that the engine lacks; say whether there was one."""
        pulled = False
        for base in bases:
            try:
                await self.image(base)
            except ImageNotFound:
                tell(PullStatus(text=f"pulling base image {base}"))
                try:
                    await self.pull(base, tell)
                except ImageError as error:
                    raise BuildFailed(
                        tag, f"its base image can't be had: {error.message}", fix=error.fix
                    ) from error
                pulled = True
        return pulled

    def _network_fields(self, *, network: bool) -> dict[str, str | None]:
        if not self._podman:
            return {"networkmode": None if network else "none"}
        # Left to itself, Podman builds in the network of the host, loopback included. This gives
        # the steps one of their own, as Docker does; what it calls 1 is none (NetworkDisabled of
        # https://pkg.go.dev/github.com/containers/buildah/define). "none" it takes for anything.
        own = json.dumps([{"Name": "network", "Host": False, "Path": ""}])
        return {"nsoptions": own, "networkmode": None if network else "1"}

    async def _has_buildkit(self) -> bool:
        if self._buildkit is None:
            if self._podman:
                self._buildkit = False
            else:
                call = Call("asking the engine for its builder")
                async with self._api.stream("GET", "/_ping", call) as reply:
                    await reply.read()
                    chosen = reply.headers.get("builder-version", "")
                    linux = reply.headers.get("ostype", "linux") == "linux"
                self._buildkit = linux and chosen != _CLASSIC
        return self._buildkit

    async def _build(
        self,
        tag: str,
        context: Body,
        fields: Mapping[str, str | int | None],
        known: Mapping[str, Mapping[str, str]],
        tell: Progress,
        *,
        story: BuildStory | None = None,
    ) -> None:
        call = Call(f"building image {tag}", Thing.BUILD, tag)
        headers = (("x-registry-config", header_json(known)),) if known else ()
        story = story or BuildStory()
        async with self._api.stream(
            "POST", f"/build{query(**fields)}", call, raw=context, headers=headers
        ) as response:
            async for value in json_values(response.chunks()):
                told = story.feed(value)
                if words := stream_error(value):
                    why = story.failure(words)
                    raise BuildFailed(tag, why, fix=_NO_BASE if _BASE_FAILED.match(why) else "")
                for status in told:
                    tell(status)


def recognized(archive: bytes) -> bytes:
    """Return the beginning of an archive as BuildKit takes it for one.

    It judges by the first 1,024 bytes (``isArchive`` of its dockerfile frontend): where an extended
    header comes first, as for a name that is long or not ASCII, the end of the entry is not in
    them, and the archive is taken for a Dockerfile. An entry for the folder itself helps.
    """
    if archive[_KIND] not in (b"x", b"g", b"L"):  # of pax, and what GNU's tar has for long names
        return archive
    import tarfile  # noqa: PLC0415  # 14 ms, for few

    folder = tarfile.TarInfo("./")
    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
    return folder.tobuf(tarfile.USTAR_FORMAT) + archive


class _Counted:
    """An archive in pieces, and how many bytes of it were taken, the last time."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces
        self.count = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.count = 0
        head = b""
        async for piece in self._pieces:
            head += piece
            if self.count or len(head) >= _HEADER:
                taken, head = head if self.count else recognized(head), b""
                self.count += len(taken)
                yield taken
        if head:
            self.count += len(head)
            yield head


def _to_nobody(_: PullStatus) -> None:
    pass
