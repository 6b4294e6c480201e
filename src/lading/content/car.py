"""Content in one file, without a node: CAR files, written (version 1) and read (1 and 2).

Format: `CAR <https://ipld.io/specs/transport/car/>`_: a header in DAG-CBOR with the roots, then
blocks, each with its length and CID before it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO, Self

from lading.content.adding import Added, add_path
from lading.content.cid import Cid, read_varint, varint, verify
from lading.content.unixfs import MOST_BLOCK
from lading.errors import ContentError, ContentNotFound, ContentRefused, FileMissing, InputError

__all__ = ["CarFile", "write_car"]

_PLACEHOLDER = Cid(1, 0x70, bytes(32))
_PRAGMA = bytes.fromhex("0aa16776657273696f6e02")
"""How version 2 begins: ``{version: 2}`` as a header."""
_V2_HEADER = 40
_MOST_HEADER = 64 * 1024
_LONGEST_CID = 64


def write_car(
    path: Path, target: Path, *, hidden: bool = False, stop: threading.Event | None = None
) -> Added:
    """Write a file or folder, with all its blocks, as a CAR file; blocks while it works.

    Parameters
    ----------
    path : Path
    target : Path
        Appears when it is whole; one that is there is replaced.
    hidden : bool
        As for :func:`lading.content.adding.add_path`.
    stop : threading.Event or None
        Ends the work when it is set; nothing is left then.

    Raises
    ------
    InputError, ContentRefused, InterruptedError
        As :func:`lading.content.adding.add_path`.
    ContentError
        `target` can't be written.
    """
    written: set[bytes] = set()
    try:
        number, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    except OSError as error:
        raise _unwritable(target, error) from None
    try:
        with os.fdopen(number, "wb", buffering=1 << 20) as file:

            def keep(cid: Cid, block: bytes) -> None:
                if cid.digest in written:
                    return
                written.add(cid.digest)
                try:
                    _write_block(file, cid, block)
                except OSError as error:
                    raise _unwritable(target, error) from None

            file.write(_header(_PLACEHOLDER))
            added = add_path(path, keep, hidden=hidden, stop=stop)
            file.seek(0)
            file.write(_header(added.cid))
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(target)
    except OSError as error:
        if isinstance(error, InputError | InterruptedError):
            raise
        raise _unwritable(target, error) from None
    finally:
        Path(temporary).unlink(missing_ok=True)
    return added


def _write_block(file: BinaryIO, cid: Cid, block: bytes) -> None:
    address = cid.to_bytes()
    file.write(varint(len(address) + len(block)) + address)
    file.write(block)


def _header(root: Cid) -> bytes:
    """``{roots: [root], version: 1}``; as long for one root of version 1 as for another."""
    address = b"\x00" + root.to_bytes()
    header = b"\xa2\x65roots\x81\xd8\x2a\x58%b%b\x67version\x01" % (bytes((len(address),)), address)
    return varint(len(header)) + header


def _unwritable(target: Path, error: OSError) -> ContentError:
    return ContentError(f"{target} can't be written: {error.strerror}")


class CarFile:
    """The blocks of a CAR file, found by an index and verified when they are read.

    Open it with ``async with``. The file is read once to its end for the index, a block then when
    it is asked for.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    roots : tuple of Cid
        What it says that it holds.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._index: dict[bytes, tuple[int, int]] = {}
        self.roots: tuple[Cid, ...] = ()

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self._open)
        except FileNotFoundError:
            raise FileMissing(str(self._path), [f"{self._path}: there is no such file"]) from None
        except OSError as error:
            raise InputError(str(self._path), f"can't be read: {error.strerror}") from None
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    async def block(self, cid: Cid) -> bytes:
        """Read a block.

        Raises
        ------
        ContentNotFound
            The file does not hold it.
        ContentRefused
            What it holds under this CID is something else.
        """
        if cid.digest not in self._index:
            raise ContentNotFound(
                f"{self._path}: does not hold block {cid}",
                fix="it was written of something else, or only of a part",
            )
        offset, size = self._index[cid.digest]
        return verify(cid, await asyncio.to_thread(os.pread, self._file, size, offset))

    def _open(self) -> None:
        with self._path.open("rb", buffering=1 << 16) as file:
            try:
                self._read(file)
            except ValueError as error:
                raise ContentRefused(
                    f"{self._path}: is no CAR file, or a broken one: {error}",
                    fix="fetch or write it again",
                ) from None
            self._file = os.dup(file.fileno())

    def _read(self, file: BinaryIO) -> None:
        at, end = 0, os.fstat(file.fileno()).st_size
        if file.read(len(_PRAGMA)) == _PRAGMA:
            header = file.read(_V2_HEADER)
            at = int.from_bytes(header[16:24], "little")
            end = min(end, at + int.from_bytes(header[24:32], "little"))
        file.seek(at)
        length, at = _length(file, at)
        if not 0 < length <= _MOST_HEADER:
            raise ValueError("its header is too long")
        header = file.read(length)
        at += length
        self.roots = _roots(header)
        while at < end:
            file.seek(at)
            length, at = _length(file, at)
            if length > end - at:
                raise ValueError("it is cut off in the middle of a block")
            head = file.read(min(length, _LONGEST_CID))
            cid, size = _cid_before(head)
            if length - size > MOST_BLOCK:
                raise ValueError(f"block {cid} is larger than {MOST_BLOCK} bytes")
            self._index.setdefault(cid.digest, (at + size, length - size))
            at += length


