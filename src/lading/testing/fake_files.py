"""The file system of a fake container: the image's files, what was written, and real mounts."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import posixpath
import tarfile
from collections.abc import Mapping
from pathlib import Path

from lading.engine.spec import Mount
from lading.errors import EngineError

__all__ = ["FakeFiles"]


def _normal(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


class FakeFiles:
    """Files by path; what lies under a mount is on the host's disk.

    Parameters
    ----------
    image : mapping of str to bytes
        What the container starts with; a path that ends in ``/`` is a directory.
    mounts : tuple of Mount
        Where paths lead to the host.
    """

    def __init__(self, image: Mapping[str, bytes], mounts: tuple[Mount, ...]) -> None:
        self._files: dict[str, bytes] = {}
        self._folders = {"/"}
        # The innermost mount counts.
        self._mounts = sorted(mounts, key=lambda mount: len(mount.target), reverse=True)
        for path, content in image.items():
            if path.endswith("/"):
                self._make_folders(_normal(path))
            else:
                self._store(_normal(path), content)

    @property
    def files(self) -> Mapping[str, bytes]:
        """What lies in no mount, by absolute path."""
        return self._files

    @staticmethod
    async def check_mounts(mounts: tuple[Mount, ...]) -> None:
        """Raise EngineError where the host lacks what is to be mounted."""
        for mount in mounts:
            if not await asyncio.to_thread(Path(mount.source).exists):
                raise EngineError(
                    f"mount {mount.target}: {mount.source} does not exist",
                    status=400,
                    fix="create it on the engine's host, or check the path",
                )

    async def read(self, path: str) -> bytes:
        """Read a file.

        Raises
        ------
        OSError
            As the kernel would: ENOENT, EISDIR.
        """
        path = _normal(path)
        if (found := self._mounted(path)) is not None:
            return await asyncio.to_thread(found[1].read_bytes)
        if path in self._files:
            return self._files[path]
        raise _error(errno.EISDIR if path in self._folders else errno.ENOENT, path)

    async def write(self, path: str, content: bytes) -> None:
        """Write a file, in a directory that exists.

        Raises
        ------
        OSError
            As the kernel would: ENOENT, EISDIR, EROFS.
        """
        path = _normal(path)
        if (found := self._mounted(path)) is not None:
            mount, target = found
            if mount.read_only:
                raise _error(errno.EROFS, path)
            await asyncio.to_thread(target.write_bytes, content)
        elif path in self._folders:
            raise _error(errno.EISDIR, path)
        elif posixpath.dirname(path) not in self._folders:
            raise _error(errno.ENOENT, path)
        else:
            self._files[path] = content

    async def unpack(self, folder: str, archive: bytes) -> None:
        """Unpack a tar archive into a directory that exists.

        Raises
        ------
        FileNotFoundError
            There is no such directory.
        """
        folder = _normal(folder)
        if self._mounted(folder) is None and folder not in self._folders:
            raise _error(errno.ENOENT, folder)
        for name, content in await asyncio.to_thread(_read_tar, archive):
            path = _normal(posixpath.join(folder, name))
            if content is None:
                self._make_folders(path)
            elif self._mounted(path) is not None:
                await self.write(path, content)
            else:
                self._store(path, content)

    async def pack(self, path: str) -> bytes:
        """Give a file or directory as a tar archive, under its last name.

        Raises
        ------
        FileNotFoundError
            There is no such path.
        """
        path = _normal(path)
        name = posixpath.basename(path) or "."
        if (found := self._mounted(path)) is not None:
            return await asyncio.to_thread(_tar_of_host, found[1], name)
        if path in self._files:
            return await asyncio.to_thread(_write_tar, {name: self._files[path]}, set())
        if path not in self._folders:
            raise _error(errno.ENOENT, path)
        inside = path.rstrip("/") + "/"
        files = {
            f"{name}/{key.removeprefix(inside)}": content
            for key, content in self._files.items()
            if key.startswith(inside)
        }
        folders = {
            f"{name}/{key.removeprefix(inside)}"
            for key in self._folders
            if key != path and key.startswith(inside)
        }
        return await asyncio.to_thread(_write_tar, files, {name, *folders})

    def _mounted(self, path: str) -> tuple[Mount, Path] | None:
        for mount in self._mounts:
            target = _normal(mount.target)
            if path == target or path.startswith(target + "/"):
                rest = path.removeprefix(target).lstrip("/")
                source = Path(mount.source)
                return mount, source / rest if rest else source
        return None

    def _store(self, path: str, content: bytes) -> None:
        self._make_folders(posixpath.dirname(path))
        self._files[path] = content

    def _make_folders(self, path: str) -> None:
        while path not in self._folders:
            self._folders.add(path)
            path = posixpath.dirname(path)


def _read_tar(archive: bytes) -> list[tuple[str, bytes | None]]:
    """Names and contents; None for a directory."""
    found: list[tuple[str, bytes | None]] = []
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if member.isdir():
                found.append((member.name, None))
            elif (file := tar.extractfile(member)) is not None:
                found.append((member.name, file.read()))
    return found


def _write_tar(files: Mapping[str, bytes], folders: set[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in sorted(folders):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _tar_of_host(source: Path, name: str) -> bytes:
    if not source.exists():
        raise _error(errno.ENOENT, str(source))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(source, arcname=name)
    return buffer.getvalue()
