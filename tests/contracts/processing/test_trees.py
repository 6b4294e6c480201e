"""Sizes of what lies in directories, compared with what pathlib finds."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lading.contracts.processing.scaling import target_size
from lading.contracts.processing.template import ScaleRule
from lading.contracts.processing.trees import Amount, amount, files, matching, subdirectories

NAMES = st.sampled_from(["a", "b", "ab", "a.txt", "b.txt", ".hidden", "[x]", "c.d.csv", "ä b"])
TREES = st.recursive(
    st.integers(0, 5000),  # a file, by its size
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
GLOBS = st.sampled_from(
    ["*", "*.txt", "**/*", "a", "a/*", "*/b", "**/a/*.txt", "a/**/b", "[ab]*", "[[]x]", "?", ".*",
     "./*.txt", "*.*.*", "a/b/*", "nothing", "*/*/*"]
)  # fmt: skip
REGEXES = st.sampled_from([".*", r".*\.txt", "a/.*", "[^/]*", "(a|b).*", "", "a", ".*/.*", "x"])
DIRECTORIES = st.sampled_from(["", "a", "a/b", ".", "./a", "nothing", "a.txt"])


def make(folder: Path, tree: object) -> None:
    """Write a tree; what is no dictionary is a file of that size."""
    if isinstance(tree, dict):
        folder.mkdir(exist_ok=True)
        for name, inside in tree.items():
            make(folder / name, inside)
    elif isinstance(tree, int):
        with folder.open("wb") as file:
            file.truncate(tree)


def naive(base: Path, glob: str, regex: str) -> list[int]:
    """What the documents say, by pathlib."""
    if not base.is_dir():
        return []
    return [
        path.stat().st_size
        for path in set(base.rglob(glob))
        if path.is_file() and re.fullmatch(regex, path.relative_to(base).as_posix())
    ]


def expected(folder: Path, rule: ScaleRule) -> int:
    if rule.mode == "max_item_sum":
        items = [item for item in folder.iterdir() if item.is_dir()]
        sizes = [
            sum(naive(item / rule.target_dir, rule.target_glob, rule.target_regex))
            for item in items
        ]
        return max(sizes, default=0)
    found = naive(folder / rule.target_dir, rule.target_glob, rule.target_regex)
    return max(found, default=0) if rule.mode == "max_file_size" else sum(found)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(NAMES, TREES, max_size=4),
    st.builds(
        ScaleRule,
        scale_factor=st.just(1),
        mode=st.sampled_from(["sum", "max_file_size", "max_item_sum"]),
        target_dir=DIRECTORIES,
        target_glob=GLOBS,
        target_regex=REGEXES,
    ),
    st.sampled_from([None, "a", "a.txt", "nothing", "..", "."]),
)
def test_sizes_are_those_that_pathlib_finds(
    tree: object, rule: ScaleRule, link: str | None
) -> None:
    with tempfile.TemporaryDirectory() as there:
        folder = Path(there, "channel")
        make(folder, tree)
        leads_to_directory = link is not None and (folder / link).is_dir()
        if link is not None and not (leads_to_directory and "/" in rule.target_glob):
            # Into directories behind links, some versions of pathlib go for some patterns.
            (folder / "link").symlink_to(link)
        assert target_size(folder, rule) == expected(folder, rule)


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    """A directory with everything in it that a file system has."""
    folder = tmp_path / "channel"
    make(folder, {"one": {"a.txt": 10, "deep": {"b.txt": 20}}, "two": {"a.txt": 5}, "c": 1})
    (tmp_path / "outside").write_bytes(b"x" * 1000)
    (folder / "loop").symlink_to(".")
    (folder / "one/up").symlink_to("..")
    (folder / "itself").symlink_to("itself")
    (folder / "dangling").symlink_to("nothing")
    (folder / "two/file").symlink_to("../c")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "socket"))
    return folder


def rule(**fields: object) -> ScaleRule:
    return ScaleRule.model_validate({"scale_factor": 1, **fields})


def test_loops_sockets_and_pipes_count_nothing(channel: Path) -> None:
    assert amount(channel) == Amount(bytes=10 + 20 + 5 + 1 + 1, files=5)
    assert dict(files(channel)) == {
        "c": 1, "one/a.txt": 10, "one/deep/b.txt": 20, "two/a.txt": 5, "two/file": 1,
    }  # fmt: skip
    assert target_size(channel, rule()) == 37
    assert target_size(channel, rule(mode="max_file_size")) == 20


def test_items_are_directories_also_behind_links(channel: Path) -> None:
    names = [item.name for item in subdirectories(channel)]
    assert names == ["loop", "one", "two"]
    assert target_size(channel, rule(mode="max_item_sum")) == 37, "the loop is an item"
    (channel / "loop").unlink()
    assert target_size(channel, rule(mode="max_item_sum")) == 30
    assert target_size(channel, rule(mode="max_item_sum", target_dir="deep")) == 20
    assert target_size(channel, rule(mode="max_item_sum", target_glob="a.txt")) == 10


def test_a_link_to_a_file_counts_as_the_file_wherever_it_is(channel: Path) -> None:
    (channel / "far").symlink_to(channel.parent / "outside")
    assert target_size(channel, rule(target_glob="far")) == 1000


def test_nothing_there_is_nothing(channel: Path) -> None:
    for mode in ("sum", "max_file_size", "max_item_sum"):
        assert target_size(channel / "nothing", rule(mode=mode)) == 0
        assert target_size(channel / "c", rule(mode=mode)) == 0, "a file is no directory"
        assert target_size(channel / "one/deep", rule(mode=mode, target_glob="*.no")) == 0
    assert target_size(channel / "two", rule(mode="max_item_sum")) == 0, "no items"
    assert amount(channel / "nothing") == Amount()


def test_names_of_all_kinds(tmp_path: Path) -> None:
    for name in ("line\nbreak", "bytes\udcff", " ", "*", "a[1]", "-rf", "${x}", "x" * 255):
        (tmp_path / name).write_bytes(b"1")
    assert target_size(tmp_path, rule()) == 8
    assert target_size(tmp_path, rule(target_glob="*break")) == 1
    assert target_size(tmp_path, rule(target_glob="bytes*")) == 1
    assert target_size(tmp_path, rule(target_glob="a[[]1]")) == 1
    assert target_size(tmp_path, rule(target_glob="[*]")) == 1


def as_nobody(folder: Path, measure: Callable[[Path], int]) -> int:
    """Measure as somebody who is not root, in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        if os.geteuid() == 0:
            os.setuid(65534)
        os.write(writing, str(measure(Path())).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        return int(told.read())


def test_what_may_not_be_read_is_left_out(channel: Path) -> None:
    channel.chmod(0o755)
    (channel / "one").chmod(0)
    try:
        assert as_nobody(channel, lambda path: target_size(path, rule())) == 7
        items = rule(mode="max_item_sum")
        assert as_nobody(channel, lambda path: target_size(path, items)) == 7
    finally:
        (channel / "one").chmod(0o700)


def test_what_vanishes_meanwhile_is_left_out(channel: Path) -> None:
    found = files(channel)
    next(found)
    make(channel / "more", {"x": 3})
    for path in (channel / "one/deep/b.txt", channel / "one/a.txt"):
        path.unlink()
    assert sum(size for _, size in found) < 40


@pytest.mark.parametrize(
    ("glob", "regex", "fits", "does_not"),
    [
        ("**", ".*", ["a", "a/b"], []),
        ("a/**", ".*", ["a/b", "a/b/c", "x/a/b"], ["a", "b/c"]),
        ("", ".*", ["a", "a/b"], []),
        ("*.txt", r"x/.*", ["x/a.txt"], ["a.txt", "x/a"]),
        ("a/*", ".*", ["a/b", "x/a/b"], ["a", "a/b/c"]),
        ("a/**/b", ".*", ["a/b", "a/x/b", "a/x/y/b", "z/a/b"], ["a", "b", "a/x"]),
        ("*", "a", ["a"], ["ab", "x/a"]),
        ("A*", ".*", ["Ab"], ["ab"]),
    ],
)
def test_patterns(glob: str, regex: str, fits: list[str], does_not: list[str]) -> None:
    is_meant = matching(glob, regex)
    assert [path for path in (*fits, *does_not) if is_meant(path)] == fits


def test_ten_thousand_files(tmp_path: Path) -> None:
    """How long that takes is printed by benchmarks/files.py."""
    for item in range(100):
        (tmp_path / str(item)).mkdir()
        for number in range(100):
            (tmp_path / str(item) / f"{number}.dcm").write_bytes(b"12")
    assert target_size(tmp_path, rule(target_glob="*.dcm")) == 20_000
    assert target_size(tmp_path, rule(mode="max_item_sum", target_regex=r"\d+\.dcm")) == 200
    assert amount(tmp_path) == Amount(20_000, 10_000)