def _length(file: BinaryIO, at: int) -> tuple[int, int]:
    head = file.read(9)
    try:
        length, size = read_varint(head, 0)
    except ValueError:
        raise ValueError("it is cut off, or a length in it is none") from None
    file.seek(at + size)
    return length, at + size


def _cid_before(data: bytes) -> tuple[Cid, int]:
    """Read the CID before a block; where it ends is told by nothing but itself."""
    if data[:2] == b"\x12\x20":
        return Cid.from_bytes(data[:34]), 34
    _, at = read_varint(data, 0)
    _, at = read_varint(data, at)
    _, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return Cid.from_bytes(data[: at + size]), at + size


def _roots(header: bytes) -> tuple[Cid, ...]:
    value, at = _cbor(header, 0, 4)
    if at != len(header) or not isinstance(value, dict):
        raise ValueError("its header is none")
    if value.get("version") != 1:
        raise ValueError(f"its version is {value.get('version')!r}, not 1 or 2")
    roots = value.get("roots")
    if not isinstance(roots, list) or not all(isinstance(root, Cid) for root in roots):
        raise ValueError("its header names no roots")
    return tuple(roots)


def _cbor(data: bytes, at: int, depth: int) -> tuple[object, int]:
    """Read as much of DAG-CBOR (RFC 8949) as a header has: numbers, text, lists, maps, CIDs."""
    if at >= len(data) or not depth:
        raise ValueError("its header is none")
    major, number, at = data[at] >> 5, data[at] & 31, at + 1
    if number > 27:
        raise ValueError("its header is none")
    if number >= 24:
        size = 1 << (number - 24)
        number, at = int.from_bytes(data[at : at + size]), at + size
    if major == 0:
        return number, at
    if major in (2, 3):
        raw = data[at : at + number]
        return (raw if major == 2 else raw.decode()), at + number
    if major == 4 and number <= len(data):
        items = []
        for _ in range(number):
            item, at = _cbor(data, at, depth - 1)
            items.append(item)
        return items, at
    if major == 5 and number <= len(data):
        found = {}
        for _ in range(number):
            key, at = _cbor(data, at, depth - 1)
            found[str(key)], at = _cbor(data, at, depth - 1)
        return found, at
    if major == 6 and number == 42:
        raw_cid, at = _cbor(data, at, depth - 1)
        if isinstance(raw_cid, bytes) and raw_cid[:1] == b"\0":
            return Cid.from_bytes(raw_cid[1:]), at
    raise ValueError("its header is none")
