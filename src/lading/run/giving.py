"""A tree of files given to its user: what was written since a moment, and nothing else.

Containers write as root, or as whoever their image says, and what they wrote would stay theirs.
Told apart from what was there before are

- files by their ctime, which nobody can set, as the kernel writes it;
- directories by an :func:`inventory` from before, as a directory changes with all that is put into
  it, though nobody touches itself.

A directory that was there before and belongs to another user (who is not root) is theirs, with what
they own in it. What somebody else writes meanwhile into a directory that is root's or the caller's
can't be told from what the container wrote.

Nothing is followed: directories are opened by one name at a time, never through a link, and what is
changed is what was looked at, by its descriptor and not by its name. One directory is open at a
time, since containers can make trees deeper than there are descriptors.

Only the standard library, and little of it: the helper of :mod:`lading.run.handover` runs the text
of this file with the host's interpreter.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = ["Giver", "Key", "Place", "Was", "identify", "inventory", "now_at"]

Key = tuple[int, int]
"""Device and inode: what a directory is, whatever its name."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ITSELF = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_EXAMPLES = 5
_UNKNOWN = 65534
"""How the kernel shows users that a user namespace does not have (overflowuid)."""


class Was(NamedTuple):
    """Owner and permissions that a directory had."""

    uid: int
    gid: int
    mode: int


class Place(NamedTuple):
    """A directory before the container started.

    Parameters
    ----------
    path : str
        Absolute, no link in it.
    key : tuple of int
    moment : int
        Nanoseconds, by the clock of its file system: what is changed from then on has no earlier
        ctime. That clock ticks every few milliseconds, so neither has what was changed just before.
    before : dict
        Its :func:`inventory`.
    """

    path: str
    key: Key
    moment: int
    before: dict[Key, Was]

    def keeps(self, uid: int, info: os.stat_result) -> bool:
        """Say whether a directory was there before, and nobody gave it away or (ours) closed it."""
        was = self.before.get(identify(info))
        if was is None or (was.uid, was.gid) != (info.st_uid, info.st_gid):
            return False
        return was.uid != uid or was.mode == stat.S_IMODE(info.st_mode)


class _Level(NamedTuple):
    """A directory on the way from the top to where we are."""

    key: Key
    name: str
    inside: Any
    waiting: list[str]


class _Walker:
    """Goes through a tree; the two below say what is done there."""

    def __init__(self) -> None:
        self._levels: list[_Level] = []

    def arrive(self, descriptor: int, info: os.stat_result, around: Any) -> Any:
        """Look at a directory that was opened; what is returned is `around` for all in it."""
        raise NotImplementedError

    def meet(self, parent: int, name: str, around: Any) -> None:
        """Look at what is no directory."""

    def barred(self, parent: int, name: str, around: Any, error: OSError) -> bool:
        """A directory can't be opened; whether to try again."""
        raise NotImplementedError

    def walk(self, path: str, around: Any) -> None:
        """Go through a directory and all that is below it."""
        folder, name = os.path.split(path)
        here = os.open(folder, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            here = self._down(here, name or ".", around)
            while self._levels:
                level = self._levels[-1]
                if level.waiting:
                    here = self._down(here, level.waiting.pop(), level.inside)
                else:
                    self._levels.pop()
                    here = self._up(here)
        finally:
            os.close(here)
            self._levels.clear()

    def _down(self, here: int, name: str, around: Any) -> int:
        """Go into a directory, if one can; returns where we are then."""
        descriptor = self._open(here, name, around)
        if descriptor is None and self._again:
            descriptor = self._open(here, name, around)
        if descriptor is None:
            return here
        info = os.fstat(descriptor)
        os.close(here)
        here = descriptor
        self._levels.append(_Level(identify(info), name, None, []))
        inside = self.arrive(here, info, around)
        waiting = self._levels[-1].waiting
        self._levels[-1] = self._levels[-1]._replace(inside=inside)
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.name)
                else:
                    self.meet(here, entry.name, inside)
        return here

    _again = False

    def _open(self, here: int, name: str, around: Any) -> int | None:
        self._again = False
        try:
            descriptor = os.open(name, _DIRECTORY, dir_fd=here)
        except OSError as error:
            self._again = self.barred(here, name, around, error)
            return None
        try:
            os.stat("..", dir_fd=descriptor)  # readable, but may we go into it?
        except OSError as error:
            os.close(descriptor)
            self._again = self.barred(here, name, around, error)
            return None
        return descriptor

    def _up(self, here: int) -> int:
        """Go back to the directory that we came from, and to no other."""
        if not self._levels:
            return here
        parent = os.open("..", _DIRECTORY, dir_fd=here)
        if identify(os.fstat(parent)) != self._levels[-1].key:
            os.close(parent)
            raise OSError(f"{self.path()} was moved meanwhile")
        os.close(here)
        return parent

    def path(self, name: str = "") -> str:
        """Say where we are, from the top."""
        names = [level.name for level in self._levels[1:]]
        return "/".join([*names, name] if name else names) or "."


