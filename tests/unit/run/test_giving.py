"""Whose a file becomes: what was there before, what was written since, and what leads astray."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from lading.run.giving import Giver, Place, identify, inventory, now_at
from lading.run.handover import Report, Stamp

ME, ALICE, OTHER = 12345, 5001, 4321
MINE = (ME, ME)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make others' files")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    os.chown(folder, ME, ME)
    return folder


def next_tick(folder: Path) -> None:
    """Let the file system's clock move on: what was changed before then was changed before."""
    begin = now_at(str(folder))
    while now_at(str(folder)) == begin:
        pass


class Before:
    """A directory as it was: what a stamp of another user's would hold."""

    def __init__(self, folder: Path) -> None:
        next_tick(folder)
        path = str(folder)
        key = identify(folder.stat())
        self.place = Place(path, key, now_at(path), inventory(path, ME))

    def keeps(self, info: os.stat_result) -> bool:
        return self.place.keeps(ME, info)

    def give(self) -> Giver:
        giver = Giver(ME, ME, self.place.moment, self.keeps)
        giver.give(self.place.path, self.place.key)
        return giver


def owner(path: Path) -> tuple[int, int]:
    info = path.lstat()
    return info.st_uid, info.st_gid


def put(path: Path, uid: int = 0) -> Path:
    path.write_text("x")
    os.chown(path, uid, uid)
    return path


def test_only_what_was_changed_since(out: Path) -> None:
    old, touched = put(out / "old", ALICE), put(out / "touched")
    taken = put(out / "taken", ME)
    before = Before(out)
    new = put(out / "new")
    touched.write_text("y")
    os.utime(touched, ns=(1, 1))  # it may say what it likes about when it was written
    os.chown(taken, 0, 0)
    given = before.give()
    assert (given.given, given.left, given.examples) == (3, 0, [])
    assert owner(old) == (ALICE, ALICE)
    assert {owner(path) for path in (new, touched, taken)} == {MINE}
    assert before.give().given == 0


