"""Sizes of what lies in a directory: once through, however many files there are.

As the original does it: directories behind symbolic links are not entered, so links in a circle
end nothing; a link to a file counts as the file, wherever it is. Sockets, pipes and devices count
nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import cache
from pathlib import Path

__all__ = ["Amount", "amount", "entries", "files", "manifest", "matching", "subdirectories"]


@dataclass(frozen=True, slots=True)
class Amount:
    """How much lies in a directory.

    Parameters
    ----------
    bytes, files : int
        Of regular files.
    """

    bytes: int = 0
    files: int = 0


def files(directory: Path) -> Iterator[tuple[str, int]]:
    """Walk over the files below a directory, in no order.

    What vanishes meanwhile, or may not be read, is left out.

    Yields
    ------
    tuple of (str, int)
        Path relative to `directory`, and size in bytes.
    """
    return ((path, found.st_size) for path, found in entries(directory))


def entries(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Walk over the files below a directory as :func:`files` does.

    Yields
    ------
    tuple of (str, os.stat_result)
        Path relative to `directory`, and all that the file system says of the file.
    """
    root = os.fspath(directory)
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            entries = os.scandir(os.path.join(root, below) if below else root)  # noqa: PTH118
        except OSError:
            continue
        with entries:
            for entry in entries:
                relative = f"{below}/{entry.name}" if below else entry.name
                try:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(relative)
                    elif entry.is_file():
                        yield relative, entry.stat()
                except OSError:
                    continue


def amount(directory: Path) -> Amount:
    """Count what lies below a directory; nothing if there is none."""
    total = count = 0
    for _, size in files(directory):
        total += size
        count += 1
    return Amount(total, count)


def manifest(directory: Path) -> str:
    """Digest the files below a directory: paths, sizes and times; walks over all of it.

    Returns
    -------
    str
        Of a directory that is not there, that of an empty one.
    """
    # No path has a zero byte in it, so no two lists of files are written alike.
    lines = [
        b"%b\0%d %d\n" % (os.fsencode(path), found.st_size, found.st_mtime_ns)
        for path, found in entries(directory)
    ]
    lines.sort()
    return hashlib.sha256(b"".join(lines)).hexdigest()


def subdirectories(directory: Path) -> list[Path]:
    """List the directories directly below one, also behind links, sorted by name."""
    try:
        with os.scandir(directory) as entries:
            found = sorted(entry.name for entry in entries if _is_directory(entry))
    except OSError:
        return []
    return [directory / name for name in found]


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


@cache
def matching(glob: str, regex: str) -> Callable[[str], bool]:
    """Make the test whether a relative path is meant.

    Parameters
    ----------
    glob : str
        As :meth:`pathlib.Path.rglob` takes it: matched at any depth, ``**`` over directories.
    regex : str
        Must match the whole path.

    Raises
    ------
    re.error
        `regex` is none.
    """
    tests: list[Callable[[str], object]] = []
    if glob not in ("", "*", "**/*"):
        tests.append(_globbed(glob))
    if regex != ".*":
        tests.append(re.compile(regex).fullmatch)
    if not tests:
        return lambda _: True
    return lambda path: all(test(path) for test in tests)


def _globbed(glob: str) -> Callable[[str], object]:
    segments = [part for part in glob.split("/") if part not in ("", ".")]
    while len(segments) > 1 and segments[0] == "**":
        del segments[0]  # at any depth it is anyway
    if len(segments) == 1 and segments[0] != "**":
        match = re.compile(translate(segments[0])).match
        return lambda path: match(path.rpartition("/")[2])
    tests = [None if part == "**" else re.compile(translate(part)).match for part in segments]

    def fits(parts: list[str], at: int, want: int) -> bool:
        if want == len(tests):
            return at == len(parts)
        test = tests[want]
        if test is None and want == len(tests) - 1:
            return at < len(parts)  # files too, as from Python 3.13 on
        if test is None:
            return any(fits(parts, later, want + 1) for later in range(at, len(parts)))
        return at < len(parts) and bool(test(parts[at])) and fits(parts, at + 1, want + 1)

    def anywhere(path: str) -> bool:
        parts = path.split("/")
        return any(fits(parts, begin, 0) for begin in range(len(parts)))

    return anywhere
