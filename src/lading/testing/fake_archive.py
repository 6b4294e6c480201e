"""Images of the fake engine as ``docker save`` archives, real but for their programs.

A program is a coroutine function of this process, which no archive can hold: what was saved here
can be loaded here, by any fake engine, also after it went through another form with the same
configuration.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence

from lading.errors import EngineError
from lading.testing.fake_image import FakeImage

__all__ = ["load", "save"]

_saved: dict[str, FakeImage] = {}


def save(image: FakeImage, names: Sequence[str]) -> bytes:
    """Write an image with these names, and remember its program."""
    _saved[image.id] = image
    digest = image.id.removeprefix("sha256:")
    layer = f"{hashlib.sha256(image.layer).hexdigest()}/layer.tar"
    manifest = [{"Config": f"{digest}.json", "RepoTags": list(names) or None, "Layers": [layer]}]
    files = {
        f"{digest}.json": image.config,
        layer: image.layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            tar.addfile(item, io.BytesIO(content))
    return buffer.getvalue()


def load(archive: bytes) -> tuple[FakeImage, list[str]]:
    """Find the image of an archive, and its names.

    Raises
    ------
    EngineError
        It is no such archive, or its program is not in this process.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            files = {item.name: file.read() for item in tar if (file := tar.extractfile(item))}
        entry = json.loads(files["manifest.json"])[-1]
        config = files[entry["Config"]]
        layers = [hashlib.sha256(files[name]).hexdigest() for name in entry["Layers"]]
        stated = [item.removeprefix("sha256:") for item in json.loads(config)["rootfs"]["diff_ids"]]
    except (tarfile.TarError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise EngineError(f"loading an image failed: no docker save archive: {error}") from None
    if layers != stated:
        raise EngineError("loading an image failed: its layers are not those of its configuration")
    image = _saved.get(f"sha256:{hashlib.sha256(config).hexdigest()}")
    if image is None:
        raise EngineError(
            "loading an image failed: a fake engine has only programs of its own process",
            fix="save it with a fake engine",
        )
    return image, list(entry["RepoTags"] or [])
