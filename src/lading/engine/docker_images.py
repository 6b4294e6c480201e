"""The verbs of a Docker or Podman engine that are about images and their registries."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from lading.engine import podman_wire
from lading.engine.base import Progress
from lading.engine.docker_api import Api, unreachable
from lading.engine.docker_errors import Call, Thing, translate
from lading.engine.docker_streams import json_values, pull_status, stream_error
from lading.engine.docker_wire import header_json, image_info, query, segment
from lading.engine.reference import Reference, is_image_id, parse
from lading.engine.shield import to_the_end
from lading.engine.spec import ImageInfo
from lading.errors import EngineError, ImageDenied, ImageNameInvalid, ImageNotFound, ImagePushFailed

if TYPE_CHECKING:
    from lading.engine.registry_auth import Credentials

__all__ = ["DockerImages"]

_DIGEST = re.compile(r"digest: (sha256:[0-9a-f]{64})\b")
_LOADED = re.compile(r"Loaded image(?: ID)?: (\S+)")


class DockerImages:
    """What :class:`~lading.engine.docker.DockerEngine` does with images."""

    _api: Api
    _env: Mapping[str, str]
    _podman: bool

    @cached_property
    def _credentials(self) -> Credentials:
        from lading.engine.registry_auth import Credentials  # noqa: PLC0415  # few ask for it

        return Credentials(self._env)

    async def image(self, ref: str) -> ImageInfo:
        """Look at an image that the engine has; never asks a registry."""
        _check(ref)
        call = Call(f"looking at image {ref}", Thing.IMAGE, ref)
        return image_info(
            (await self._api.call("GET", f"/images/{segment(ref)}/json", call)).json()
        )

    async def pull(self, ref: str, progress: Progress | None = None) -> ImageInfo:
        """Fetch an image from its registry, with the credentials that are stored for it."""
        reference = parse(ref)
        call = Call(f"pulling image {ref}", Thing.PULL, ref)
        plain = self._podman and reference.is_loopback
        if plain:
            path = f"{podman_wire.PULL}{query(reference=str(reference), tlsVerify='false')}"
        else:
            path = f"/images/create{query(fromImage=reference.name, tag=reference.version)}"
        with self._explaining():
            async with self._api.stream(
                "POST", path, call, headers=await self._login(reference), absolute=plain
            ) as response:
                async for value in json_values(response.chunks()):
                    if words := stream_error(value):
                        raise translate(call, None, words)
                    if progress and (status := pull_status(value)):
                        progress(status)
        return await self.image(str(reference))

    async def push(self, ref: str, progress: Progress | None = None) -> str:
        """Put an image into its registry, with the credentials that are stored for it."""
        reference = parse(ref)
        if reference.digest:
            raise ImageNameInvalid(
                ref, "a digest can't be pushed to", fix="write a tag, or none for latest"
            )
        call = Call(f"pushing image {ref}", Thing.PUSH, ref)
        fields = query(tag=reference.version, tlsVerify=self._tls_verify(reference))
        path = f"/images/{segment(reference.name)}/push{fields}"
        digest = ""
        headers = await self._login(reference, always=True)
        with self._explaining():
            async with self._api.stream("POST", path, call, headers=headers) as response:
                async for value in json_values(response.chunks()):
                    if words := stream_error(value):
                        raise translate(call, None, words)
                    status = pull_status(value)
                    if progress and status:
                        progress(status)
                    # Docker says it in a value of its own, and Podman in words only.
                    digest = _digest_in(value.get("aux")) or digest
                    if status and (found := _DIGEST.search(status.text)):
                        digest = found[1]
        if not digest:
            raise ImagePushFailed(ref, "the engine did not say under which digest it is there")
        return digest

    async def tag(self, image: str, ref: str) -> None:
        """Give an image a further name; another image that has it loses it."""
        _check(image)
        reference = parse(ref)
        if reference.digest:
            raise ImageNameInvalid(ref, "a digest can't be given", fix="write a tag")
        call = Call(f"naming image {image} {ref}", Thing.IMAGE, image)
        fields = query(repo=reference.name, tag=reference.version)
        await self._api.call("POST", f"/images/{segment(image)}/tag{fields}", call)

    @contextlib.asynccontextmanager
    async def save(self, image: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Read an image as a ``docker save`` archive."""
        found = await self.image(image)  # what no engine says with a status that means it
        call = Call(f"saving image {image}", Thing.IMAGE, image)
        name = image if is_image_id(image) else str(parse(image))
        path = f"/images/{segment(name if found.tags else found.id)}/get"
        theirs: OSError | None = None
        async with self._api.stream("GET", path, call) as response:
            try:
                yield self._told(call, response.chunks())
            except OSError as error:  # of who reads it: a full disk is not the engine's fault
                theirs = error
        if theirs is not None:
            raise theirs

    async def load(self, archive: AsyncIterable[bytes]) -> ImageInfo:
        """Take an image from a ``docker save`` archive."""
        call = Call("loading an image", Thing.ENGINE)
        loaded = ""
        async with self._api.stream(
            "POST", f"/images/load{query(quiet=1)}", call, raw=archive
        ) as response:
            async for value in json_values(response.chunks()):
                if words := stream_error(value):
                    raise translate(call, None, words)
                for found in _LOADED.finditer(str(value.get("stream") or "")):
                    loaded = found[1]
        if not loaded:
            raise EngineError(
                "loading an image failed: the archive holds none", fix="make it with docker save"
            )
        return await self.image(loaded)

    async def remove_image(self, ref: str) -> None:
        """Take a name from an image, and remove the image with its last one."""
        _check(ref)
        await to_the_end(self._remove_image(ref))

    async def _remove_image(self, ref: str) -> None:
        call = Call(f"removing image {ref}", Thing.IMAGE, ref)
        method, path, absolute = "DELETE", f"/images/{segment(ref)}", False
        if self._podman and not is_image_id(ref) and not (reference := parse(ref)).digest:
            try:
                others = len((await self.image(ref)).tags) > 1
            except ImageNotFound:
                return
            if others:
                fields = query(repo=reference.name, tag=reference.version)
                method, absolute = "POST", True
                path = f"{podman_wire.UNTAG.format(name=segment(ref))}{fields}"
        await self._api.call(method, path, call, accept=frozenset({404}), absolute=absolute)

    async def _told(self, call: Call, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks:
                yield chunk
        except OSError as error:
            raise unreachable(self._api.address, f"{call.doing} failed", error) from error

    async def _login(
        self, reference: Reference, *, always: bool = False
    ) -> tuple[tuple[str, str], ...]:
        auth = await self._credentials.find(reference)
        if auth is None and not always:
            return ()
        return (("x-registry-auth", header_json(auth.as_json() if auth else {})),)

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        """Add to a registry's refusal why no credentials were had."""
        try:
            yield
        except ImageDenied as error:
            if self._credentials.problems:
                error.fix = f"{error.fix} ({'; '.join(self._credentials.problems)})"
            raise

    def _tls_verify(self, reference: Reference) -> str | None:
        # Docker speaks plain HTTP with registries of its own machine that have no TLS, and Podman
        # does when it is told so.
        return "false" if self._podman and reference.is_loopback else None


def _check(ref: str) -> None:
    if not is_image_id(ref):
        parse(ref)


def _digest_in(aux: object) -> str:
    return str(aux.get("Digest") or "") if isinstance(aux, dict) else ""
