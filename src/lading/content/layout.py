"""An image as a folder: the archive that an engine saves and loads, from and to an OCI layout.

A layout holds each part of an image in a file named by its hash, so it can be published by IPFS
like any folder, and the same image makes the same folder every time: layers stay uncompressed (what
a compressor makes differs from one version to the next), and nothing has a time.

Formats: `image layout <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>`_,
`image manifest <https://github.com/opencontainers/image-spec/blob/main/manifest.md>`_, and Docker's
archive as ``docker save`` has written it since 1.10: a tar file with a ``manifest.json``.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import posixpath
import secrets
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lading.content.layout_reading import (
    INDEX,
    INDEX_FILE,
    MANIFEST,
    MARK,
    VERSION,
    is_layout,
    read_layout,
)
from lading.engine.shield import to_the_end
from lading.errors import ContentError, ContentRefused, InputError

if TYPE_CHECKING:
    import tarfile

__all__ = ["is_layout", "read_layout", "write_layout"]

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
_MOST_JSON = 8 << 20
_F_SETPIPE_SZ = 1031


async def write_layout(
    archive: AsyncIterator[bytes], target: Path, annotations: Mapping[str, str] | None = None
) -> str:
    """Write the archive that an engine saved as an OCI image layout.

    Parameters
    ----------
    archive : async iterator of bytes
        Of one image, as :meth:`lading.engine.Engine.save` gives it.
    target : Path
        The folder; there must be nothing yet. It appears when it is whole.
    annotations : mapping of str to str, optional
        For the manifest.

    Returns
    -------
    str
        The manifest's digest, ``sha256:...``.

    Raises
    ------
    ContentRefused
        It is no archive of one image, or is cut off.
    ContentError
        It can't be written.
    InputError
        There is something at `target`.
    """
    if await asyncio.to_thread(os.path.lexists, target):
        raise InputError(str(target), "is there already", fix="name another, or remove it")
    temporary = target.parent / f".{target.name[:100]}.{secrets.token_hex(8)}"
    try:
        taking, giving = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(giving, _F_SETPIPE_SZ, _PIECE)
        writing = asyncio.create_task(
            asyncio.to_thread(_write, taking, temporary, dict(annotations or {}))
        )
        try:
            await _pour(archive, giving)
        finally:  # The writer finds the end of the pipe, whatever happened here.
            os.close(giving)
            await to_the_end(_ended(writing))
        try:
            digest = writing.result()
            await asyncio.to_thread(temporary.rename, target)
        except OSError as error:
            raise ContentError(f"{target} can't be written: {error.strerror}") from None
    finally:
        await to_the_end(asyncio.to_thread(shutil.rmtree, temporary, ignore_errors=True))
    return digest


async def _pour(archive: AsyncIterator[bytes], pipe: int) -> None:
    """Write the archive into a pipe, until whoever reads it has enough."""
    try:
        async for piece in archive:
            await to_the_end(asyncio.to_thread(_write_all, pipe, piece))
    except BrokenPipeError:
        return


def _write_all(pipe: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(pipe, left) :]


async def _ended(work: asyncio.Task[str]) -> None:
    await asyncio.wait({work})
    if not work.cancelled():
        work.exception()


# In a thread.


def _write(pipe: int, folder: Path, annotations: dict[str, str]) -> str:
    import tarfile  # noqa: PLC0415 - 10 ms

    with os.fdopen(pipe, "rb", buffering=_PIECE) as stream:
        writer = _Writer(folder)
        try:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=_PIECE) as tar:
                for member in tar:
                    writer.take(tar, member)
        except (tarfile.TarError, EOFError) as error:
            raise ContentRefused(f"the image's archive is broken: {error}") from None
        while stream.read(_PIECE):  # what is padded may come after the archive's end
            pass
    return writer.finish(annotations)


class _Writer:
    """Takes the files of an archive as they come, and knows at the end what they are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._blobs = folder / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        self._files: dict[str, str] = {}
        self._links: dict[str, str] = {}

    def take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Keep a file under its hash; layers that another image has too may be links."""
        name = posixpath.normpath(member.name)
        if member.issym() or member.islnk():
            base = posixpath.dirname(name) if member.issym() else ""
            self._links[name] = posixpath.normpath(posixpath.join(base, member.linkname))
        elif member.isfile() and (source := tar.extractfile(member)) is not None:
            self._files[name] = self._keep(source)

    def finish(self, annotations: dict[str, str]) -> str:
        """Write what says how the parts belong together, and remove what belongs to nothing."""
        listed = self._listed()
        config = self._digest(str(listed.get("Config")))
        layers = [self._digest(str(name)) for name in listed.get("Layers") or ()]
        configured = self._configured(config)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._descriptor(_CONFIG, config),
            "layers": [self._descriptor(self._type(layer), layer) for layer in layers],
        }
        if annotations:
            manifest["annotations"] = annotations
        digest = self._keep_text(manifest)
        entry = self._descriptor(MANIFEST, digest)
        entry["platform"] = {
            name: str(configured[name])
            for name in ("architecture", "os", "variant")
            if configured.get(name)
        }
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        (self._folder / INDEX_FILE).write_bytes(_text(index))
        (self._folder / MARK).write_bytes(_text({"imageLayoutVersion": VERSION}))
        wanted = {digest, config, *layers}
        for path in self._blobs.iterdir():
            if path.name not in wanted:
                path.unlink()
        return f"sha256:{digest}"

    def _listed(self) -> dict[str, Any]:
        name = "manifest.json"
        if name not in self._files:
            raise ContentRefused("the image's archive has no manifest.json, or is cut off")
        images = self._json(self._files[name])
        if not isinstance(images, list) or len(images) != 1 or not isinstance(images[0], dict):
            raise ContentRefused("the archive does not hold one image", fix="save one image")
        return images[0]

    def _configured(self, digest: str) -> dict[str, Any]:
        found = self._json(digest)
        if not isinstance(found, dict):
            raise ContentRefused("the image's configuration is none")
        return found

    def _json(self, digest: str) -> Any:
        path = self._blobs / digest
        if path.stat().st_size > _MOST_JSON:
            raise ContentRefused("the image's archive has a description of many megabytes")
        try:
            return json.loads(path.read_bytes())
        except ValueError as error:
            raise ContentRefused(f"the image's archive is broken: {error}") from None

    def _digest(self, name: str) -> str:
        path = posixpath.normpath(name)
        for _ in range(len(self._links) + 1):
            if path in self._files:
                return self._files[path]
            path = self._links.get(path, "")
        raise ContentRefused(f"the image's archive lacks {name}, or is cut off")

    def _descriptor(self, kind: str, digest: str) -> dict[str, Any]:
        size = (self._blobs / digest).stat().st_size
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}

    def _type(self, digest: str) -> str:
        with (self._blobs / digest).open("rb") as file:
            return _LAYER + ("+gzip" if file.read(2) == _GZIP else "")

    def _keep(self, source: IO[bytes]) -> str:
        digest = hashlib.sha256()
        path = self._blobs / "incoming"
        with path.open("wb", buffering=0) as file:
            while piece := source.read(_PIECE):
                digest.update(piece)
                file.write(piece)
        path.rename(self._blobs / digest.hexdigest())
        return digest.hexdigest()

    def _keep_text(self, value: Any) -> str:
        text = _text(value)
        digest = hashlib.sha256(text).hexdigest()
        (self._blobs / digest).write_bytes(text)
        return digest


def _text(value: Any) -> bytes:
    """Write JSON in one way only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
