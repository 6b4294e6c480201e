"""Host directories as the channels of a container: found or made, and measured."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lading.contracts.processing.trees import Amount, amount, manifest
from lading.engine import Mount
from lading.errors import InputError

if TYPE_CHECKING:
    from lading.contracts.processing.task import IOChannel, TaskInstance

__all__ = ["Channel", "channels_of", "make_outputs", "measured", "mounts", "remove_empty"]

INPUT, OUTPUT = "input", "output"
_NOT_DATA = ("", "dev", "proc", "sys")
"""First parts of paths that nobody means: walking over them takes for ever, or finds the kernel."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a run.

    Parameters
    ----------
    name : str
    direction : str
        ``input`` or ``output``: the same name may stand for one of each.
    path : Path
        Absolute, on this host.
    mounted_path : str
        Absolute, in the container.
    """

    name: str
    direction: str
    path: Path
    mounted_path: str

    @property
    def is_output(self) -> bool:
        """Whether the container may write to it."""
        return self.direction == OUTPUT

    def __str__(self) -> str:
        return f"{self.direction} channel {self.name!r}"


def channels_of(instance: TaskInstance) -> tuple[Channel, ...]:
    """List the channels of a task, inputs first, and check what can be checked before it runs.

    Raises
    ------
    InputError
        A channel has a volume that is no directory of this host, its directory does not exist, is
        a file, or may not be read; an output's path is a file; two are mounted at one place.
    """
    found = [
        Channel(item.name, direction, _host_path(item, direction), item.mounted_path)
        for direction, items in ((INPUT, instance.inputs), (OUTPUT, instance.outputs))
        for item in items
    ]
    places: dict[str, Channel] = {}
    for channel in found:
        _check(channel)
        other = places.setdefault(os.path.normpath(channel.mounted_path), channel)
        if other is not channel:
            raise InputError(
                str(channel),
                f"is mounted at {channel.mounted_path}, where {other} is mounted already",
                fix="give each channel a mounted_path of its own",
            )
    return tuple(found)


def make_outputs(channels: Iterable[Channel]) -> list[Path]:
    """Make the output directories that are not there, as the caller's.

    Returns
    -------
    list of Path
        Those that were made, the innermost last.

    Raises
    ------
    InputError
        One can't be made.
    """
    made: list[Path] = []
    for channel in channels:
        if not channel.is_output:
            continue
        missing = []
        path = channel.path
        try:
            while not path.exists():
                missing.append(path)
                path = path.parent
            for path in reversed(missing):
                path.mkdir(exist_ok=True)
                made.append(path)
        except OSError as error:
            remove_empty(made)
            raise InputError(
                str(channel),
                f"{path} can't be made: {error.strerror}",
                fix="choose a directory that you may write to",
            ) from None
    return made


def remove_empty(made: Sequence[Path]) -> None:
    """Remove directories that were made for a run that did not start; blocks."""
    for path in reversed(made):
        with contextlib.suppress(OSError):
            path.rmdir()


def mounts(channels: Iterable[Channel]) -> tuple[Mount, ...]:
    """Say how the channels appear in the container: inputs read-only, outputs writable."""
    return tuple(
        Mount(str(channel.path), channel.mounted_path, read_only=not channel.is_output)
        for channel in channels
    )


def measured(channels: Iterable[Channel], *, manifests: bool = False) -> list[dict[str, object]]:
    """Describe channels for a record, with how much lies in each; walks over all of it.

    Parameters
    ----------
    manifests : bool
        Whether also the :func:`~lading.contracts.processing.trees.manifest` of each.
    """
    described = [_described(channel, amount(channel.path)) for channel in channels]
    if manifests:
        for item in described:
            item["manifest"] = manifest(Path(str(item["path"])))
    return described


def _described(channel: Channel, size: Amount) -> dict[str, object]:
    return {
        "name": channel.name,
        "direction": channel.direction,
        "path": str(channel.path),
        "mounted_path": channel.mounted_path,
        "bytes": size.bytes,
        "files": size.files,
    }


def _host_path(channel: IOChannel, direction: str) -> Path:
    source = channel.host_path
    if source is None:
        kinds = ", ".join(channel.volume_kinds) or "nothing"
        raise InputError(
            f"{direction} channel {channel.name!r}",
            f"its volume_source is {kinds}, which only a cluster has",
            fix='give it a directory: {"host_path": "/data/in"}, or '
            f"--{direction} {channel.name}=DIR",
        )
    try:
        return Path(source).expanduser().absolute()
    except RuntimeError:
        raise InputError(
            f"{direction} channel {channel.name!r}", f"{source}: there is no such user's home"
        ) from None


def _check(channel: Channel) -> None:
    path = channel.path
    if os.path.realpath(path).split("/")[1] in _NOT_DATA:
        raise InputError(
            str(channel),
            f"{path} is no directory of data, but the system's",
            fix="name a directory below it that holds the data, and nothing else",
        )
    if not channel.mounted_path.startswith("/"):
        raise InputError(
            str(channel),
            f"its mounted_path {channel.mounted_path!r} is not absolute in the container",
        )
    try:
        there, directory = path.exists(), path.is_dir()
    except OSError as error:
        raise InputError(str(channel), f"{path}: {error.strerror}") from None
    if not there and path.is_symlink():
        raise InputError(
            str(channel), f"the link {path} leads nowhere", fix="name the directory itself"
        )
    if there and not directory:
        raise InputError(
            str(channel), f"{path} is not a directory", fix="name the directory that holds the file"
        )
    if channel.is_output:
        return
    if not there:
        raise InputError(
            str(channel), f"the directory {path} does not exist", fix="make it, or name another"
        )
    if not os.access(path, os.R_OK | os.X_OK):
        raise InputError(str(channel), f"the directory {path} can't be read by you")
