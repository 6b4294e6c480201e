"""The archive of a folder for a builder, without what ``.dockerignore`` leaves out.

Rules: https://docs.docker.com/build/concepts/context/#dockerignore-files. Patterns are those of
Go's ``filepath.Match`` with ``**`` added; the last that matches a path or a folder above it
decides, and ``!`` takes it in again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import stat
import tarfile
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from lading.errors import ConfigError

__all__ = ["Context", "Ignore", "archive", "stream", "trial_tag"]

IGNORE_FILE = ".dockerignore"
_NOT_IN_TAG = re.compile(r"[^a-z0-9]+")
_ALWAYS = ("Dockerfile", IGNORE_FILE)
"""Sent even if they are left out: the builder needs them."""
_PIECE = 1 << 20
"""Bytes of the archive that are made at once: the most that is held of it."""


class Ignore:
    """Which paths of a folder are left out.

    Parameters
    ----------
    text : str
        Of a ``.dockerignore``.
    name : str
        What to call it in an error.

    Raises
    ------
    ConfigError
        A pattern can't be read; names the line.
    """

    def __init__(self, text: str, name: str = IGNORE_FILE) -> None:
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        for number, raw in enumerate(text.splitlines(), start=1):
            if raw.startswith("#") or not (line := raw.strip()):
                continue
            keeps = line.startswith("!")
            pattern = os.path.normpath(line.removeprefix("!").strip()).strip("/")
            if not line.removeprefix("!").strip():
                raise ConfigError(f"{name}:{number}", "'!' alone takes nothing in")
            if pattern == ".":
                continue  # the folder itself, as the builder has it
            try:
                self._rules.append((re.compile(_expression(pattern)), keeps))
            except (re.error, ValueError) as error:
                raise ConfigError(f"{name}:{number}", f"bad pattern {line!r}: {error}") from None

    @property
    def takes_in_again(self) -> bool:
        """Whether something below what is left out may be kept."""
        return any(keeps for _, keeps in self._rules)

    def leaves_out(self, path: str, *, above: bool | None = None) -> bool:
        """Decide about a path relative to the folder, with slashes.

        Parameters
        ----------
        path : str
        above : bool or None
            Whether the folder that it is in is left out, if that is known: of many files, they are
            decided about in a fraction of the time.
        """
        if above is not None and not self.takes_in_again:
            return above or any(pattern.fullmatch(path) for pattern, _ in self._rules)
        parents = path.split("/")
        candidates = ["/".join(parents[:count]) for count in range(1, len(parents) + 1)]
        left_out = False
        for pattern, keeps in self._rules:
            if left_out == keeps and any(pattern.fullmatch(item) for item in candidates):
                left_out = not keeps
        return left_out


def _expression(pattern: str) -> str:
    """Turn a pattern into a regular expression."""
    out, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**", at):
            at += 2
            if pattern.startswith("/", at):
                at += 1
                out.append("(?:.*/)?")  # any number of folders, none too
            else:
                out.append(".*")
            continue
        at += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            end = pattern.find("]", at + 1)
            if end < 0:
                raise ValueError("'[' without ']'")
            inside = pattern[at:end].replace("[", "\\[")
            out.append(f"[{inside}]")
            at = end + 1
        elif char == "\\" and at < len(pattern):
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return "".join(out)


class Context:
    """A folder as :meth:`lading.engine.Engine.build` takes it: read while it is sent, in threads.

    Parameters
    ----------
    folder : Path
    epoch : int or None
        See :func:`stream`.
    sent : callable or None
        Told how many bytes were taken so far, each time more are.
    """

    def __init__(
        self,
        folder: Path,
        *,
        epoch: int | None = None,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        self._folder = folder
        self._epoch = epoch
        self._sent = sent

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the archive; once more from its beginning, each time somebody asks.

        Raises
        ------
        ConfigError
            As :func:`stream`.
        """
        pieces = stream(self._folder, epoch=self._epoch)
        count = 0
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece
            count += len(piece)
            if self._sent is not None:
                self._sent(count)


def archive(folder: Path, *, epoch: int | None = None) -> bytes:
    """Do :func:`stream`, and hold it all; for folders that are known to be small."""
    return b"".join(stream(folder, epoch=epoch))


