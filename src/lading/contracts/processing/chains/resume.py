"""What a run depends on, as one text: whether it has to be done again.

A run that succeeded needs no other one while its fingerprint is the same and what it wrote is still
there as it was. The files themselves are not read: a file is the same while its path in the
channel, its size and its time of modification (in nanoseconds) are. That misses

- a file that was changed with its size kept and its time set back, as ``touch -r`` and ``rsync -t``
  can, or that was changed within one tick of the file system's clock (some milliseconds);
- what no file has: empty directories, owners, permissions, extended attributes;
- to where links to directories lead, and links that lead nowhere; sockets and pipes;
- what is not of a channel: the network, the time, the host's GPUs.

A copy that keeps times, as ``cp -a`` makes, is the same input wherever it lies.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lading.contracts.processing import CONTRACT
from lading.contracts.processing.channels import INPUT, OUTPUT
from lading.contracts.processing.trees import manifest

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lading.contracts.processing.channels import Channel
    from lading.contracts.processing.planning import Circumstances
    from lading.contracts.processing.task import TaskInstance
    from lading.engine import ImageInfo
    from lading.run.records import Records, Run

__all__ = ["done_before", "fingerprint"]

_VERSION = 1
"""Of what is taken into a fingerprint: another one is never the same."""


def fingerprint(
    instance: TaskInstance,
    image: ImageInfo,
    circumstances: Circumstances,
    channels: Iterable[Channel],
) -> str:
    """Digest all that decides what a run makes; walks over the input channels.

    That is: the image by its id, the merged template with command, env, resources and mounted
    paths, the files in its inputs, where its outputs go, and the circumstances. How long it may
    take is left out, as it decides only whether a run succeeds.
    """
    directories = {(item.direction, item.name): item.path for item in channels}
    known = {
        "version": _VERSION,
        "image": image.id,
        "task": instance.name,
        "template": instance.identifier,
        "command": instance.command,
        "env": {item.name: item.value for item in instance.env},
        "resources": _plain(instance.resources),
        "labels": instance.config.labels if instance.config is not None else None,
        "inputs": [
            [
                item.name,
                item.mounted_path,
                _plain(item.scale_rule),
                manifest(directories[INPUT, item.name]),
            ]
            for item in instance.inputs
        ],
        "outputs": [
            [item.name, item.mounted_path, str(directories[OUTPUT, item.name])]
            for item in instance.outputs
        ],
        "circumstances": [
            circumstances.network,
            circumstances.capabilities,
            circumstances.runtime,
        ],
    }
    text = json.dumps(known, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(model: BaseModel | None) -> Any:
    return model.model_dump(mode="json") if model is not None else None


async def done_before(
    records: Records, name: str, wanted: str, channels: Iterable[Channel]
) -> Run | None:
    """Find the run that makes another one needless.

    Parameters
    ----------
    records : Records
    name : str
        The task's.
    wanted : str
        The fingerprint that another run would have.
    channels : iterable of Channel

    Returns
    -------
    Run or None
        The latest that succeeded with this fingerprint, if its outputs are as it left them.

    Raises
    ------
    RecordError
        The records can't be read.
    """
    run = records.find(contract=CONTRACT, name=name, fingerprint=wanted)
    if run is None:
        return None
    left = {
        item["name"]: item.get("manifest")
        for item in json.loads(run.detail).get("channels", ())
        if item["direction"] == OUTPUT
    }
    now = await asyncio.to_thread(_manifests, [item for item in channels if item.is_output])
    return run if left == now else None


def _manifests(channels: Iterable[Channel]) -> dict[str, str]:
    return {item.name: manifest(item.path) if item.path.is_dir() else "" for item in channels}
