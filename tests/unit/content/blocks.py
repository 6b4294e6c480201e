"""Blocks as a stranger would write them, and a source that gives them out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from lading.content.cid import DAG_PB, Cid, varint
from lading.errors import ContentNotFound


def field(number: int, value: int | bytes) -> bytes:
    """A field of a Protocol Buffers message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def link(cid: Cid, name: str | bytes = "", size: int = 0) -> bytes:
    raw = name.encode() if isinstance(name, str) else name
    return field(2, field(1, cid.to_bytes()) + field(2, raw) + field(3, size))


def node(links: Iterable[bytes], data: bytes) -> bytes:
    return b"".join(links) + field(1, data)


def folder(*links: bytes) -> bytes:
    return node(links, field(1, 1))


def file(pieces: Iterable[tuple[Cid, int]], size: int | None = None, data: bytes = b"") -> bytes:
    """A file of pieces, each said to have so many bytes."""
    pieces = list(pieces)
    total = len(data) + sum(said for _, said in pieces) if size is None else size
    inner = field(1, 2) + (field(2, data) if data else b"") + field(3, total)
    inner += b"".join(field(4, said) for _, said in pieces)
    return node((link(cid) for cid, _ in pieces), inner)


def shard(*links: bytes, fanout: int = 256) -> bytes:
    return node(links, field(1, 5) + field(2, b"\xff" * 32) + field(5, 0x22) + field(6, fanout))


def symlink(target: bytes) -> bytes:
    return node((), field(1, 4) + field(2, target))


class Blocks:
    """A source of blocks in memory.

    Attributes
    ----------
    asked
        What was asked for, in this order.
    at_once
        The most that were being given out at one time.
    change
        Changes a block before it is given out.
    """

    def __init__(self, found: Mapping[bytes, bytes] | None = None) -> None:
        self.blocks = dict(found or {})
        self.asked: list[Cid] = []
        self.at_once = self._now = 0
        self.change: Callable[[Cid, bytes], bytes] = lambda _, block: block

    def put(self, block: bytes, codec: int = DAG_PB) -> Cid:
        cid = Cid.of(block, codec)
        self.blocks[cid.digest] = block
        return cid

    def sink(self, cid: Cid, block: bytes) -> None:
        self.blocks[cid.digest] = block

    async def block(self, cid: Cid) -> bytes:
        self.asked.append(cid)
        self._now += 1
        self.at_once = max(self.at_once, self._now)
        try:
            await asyncio.sleep(0)
            if cid.digest not in self.blocks:
                raise ContentNotFound(f"there is no {cid} here")
            return self.change(cid, self.blocks[cid.digest])
        finally:
            self._now -= 1
