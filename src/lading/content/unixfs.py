"""Blocks of files and folders: UnixFS in dag-pb, encoded as Kubo does, and decoded strictly.

Whoever sends a block may be a stranger: its hash says that it is the block that was asked for, not
that it makes sense. What does not is refused.

Formats: `dag-pb <https://ipld.io/specs/codecs/dag-pb/spec/>`_, `UnixFS
<https://specs.ipfs.tech/unixfs/>`_.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lading.content.cid import DAG_PB, RAW, Cid, read_varint, varint
from lading.errors import ContentRefused

__all__ = [
    "LONGEST_NAME",
    "MOST_BLOCK",
    "Link",
    "Node",
    "decode",
    "directory_block",
    "file_block",
    "name_fault",
    "symlink_block",
]

MOST_BLOCK = 2 << 20
"""Bytes of a block: more is refused by Bitswap, the protocol that nodes talk."""
LONGEST_NAME = 255
"""Bytes that Linux allows a name."""
_MOST_FANOUT = 1024
_FILE, _DIRECTORY, _RAW, _SYMLINK, _SHARD = 2, 1, 0, 4, 5
_KINDS = {
    _FILE: "file",
    _RAW: "file",
    _DIRECTORY: "directory",
    _SYMLINK: "symlink",
    _SHARD: "shard",
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Link:
    """What a block says about another.

    Parameters
    ----------
    name : str
        Of an entry of a folder; empty for a piece of a file, and for a part of a sharded folder.
    cid : Cid
    size : int
        Bytes of all blocks below it. A hint: nobody checks it.
    """

    name: str
    cid: Cid
    size: int


@dataclass(frozen=True, slots=True)
class Node:
    """A decoded block.

    Parameters
    ----------
    kind : str
        ``file``, ``directory``, ``symlink`` or ``shard`` (a part of a sharded folder).
    data : bytes
        The beginning of a file, or where a symbolic link leads.
    size : int
        Of a file, in bytes.
    links : tuple of Link
        In a shard, those without a name are parts of it.
    sizes : tuple of int
        Of a file's pieces, in bytes.
    executable : bool
        Whether the owner may execute it, as far as was recorded (Kubo's ``--preserve-mode``).
    """

    kind: str
    data: bytes = b""
    size: int = 0
    links: tuple[Link, ...] = ()
    sizes: tuple[int, ...] = ()
    executable: bool = False


# Written.


def file_block(pieces: Iterable[tuple[Cid, int, int]]) -> bytes:
    """Encode a file of several pieces.

    Parameters
    ----------
    pieces : iterable of (Cid, int, int)
        Each with the bytes of all its blocks, and those of the file that it holds.
    """
    links, sizes, total = bytearray(), bytearray(), 0
    for cid, size, held in pieces:
        links += _link(cid, b"", size)
        sizes += b"\x20" + varint(held)
        total += held
    data = b"\x08\x02\x18" + varint(total) + sizes
    return bytes(links + b"\x0a" + varint(len(data)) + data)


def directory_block(entries: Iterable[tuple[bytes, Cid, int]]) -> bytes:
    """Encode a folder.

    Parameters
    ----------
    entries : iterable of (bytes, Cid, int)
        Names in UTF-8 and in their order, each with the bytes of all its blocks.
    """
    return b"".join([*(_link(cid, name, size) for name, cid, size in entries), b"\x0a\x02\x08\x01"])


def symlink_block(target: bytes) -> bytes:
    """Encode a symbolic link."""
    data = b"\x08\x04\x12" + varint(len(target)) + target
    return b"\x0a" + varint(len(data)) + data


def _link(cid: Cid, name: bytes, size: int) -> bytes:
    address = cid.to_bytes()
    link = b"\x0a%b%b\x12%b%b\x18%b" % (
        varint(len(address)), address, varint(len(name)), name, varint(size),
    )  # fmt: skip
    return b"\x12" + varint(len(link)) + link


# Read.


def decode(cid: Cid, block: bytes) -> Node:
    """Decode a block whose hash was verified.

    Raises
    ------
    ContentRefused
        It is malformed, or holds what no honest one does: a name with a slash, two entries of one
        name, sizes that don't add up.
    """
    if len(block) > MOST_BLOCK:
        raise _refused(cid, f"it has {len(block)} bytes, more than the {MOST_BLOCK} allowed")
    if cid.codec == RAW:
        return Node("file", block, len(block))
    if cid.codec != DAG_PB:
        raise _refused(
            cid, f"its codec 0x{cid.codec:x} is neither raw nor dag-pb: no file or folder"
        )
    try:
        return _decoded(block)
    except ValueError as error:
        raise _refused(cid, str(error)) from None


def name_fault(name: str) -> str:
    """Say why a name can't be that of a file; empty if it can."""
    if name in ("", ".", ".."):
        return f"an entry is called {name!r}"
    if "/" in name or "\0" in name:
        return f"the name {name!r} leads elsewhere"
    if len(name.encode()) > LONGEST_NAME:
        return f"the name {name[:20]!r}... is longer than {LONGEST_NAME} bytes"
    return ""


def _refused(cid: Cid, why: str) -> ContentRefused:
    return ContentRefused(f"block {cid} is refused: {why}", fix="ask whoever published it")


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield the fields of a Protocol Buffers message: number, wire type, value."""
    at, end = 0, len(data)
    while at < end:
        key, at = read_varint(data, at, 10)
        wire, value = key & 7, b""
        if wire == _VARINT:
            number, at = read_varint(data, at, 10)
            yield key >> 3, wire, number
            continue
        if wire == _BYTES:
            length, at = read_varint(data, at, 10)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"a field has wire type {wire}")
        value = data[at : at + length]
        if len(value) != length:
            raise ValueError("a field is longer than the block")
        yield key >> 3, wire, value
        at += length


def _decoded(block: bytes) -> Node:
    links: list[Link] = []
    data: bytes | None = None
    for number, _, value in _fields(block):
        if not isinstance(value, bytes) or number not in (1, 2):
            raise ValueError(f"field {number} is none of dag-pb")
        if number == 2:
            links.append(_decoded_link(value))
        elif data is None:
            data = value
        else:
            raise ValueError("it has data twice")
    if data is None:
        raise ValueError("it has no data: it is dag-pb, and no file or folder")
    return _checked(_Inner(data), links)


def _decoded_link(data: bytes) -> Link:
    cid: Cid | None = None
    name, size, last = "", 0, 0
    for number, wire, value in _fields(data):
        if number <= last:
            raise ValueError("a link has its fields twice or in another order")
        last = number
        if number == 1 and isinstance(value, bytes):
            cid = Cid.from_bytes(value)
        elif number == 2 and isinstance(value, bytes):
            name = value.decode("utf-8")
        elif number == 3 and wire == _VARINT and isinstance(value, int):
            size = value
        else:
            raise ValueError(f"field {number} is none of a link")
    if cid is None:
        raise ValueError("a link has no CID")
    return Link(name, cid, size)


class _Inner:
    """The UnixFS message in a block."""

    def __init__(self, data: bytes) -> None:
        self.kind = -1
        self.data = b""
        self.size: int | None = None
        self.sizes: list[int] = []
        self.fanout = self.mode = 0
        for number, _, value in _fields(data):
            if number == 4 and isinstance(value, bytes):  # packed, which proto3 writes
                self._packed(value)
            elif isinstance(value, bytes):
                self._bytes(number, value)
            else:
                self._number(number, value)
        if self.kind not in _KINDS:
            raise ValueError(f"its type {self.kind} is neither file, folder nor symbolic link")

    def _packed(self, value: bytes) -> None:
        at = 0
        while at < len(value):
            size, at = read_varint(value, at, 10)
            self.sizes.append(size)

    def _bytes(self, number: int, value: bytes) -> None:
        if number == 2:
            self.data = value
        elif number != 8:  # 8 is the time of its last change, which nobody needs here
            raise ValueError(f"field {number} is none of UnixFS")

    def _number(self, number: int, value: int) -> None:
        if number == 1:
            self.kind = value
        elif number == 3:
            self.size = value
        elif number == 4:
            self.sizes.append(value)
        elif number == 6:
            self.fanout = value
        elif number == 7:
            self.mode = value
        elif number != 5:  # the hash that places names in a shard: every one is read
            raise ValueError(f"field {number} is none of UnixFS")


def _checked(inner: _Inner, links: list[Link]) -> Node:
    kind = _KINDS[inner.kind]
    if kind == "file":
        return _checked_file(inner, links)
    if inner.sizes:
        raise ValueError(f"a {kind} has sizes of pieces")
    if kind == "symlink":
        if links or not inner.data or b"\0" in inner.data or len(inner.data) >= 4096:
            raise ValueError("it is no possible symbolic link")
        return Node(kind, inner.data)
    if kind == "shard":
        links = _unprefixed(links, inner.fanout)
    elif inner.data:
        raise ValueError("a folder has data")
    names = [link.name for link in links if link.name or kind == "directory"]
    for name in names:
        if fault := name_fault(name):
            raise ValueError(fault)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two entries are called {twice!r}")
    return Node(kind, links=tuple(links))


def _checked_file(inner: _Inner, links: list[Link]) -> Node:
    if len(inner.sizes) != len(links):
        raise ValueError(f"{len(links)} pieces have {len(inner.sizes)} sizes")
    if any(link.name for link in links):
        raise ValueError("a piece of a file has a name")
    size = len(inner.data) + sum(inner.sizes)
    if (inner.size or 0) != size:
        raise ValueError(f"its size is said to be {inner.size} bytes, its pieces have {size}")
    executable = bool(inner.mode & 0o100)
    return Node("file", inner.data, size, tuple(links), tuple(inner.sizes), executable)


def _unprefixed(links: list[Link], fanout: int) -> list[Link]:
    """Take the place in the shard off the names: two or three hexadecimal digits."""
    if fanout < 8 or fanout > _MOST_FANOUT or fanout & (fanout - 1):
        raise ValueError(f"a sharded folder has a fanout of {fanout}")
    width = len(f"{fanout - 1:X}")
    out, places = [], set()
    for link in links:
        place = link.name[:width]
        if len(place) < width or not set(place) <= set("0123456789ABCDEF"):
            raise ValueError(f"an entry of a sharded folder is called {link.name!r}")
        places.add(place)
        out.append(Link(link.name[width:], link.cid, link.size))
    if len(places) < len(links):
        raise ValueError("two entries of a sharded folder have one place")
    return out