class _Inventory(_Walker):
    def __init__(self, uid: int) -> None:
        super().__init__()
        self._uid = uid
        self.found: dict[Key, Was] = {}

    def arrive(self, descriptor: int, info: os.stat_result, around: Any) -> None:  # noqa: ARG002
        if info.st_uid != self._uid or not _usable(info):
            self.found[identify(info)] = Was(info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode))

    def barred(
        self,
        parent: int,
        name: str,
        around: Any,
        error: OSError,  # noqa: ARG002
    ) -> bool:
        try:
            info = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except OSError:
            return False
        self.arrive(-1, info, around)
        return False


class _Around(NamedTuple):
    """What a directory means for all that is in it."""

    theirs: int | None
    """Who keeps what they own in it."""
    group: int
    """The group that is given; -1 leaves it, as in a directory that hands on its own."""


class Giver(_Walker):
    """Gives to a user what is not theirs, and was made or changed since a moment.

    Parameters
    ----------
    uid, gid : int
        To whom; a `gid` of -1 leaves the group.
    moment : int
        See :class:`Place`.
    keeps : callable
        Whether a directory was there before, and is as it was.

    Attributes
    ----------
    given : int
        Entries whose owner or permissions were changed.
    kept : set
        Directories that were there before, and are as they were.
    left : int
        Entries that should have been changed, and could not be.
    examples : list of (str, str)
        Paths of some of them, and why.
    denied : bool
        Whether some could not be changed or seen only for lack of privilege.
    """

    def __init__(
        self, uid: int, gid: int, moment: int, keeps: Callable[[os.stat_result], bool]
    ) -> None:
        super().__init__()
        self.given = 0
        self.left = 0
        self.kept: set[Key] = set()
        self.examples: list[tuple[str, str]] = []
        self.denied = False
        self._uid = uid
        self._gid = gid
        self._moment = moment
        self._keeps = keeps
        self._part = _part_of_the_users()

    def give(self, path: str, key: Key) -> None:
        """Give what is in a directory, and itself, to its user; raises nothing.

        Parameters
        ----------
        path : str
            Absolute, no link in it.
        key : tuple of int
            What it has to be.
        """
        try:
            if identify(os.lstat(path)) != key:
                self._failed(".", OSError("it is another directory than before"))
            else:
                self.walk(path, _Around(None, self._gid))
        except OSError as error:
            self._failed(self.path(), error)

    def arrive(self, descriptor: int, info: os.stat_result, around: _Around) -> _Around:
        """Give a directory, and make it one that its user can empty."""
        group = -1 if info.st_mode & stat.S_ISGID else self._gid
        if self._keeps(info):
            self.kept.add(identify(info))
        elif info.st_uid == around.theirs:
            return _Around(around.theirs, group)
        elif info.st_ctime_ns >= self._moment:
            self._give_directory(descriptor, info, around, self.path())
            return _Around(None, group)
        return _Around(self._other(info), group)

    def meet(self, parent: int, name: str, around: _Around) -> None:
        """Give what is no directory: files, links themselves, sockets, devices."""
        info = None
        try:
            info = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not self._wanted(info, around):
                return
            itself = os.open(name, _ITSELF, dir_fd=parent)
            try:
                info = os.fstat(itself)
                if self._wanted(info, around) and not stat.S_ISDIR(info.st_mode):
                    os.chown(f"/proc/self/fd/{itself}", self._uid, around.group)
                    self.given += 1
            finally:
                os.close(itself)
        except OSError as error:
            self._failed(self.path(name), error, info)

    def barred(self, parent: int, name: str, around: _Around, error: OSError) -> bool:
        """Open a directory of ours that the container closed; say so if another's is closed."""
        info = None
        try:
            itself = os.open(name, _ITSELF, dir_fd=parent)
            try:
                info = os.fstat(itself)
                keeps = self._keeps(info)
                if keeps:
                    self.kept.add(identify(info))
                if info.st_uid == self._uid:
                    if keeps or _usable(info) or info.st_ctime_ns < self._moment:
                        return False
                    self._open_up(f"/proc/self/fd/{itself}", info)
                    return True
            finally:
                os.close(itself)
        except OSError as again:
            self._failed(self.path(name), again, info)
            return False
        if info.st_uid == around.theirs or (keeps and self._other(info) is not None):
            return False  # somebody's own; the container had no business there
        self._failed(self.path(name), error, info)
        return False

    def _wanted(self, info: os.stat_result, around: _Around) -> bool:
        return info.st_uid not in (self._uid, around.theirs) and info.st_ctime_ns >= self._moment

    def _other(self, info: os.stat_result) -> int | None:
        """Who owns it, if that is somebody else who is a person, as far as one can say."""
        return info.st_uid if info.st_uid not in (0, self._uid) else None

    def _give_directory(
        self, descriptor: int, info: os.stat_result, around: _Around, path: str
    ) -> None:
        foreign = info.st_uid != self._uid
        if not foreign and _usable(info):
            return
        try:
            if foreign:
                os.chown(descriptor, self._uid, around.group)
            if not _usable(info):
                self._open_up(descriptor, info)
            else:
                self.given += 1
        except OSError as error:
            self._failed(path, error, info)

    def _open_up(self, what: int | str, info: os.stat_result) -> None:
        os.chmod(what, stat.S_IMODE(info.st_mode) | stat.S_IRWXU)  # noqa: PTH101 - maybe no path
        self.given += 1

    def _failed(self, path: str, error: OSError, info: os.stat_result | None = None) -> None:
        if isinstance(error, FileNotFoundError):
            return  # removed meanwhile
        if self._part and info is not None and info.st_uid == _UNKNOWN:
            return  # of a user that no container of this engine can be
        self.denied = self.denied or isinstance(error, PermissionError)
        self.left += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append((path, error.strerror or str(error)))


