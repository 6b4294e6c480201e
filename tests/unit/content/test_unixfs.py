"""Blocks of files and folders: what we write is read, and what a stranger writes is no trouble."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.content import blocks
from tests.unit.content.blocks import field, link

from lading.content.cid import DAG_PB, RAW, Cid
from lading.content.unixfs import (
    MOST_BLOCK,
    Link,
    Node,
    decode,
    directory_block,
    file_block,
    name_fault,
    symlink_block,
)
from lading.errors import ContentRefused

PIECE = Cid.of(b"x")

names = st.text(min_size=1, max_size=80).filter(
    lambda name: name.isprintable() and not name_fault(name)
)
cids = st.builds(
    Cid, st.just(1), st.sampled_from([RAW, DAG_PB]), st.binary(min_size=32, max_size=32)
)
sizes = st.integers(0, 2**62)


def read(block: bytes) -> Node:
    return decode(Cid.of(block, DAG_PB), block)


@given(st.dictionaries(names, st.tuples(cids, sizes), max_size=20))
def test_folders(entries: dict[str, tuple[Cid, int]]) -> None:
    listed = sorted((name.encode(), cid, size) for name, (cid, size) in entries.items())
    found = read(directory_block(listed))
    assert found.kind == "directory"
    assert [(entry.name.encode(), entry.cid, entry.size) for entry in found.links] == listed


@given(st.lists(st.tuples(cids, sizes, st.integers(1, 2**40)), max_size=174))
def test_files(pieces: list[tuple[Cid, int, int]]) -> None:
    found = read(file_block(pieces))
    assert found.kind == "file"
    assert found.size == sum(held for _, _, held in pieces)
    assert found.sizes == tuple(held for _, _, held in pieces)
    assert [(piece.cid, piece.size) for piece in found.links] == [
        (cid, size) for cid, size, _ in pieces
    ]


@given(st.binary(min_size=1, max_size=4095).filter(lambda target: b"\0" not in target))
def test_symbolic_links(target: bytes) -> None:
    assert read(symlink_block(target)) == Node("symlink", target)


@given(st.binary(max_size=1000))
def test_a_raw_block_is_a_file(block: bytes) -> None:
    assert decode(Cid.of(block), block) == Node("file", block, len(block))


@given(st.binary(max_size=300))
def test_no_bytes_break_it(block: bytes) -> None:
    try:
        read(block)
    except ContentRefused as error:
        assert str(Cid.of(block, DAG_PB)) in error.message


@given(st.data())
def test_no_change_of_a_good_block_breaks_it(data: st.DataObject) -> None:
    good = blocks.folder(link(PIECE, "a", 1), link(PIECE, "ü", 300))
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes((data.draw(st.integers(0, 255)),)) + good[at + 1 :]
    try:
        found = read(bad)
    except ContentRefused:
        return
    assert not any(name_fault(entry.name) for entry in found.links if entry.name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\0b", "/", "x" * 256, "ü" * 128],
    ids=range(10),
)
def test_names_that_lead_elsewhere(name: str) -> None:
    with pytest.raises(ContentRefused, match=r"called|leads elsewhere|longer than"):
        read(blocks.folder(link(PIECE, name)))
    if name:
        with pytest.raises(ContentRefused, match=r"called|leads elsewhere|longer than"):
            read(blocks.shard(link(PIECE, f"0A{name}")))


NOT_DAG_PB = {
    "nothing": (b"", "no data"),
    "only links": (link(PIECE, "a"), "no data"),
    "data twice": (field(1, field(1, 1)) * 2, "data twice"),
    "another field": (field(3, b"x") + field(1, field(1, 1)), "none of dag-pb"),
    "a number for data": (field(1, 7), "none of dag-pb"),
    "a link cut": (field(2, field(1, PIECE.to_bytes()))[:-3], "longer than the block"),
    "a link without a CID": (blocks.folder(field(2, field(2, b"a"))), "no CID"),
    "a link with two": (blocks.folder(field(2, field(1, PIECE.to_bytes()) * 2)), "twice"),
    "a CID of another hash": (
        blocks.folder(field(2, field(1, b"\x01\x55\x13\x20" + bytes(32)))),
        "not SHA-256",
    ),
    "a name that is not UTF-8": (blocks.folder(link(PIECE, b"\xff")), "utf-8"),
    "a group": (b"\x0b\x0c", "wire type 3"),
    "an endless number": (b"\xff" * 12, "does not end"),
    "an endless length": (b"\x0a" + b"\xff" * 9 + b"\x01", "longer than the block"),
    "two of a name": (blocks.folder(link(PIECE, "a"), link(PIECE, "a")), "two entries.*'a'"),
    "no type": (blocks.node((), b""), "neither file, folder"),
    "metadata": (blocks.node((), field(1, 3)), "type 3"),
    "another field of UnixFS": (blocks.node((), field(1, 1) + field(9, 1)), "none of UnixFS"),
    "sizes of a folder": (blocks.node((), field(1, 1) + field(4, 1)), "sizes of pieces"),
    "a folder with data": (blocks.node((), field(1, 1) + field(2, b"x")), "has data"),
    "a link to nowhere": (blocks.symlink(b""), "no possible symbolic link"),
    "a link with a zero": (blocks.symlink(b"a\0b"), "no possible symbolic link"),
    "a link with links": (
        blocks.node([link(PIECE)], field(1, 4) + field(2, b"a")),
        "no possible symbolic link",
    ),
    "pieces without sizes": (blocks.node([link(PIECE)], field(1, 2)), "1 pieces have 0 sizes"),
    "sizes without pieces": (blocks.node([], field(1, 2) + field(4, 3)), "0 pieces have 1 sizes"),
    "a piece with a name": (
        blocks.node([link(PIECE, "x")], field(1, 2) + field(3, 1) + field(4, 1)),
        "piece of a file has a name",
    ),
    "a size that lies": (blocks.file([(PIECE, 1)], size=10**15), "said to be 1000000000000000"),
    "a fanout of 0": (blocks.shard(fanout=0), "fanout of 0"),
    "a fanout of too much": (blocks.shard(fanout=1 << 20), "fanout of 1048576"),
    "a fanout of no power": (blocks.shard(fanout=100), "fanout of 100"),
    "a shard without places": (blocks.shard(link(PIECE, "x")), "sharded folder is called 'x'"),
    "a place in lower case": (blocks.shard(link(PIECE, "aax")), "sharded folder is called"),
    "one place twice": (blocks.shard(link(PIECE, "AAx"), link(PIECE, "AAy")), "have one place"),
}


@pytest.mark.parametrize("case", NOT_DAG_PB)
def test_what_no_honest_block_is(case: str) -> None:
    block, why = NOT_DAG_PB[case]
    with pytest.raises(ContentRefused, match=why):
        read(block)


def test_a_block_of_another_codec_or_size() -> None:
    with pytest.raises(ContentRefused, match="0x71 is neither raw nor dag-pb"):
        decode(Cid.of(b"\xa0", 0x71), b"\xa0")
    with pytest.raises(ContentRefused, match=f"{MOST_BLOCK + 1} bytes"):
        decode(Cid.of(bytes(MOST_BLOCK + 1)), bytes(MOST_BLOCK + 1))


def test_other_writers_ways() -> None:
    """Packed sizes, a time and a mode, entries in any order, a file in one dag-pb block."""
    packed = field(1, 2) + field(3, 3) + field(4, b"\x01\x02") + field(7, 0o755) + field(8, b"")
    assert read(blocks.node([link(PIECE), link(PIECE)], packed)) == Node(
        "file", b"", 3, (Link("", PIECE, 0), Link("", PIECE, 0)), (1, 2), executable=True
    )
    assert [entry.name for entry in read(blocks.folder(link(PIECE, "b"), link(PIECE, "a"))).links]
    assert read(blocks.node((), field(1, 2) + field(2, b"abc") + field(3, 3))).data == b"abc"
    assert read(blocks.node((), field(1, 0) + field(2, b"abc") + field(3, 3))).kind == "file"
    shard = read(blocks.shard(link(PIECE, "0Aname"), link(PIECE, "FF")))
    assert [entry.name for entry in shard.links] == ["name", ""]
    wide = read(blocks.shard(link(PIECE, "3FFname"), fanout=1024))
    assert [entry.name for entry in wide.links] == ["name"]
