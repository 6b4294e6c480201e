"""``lading run ipfs://CID``: a published task, fetched, verified, built or loaded, and run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from lading.cli import printing
from lading.cli.places import ContentOptions, PlaceOptions, fetch
from lading.cli.run_meca import run_prepared
from lading.cli.run_options import RunOptions, pairs
from lading.cli.wish import Wish, check_times, limits_over, only, read_input
from lading.contracts.meca.addresses import cid_of, image_name
from lading.errors import ImageNotFound, InputError
from lading.settings import EngineOptions, state_directory

if TYPE_CHECKING:
    from lading.content.cid import Cid
    from lading.engine import Engine, ImageInfo
    from lading.run.ownership import Owner

__all__ = ["run_content"]


def run_content(
    task: str,
    options: RunOptions,
    place: PlaceOptions,
    content: ContentOptions,
    engine: EngineOptions,
    *,
    keep: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a task by its CID, here, and tell of it.

    Raises
    ------
    InputError
        What was given can't be used.
    ContentNotFound, ContentRefused, NodeUnreachable
        It can't be had, or is not what its address says.
    BuildFailed
        Names the step.
    RunError
        It did not answer as it should have.
    """
    if options.tag is not None:
        raise InputError("--tag", "is for task folders: a task by its CID has a name already")
    check_times(options)
    arguments = pairs("--build-arg", "KEY=VALUE", options.build_arg)
    given = read_input(only(options.input), None) if options.input else None
    work = _Content(cid_of(task), options, arguments, given, car=place.car, content=content)
    run_prepared(work.prepared, engine, keep=keep, as_json=as_json, quiet=quiet)


class _Content:
    """A task by its CID, on its way to be run."""

    def __init__(
        self,
        cid: Cid,
        options: RunOptions,
        build_args: dict[str, str],
        given: bytes | None,
        *,
        car: str | None,
        content: ContentOptions,
    ) -> None:
        self._cid = cid
        self._options = options
        self._build_args = build_args
        self._input = given
        self._car = car
        self._content = content

    @contextlib.asynccontextmanager
    async def prepared(self, engine: Engine, owner: Owner) -> AsyncIterator[tuple[Wish, ImageInfo]]:
        """Have its image, and its example where no input was given."""
        from lading.contracts.meca.fetched import forget_dead, work_folder  # noqa: PLC0415

        await asyncio.to_thread(forget_dead, state_directory())
        if self._input is not None and not self._build_args:
            # The same bytes make the same image: what is here already needs no node.
            with contextlib.suppress(ImageNotFound):
                image = await engine.image(image_name(self._cid))
                yield self._wish(image, None), image
                return
        async with work_folder(owner) as place:
            folder = place / "task"
            await fetch(self._cid, folder, self._content, self._car)
            image = await self._make(engine, folder)
            wish = await asyncio.to_thread(self._wish, image, folder)
        yield wish, image

    async def _make(self, engine: Engine, folder: Path) -> ImageInfo:
        from lading.contracts.meca.fetched import into_image  # noqa: PLC0415

        with printing.Live(f"build {self._cid.short}") as live:
            return await into_image(
                engine,
                folder,
                self._cid,
                args=self._build_args,
                progress=printing.layers(live),
            )

    def _wish(self, image: ImageInfo, fetched: Path | None) -> Wish:
        from lading.contracts.meca.fetched import declared  # noqa: PLC0415
        from lading.contracts.meca.folder import RECIPE, read_folder  # noqa: PLC0415

        folder = read_folder(fetched) if fetched and (fetched / RECIPE).is_file() else None
        body = self._input if self._input is not None else read_input(None, folder)
        return Wish(
            name=str(self._cid) if folder is None else folder.name,
            folder=None,
            body=body,
            limits=limits_over(declared(image), self._options),
            build_args={},
            options=self._options,
        )
