"""Work directories that are copies: on a cluster, where no volume is shared with us.

A container starts with what its directory holds here. What it writes comes back whenever the
driver goes by it: a provider's result after its ``Compute``, and of a requestor all that has
changed, after every call that may have changed anything, before anybody hears of the answer. So
what is here is always what the application had when it answered last, and whoever resumes a task
goes on from there. Of one that died or hangs, what it has left is fetched too, as far as it can be:
a requestor is started again on that, and a node's next provider finds it.

All that came with one answer is put in its place together, also if we are killed meanwhile: it is
written aside first, then a list of it, then all is moved; what is found with its list is moved by
the next who looks. Functions that say so block, see :mod:`lading.contracts.golem.driver.offloop`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from lading.contracts.golem.constants import SUBTASK_INPUTS_DIR, WORK_DIR
from lading.contracts.golem.driver.below import Way, disk_problem, parts_of, remove
from lading.contracts.golem.driver.homes import remove_tree
from lading.contracts.golem.driver.offloop import Stop, in_thread
from lading.engine.base import Selective
from lading.errors import LadingError

if TYPE_CHECKING:
    from lading.engine import Container

__all__ = ["Mirror", "bring", "bring_all"]

_THERE = f"/{WORK_DIR}"
_ASIDE, _LIST = "incoming", "list.json"


class Mirror:
    """A requestor's work directory, of which its container has a copy.

    Parameters
    ----------
    work : Path
        Ours. What comes is written aside next to it first.

    Attributes
    ----------
    turn : asyncio.Lock
        Held from before a call until what it changed is here: the application is asked one thing
        after the other, as a copy of what it is just writing would be of no use.
    """

    def __init__(self, work: Path) -> None:
        self.turn = asyncio.Lock()
        self._work = work
        self._aside = work.parent / _ASIDE
        self._there: set[str] = set()
        self._known: dict[str, str] = {}

    async def begin(self) -> None:
        """Put in its place what came last; the container is about to start with what is here."""
        self._there, self._known = await in_thread(self._recover), {}

    async def has_more(self, directory: str) -> bool:
        """Say whether the container has what is not here any more."""
        return await in_thread(self._has_more, f"{directory}/")

    async def push(self, container: Container, directory: str) -> None:
        """Copy a directory of ours, relative to the work directory, to the container."""
        archive, names = await in_thread(_packed, self._work, directory)
        if names:
            await container.put(_THERE, archive)
            self._there |= names

    async def pull(self, container: Container) -> None:
        """Make what is here what the container has.

        Raises
        ------
        CapacityError
            The disk is full.
        LadingError
            It can't be written.
        """
        known = self._known
        self._known = {}  # what was told and not taken is told again
        news = await container.changed(_THERE, known) if isinstance(container, Selective) else None
        if news is not None:
            found, archive = news
        else:
            found, archive = {}, await container.get(_THERE)
        try:
            self._there = await in_thread(
                self._take, archive, self._there, None if news is None else set(found)
            )
            self._known = found
        except InterruptedError:
            raise
        except OSError as error:
            what = "what the application wrote can't be copied"
            raise disk_problem(error, what, self._work) from error

    # These block.

    def _recover(self, stop: Stop) -> set[str]:
        if (self._aside / _LIST).exists():
            self._move(stop)
        remove_tree(stop, self._aside)
        return set(_listed(self._work))

    def _has_more(self, _: Stop, below: str) -> bool:
        return any(
            path.startswith(below) and not os.path.lexists(self._work / path)
            for path in self._there
        )

    def _take(
        self, stop: Stop, archive: bytes, before: set[str], listed: set[str] | None
    ) -> set[str]:
        """Take what came; `listed` are all that there are, or None if all have come."""
        remove_tree(stop, self._aside)
        self._aside.mkdir(mode=0o700)
        found: set[str] = set() if listed is None else listed
        entries: list[dict[str, Any]] = []
        for item, path, content in _members(archive, top=listed is not None):
            stop.check()
            found.add(path)
            if (entry := self._set_aside(item, path, content, len(entries))) is not None:
                entries.append(entry)
        gone = sorted(before - found, reverse=True)  # what is in a directory comes before it
        unfinished = self._aside / f"{_LIST}.new"
        unfinished.write_text(json.dumps({"entries": entries, "gone": gone}), "utf-8")
        unfinished.rename(self._aside / _LIST)
        self._move(stop)
        remove_tree(stop, self._aside)
        return found

    def _set_aside(
        self, item: tarfile.TarInfo, path: str, content: bytes, number: int
    ) -> dict[str, Any] | None:
        """Write a member to a file of its own; None: what is here is the same, or of no kind."""
        here = self._work / path
        if item.isdir():
            return None if _is(here, stat.S_ISDIR) else {"path": path}
        if item.issym():
            return {"path": path, "link": item.linkname}
        if not item.isreg():
            return None
        if _is(here, stat.S_ISREG) and here.stat().st_size == len(content):
            with contextlib.suppress(OSError):
                if here.read_bytes() == content:
                    return None
        place = self._aside / str(number)
        place.write_bytes(content)
        place.chmod(item.mode & 0o777 | 0o600)
        return {"path": path, "file": place.name}

    def _move(self, _: Stop) -> None:
        """Move all that is listed; what was moved before is left where it is."""
        listed = json.loads((self._aside / _LIST).read_text("utf-8"))
        for entry in listed["entries"]:
            *directories, name = entry["path"].split("/")
            with Way(self._work) as way:
                for directory in directories:
                    way.make(directory)
                if "link" in entry:
                    remove(way.here, name)
                    os.symlink(entry["link"], name, dir_fd=way.here)
                elif "file" not in entry:
                    way.make(name)
                elif (source := self._aside / entry["file"]).exists():
                    with contextlib.suppress(IsADirectoryError):
                        source.rename(f"/proc/self/fd/{way.here}/{name}")
                        continue
                    remove(way.here, name)
                    source.rename(f"/proc/self/fd/{way.here}/{name}")
        for path in listed["gone"]:
            *directories, name = path.split("/")
            with contextlib.suppress(OSError), Way(self._work) as way:
                for directory in directories:
                    way.down(directory)
                if stat.S_ISDIR(os.stat(name, dir_fd=way.here, follow_symlinks=False).st_mode):
                    os.rmdir(name, dir_fd=way.here)  # unless we have written to it meanwhile
                else:
                    os.unlink(name, dir_fd=way.here)


async def bring(container: Container, result: Path, node: Path) -> None:
    """Copy the file that ``Compute`` named from a provider's container to its node's directory.

    What names no file there, or one elsewhere, is left to who takes the result to complain of.

    Raises
    ------
    CapacityError
        The disk is full.
    LadingError
        It can't be written.
    """
    if result.is_absolute() or ".." in result.parts or not result.parts:
        return
    archive, within = b"", list(PurePosixPath(result).parts[:-1])
    whole = False
    with contextlib.suppress(FileNotFoundError):
        archive = await container.get(f"{_THERE}/{PurePosixPath(result)}")
        if await in_thread(_is_link, archive):
            archive, within, whole = await container.get(_THERE), [], True
    try:
        await in_thread(_unpack, archive, node, within, whole=whole)
    except InterruptedError:
        raise
    except OSError as error:
        raise disk_problem(error, f"the result {str(result)!r} can't be copied", node) from error


async def bring_all(container: Container, node: Path) -> None:
    """Copy what a provider that failed has left, but for the resources, as far as that can be."""
    with contextlib.suppress(LadingError, OSError):
        archive = await container.get(_THERE)
        await in_thread(_unpack, archive, node, [], whole=True)


def _is_link(_: Stop, archive: bytes) -> bool:
    """Whether what was got is a link, and not what it leads to."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        first = tar.next()
        return first is not None and first.issym()


