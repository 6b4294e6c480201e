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
    from lading.contracts.processing.volumes import VolumeChannel

__all__ = [
    "Channel",
    "channels_of",
    "channels_on_cluster",
    "make_outputs",
    "measured",
    "mounts",
    "remove_empty",
]

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
    for channel in found:
        _check(channel)
    _check_mounted(found)
    return tuple(found)


def channels_on_cluster(
    instance: TaskInstance, *, node_paths: bool
) -> tuple[tuple[Channel, ...], tuple[VolumeChannel, ...]]:
    """List the channels of a task that runs on a cluster, and check what can be checked.

    Parameters
    ----------
    instance : TaskInstance
    node_paths : bool
        Whether a ``host_path`` is a directory of the node that the task runs on, as the original
        has it; otherwise it is one of this machine.

    Returns
    -------
    tuple of (tuple of Channel, tuple of VolumeChannel)
        Those that are directories of this machine, and those that are volumes of the cluster;
        inputs first.

    Raises
    ------
    InputError
        As :func:`channels_of`, or a volume is none.
    """
    from lading.contracts.processing.volumes import on_cluster  # noqa: PLC0415

    here: list[Channel] = []
    there: list[VolumeChannel] = []
    both: list[Channel | VolumeChannel] = []
    for direction, items in ((INPUT, instance.inputs), (OUTPUT, instance.outputs)):
        for item in items:
            if item.host_path is None or node_paths:
                there.append(on_cluster(item, direction))
                _check_place(there[-1], there[-1].source.get("hostPath", {}).get("path", "/data"))
                both.append(there[-1])
            else:
                path = _host_path(item, direction)
                here.append(Channel(item.name, direction, path, item.mounted_path))
                _check(here[-1])
                both.append(here[-1])
    _check_mounted(both)
    return tuple(here), tuple(there)


def _check_mounted(channels: Iterable[Channel | VolumeChannel]) -> None:
    places: dict[str, Channel | VolumeChannel] = {}
    for channel in channels:
        other = places.setdefault(os.path.normpath(channel.mounted_path), channel)
        if other is not channel:
            raise InputError(
                str(channel),
                f"is mounted at {channel.mounted_path}, where {other} is mounted already",
                fix="give each channel a mounted_path of its own",
            )


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


def _check_place(channel: Channel | VolumeChannel, path: str) -> None:
    if path.split("/")[1:2] in [[name] for name in _NOT_DATA]:
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


def _check(channel: Channel) -> None:
    path = channel.path
    _check_place(channel, os.path.realpath(path))
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
