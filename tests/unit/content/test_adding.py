"""CIDs of files and folders: known ones, boundaries, and what is refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.content.blocks import Blocks

from lading.content import adding
from lading.content.adding import CHUNK, LINKS, PROFILE, add_path, leads_outside, pieces
from lading.content.cid import Cid, verify
from lading.content.unixfs import decode
from lading.errors import ContentRefused, FileMissing, FolderSharded, InputError


def test_known_ones(tmp_path: Path) -> None:
    """As a real node made them; tests/content asks one."""
    (tmp_path / "empty").mkdir()
    known = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
    assert str(add_path(tmp_path / "empty").cid) == known
    (tmp_path / "file").write_bytes(b"hello world")
    known = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    assert str(add_path(tmp_path / "file").cid) == known


def content(blocks: Blocks, cid: Cid) -> bytes:
    """Put a file together again, by the letter of the format."""
    node = decode(cid, verify(cid, blocks.blocks[cid.digest]))
    parts = [content(blocks, link.cid) for link in node.links]
    assert [len(part) for part in parts] == list(node.sizes)
    for link in node.links:
        below = decode(link.cid, blocks.blocks[link.cid.digest])
        own = len(blocks.blocks[link.cid.digest])
        assert link.size == own + sum(inner.size for inner in below.links)
    assert len(node.links) <= LINKS
    return node.data + b"".join(parts)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 40), rest=st.integers(0, 3), links=st.integers(2, 5))
def test_every_size_makes_a_whole_tree(
    count: int, rest: int, links: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adding, "CHUNK", 4)
        patch.setattr(adding, "LINKS", links)
        path = tmp_path_factory.mktemp("size") / "file"
        data = bytes(number % 251 for number in range(count * 4 + rest))
        path.write_bytes(data)
        blocks = Blocks()
        added = add_path(path, blocks.sink)
    assert content(blocks, added.cid) == data
    assert (added.size, added.files) == (len(data), 1)
    assert depths(blocks, added.cid) == {depth(-(-len(data) // 4) or 1, links)}


def depths(blocks: Blocks, cid: Cid) -> set[int]:
    node = decode(cid, blocks.blocks[cid.digest])
    return {1 + depth for link in node.links for depth in depths(blocks, link.cid)} or {0}


def depth(leaves: int, links: int) -> int:
    return 0 if leaves == 1 else 1 + depth(-(-leaves // links), links)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_a_file_is_cut_where_it_must(size: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    assert [len(piece) for piece in pieces(str(path))] == (
        [0] if not size else [CHUNK] * (size // CHUNK) + [size % CHUNK] * bool(size % CHUNK)
    )
    assert add_path(path).blocks == max(1, -(-size // CHUNK)) + (size > CHUNK)


@settings(deadline=None, max_examples=30)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=20).filter(
            lambda name: not set(name) & set("/\0") and not name.startswith(".")
        ).filter(lambda name: name.isprintable()),
        st.binary(max_size=50),
        max_size=8,
    )
)  # fmt: skip
def test_a_folder_depends_on_names_and_content_only(entries: dict[str, bytes]) -> None:
    import tempfile  # noqa: PLC0415

    cids = set()
    for order in (list(entries), list(reversed(entries))):
        with tempfile.TemporaryDirectory() as folder:
            for name in order:
                Path(folder, name).write_bytes(entries[name])
            Path(folder, ".hidden").touch()
            added = add_path(Path(folder))
            cids.add(added.cid)
            assert added.files == len(entries)
    assert len(cids) == 1


def test_hidden_ones_are_left_out_as_by_ipfs_add(tmp_path: Path) -> None:
    root = tmp_path / ".task"  # the folder itself may be called so
    (root / "src").mkdir(parents=True)
    (root / "src/app.py").write_text("x")
    before = add_path(root)
    (root / ".git/objects").mkdir(parents=True)
    (root / "src/.env").write_text("secret")
    (root / ".link").symlink_to("/etc")
    assert add_path(root) == before
    (root / ".link").unlink()
    assert add_path(root, hidden=True).files == 2


def test_mode_and_time_make_no_difference(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    before = add_path(tmp_path)
    (tmp_path / "run").chmod(0o755)
    os.utime(tmp_path / "run", (1, 1))
    assert add_path(tmp_path) == before
    assert PROFILE["preserve-mode"] is False


# Links.


@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "../outside", "..", "src/../../outside", "../../../../../etc", "up/.."],
)
def test_links_that_lead_outside_are_refused(target: str, tmp_path: Path) -> None:
    root = tmp_path / "task"
    (root / "src").mkdir(parents=True)
    (tmp_path / "outside").write_text("secret")
    (root / "src/up").symlink_to("..")  # leads to the folder itself: inside
    (root / "up").symlink_to("src/up")
    assert add_path(root).files == 2
    (root / "link").symlink_to(target)
    with pytest.raises(ContentRefused, match="link leads outside, to ") as raised:
        add_path(root)
    assert target in raised.value.message
    assert raised.value.fix


@pytest.mark.parametrize("target", ["src/app.py", "src", "./src/../src", "nowhere", "circle", "."])
def test_links_inside_stay_links(target: str, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/app.py").write_text("x")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "link").symlink_to(target)
    blocks = Blocks()
    added = add_path(tmp_path, blocks.sink)
    root = decode(added.cid, blocks.blocks[added.cid.digest])
    link = next(entry for entry in root.links if entry.name == "link")
    assert decode(link.cid, blocks.blocks[link.cid.digest]).data == target.encode()
    assert not leads_outside(str(tmp_path / "link"), str(tmp_path))


def test_a_link_that_is_named_is_followed(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task/file").write_text("x")
    (tmp_path / "link").symlink_to("task")
    assert add_path(tmp_path / "link") == add_path(tmp_path / "task")


# What can't be.


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match="no such file or folder"):
        add_path(tmp_path / "nothing")
    (tmp_path / "dangling").symlink_to("nothing")
    with pytest.raises(FileMissing):
        add_path(tmp_path / "dangling")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(ContentRefused, match="neither a file, a folder nor"):
            add_path(path)
    (tmp_path / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        with pytest.raises(ContentRefused, match=r"/s: is neither"):
            add_path(tmp_path)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).touch()
    with pytest.raises(ContentRefused, match=r"b'caf\\xe9' is not UTF-8"):
        add_path(tmp_path)


def test_what_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(mode=0)
    code = (
        "import os, sys; from pathlib import Path; from lading.content.adding import add_path;"
        "from lading.errors import InputError; os.setuid(65534) if os.getuid() == 0 else None\n"
        "try: add_path(Path(sys.argv[1]))\n"
        "except InputError as error: print(error)"
    )
    # Somebody else must be able to get there.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/secret: can't be read: Permission denied\n"


@pytest.mark.parametrize("count", [999, 1000, 1001])
def test_many_entries(count: int, tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    for number in range(count):
        (folder / str(number)).touch()
    (folder / ".not counted").touch()
    if count < 1000:
        assert add_path(tmp_path).files == count
    else:
        with pytest.raises(FolderSharded, match=r"inner: has 1000 entries or more") as raised:
            add_path(tmp_path)
        assert "let a node add it" in raised.value.fix


def test_a_folder_with_long_names(tmp_path: Path) -> None:
    """Fewer than 1,000 entries, and more than 256 KiB: where Kubo shards."""
    for number in range(880):
        (tmp_path / f"{number:0250}").touch()
    add_path(tmp_path)
    for number in range(880, 960):
        (tmp_path / f"{number:0250}").touch()
    with pytest.raises(FolderSharded, match=r"has \d{6} bytes of names and addresses"):
        add_path(tmp_path)


def test_folders_in_folders(tmp_path: Path) -> None:
    inner = tmp_path
    for _ in range(200):
        inner /= "d"
        inner.mkdir()
    assert add_path(tmp_path).blocks == 201
    (inner / "d").mkdir()
    with pytest.raises(ContentRefused, match="more than 200 folders"):
        add_path(tmp_path)


# While it is read.


@pytest.mark.parametrize("change", ["grows", "shrinks", "is written"])
def test_a_file_that_changes_while_it_is_read(change: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(bytes(3 * CHUNK))

    def sink(_cid: Cid, _block: bytes) -> None:
        if change == "shrinks":
            os.truncate(path, CHUNK)
        else:
            with path.open("ab" if change == "grows" else "r+b") as file:
                file.write(b"more")

    with pytest.raises(InputError, match=r"log: changed while it was read"):
        add_path(tmp_path, sink)


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"x")
    with pytest.raises(FileMissing, match=r"/b: there is no such"):
        add_path(tmp_path, lambda *_: (tmp_path / "b").unlink(missing_ok=True))


def test_it_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10 * CHUNK))
    stop, seen = threading.Event(), []

    def sink(cid: Cid, _block: bytes) -> None:
        seen.append(cid)
        stop.set()

    with pytest.raises(InterruptedError):
        add_path(tmp_path, sink, stop=stop)
    assert len(seen) == 1
