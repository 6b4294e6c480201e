"""An OCI image layout read: every part verified, and given out as an archive that engines load.

A layout that was fetched is a stranger's. It gets no say in what the image is called: the archive
has no names, or it could take the place of another image.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import re
import stat
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import IO, Any

from lading.engine.shield import to_the_end
from lading.errors import ContentRefused, InputError
from lading.units import format_bytes

__all__ = [
    "INDEX",
    "INDEX_FILE",
    "MANIFEST",
    "MARK",
    "VERSION",
    "is_layout",
    "read_layout",
]

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX_FILE, MARK, VERSION = "index.json", "oci-layout", "1.0.0"

_DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_LAYER = re.compile(
    r"application/vnd\.(oci\.image\.layer\.v1\.tar(\+gzip)?|docker\.image\.rootfs\.diff\.tar(\.gzip)?)"
)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_MOST_JSON = 8 << 20
_MOST_LAYERS = 500
_PIECE = 1 << 20
_RECORD = 512


def is_layout(folder: Path) -> bool:
    """Whether a folder is an OCI image layout; blocks on the disk."""
    return (folder / MARK).is_file() and (folder / INDEX_FILE).is_file()


async def read_layout(folder: Path) -> AsyncIterator[bytes]:
    """Give out a layout's image as an archive for :meth:`lading.engine.Engine.load`.

    What lists the parts comes last, so that an engine can't load anything of which a part turned
    out to be wrong. The image has no name in it.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    ContentRefused
        A part is missing, has another hash or size than it should, or is of a kind that engines
        can't load; or no image in it is for this machine.
    InputError
        It can't be read.
    """
    archive = _archive(folder)
    try:
        # To its end: a generator can't be closed while a thread is in it.
        while (piece := await to_the_end(asyncio.to_thread(next, archive, None))) is not None:
            if piece:
                yield piece
    except OSError as error:
        raise InputError(str(folder), f"can't be read: {error.strerror}") from None
    finally:
        archive.close()


def _archive(folder: Path) -> Generator[bytes]:
    if not is_layout(folder):
        raise InputError(str(folder), "is no OCI image layout")
    manifest = _manifest(folder)
    config = manifest.get("config")
    layers = manifest.get("layers")
    if not isinstance(layers, list) or len(layers) > _MOST_LAYERS:
        raise ContentRefused(f"{folder}: the image has no list of layers, or too many")
    content = _small(folder, config)
    _same_layers(folder, content, layers)
    names = []
    name = f"{hashlib.sha256(content).hexdigest()}.json"
    yield _header(name, len(content)) + content + _padding(len(content))
    for layer in layers:
        digest, size = _address(folder, layer)
        if f"{digest}.tar" not in names:
            yield _header(f"{digest}.tar", size)
            yield from _blob(folder, digest, size)
            yield _padding(size)
        names.append(f"{digest}.tar")
    listed = json.dumps([{"Config": name, "RepoTags": None, "Layers": names}]).encode()
    yield _header("manifest.json", len(listed)) + listed + _padding(len(listed))
    yield bytes(2 * _RECORD)


def _manifest(folder: Path) -> dict[str, Any]:
    """Find the image for this machine; an index may name another index."""
    found = _parsed(folder, _read(folder / INDEX_FILE, _MOST_JSON))
    for _ in range(3):
        entries = [entry for entry in found.get("manifests") or () if isinstance(entry, dict)]
        fitting = [entry for entry in entries if len(entries) == 1 or _fits(entry)]
        if not fitting:
            raise ContentRefused(
                f"{folder}: of {len(entries)} images none is for linux on {_architecture()}",
                fix="ask for one that is built for this machine",
            )
        found = _parsed(folder, _small(folder, fitting[0]))
        if fitting[0].get("mediaType") not in (INDEX, _DOCKER_INDEX):
            return found
    raise ContentRefused(f"{folder}: an index of images names another, again and again")


def _architecture() -> str:
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def _fits(entry: dict[str, Any]) -> bool:
    wanted = entry.get("platform")
    if not isinstance(wanted, dict):
        return False
    return wanted.get("os") == "linux" and wanted.get("architecture") == _architecture()


def _same_layers(folder: Path, content: bytes, layers: list[Any]) -> None:
    """Refuse an image whose configuration speaks of other layers than its manifest."""
    rootfs = _parsed(folder, content).get("rootfs")
    listed = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(listed, list) or len(listed) != len(layers):
        raise ContentRefused(f"{folder}: the image's configuration has other layers")
    for layer, digest in zip(layers, listed, strict=True):
        kind = str(layer.get("mediaType")) if isinstance(layer, dict) else ""
        if _LAYER.fullmatch(kind) is None:
            raise ContentRefused(
                f"{folder}: engines can't load a layer of type {kind!r} from an archive",
                fix="ask for a layout with layers that are uncompressed, or compressed by gzip",
            )
        if kind.endswith(".tar") and layer.get("digest") != digest:
            raise ContentRefused(f"{folder}: the image's configuration has other layers")


def _address(folder: Path, descriptor: Any) -> tuple[str, int]:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    found = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    size = descriptor.get("size") if found else None
    if found is None or not isinstance(size, int) or not 0 <= size < 1 << 40:
        raise ContentRefused(f"{folder}: a part of the image has no SHA-256 and size")
    return found[1], size


def _small(folder: Path, descriptor: Any) -> bytes:
    digest, size = _address(folder, descriptor)
    if size > _MOST_JSON:
        raise ContentRefused(f"{folder}: a description has {format_bytes(size)}")
    return b"".join(_blob(folder, digest, size))


def _parsed(folder: Path, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ContentRefused(f"{folder}: a description in it is no JSON object")
    return found


def _read(path: Path, limit: int) -> bytes:
    with _opened(path) as file:
        text = file.read(limit + 1)
    if len(text) > limit:
        raise ContentRefused(f"{path}: is larger than {format_bytes(limit)}")
    return text


def _blob(folder: Path, digest: str, size: int) -> Generator[bytes]:
    path = folder / "blobs" / "sha256" / digest
    if path.is_symlink() or not path.is_file():
        raise ContentRefused(f"{folder}: part sha256:{digest} of the image is missing")
    got, computed = 0, hashlib.sha256()
    with _opened(path) as file:
        while piece := file.read(_PIECE):
            got += len(piece)
            if got > size:
                break
            computed.update(piece)
            yield piece
    if got != size or computed.hexdigest() != digest:
        raise ContentRefused(
            f"{folder}: part sha256:{digest} of the image is not what its address says"
        )


def _opened(path: Path) -> IO[bytes]:
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(number, "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        file.close()
        raise ContentRefused(f"{path}: is no file")
    return file


def _header(name: str, size: int) -> bytes:
    import tarfile  # noqa: PLC0415 - 10 ms

    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _RECORD)