def _unpack(stop: Stop, archive: bytes, node: Path, within: list[str], *, whole: bool) -> None:
    """Write what an archive holds below a directory; of a whole one, not the resources."""
    for item, path, content in _members(archive, top=not whole):
        stop.check()
        parts = [*within, *path.split("/")]
        if whole and parts[0] == SUBTASK_INPUTS_DIR:
            continue
        with Way(node) as way:
            for directory in parts[:-1]:
                way.make(directory)
            if item.isdir():
                way.make(parts[-1])
                continue
            remove(way.here, parts[-1])
            if item.issym():
                os.symlink(item.linkname, parts[-1], dir_fd=way.here)
            elif item.isreg():
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                with open(  # noqa: PTH123  # Path knows no descriptors
                    os.open(parts[-1], flags, item.mode & 0o777 | 0o600, dir_fd=way.here), "wb"
                ) as file:
                    file.write(content)


def _members(archive: bytes, *, top: bool = False) -> Iterator[tuple[tarfile.TarInfo, str, bytes]]:
    """Go through an archive that strangers wrote: paths without the first component, or with it.

    A path that leads elsewhere is left out. A hard link is the file that it is a link to.
    """
    if not archive:
        return
    with tarfile.open(fileobj=io.BytesIO(archive), ignore_zeros=True) as tar:
        for item in tar:
            parts = parts_of(item.name)
            if item.name.startswith("/") or ".." in parts or "\0" in item.name:
                continue
            parts = parts if top else parts[1:]
            if not parts:
                continue
            content = b""
            if item.isreg() or item.islnk():
                source = tar.extractfile(item)
                content = source.read() if source is not None else b""
                item.type = tarfile.REGTYPE
            yield item, "/".join(parts), content


def _packed(stop: Stop, work: Path, directory: str) -> tuple[bytes, set[str]]:
    """Make an archive of a directory and of those on the way to it; no links, no special files."""
    stream = io.BytesIO()
    names: set[str] = set()
    # Two names of one file are two files there; links were left out by then.
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT, dereference=True) as tar:
        way = PurePosixPath(directory)
        paths = [str(path) for path in reversed(way.parents) if path.parts]
        if _is(work / directory, stat.S_ISDIR):
            paths += [directory, *(f"{directory}/{path}" for path in _listed(work / directory))]
        else:
            return b"", names
        for path in paths:
            stop.check()
            here = work / path
            if _is(here, stat.S_ISDIR) or _is(here, stat.S_ISREG):
                tar.add(here, path, recursive=False)
                names.add(path)
    return stream.getvalue(), names


def _listed(directory: Path) -> Iterator[str]:
    """All that is below, each directory before what is in it; nothing that a link leads to."""
    for path, directories, files in os.walk(directory):
        below = Path(path).relative_to(directory)
        for name in (*directories, *files):
            yield str(below / name)


def _is(path: Path, kind: Any) -> bool:
    try:
        return bool(kind(path.lstat().st_mode))
    except OSError:
        return False
