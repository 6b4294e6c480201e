"""The verbs of the fake engine that are about images."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import replace

from lading.engine.base import Progress
from lading.engine.spec import ImageInfo, PullStatus
from lading.errors import (
    BuildFailed,
    EngineError,
    ImageFileNotFound,
    ImageNameInvalid,
    ImageNotFound,
)
from lading.testing import fake_archive
from lading.testing.fake_container import ContainerState
from lading.testing.fake_files import FakeFiles
from lading.testing.fake_image import FakeImage, FakeRegistry, normal_reference

__all__ = ["Builder", "FakeImages"]

Builder = Callable[[Mapping[str, bytes], Mapping[str, str]], FakeImage]
"""Makes an image of the files of a build context and the build's arguments; it may raise
:class:`~lading.errors.BuildFailed`."""

_PIECE = 1 << 16


class FakeImages:
    """What :class:`~lading.testing.FakeEngine` does with images."""

    registry: FakeRegistry
    _builder: Builder | None
    _tags: dict[str, FakeImage]
    _digests: dict[str, FakeImage]
    _nameless: dict[str, FakeImage]
    _containers: dict[str, ContainerState]

    async def enter(self, verb: str, seconds: float = 0.0) -> None:
        """See :class:`~lading.testing.FakeEngine`."""
        raise NotImplementedError

    def check(self) -> None:
        """See :class:`~lading.testing.FakeEngine`."""
        raise NotImplementedError

    async def image(self, ref: str) -> ImageInfo:
        """Look at an image that it has."""
        await self.enter("image")
        return self._describe(self._image(ref))

    async def pull(self, ref: str, progress: Progress | None = None) -> ImageInfo:
        """Fetch an image from the registry."""
        await self.enter("pull")
        image = await self.registry.fetch(ref, progress)
        self.check()
        name = normal_reference(ref)
        if "@" in name:
            self._digests[name] = image
        else:
            self._tags[name] = image
            self._digests[f"{name.rpartition(':')[0]}@{image.digest}"] = image
        return self._describe(image)

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
        """Let the builder make an image of the context's files; it has one platform and stage."""
        del platform, target, network
        await self.enter("build")
        name = normal_reference(tag)
        folder = FakeFiles({}, ())
        whole = context if isinstance(context, bytes) else b"".join([x async for x in context])
        await folder.unpack("/", whole)
        files = {path.lstrip("/"): content for path, content in folder.files.items()}
        if "Dockerfile" not in files:
            raise BuildFailed(tag, "no Dockerfile at the root of the build context", status=400)
        if self._builder is None:
            raise BuildFailed(tag, "this fake engine can't build", fix="give FakeEngine a builder")
        if progress is not None:
            for number, line in enumerate(files["Dockerfile"].decode().splitlines(), start=1):
                progress(PullStatus(text=f"Step {number}: {line}"))
        made = self._builder(files, args or {})
        image = replace(made, ref=tag, labels={**made.labels, **(labels or {})})
        self._tags[name] = image
        return self._describe(image)

    async def read_file(
        self, image: str, path: str, *, labels: Mapping[str, str] | None = None
    ) -> bytes:
        """Read one file out of an image; it takes no helper that labels could be for."""
        del labels
        await self.enter("read_file")
        try:
            return await FakeFiles(self._image(image).files, ()).read(path)
        except OSError as error:
            raise ImageFileNotFound(
                image, f"no file {path} in it", status=404, fix="check the path"
            ) from error

    async def push(self, ref: str, progress: Progress | None = None) -> str:
        """Put an image into the registry."""
        await self.enter("push")
        name = _tagged(ref)
        image = self._tags.get(name)
        if image is None:
            raise ImageNotFound(ref, "no such image", status=404, fix="build it first")
        digest = await self.registry.accept(ref, image, progress)
        self.check()
        self._digests[f"{name.rpartition(':')[0]}@{digest}"] = image
        return digest

    async def tag(self, image: str, ref: str) -> None:
        """Give an image a further name."""
        await self.enter("tag")
        found = self._image(image)
        self._tags[_tagged(ref)] = found.renamed(ref)

    @contextlib.asynccontextmanager
    async def save(self, image: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give an image as an archive; only a fake engine of this process can load it."""
        await self.enter("save")
        found = self._image(image)
        names = [] if found.id.endswith(image) else [normal_reference(image)]
        archive = fake_archive.save(found, names)

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(archive), _PIECE):
                self.check()
                yield archive[at : at + _PIECE]

        yield pieces()

    async def load(self, archive: AsyncIterable[bytes]) -> ImageInfo:
        """Take an image from an archive that :meth:`save` gave."""
        await self.enter("load")
        whole = b"".join([piece async for piece in archive])
        image, names = await asyncio.to_thread(fake_archive.load, whole)
        self.check()
        for name in names:
            self._tags[normal_reference(name)] = image.renamed(name)
        if not names:
            self._nameless[image.id] = image
        return self._describe(image)

    async def remove_image(self, ref: str) -> None:
        """Take a name from an image; a container of it needs its last one."""
        await self.enter("remove_image")
        name = normal_reference(ref)
        try:
            image = self._image(ref)
        except ImageNotFound:
            return
        others = [n for n, item in self._tags.items() if item.id == image.id and n != name]
        if not others and any(state.image.id == image.id for state in self._containers.values()):
            raise EngineError(f"removing image {ref} failed: a container uses it", status=409)
        for names in (self._tags, self._digests, self._nameless):
            if name.endswith(image.id.removeprefix("sha256:")):  # by its id: under every name
                for each in [n for n, item in names.items() if item.id == image.id]:
                    del names[each]
            names.pop(name, None)

    def _image(self, ref: str) -> FakeImage:
        name = normal_reference(ref)
        if (image := self._tags.get(name) or self._digests.get(name)) is not None:
            return image
        wanted = name if name.startswith("sha256:") else f"sha256:{name}"
        for image in (*self._tags.values(), *self._digests.values(), *self._nameless.values()):
            if image.id == wanted:
                return image
        raise ImageNotFound(ref, "no such image", status=404, fix="pull or build it first")

    def _describe(self, image: FakeImage) -> ImageInfo:
        tags = tuple(name for name, item in self._tags.items() if item.id == image.id)
        digests = tuple(name for name, item in self._digests.items() if item.id == image.id)
        return image.info(tags, digests)


def _tagged(ref: str) -> str:
    name = normal_reference(ref)
    if "@" in name or "sha256:" in name:
        raise ImageNameInvalid(ref, "this is no name with a tag", status=400, fix="write a tag")
    return name
