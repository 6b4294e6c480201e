"""Reading one file out of the tar archive that an engine makes of a path."""

from __future__ import annotations

import asyncio
import posixpath

from lading.engine.base import Container
from lading.errors import ImageFileNotFound

__all__ = ["read_member"]

_LINKS = 16


async def read_member(container: Container, image: str, path: str) -> bytes:
    """Read a regular file of a container, following symbolic links inside it.

    Parameters
    ----------
    container : Container
        Made from the image, need not run.
    image : str
        For the error.
    path : str
        Absolute, or from the root.

    Raises
    ------
    ImageFileNotFound
        There is no such file, or it is no regular one.
    """
    current = posixpath.normpath(posixpath.join("/", path))
    for _ in range(_LINKS):
        try:
            archive = await container.get(current)
        except FileNotFoundError:
            raise ImageFileNotFound(
                image, f"holds no file {path}", fix="check the path, it is looked up from /"
            ) from None
        content, link = await asyncio.to_thread(_only_member, archive)
        if content is not None:
            return content
        if not link:
            raise ImageFileNotFound(image, f"{path} is no regular file", fix="name a file")
        current = posixpath.normpath(posixpath.join(posixpath.dirname(current), link))
    raise ImageFileNotFound(image, f"{path} is a circle of links", fix="name another file")


def _only_member(archive: bytes) -> tuple[bytes | None, str]:
    import io  # noqa: PLC0415 - tarfile takes 10 ms, most commands don't need it
    import tarfile  # noqa: PLC0415

    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.next()
        if member is None:
            return None, ""
        if member.issym():
            return None, member.linkname
        stream = tar.extractfile(member) if member.isfile() else None
        return (stream.read() if stream else None), ""
