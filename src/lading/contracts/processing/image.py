"""What a container offers, read out of its image without running it.

Kept on disk by the image's id: the same id has the same bytes, while a tag moves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lading.contracts.processing import CONTAINER_FILE
from lading.contracts.processing.reading.files import load_container
from lading.errors import FileInvalid, ImageFileNotFound

if TYPE_CHECKING:
    from lading.contracts.processing.template import ProcessingContainer
    from lading.engine import Engine, ImageInfo

__all__ = ["offered_by"]

_KEEP = 500
"""Files of images to keep: those used last."""


async def offered_by(
    engine: Engine,
    image: ImageInfo,
    *,
    name: str,
    state: Path,
    labels: Mapping[str, str],
) -> tuple[ProcessingContainer, list[str]]:
    """Read what an image offers.

    Parameters
    ----------
    engine : Engine
    image : ImageInfo
        One that the engine has.
    name : str
        What people call it.
    state : Path
        The state directory, where the file is kept.
    labels : mapping
        What a helper container carries, if there has to be one.

    Returns
    -------
    tuple of (ProcessingContainer, list of str)
        What it offers, and warnings.

    Raises
    ------
    ImageFileNotFound
        The image has no such file.
    FileInvalid
        The file can't be understood.
    """
    digest = image.id.rpartition(":")[2]  # empty where a cluster does not tell it
    kept = state / "containers" / digest
    content = await asyncio.to_thread(_kept, kept) if digest else None
    if content is None:
        try:
            content = await engine.read_file(image.runs_as, CONTAINER_FILE, labels=labels)
        except ImageFileNotFound:
            raise ImageFileNotFound(
                name,
                f"holds no {CONTAINER_FILE}, so it is no processing-container",
                fix="add `COPY processing-container.json /` to its Dockerfile, give the template "
                "inline in the task, or try `lading migrate` for a legacy container",
            ) from None
        if digest:
            await asyncio.to_thread(_keep, kept, content)
    source = f"{name}:{CONTAINER_FILE}"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileInvalid(source, [f"{source}: is no UTF-8: {error.reason}"]) from None
    return await asyncio.to_thread(load_container, text, source=source, environment=None)


def _kept(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    return content


def _keep(path: Path, content: bytes) -> None:
    """Write it whole or not at all; where that fails it is read from the image again."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, aside = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(aside).rename(path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
        others = sorted(path.parent.iterdir(), key=lambda one: one.stat().st_mtime)
        for old in others[:-_KEEP]:
            old.unlink(missing_ok=True)
