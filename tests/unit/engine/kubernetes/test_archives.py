"""Directories as archives and back, whatever strangers put into them."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from lading.engine.kubernetes.archives import pack, unpack
from lading.engine.kubernetes.mounts import Copy


def copy(source: Path, *, read_only: bool = False, directory: bool = True) -> Copy:
    return Copy(str(source), "/work", "0/work", directory, read_only, returns=True)


def packed(*copies: Copy, own: bool = False) -> bytes:
    found = pack(copies, own=own)
    data = b"".join(found.pieces())
    assert len(data) == found.size
    return data


def archive(*items: tuple[str, object]) -> io.BytesIO:
    """Of names and: text, None for a directory, or a member made by the test."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in items:
            item = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            item.name = name
            item.mode = item.mode or 0o644
            if content is None:
                item.type, item.mode = tarfile.DIRTYPE, 0o755
            data = content.encode() if isinstance(content, str) else b""
            item.size = len(data)
            item.uid, item.gid = os.getuid(), os.getgid()
            tar.addfile(item, io.BytesIO(data))
    out.seek(0)
    return out


def special(kind: bytes, to: str = "") -> tarfile.TarInfo:
    item = tarfile.TarInfo()
    item.type, item.linkname = kind, to
    return item


def test_there_and_back(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    (ours / "sub" / "empty").mkdir(parents=True)
    (ours / "sub" / ("n" * 120 + "é\n")).write_bytes(os.urandom(700_000))
    (ours / "run").write_text("x")
    (ours / "run").chmod(0o750)
    (ours / "link").symlink_to("nowhere")
    os.mkfifo(ours / "pipe")
    theirs.mkdir()
    unpack(io.BytesIO(packed(copy(ours))), [copy(theirs)], frozenset())
    listed = [sorted(path.relative_to(top) for path in top.rglob("*")) for top in (ours, theirs)]
    assert listed[0] == listed[1]
    for path in ours.rglob("*"):
        other = theirs / path.relative_to(ours)
        assert other.lstat().st_mode == path.lstat().st_mode
        if path.is_file():
            assert other.read_bytes() == path.read_bytes()
            assert int(other.stat().st_mtime) == int(path.stat().st_mtime)
    assert (theirs / "link").readlink() == Path("nowhere")


def test_a_file_that_becomes_shorter_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 2000)
    found = pack([copy(tmp_path)], own=False)
    (tmp_path / "f").write_bytes(b"x")
    assert sum(map(len, found.pieces())) == found.size


def test_directories_of_whoever_unpacks_can_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o500)
    for own, mode in ((False, 0o500), (True, 0o700)):
        with tarfile.open(fileobj=io.BytesIO(packed(copy(tmp_path), own=own))) as tar:
            assert tar.getmember("0/work/d").mode == mode


def test_what_was_removed_there_and_what_came_here_meanwhile(tmp_path: Path) -> None:
    for name in ("a", "d/b", "d/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    before = pack([copy(tmp_path)], own=False).names
    (tmp_path / "d" / "mine").write_text("came meanwhile")
    unpack(archive(("0/work", None), ("0/work/a", "y")), [copy(tmp_path)], before)
    assert (tmp_path / "a").read_text() == "y"
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["mine"]


def test_what_did_not_change_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("same")
    inode = (tmp_path / "a").stat().st_ino
    unpack(io.BytesIO(packed(copy(tmp_path))), [copy(tmp_path)], frozenset())
    assert (tmp_path / "a").stat().st_ino == inode


def test_second_names_of_a_file(tmp_path: Path) -> None:
    unpack(
        archive(("0/work/a", "x"), ("0/work/d/b", special(tarfile.LNKTYPE, "0/work/a"))),
        [copy(tmp_path)],
        frozenset(),
    )
    assert (tmp_path / "a").stat().st_ino == (tmp_path / "d" / "b").stat().st_ino


def test_a_file_is_written_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("longer than before")
    inode = (tmp_path / "f").stat().st_ino
    unpack(archive(("0/work", "new")), [copy(tmp_path / "f", directory=False)], frozenset())
    assert (tmp_path / "f").read_text() == "new"
    assert (tmp_path / "f").stat().st_ino == inode


@pytest.mark.parametrize(
    "items",
    [
        [("0/work/../../out/x", "x"), ("/0/work/../../../out/x", "x")],
        [("0/work/l", special(tarfile.SYMTYPE, "../out")), ("0/work/l/x", "x")],
        [("0/work/here/x", "x")],
        [("0/work/secret", special(tarfile.LNKTYPE, "0/work/../../out/kept"))],
        [("0/work/secret", special(tarfile.LNKTYPE, "0/work/here/kept"))],
        [("0/work/to-kept", "x")],
        [("0/work/c", special(tarfile.CHRTYPE))],
    ],
    ids=["dots", "their-link", "our-link", "hard-dots", "hard-link", "over-link", "device"],
)
def test_nothing_leads_outside(tmp_path: Path, items: list[tuple[str, object]]) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    out.mkdir()
    (out / "kept").write_text("kept")
    (root / "here").symlink_to("../out")
    (root / "to-kept").symlink_to("../out/kept")
    try:
        unpack(archive(*items), [copy(root)], frozenset())
    except FileNotFoundError:
        assert "hard" in str(items) or "LNK" in str(items) or items[0][0].endswith("secret")
    assert [path.name for path in out.iterdir()] == ["kept"]
    assert (out / "kept").read_text() == "kept"
    assert (out / "kept").stat().st_nlink == 1
    assert not (root / "c").exists()


def test_nobody_else_acts_as_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = special(tarfile.REGTYPE)
    item.mode = 0o6755
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    unpack(archive(("0/work/x", item)), [copy(tmp_path)], frozenset())
    assert (tmp_path / "x").stat().st_mode & 0o7777 == 0o755


def test_an_archive_that_is_cut(tmp_path: Path) -> None:
    data = archive(("0/work/a", "x" * 5000)).getvalue()[:3000]
    with pytest.raises(tarfile.TarError):
        unpack(io.BytesIO(data), [copy(tmp_path)], frozenset())
