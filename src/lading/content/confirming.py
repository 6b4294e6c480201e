"""Whether a CID that somebody else made of a folder is that of the folder here.

For folders that nodes shard: their CID can't be computed here, as each kind of node does it in its
own way. What the CID stands for can be read, though, and everything below it can be computed.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from lading.content.adding import Entry, add_path, entries
from lading.content.cid import DAG_PB, Cid, verify
from lading.content.fetching import MOST_LEVELS, BlockSource
from lading.content.unixfs import decode, symlink_block
from lading.engine.shield import to_the_end
from lading.errors import ContentRefused, FolderSharded

__all__ = ["confirm"]


async def confirm(source: BlockSource, cid: Cid, path: Path, *, hidden: bool = False) -> None:
    """Compare a folder with what a CID stands for: the names, and the CID of each entry.

    Parameters
    ----------
    source : BlockSource
        Has the blocks that list the folder's entries.
    cid : Cid
    path : Path
    hidden : bool
        Whether what begins with a dot belongs to it.

    Raises
    ------
    ContentRefused
        It is not the folder here; names an entry that differs.
    ContentNotFound
        A block is not there.
    InputError
        Something can't be read.
    """
    root = await asyncio.to_thread(os.path.realpath, path)
    waiting = [(cid, root)]
    while waiting:
        theirs, folder = waiting.pop()
        listed = await _listed(source, theirs)
        work = asyncio.to_thread(_compared, folder, root, listed, hidden=hidden)
        waiting += await to_the_end(work)


async def _listed(source: BlockSource, cid: Cid) -> dict[str, Cid]:
    """List a folder, from all the blocks that it is spread over."""
    found: dict[str, Cid] = {}
    parts = [(cid, 0)]
    while parts:
        part, level = parts.pop()
        node = decode(part, verify(part, await source.block(part)))
        if node.kind not in ("directory", "shard") or level > MOST_LEVELS:
            raise ContentRefused(f"block {part} is a {node.kind}, no part of a folder")
        for link in node.links:
            if not link.name:
                parts.append((link.cid, level + 1))
            elif link.name in found:
                raise ContentRefused(f"block {part}: another entry is called {link.name!r}")
            else:
                found[link.name] = link.cid
    return found


def _compared(
    folder: str, root: str, theirs: dict[str, Cid], *, hidden: bool
) -> list[tuple[Cid, str]]:
    """Compare the entries of a folder; what is itself spread over blocks is left to be compared."""
    inner = []
    for entry in entries(folder, root, hidden=hidden):
        cid = theirs.pop(entry.name.decode(), None)
        try:
            same = cid == _made(entry, root, hidden=hidden)
        except FolderSharded:
            same = cid is not None
            inner += [(cid, entry.path)] if cid else []
        if not same:
            raise ContentRefused(f"{entry.path}: is not what stands for it under that CID")
    if theirs:
        raise ContentRefused(f"{folder}: holds no {min(theirs)!r}, which stands under that CID")
    return inner


def _made(entry: Entry, root: str, *, hidden: bool) -> Cid:
    if entry.kind == "symlink":
        target = os.readlink(os.fsencode(entry.path))  # noqa: PTH115
        return Cid.of(symlink_block(target), DAG_PB)
    return add_path(Path(entry.path), hidden=hidden, within=Path(root)).cid
