"""What has changed below a directory of a pod since one looked last, without reading all of it.

A file's state is its kind, size, inode and times. Times may be whole seconds, depending on the
helper's busybox: what changed in the second in which it was looked at may change again within it
unseen, so it counts as changed at the next look, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lading.engine.kubernetes.mounts import shell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from lading.engine.kubernetes.streams import Executed

__all__ = ["changed"]

_LIST = (
    'cd "$1" && busybox date +%s && busybox find . -mindepth 1 '
    "-exec busybox stat -c '%Z/%f/%s/%i/%y/%z/%n' {} +"
)
# How much comes is said, as a cluster can't say that nothing more will.
_PACK = 'cd "$1" && busybox head -c "$2" | busybox xargs -0 busybox tar -c -f - --no-recursion --'
_FIELDS = 7
_HOT = "hot "
"""Marks the state of what has just changed."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What there is: the state of each path."""

    states: dict[str, str]

    def news(self, known: Mapping[str, str]) -> list[str]:
        """What is to be fetched."""
        return [
            path
            for path, state in self.states.items()
            if state.startswith(_HOT) or known.get(path) != state
        ]


async def changed(
    execute: Callable[[list[str], bytes], Awaitable[Executed]],
    directory: str,
    known: Mapping[str, str],
) -> tuple[dict[str, str], bytes] | None:
    """Look, and fetch what is new.

    Parameters
    ----------
    execute : callable
        Runs a command of the helper with so much input.
    directory : str
        As the helper sees it.
    known : mapping
        What was answered the last time.

    Returns
    -------
    (dict of str to str, bytes)
        All paths that there are, with their states, and tar archives, one after the other, of
        those that may have changed. None: the helper can't say, for names with line breaks.
    """
    done = await execute(shell(_LIST, directory), b"")
    look = None if done.code else _read(done.stdout)
    if look is None:
        return None
    wanted = look.news(known)
    if not wanted:
        return look.states, b""
    names = b"".join(f"./{path}\0".encode(errors="surrogateescape") for path in wanted)
    done = await execute(shell(_PACK, directory, str(len(names))), names)
    # What was removed meanwhile is missed by tar, and is gone at the next look.
    return look.states, done.stdout


def _read(listing: bytes) -> _Look | None:
    now, _, rest = listing.decode(errors="surrogateescape").partition("\n")
    states: dict[str, str] = {}
    for line in filter(None, rest.split("\n")):
        parts = line.split("/", _FIELDS - 1)
        if len(parts) != _FIELDS or not parts[0].isdigit() or not parts[-1].startswith("./"):
            return None
        *state, path = parts
        hot = _HOT if int(parts[0]) >= int(now) - 1 else ""
        states[path.removeprefix("./")] = hot + "/".join(state)
    return _Look(states)
