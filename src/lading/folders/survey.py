"""A folder walked once: what is in it, and the content of what is small enough to be looked into.

Nothing is kept but what is yielded: a folder of any number of files takes no more memory than its
widest directory. Links are never followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lading.errors import ConfigError
from lading.run.build_context import IGNORE_FILE, Ignore

__all__ = [
    "LOOKED_INTO",
    "Budget",
    "Entry",
    "Listed",
    "Unreadable",
    "content_of",
    "read_ignore",
    "walk",
]

LOOKED_INTO = 1 << 20
"""Bytes of a file that are looked into."""
_ALL_LOOKED_INTO = 128 << 20
"""Bytes of a folder that are looked into."""
_MOST = 1_000_000
"""Entries of a folder that are looked at."""
NOT_ENTERED = frozenset((".git", ".hg", ".svn"))
"""Directories whose inside is nobody's business but the tool's that made them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a folder.

    Parameters
    ----------
    path : str
        Relative to the folder, with slashes.
    real : str
        Its path for the operating system.
    status : os.stat_result
        Of a link itself.
    hidden : bool
        Its name, or that of a directory above it, begins with a dot: IPFS leaves it out.
    in_context : bool
        Whether a builder gets to see it: no ``.dockerignore`` leaves it out.
    """

    path: str
    real: str
    status: os.stat_result
    hidden: bool
    in_context: bool

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_folder(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)


@dataclass(frozen=True, slots=True)
class Listed:
    """A directory, once it is known how much is in it.

    Parameters
    ----------
    path : str
        Relative to the folder; ``.`` is the folder itself.
    entries : int
        As IPFS has it: without hidden ones.
    names : int
        Bytes of their names.
    hidden : bool
    """

    path: str
    entries: int
    names: int
    hidden: bool


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What can't be read."""

    path: str
    reason: str


@dataclass(slots=True)
class Budget:
    """What may still be looked into.

    Attributes
    ----------
    entries : int
    content : int
        Bytes.
    """

    entries: int = _MOST
    content: int = _ALL_LOOKED_INTO

    @property
    def used_up(self) -> bool:
        """Whether something was left out for it."""
        return self.entries <= 0 or self.content <= 0


def read_ignore(folder: Path) -> tuple[Ignore, ConfigError | None]:
    """Read the ``.dockerignore``; what is wrong with it comes beside an empty one."""
    path = folder / IGNORE_FILE
    try:
        if path.is_symlink() or not path.is_file():
            return Ignore(""), None
        with path.open("rb") as file:
            text = file.read(LOOKED_INTO).decode("utf-8-sig")
        return Ignore(text, IGNORE_FILE), None
    except UnicodeDecodeError:
        return Ignore(""), ConfigError(IGNORE_FILE, "is not UTF-8")
    except OSError as error:
        return Ignore(""), ConfigError(IGNORE_FILE, f"can't be read: {error.strerror}")
    except ConfigError as error:
        return Ignore(""), error


def walk(folder: Path, ignore: Ignore, budget: Budget) -> Iterator[Entry | Listed | Unreadable]:
    """Yield what is in a folder and goes to a builder or to IPFS; blocks on the disk.

    What neither of them gets is passed over. Directories come before what is in them.

    Parameters
    ----------
    folder : Path
    ignore : Ignore
    budget : Budget
        Its `entries` are counted down; at 0 the walk ends.
    """
    waiting = [("", False, False)]
    while waiting:
        above, hidden_above, out_above = waiting.pop()
        try:
            found = sorted(os.scandir(folder / above), key=lambda one: one.name)
        except OSError as error:
            yield Unreadable(above.rstrip("/") or ".", error.strerror or str(error))
            continue
        below = []
        for item in found:
            budget.entries -= 1
            if budget.entries <= 0:
                return
            path = above + item.name
            hidden = hidden_above or item.name.startswith(".")
            left_out = ignore.leaves_out(path, above=out_above)
            try:
                status = item.stat(follow_symlinks=False)
            except OSError as error:
                yield Unreadable(path, error.strerror or str(error))
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            if left_out and hidden and not (is_folder and ignore.takes_in_again):
                continue
            if is_folder and item.name not in NOT_ENTERED:
                below.append((f"{path}/", hidden, left_out))
            yield Entry(path, item.path, status, hidden, in_context=not left_out)
        names = [item.name for item in found if not item.name.startswith(".")]
        size = sum(len(os.fsencode(name)) for name in names)
        yield Listed(above.rstrip("/") or ".", len(names), size, hidden_above)
        waiting += reversed(below)


def content_of(entry: Entry, budget: Budget) -> bytes | Unreadable | None:
    """Read a regular file as far as it is looked into; None where the budget is used up.

    Parameters
    ----------
    entry : Entry
    budget : Budget
        Its `content` is counted down.
    """
    if budget.content <= 0:
        return None
    if not entry.status.st_size and os.access(entry.real, os.R_OK):
        return b""
    try:
        # Neither through a link that took its place, nor waiting for the other end of a pipe.
        handle = os.open(entry.real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            content = os.read(handle, min(entry.status.st_size, LOOKED_INTO))
        finally:
            os.close(handle)
    except OSError as error:
        return Unreadable(entry.path, error.strerror or str(error))
    budget.content -= len(content)
    return content