def stream(folder: Path, *, epoch: int | None = None) -> Iterator[bytes]:
    """Pack a folder as a tar archive for :meth:`lading.engine.Engine.build`; blocks on the disk.

    Files stand in the order of their names and belong to root, so the same files make the same
    archive. Links are packed as links and never followed, so nothing outside the folder gets in;
    sockets, pipes and devices are left out.

    Parameters
    ----------
    folder : Path
    epoch : int or None
        When every file was changed, in seconds since 1970; None: as the disk says.

    Yields
    ------
    bytes
        About a mebibyte at once, however large or many the files are.

    Raises
    ------
    ConfigError
        A file can't be read, or the ``.dockerignore`` can't be used.
    """
    ignore = _ignore(folder)
    gathered = bytearray()
    for path, entry in _walk(folder, "", ignore):
        try:
            for piece in _packed(path, entry, epoch):
                gathered += piece
                if len(gathered) >= _PIECE:
                    yield bytes(gathered)
                    gathered.clear()
        except OSError as error:
            raise ConfigError(
                entry.path,
                f"can't be read: {error.strerror}",
                fix=f"make it readable, or name it in {IGNORE_FILE}",
            ) from None
    yield bytes(gathered) + bytes(2 * tarfile.BLOCKSIZE)


def _ignore(folder: Path) -> Ignore:
    path = folder / IGNORE_FILE
    if path.is_symlink() or not path.is_file():
        return Ignore("")
    try:
        return Ignore(path.read_text(encoding="utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise ConfigError(str(path), "is not UTF-8") from None
    except OSError as error:
        raise ConfigError(str(path), f"can't be read: {error.strerror}") from None


def _walk(folder: Path, prefix: str, ignore: Ignore) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        entries = sorted(os.scandir(folder / prefix), key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(
            str(folder / prefix),
            f"can't be read: {error.strerror}",
            fix=f"make it readable, or name it in {IGNORE_FILE}",
        ) from None
    for entry in entries:
        path = f"{prefix}{entry.name}"
        left_out = path not in _ALWAYS and ignore.leaves_out(path)
        if not left_out:
            yield path, entry
        if entry.is_dir(follow_symlinks=False) and (not left_out or ignore.takes_in_again):
            yield from _walk(folder, f"{path}/", ignore)


def _packed(path: str, entry: os.DirEntry[str], epoch: int | None) -> Iterator[bytes]:
    status = entry.stat(follow_symlinks=False)
    item = tarfile.TarInfo(path)
    item.mode = stat.S_IMODE(status.st_mode)
    item.mtime = int(status.st_mtime) if epoch is None else epoch
    if stat.S_ISDIR(status.st_mode):
        item.type = tarfile.DIRTYPE
        yield _head(item)
    elif stat.S_ISLNK(status.st_mode):
        item.type = tarfile.SYMTYPE
        item.linkname = str(Path(entry.path).readlink())
        yield _head(item)
    elif stat.S_ISREG(status.st_mode):
        yield from _content(item, entry.path)


def _content(item: tarfile.TarInfo, path: str) -> Iterator[bytes]:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as file:
        left = item.size = os.fstat(file.fileno()).st_size
        yield _head(item)
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:  # the archive has promised more by now
                raise ConfigError(path, "became shorter while it was read", fix="build again")
            left -= len(piece)
            yield piece
    yield bytes(-item.size % tarfile.BLOCKSIZE)


def _head(item: tarfile.TarInfo) -> bytes:
    # Names that are no UTF-8 come back as the bytes that they are on the disk.
    return item.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def trial_tag(name: str) -> str:
    """Name the image that is built from a folder for trying it out: ``lading-task/<name>:dev``.

    An image's name takes letters and digits of ASCII only. Where something is left out, a digest
    follows, so that two tasks never have one image: ``lading-task/worter-34dd7493:dev``.
    """
    name = unicodedata.normalize("NFC", name)
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    whole = _NOT_IN_TAG.sub("-", plain.lower()).strip("-") or "task"
    stem = whole[:100].strip("-")
    if stem != whole or any(char.isalnum() and not char.isascii() for char in name):
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        stem = f"{stem}-{digest[:8]}"
    return f"lading-task/{stem}:dev"
