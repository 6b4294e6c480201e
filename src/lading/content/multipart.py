"""The body that ``add`` of an IPFS node takes: a form with a part for each file and folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from urllib.parse import quote

from lading.content.adding import Entry, entries, pieces
from lading.errors import FileMissing, InputError

__all__ = ["BOUNDARY", "ROOT", "Sent", "parts"]

BOUNDARY = "lading-2f1d8c7e5b9a4460a3c1"
"""Between the parts. Fixed, so that what is sent is the same each time; no file can hold it by
accident, and one that does it on purpose makes the node's CID differ from ours."""
ROOT = "root"
"""What the whole is called, whatever it is called here: a name that every node understands."""

_TYPES = {
    "directory": "application/x-directory",
    "symlink": "application/symlink",
    "file": "application/octet-stream",
}
_AT_ONCE = 256 * 1024


class Sent:
    """Counts what is sent.

    Parameters
    ----------
    progress : callable or None
        Gets the bytes of files, and how many there will be.
    total : int
    """

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self.size = self.files = 0
        self._progress = progress
        self._total = total

    def report(self) -> None:
        """Tell how far it is."""
        if self._progress is not None:
            self._progress(self.size, self._total)


def parts(path: Path, sent: Sent, *, hidden: bool) -> Generator[bytes]:
    """Yield the body in pieces of some 256 KiB; blocks.

    Raises
    ------
    InputError, ContentRefused
        As :func:`lading.content.adding.add_path`.
    """
    buffer = bytearray()
    try:
        for piece in _all(path, sent, hidden=hidden):
            buffer += piece
            if len(buffer) >= _AT_ONCE:
                yield bytes(buffer)
                buffer.clear()
    except FileNotFoundError as error:
        if isinstance(error, FileMissing):
            raise
        raise InputError(str(error.filename), "is gone since it was read first") from None
    except OSError as error:
        raise InputError(str(error.filename), f"can't be read: {error.strerror}") from None
    yield bytes(buffer)


def _all(path: Path, sent: Sent, *, hidden: bool) -> Iterator[bytes]:
    root = os.path.realpath(path)
    if stat.S_ISDIR(os.stat(root).st_mode):  # noqa: PTH116
        yield from _folder(root, ROOT, root, sent, hidden=hidden)
    else:
        yield from _file(root, ROOT, sent)
    yield f"--{BOUNDARY}--\r\n".encode()


def _folder(path: str, name: str, root: str, sent: Sent, *, hidden: bool) -> Iterator[bytes]:
    yield _head(name, "directory") + b"\r\n"
    depth = name.count("/")
    for entry in entries(path, root, hidden=hidden, depth=depth):
        below = f"{name}/{entry.name.decode()}"
        if entry.kind == "directory":
            yield from _folder(entry.path, below, root, sent, hidden=hidden)
        elif entry.kind == "symlink":
            yield from _symlink(entry, below)
            sent.files += 1
        else:
            yield from _file(entry.path, below, sent)


def _file(path: str, name: str, sent: Sent) -> Iterator[bytes]:
    yield _head(name, "file")
    for piece in pieces(path):
        sent.size += len(piece)
        yield piece
    yield b"\r\n"
    sent.files += 1


def _symlink(entry: Entry, name: str) -> Iterator[bytes]:
    yield _head(name, "symlink")
    yield os.readlink(os.fsencode(entry.path)) + b"\r\n"  # noqa: PTH115


def _head(name: str, kind: str) -> bytes:
    # Percent-encoded all over: Kubo reads it as a form, in which + is a space.
    return (
        f"--{BOUNDARY}\r\n"
        f'content-disposition: form-data; name="file"; filename="{quote(name, safe="")}"\r\n'
        f"content-type: {_TYPES[kind]}\r\n\r\n"
    ).encode()