def test_links_are_given_and_not_followed(out: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = put(outside / "file")
    before = Before(out)
    for name, target in (("file", inside), ("folder", outside), ("up", ".."), ("none", "absent")):
        (out / name).symlink_to(target)
    assert before.give().given == 4
    assert {owner(path) for path in out.iterdir()} == {MINE}
    assert owner(outside) == owner(inside) == owner(tmp_path) == (0, 0)


def test_a_folder_that_others_share_stays_theirs(out: Path) -> None:
    os.chown(out, 0, 0)
    hers = out / "alice"
    hers.mkdir()
    os.chown(hers, ALICE, ALICE)
    roots = out / "root"
    roots.mkdir()
    before = Before(out)
    (hers / "more").mkdir()
    os.chown(hers / "more", ALICE, ALICE)
    meanwhile = [put(hers / "new", ALICE), put(hers / "more/new", ALICE)]
    written = [put(hers / "roots"), put(hers / "more/roots", OTHER), put(roots / "roots")]
    before.give()
    assert {owner(path) for path in (out, roots)} == {(0, 0)}
    assert {owner(path) for path in (hers, hers / "more", *meanwhile)} == {(ALICE, ALICE)}
    assert {owner(path) for path in written} == {MINE}


def test_a_folder_that_the_container_took_is_given_back(out: Path) -> None:
    (out / "mine").mkdir()
    os.chown(out / "mine", ME, ME)
    before = Before(out)
    for path in (out, out / "mine"):
        os.chown(path, 0, 0)
        path.chmod(0)
    assert before.give().given == 2
    for path in (out, out / "mine"):
        assert owner(path) == MINE
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_folders_are_made_so_that_they_can_be_emptied(out: Path) -> None:
    old = out / "old"
    old.mkdir(0o500)
    os.chown(old, ME, ME)
    before = Before(out)
    put(old / "new", ME)
    for name, uid in (("own", ME), ("roots", 0)):
        (out / name).mkdir(0o500)
        os.chown(out / name, uid, uid)
        (out / name).chmod(0o2550)
    assert before.give().given == 2
    assert stat.S_IMODE(old.stat().st_mode) == 0o500, "its user wanted it so"
    for name in ("own", "roots"):
        assert stat.S_IMODE((out / name).stat().st_mode) == 0o2750


def test_a_folder_that_hands_on_its_group_does(out: Path) -> None:
    os.chown(out, ME, OTHER)
    out.chmod(0o2775)
    before = Before(out)
    (out / "sub").mkdir()
    new = put(out / "sub/new")
    os.chown(new, 0, OTHER)
    before.give()
    assert {owner(path) for path in (out / "sub", new)} == {(ME, OTHER)}


def test_no_program_stays_roots_when_it_is_given(out: Path) -> None:
    before = Before(out)
    put(out / "program").chmod(0o6755)
    before.give()
    assert stat.S_IMODE((out / "program").stat().st_mode) == 0o755


def test_names_and_kinds_of_every_sort(out: Path) -> None:
    before = Before(out)
    put(out / "new\nline")
    put(Path(os.fsdecode(os.fsencode(out) + b"/\xff\xfe")))
    (out / "hard").hardlink_to(out / "new\nline")
    os.mkfifo(out / "fifo")
    os.mknod(out / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    assert before.give().given == 4
    assert {owner(path) for path in out.iterdir()} == {MINE}


def test_deeper_than_there_are_descriptors(out: Path) -> None:
    before = Before(out)
    path = out
    with contextlib.chdir(out):
        for _ in range(3000):
            Path("d").mkdir()
            os.chdir("d")
    try:
        assert before.give().given == 3000
    finally:
        subprocess.run(["rm", "-r", str(path / "d")], check=True)


def test_another_folder_of_that_name_is_left_alone(out: Path, tmp_path: Path) -> None:
    before = Before(out)
    out.rename(tmp_path / "away")
    shutil.copytree("/etc/default", out)
    given = before.give()
    assert (given.given, given.left) == (0, 1)
    assert given.examples == [(".", "it is another directory than before")]
    assert owner(out) == (0, 0)


def test_a_folder_that_is_moved_away_meanwhile_leads_nowhere(out: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    untouched = put(outside / "file")
    before = Before(out)
    (out / "sub/inner").mkdir(parents=True)
    put(out / "sub/inner/file")

    class Moving(Before):
        def __init__(self) -> None:
            self.__dict__ = before.__dict__

        def keeps(self, info: os.stat_result) -> bool:
            if (out / "sub").exists() and identify(info) == identify((out / "sub/inner").stat()):
                (out / "sub/inner").rename(outside / "inner")  # while we are on our way into it
            return super().keeps(info)

    given = Moving().give()
    assert given.left == 1
    assert "was moved meanwhile" in given.examples[0][1]
    assert owner(outside) == owner(untouched) == (0, 0)


def test_a_stamp_of_what_is_not_there(out: Path) -> None:
    stamp = Stamp.of([out, out / "absent"])
    assert [place.path for place in stamp.places] == [str(out)]
    assert stamp.unwritable == ((str(out / "absent"), "No such file or directory"),)
    assert list(out.iterdir()) == []


def test_a_stamp_knows_what_was_there(out: Path) -> None:
    (out / "sub").mkdir(0o500)
    (place,) = Stamp.of([out]).places
    assert set(place.before) == {identify(out.stat()), identify((out / "sub").stat())}
    assert place.keeps(0, (out / "sub").stat())
    (out / "sub").chmod(0)
    assert not place.keeps(0, (out / "sub").stat())


def test_the_warning_says_what_why_and_what_to_do() -> None:
    assert Report(given=3).warning == ""
    report = Report(left=2, examples=("'/out/a': Operation not permitted",), fix="do that")
    assert report.warning == (
        "2 files that the container wrote could not be given to you "
        "(such as '/out/a': Operation not permitted); do that"
    )
    report = Report(left=1, why="the engine is away", fix="do that")
    assert report.warning.endswith("could not be given to you: the engine is away; do that")
