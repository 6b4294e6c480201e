"""Whether the user that an image names may use the channels, and what is done about it.

Most images run as root, who may use what its user gives it. Another user is a stranger on the host:
an output directory that we made is opened for them while the container runs. One that was there
before is its owner's affair, who is told.
"""

from __future__ import annotations

import contextlib
import shlex
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lading.contracts.processing.channels import Channel

__all__ = ["Access", "is_root", "unowned"]

_READ, _WRITE = stat.S_IROTH | stat.S_IXOTH, stat.S_IWOTH | stat.S_IXOTH
_OPEN = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO


def is_root(user: str) -> bool:
    """Whether an image's user is root, as far as its name tells."""
    return user.partition(":")[0] in ("", "0", "root")


def unowned(
    unwritable: Iterable[tuple[str, str]], outputs: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Tell of outputs that stay their writers', since the caller may not write there.

    Parameters
    ----------
    unwritable : iterable of (str, str)
        Directories, and why not.
    outputs : iterable of mapping
        Output channels, as they were measured after the run.
    """
    filled = {item["path"] for item in outputs if item["files"]}
    return [
        f"what the container wrote to {path} stays its user's, as you can't write there: {why}"
        for path, why in unwritable
        if path in filled
    ]


@dataclass(slots=True)
class Access:
    """What became of the directories of a run.

    Parameters
    ----------
    opened : list of (Path, int)
        Directories that everybody may write to until :meth:`restore`, and the permissions that
        they had.
    warnings : list of str
        What the user of the image can't use.
    doubts : list of str
        What they maybe can't use: worth telling if the run fails.
    """

    opened: list[tuple[Path, int]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @classmethod
    def give(
        cls, channels: Iterable[Channel], made: Iterable[Path], *, user: str, rootless: bool
    ) -> Self:
        """Let the user of an image write to the directories that were made for it; blocks.

        Parameters
        ----------
        made : iterable of Path
            Those that were not there before.
        user : str
            As the image names them: ``""``, ``nobody``, ``1000:1000``.
        rootless : bool
            Whether users of containers are others on the host.
        """
        access = cls()
        if is_root(user):
            return access
        ours = set(made)
        for channel in channels:
            with contextlib.suppress(OSError):  # gone: the engine says it
                mode = channel.path.stat().st_mode
                if channel.is_output and channel.path in ours:
                    access.opened.append((channel.path, stat.S_IMODE(mode)))
                    channel.path.chmod(stat.S_IMODE(mode) | _OPEN)
                else:
                    access._judge(channel, user, rootless=rootless)
        return access

    def restore(self) -> None:
        """Give the directories the permissions that they had; blocks."""
        while self.opened:
            path, mode = self.opened.pop()
            with contextlib.suppress(OSError):
                path.chmod(mode)

    def _judge(self, channel: Channel, user: str, *, rootless: bool) -> None:
        info = channel.path.stat()
        wanted = _WRITE if channel.is_output else _READ
        if info.st_mode & wanted == wanted:
            return
        verb, letters = ("written to", "rwx") if channel.is_output else ("read", "rx")
        text = (
            f"can't be {verb} by user {user!r}, as whom the image's programs run; "
            f"`chmod o+{letters} {shlex.quote(str(channel.path))}` lets them"
        )
        name, _, group = user.partition(":")
        if rootless or not name.isdecimal() or not (group.isdecimal() or not group):
            text = text.replace("can't", "maybe can't", 1)
            self.doubts.append(f"{channel}: {channel.path} {text}")
            return
        uid, gid = int(name), int(group or 0)
        shift = 6 if uid == info.st_uid else 3 if gid == info.st_gid else 0
        if info.st_mode >> shift & wanted != wanted:
            self.warnings.append(f"{channel}: {channel.path} {text}")