def identify(info: os.stat_result) -> Key:
    """Say what something is, whatever its name."""
    return info.st_dev, info.st_ino


def _usable(info: os.stat_result) -> bool:
    return info.st_mode & stat.S_IRWXU == stat.S_IRWXU


def _part_of_the_users() -> bool:
    """Whether we are in a namespace that lacks some users of the machine."""
    with open("/proc/self/uid_map", encoding="ascii") as file:  # noqa: PTH123 - fewer imports
        return file.read().split() != ["0", "0", "4294967295"]


def inventory(path: str, uid: int) -> dict[Key, Was]:
    """List the directories below one, and itself, that are another user's or lack permissions.

    Those below a directory that can't be read are not in it.

    Raises
    ------
    OSError
        It can't be listed.
    """
    walker = _Inventory(uid)
    walker.walk(path, None)
    return walker.found


def now_at(path: str) -> int:
    """Read the clock of a directory's file system, by a file that has no name or loses it at once.

    Returns
    -------
    int
        Nanoseconds.

    Raises
    ------
    OSError
        No file can be made there.
    """
    try:
        descriptor = os.open(path, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError:  # a file system that can't make unnamed ones
        name = os.path.join(path, f".lading-{os.urandom(8).hex()}")  # noqa: PTH118
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600)
        os.unlink(name)  # noqa: PTH108
    try:
        return os.fstat(descriptor).st_ctime_ns
    finally:
        os.close(descriptor)


def main(arguments: Sequence[str]) -> None:
    """Do the job that a file names, and write into it what came of it.

    The owner of the file is to whom all is given: in a namespace of users, the kernel shows by it
    who that is there.
    """
    with open(arguments[0], "r+", encoding="ascii") as file:  # noqa: PTH123
        who = os.fstat(file.fileno())
        job = json.load(file)
        if _part_of_the_users() and who.st_uid == _UNKNOWN:
            sys.exit("the engine's containers don't have the user to whom they should be given")
        gid = -1 if _part_of_the_users() and who.st_gid == _UNKNOWN else who.st_gid
        kept = {tuple(key) for key in job["kept"]}
        done: dict[str, Any] = {"given": 0, "left": 0, "examples": []}
        for at, name, key, moment in job["places"]:
            giver = Giver(who.st_uid, gid, moment, lambda info: identify(info) in kept)
            giver.give(at, tuple(key))
            done["given"] += giver.given
            done["left"] += giver.left
            done["examples"] += [(f"{name}/{path}", why) for path, why in giver.examples]
        file.seek(0)
        file.truncate()
        json.dump({"done": done}, file)


if __name__ == "__main__":
    main(sys.argv[1:])
