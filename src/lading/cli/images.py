"""What every one-shot command does around a run: an image had, and what others left swept away."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lading.cli import printing
from lading.cli.run_options import Pull
from lading.errors import EngineUnreachable, LadingError
from lading.settings import EngineOptions
from lading.units import format_bytes

if TYPE_CHECKING:
    from lading.engine import Engine, ImageInfo
    from lading.run.records import Records

__all__ = ["EPOCH", "build", "builder_of", "fetch", "sweep_quietly"]

EPOCH = "SOURCE_DATE_EPOCH"
"""The variable, and the build argument: https://reproducible-builds.org/specs/source-date-epoch/"""


_WORTH_TELLING = 8 << 20
"""Bytes of a folder that are sent before it is told how many."""


async def fetch(engine: Engine, name: str, pull: Pull) -> ImageInfo:
    """Find an image, or pull it with progress; none of this counts against a task's time-out.

    Raises
    ------
    ImageError
        It can't be had.
    """
    if pull is Pull.NEVER:
        return await engine.image(name)
    with printing.Live(f"image {name}") as live:
        progress = printing.layers(live)
        if pull is Pull.ALWAYS:
            return await engine.pull(name, progress)
        from lading.run.images import pull_if_absent  # noqa: PLC0415

        return await pull_if_absent(engine, name, progress)


async def build(
    engine: Engine,
    folder: Path,
    *,
    tag: str,
    args: Mapping[str, str],
    labels: Mapping[str, str],
    platform: str | None = None,
    target: str | None = None,
    epoch: int | None = None,
) -> ImageInfo:
    """Build the image of a folder, with progress; the folder is read while it is sent.

    Parameters
    ----------
    platform, target : str or None
        See :meth:`lading.engine.Engine.build`.
    epoch : int or None
        When every file of the folder, and what is made of it, is said to have been changed, in
        seconds since 1970; None: as the disk says.

    Raises
    ------
    BuildFailed
        With the failing step and its last lines.
    ConfigError
        A file of the folder can't be read.
    """
    from lading.run.build_context import Context  # noqa: PLC0415

    if epoch is not None:
        args = {EPOCH: str(epoch), **args}
    with printing.Live(f"build {tag}") as live:

        def sent(count: int) -> None:  # builders are silent until they have it all
            if count > _WORTH_TELLING:
                live.part(f"sending the folder, {format_bytes(count)}", None)

        return await engine.build(
            Context(folder, epoch=epoch, sent=sent),
            tag,
            args=args,
            labels=labels,
            platform=platform,
            target=target,
            progress=printing.layers(live),
        )


@contextlib.asynccontextmanager
async def builder_of(engine: Engine) -> AsyncIterator[Engine]:
    """Find who builds: a cluster can't, so for it the engine of this machine does, if one answers.

    The nodes must get the image from there: they share that engine, or it is loaded into them.
    """
    if (await engine.info()).kind != "kubernetes":
        yield engine
        return
    from lading.engine.discovery import open_engine  # noqa: PLC0415

    try:
        builder = await open_engine(EngineOptions())
    except EngineUnreachable:
        yield engine  # which says that it can't, and what to do
        return
    async with builder:
        yield builder


async def sweep_quietly(engine: Engine, state: Path, records: Records) -> None:
    """Remove what a crash left behind, and logs that are too old; it may fail without harm."""
    from lading.run.kept_logs import prune  # noqa: PLC0415
    from lading.run.ownership import sweep  # noqa: PLC0415

    try:
        report = await sweep(engine, state, records)
        await prune(state, records)
    except LadingError as error:
        printing.warn(f"what earlier runs may have left behind is still there: {error.message}")
        return
    if report.containers:
        printing.note(f"removed what a dead process left behind: {', '.join(report.containers)}")
