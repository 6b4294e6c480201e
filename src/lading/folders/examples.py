"""What a run wrote into a directory, against what its example says: file by file.

Links are compared as links and never followed: what wrote them was a stranger. Directories count
by their files, as version control keeps no empty ones.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lading.errors import ConfigError
from lading.folders.comparing import Comparison, Likeness, compare
from lading.folders.media import media_of

__all__ = ["Finding", "compare_trees", "differences", "replace_tree"]

_MOST = 32 << 20
"""Bytes of a file that is read to tell what differs; larger ones by type and size."""
_HEAD = 4096
_MOST_TOLD = 20
_MOST_DIFFS = 3
_NAMES = ("the example", "what came")


@dataclass(frozen=True, slots=True)
class Finding:
    """One file of an example, or of what was written.

    Parameters
    ----------
    path : str
        Relative, with slashes.
    comparison : Comparison
    """

    path: str
    comparison: Comparison


def compare_trees(expected: Path, actual: Path, *, exact: bool = False) -> list[Finding]:
    """Compare all files of two directories; blocks on the disk.

    Parameters
    ----------
    expected, actual : Path
    exact : bool
        Whether only the same bytes will do.

    Returns
    -------
    list of Finding
        One for each file that either has, by name.

    Raises
    ------
    ConfigError
        A file can't be read.
    """
    wanted, came = dict(_files(expected)), dict(_files(actual))
    found = []
    for path in sorted(wanted.keys() | came.keys()):
        if path not in came:
            found.append(Finding(path, _none("is missing")))
        elif path not in wanted:
            found.append(Finding(path, _none("is not in the example")))
        else:
            try:
                found.append(Finding(path, _compared(wanted[path], came[path], exact)))
            except OSError as error:
                raise ConfigError(str(error.filename), f"can't be read: {error.strerror}") from None
    return found


def differences(findings: list[Finding], name: str = "") -> tuple[str, str]:
    """Tell what differs, in short and at length.

    Parameters
    ----------
    findings : list of Finding
    name : str
        Of the directory, to stand before each path.

    Returns
    -------
    words, diff : str
        Empty if all are alike.
    """
    bad = [one for one in findings if not one.comparison.same]
    if not bad:
        return "", ""
    prefix = f"{name}/" if name else ""
    words = f"{prefix}{bad[0].path} {bad[0].comparison.words}"
    if len(bad) > 1:
        words += f", and {len(bad) - 1} more of {len(findings)} files"
    lines = []
    for number, one in enumerate(bad[:_MOST_TOLD]):
        lines.append(f"{prefix}{one.path}: {one.comparison.words}")
        if number < _MOST_DIFFS and one.comparison.diff:
            lines += one.comparison.diff.splitlines()
    if len(bad) > _MOST_TOLD:
        lines.append(f"... and {len(bad) - _MOST_TOLD} more")
    return words, "\n".join(lines)


def replace_tree(source: Path, target: Path) -> None:
    """Put a copy of a directory in the place of another: whole, or not at all; blocks.

    Parameters
    ----------
    source : Path
        Its regular files and links are copied.
    target : Path
        Need not be there.

    Raises
    ------
    ConfigError
        It can't be written; then it is as it was.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise ConfigError(str(target), f"can't be written: {error.strerror}") from None
    try:
        new, old = aside / "new", aside / "old"
        new.mkdir()
        for path, entry in _files(source):
            place = new / path
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry.path, place, follow_symlinks=False)
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    except OSError as error:
        raise ConfigError(str(target), f"can't be written: {error.strerror}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _files(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Walk over all files and links below a directory, by relative path; none if there is none."""
    todo = [("", str(folder))]
    while todo:
        prefix, at = todo.pop()
        try:
            entries = list(os.scandir(at))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError(at, f"can't be read: {error.strerror}") from None
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                todo.append((f"{prefix}{entry.name}/", entry.path))
            elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
                yield prefix + entry.name, entry


def _compared(wanted: os.DirEntry[str], came: os.DirEntry[str], exact: bool) -> Comparison:
    if wanted.is_symlink() or came.is_symlink():
        targets = [str(Path(e).readlink()) if e.is_symlink() else None for e in (wanted, came)]
        if targets[0] == targets[1]:
            return Comparison(Likeness.EXACT, "the same link")
        return _none(f"{_link(targets[1])} instead of {_link(targets[0])}")
    if filecmp.cmp(wanted.path, came.path, shallow=False):
        return Comparison(Likeness.EXACT, "the same bytes")
    sizes = [entry.stat(follow_symlinks=False).st_size for entry in (wanted, came)]
    if max(sizes) <= _MOST:
        return _differ(compare(_read(wanted), _read(came), exact=exact, names=_NAMES))
    kinds = [media_of(_read(entry, _HEAD)).type for entry in (wanted, came)]
    if exact or kinds[0] != kinds[1] or sizes[0] != sizes[1] or kinds[0].startswith("text/"):
        return _none(f"has {sizes[1]} bytes ({kinds[1]}) instead of {sizes[0]} ({kinds[0]})")
    return Comparison(Likeness.TYPE, f"{kinds[0]} of {sizes[0]} bytes as well, others")


def _differ(found: Comparison) -> Comparison:
    return (
        found if found.same else Comparison(found.likeness, f"differs: {found.words}", found.diff)
    )


def _none(words: str) -> Comparison:
    return Comparison(Likeness.NONE, words)


def _link(target: str | None) -> str:
    return "is a file" if target is None else f"is a link to {target}"


def _read(entry: os.DirEntry[str], most: int = -1) -> bytes:
    # The name was a file's when it was looked at; it is not followed if it is a link by now.
    number = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            return b""
        return file.read(most)
