"""Volumes of a cluster as the channels of a container, where no directory of this machine is one.

What a task file says of them is what a pod says: the source of a volume, as
``{"persistentVolumeClaim": {"claimName": "data"}}``. Also taken is what Python programs write with
the names of the Kubernetes client: ``{"persistent_volume_claim": {"claim_name": "data"}}``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lading.contracts.processing.manifests import in_json
from lading.engine import Volume
from lading.errors import InputError

if TYPE_CHECKING:
    from lading.contracts.processing.task import IOChannel

__all__ = ["VolumeChannel", "on_cluster"]

OUTPUT = "output"
_NOT_OF_THE_SOURCE = ("name", "subPath")
_TELLING = ("claimName", "path", "server", "name", "secretName", "driver", "volumeHandle", "image")
"""What of a source tells it from another of its kind."""


@dataclass(frozen=True, slots=True)
class VolumeChannel:
    """A channel of a run whose files can't be seen from here.

    Parameters
    ----------
    name : str
    direction : str
        ``input`` or ``output``.
    source : mapping
        What a volume of a pod says besides its name.
    mounted_path : str
        Absolute, in the container.
    sub_path : str
        What of the volume, a relative path; empty: all.
    """

    name: str
    direction: str
    source: Mapping[str, Any] = field(hash=False)
    mounted_path: str
    sub_path: str = ""

    @property
    def is_output(self) -> bool:
        """Whether the container may write to it."""
        return self.direction == OUTPUT

    @property
    def place(self) -> str:
        """Where it is, in words: ``persistentVolumeClaim data/in``."""
        kind = next(iter(self.source))
        inside = self.source[kind]
        known = [inside[key] for key in _TELLING if key in inside] if inside else []
        return posixpath.join(f"{kind} {known[0]}" if known else kind, self.sub_path).rstrip("/")

    def as_volume(self, *, target: str = "") -> Volume:
        """Say how it appears in a container: an input read-only, an output writable.

        Parameters
        ----------
        target : str
            Absolute path there; empty: the channel's own, and only then it can be written to.
        """
        return Volume(
            self.source,
            target or self.mounted_path,
            read_only=bool(target) or not self.is_output,
            sub_path=self.sub_path,
        )

    def described(self) -> dict[str, object]:
        """Describe it for a record; how much lies in it is not known here."""
        return {
            "name": self.name,
            "direction": self.direction,
            "path": self.place,
            "volume": dict(self.source),
            "mounted_path": self.mounted_path,
            "bytes": None,
            "files": None,
        }

    def __str__(self) -> str:
        return f"{self.direction} channel {self.name!r}"


def on_cluster(channel: IOChannel, direction: str) -> VolumeChannel:
    """Read the volume of a channel: its source, or a directory of the node that it runs on.

    A directory of a node is made for an output, and must be there for an input, as on an engine of
    one machine.

    Raises
    ------
    InputError
        It is no volume, or no path of a node.
    """
    named = f"{direction} channel {channel.name!r}"
    if channel.host_path is not None:
        source, sub_path = _of_node(channel.host_path, named, direction), ""
    else:
        given = in_json(channel.volume_source, f"{named}.volume_source")
        sub_path = given.get("subPath") or ""
        source = {key: value for key, value in given.items() if key not in _NOT_OF_THE_SOURCE}
        _check_source(source, named)
        if not isinstance(sub_path, str) or _leads_out(sub_path):
            raise InputError(
                f"{named}.volume_source.subPath",
                f"{sub_path!r} is no path below the volume",
                fix="write a relative path without ..",
            )
    return VolumeChannel(channel.name, direction, source, channel.mounted_path, sub_path)


def _of_node(path: str, named: str, direction: str) -> dict[str, Any]:
    if not path.startswith("/"):
        raise InputError(
            named,
            f"{path!r} is no path of a node: its container may run on any machine",
            fix="write an absolute path, as /data/in",
        )
    kind = "DirectoryOrCreate" if direction == OUTPUT else "Directory"
    return {"hostPath": {"path": posixpath.normpath(path), "type": kind}}


def _check_source(source: Mapping[str, Any], named: str) -> None:
    if len(source) == 1 and isinstance(next(iter(source.values())), Mapping):
        return
    told = ", ".join(source) or "nothing"
    raise InputError(
        f"{named}.volume_source",
        f"{told} is not the source of one volume",
        fix='write one, as {"persistentVolumeClaim": {"claimName": "data"}}',
    )


def _leads_out(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/")
