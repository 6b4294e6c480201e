"""Tasks by their CID: fetched, every block verified, and made into an image; once for all who ask.

What a CID stands for is a task folder, which is built, or an OCI image layout, which is loaded. The
image is kept by the engine under a name that has the whole CID in it, so that it is known after a
restart; the folder is not kept. Nothing is left of what was not finished: files lie in a directory
of the process that fetches, and the next start removes those of processes that died.

Building runs what a stranger wrote, before any of the limits of a task hold. See
docs/how-to/run-by-cid.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lading.contracts.meca.addresses import cid_of, image_name, short_name
from lading.contracts.meca.folder import CONFIG_LABEL, RECIPE, TaskFolder, read_folder
from lading.contracts.meca.launch import CONTRACT
from lading.contracts.meca.offline import reaches_out
from lading.contracts.meca.request import TaskLimits, as_resource, read_limits
from lading.engine.shield import to_the_end
from lading.errors import (
    BuildFailed,
    ConfigError,
    ContentError,
    ContentRefused,
    ImageNotFound,
    NotSupported,
    TimedOut,
)
from lading.run.build_context import Context
from lading.run.creation import CONTRACT_LABEL, TASK_LABEL
from lading.run.images import Images
from lading.run.ownership import is_alive
from lading.units import MIB, format_seconds

if TYPE_CHECKING:
    from lading.content.cid import Cid
    from lading.contracts.meca.options import ExecutorOptions
    from lading.engine import Engine, ImageInfo
    from lading.engine.base import Progress
    from lading.run.ownership import Owner

__all__ = [
    "CID_LABEL",
    "FetchedTasks",
    "declared",
    "forget_dead",
    "into_image",
    "work_folder",
]

log = logging.getLogger("lading.meca")

CID_LABEL = "lading.cid"

_FOLDER = "fetched"
_MOST_RECIPE = 1 << 20
_FETCHES, _BUILDS = 8, 2
"""How many tasks are fetched, and how many are built, at the same time."""


def declared(image: ImageInfo) -> TaskLimits:
    """Return the limits that an image's labels declare; the contract's defaults where none do.

    Raises
    ------
    ContentRefused
        The label can't be used.
    """
    text = image.labels.get(CONFIG_LABEL, "")
    if not text.strip():
        return TaskLimits()
    try:
        content = json.loads(text)
        return read_limits(content.get("resource") if isinstance(content, dict) else content)
    except (ValueError, RecursionError) as error:  # InputError is a ValueError
        raise ContentRefused(
            f"the label {CONFIG_LABEL} of the image can't be used: {error}",
            fix="it holds the text of the task's config.json",
        ) from None


def _labels(folder: TaskFolder, cid: Cid) -> dict[str, str]:
    resource = as_resource(folder.limits)
    return {
        CONTRACT_LABEL: CONTRACT,
        TASK_LABEL: folder.name,
        CID_LABEL: str(cid),
        CONFIG_LABEL: json.dumps({"resource": resource}, separators=(",", ":")),
    }


async def into_image(
    engine: Engine,
    folder: Path,
    cid: Cid,
    *,
    args: Mapping[str, str] | None = None,
    network: bool = True,
    progress: Progress | None = None,
) -> ImageInfo:
    """Build what was fetched, or load it, and name it by its CID.

    Parameters
    ----------
    engine : Engine
    folder : Path
        A task folder, or an OCI image layout.
    cid : Cid
    args : mapping or None
        Arguments of the folder's Dockerfile.
    network : bool
        Whether what the Dockerfile runs reaches the engine's usual network.
    progress : callable or None

    Raises
    ------
    ContentRefused
        It is no task, or one with a file that can't be used.
    NotSupported
        There is to be no network, and the Dockerfile has the engine itself fetch something.
    BuildFailed
        Names the step, and ends with its last lines.
    """
    from lading.content.layout import is_layout, read_layout  # noqa: PLC0415

    if await asyncio.to_thread(is_layout, folder):
        image = await engine.load(read_layout(folder))
        await engine.tag(image.id, image_name(cid))
    else:
        task = await asyncio.to_thread(_read, folder, cid, network=network)
        image = await engine.build(
            Context(folder),
            image_name(cid),
            args=args,
            labels=_labels(task, cid),
            network=network,
            progress=progress,
        )
    await _name_short(engine, image, cid)
    return await engine.image(image_name(cid))


def _read(folder: Path, cid: Cid, *, network: bool) -> TaskFolder:
    if not folder.is_dir() or not (folder / RECIPE).is_file():
        raise ContentRefused(
            f"{cid} is no task: it has no {RECIPE}, and is no OCI image layout",
            fix="give the CID of the task's folder, as `lading push --to ipfs://` prints it",
        )
    with (folder / RECIPE).open("rb") as file:
        recipe = file.read(_MOST_RECIPE + 1)
    if len(recipe) > _MOST_RECIPE:
        raise ContentRefused(f"the {RECIPE} of task {cid} has more than {_MOST_RECIPE} bytes")
    if not network and (what := reaches_out(recipe.decode("utf-8", "replace"))):
        raise NotSupported(
            f"task {cid} can't be built without a network: {what}",
            fix="put what is fetched into the folder, or publish its image, too",
        )
    try:
        return read_folder(folder)
    except ConfigError as error:
        # Where it lies here says nothing to who asked for it.
        message = error.message.replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "")
        raise ContentRefused(f"task {cid}: {message}", fix=error.fix) from None


async def _name_short(engine: Engine, image: ImageInfo, cid: Cid) -> None:
    """Set the contract's tag, unless it is another task's: 50 bits are not enough to be sure."""
    name = short_name(cid)
    with contextlib.suppress(ImageNotFound):
        there = await engine.image(name)
        if there.id != image.id and there.labels.get(CID_LABEL) != str(cid):
            log.warning("%s is left as it is: it names another image than %s", name, cid)
            return
    await engine.tag(image.id, name)


# Where files lie meanwhile.

_homes = threading.Lock()
"""Held where a process's own folder is made, or goes with the last that is in it."""


@contextlib.asynccontextmanager
async def work_folder(owner: Owner) -> AsyncIterator[Path]:
    """Make a folder for what is fetched, and remove it with all that is in it.

    Raises
    ------
    ContentError
        It can't be made.
    """
    state = owner.lock.parents[1]
    try:
        made = await asyncio.to_thread(_make_folder, state, owner.id)
    except OSError as error:
        raise ContentError(
            f"no folder for what is fetched can be made in {state}: {error.strerror}",
            fix="make room there, or choose another place with LADING_STATE",
        ) from error
    try:
        yield made
    finally:
        await to_the_end(asyncio.to_thread(_remove_folder, made))


def _make_folder(state: Path, owner_id: str) -> Path:
    home = state / _FOLDER / owner_id
    with _homes:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Path(tempfile.mkdtemp(dir=home))


def _remove_folder(made: Path) -> None:
    shutil.rmtree(made, ignore_errors=True)
    with _homes, contextlib.suppress(OSError):  # others of this process still use it
        made.parent.rmdir()


def forget_dead(state: Path) -> list[str]:
    """Remove what processes that died had fetched; blocks on the disk.

    Returns
    -------
    list of str
        What was removed.
    """
    removed = []
    for path in (state / _FOLDER).glob("*"):
        if not is_alive(state, path.name):
            shutil.rmtree(path, ignore_errors=True)
            removed.append(str(path))
    return removed


# What an executor does.


class FetchedTasks:
    """The tasks that an executor has by their CIDs.

    Parameters
    ----------
    engine : Engine
    options : ExecutorOptions
    owner : Owner
        Whose files they are meanwhile.
    """

    def __init__(self, engine: Engine, options: ExecutorOptions, owner: Owner) -> None:
        self._engine = engine
        self._options = options
        self._owner = owner
        self._images = Images(engine, limit=options.queue, get=self._get, at_once=options.queue + 1)
        self._fetching = asyncio.Semaphore(_FETCHES)
        self._building = asyncio.Semaphore(_BUILDS)

    async def have(self, task: str) -> ImageInfo:
        """Return the image of a task; fetched and built first, together with all who want it now.

        Parameters
        ----------
        task : str
            Its CID, in canonical form.

        Raises
        ------
        ContentNotFound
            Nobody has it, as far as could be found out in time.
        ContentRefused
            A block is not what its CID says, it is too large, or it is no task.
        BuildFailed
            Names the step that failed.
        NotSupported
            The operator does not allow it.
        NodeUnreachable, ContentError, QueueFull
            It can't be had now.
        """
        ref = image_name(cid_of(task))
        return self._images.known(ref) or await self._images.have(ref)

    async def _get(self, ref: str, progress: Progress) -> ImageInfo:
        cid = cid_of(ref.partition("/")[2].rpartition(":")[0])
        if not self._options.ipfs_api:
            raise NotSupported(
                f"task {cid} is not here, and this executor fetches no task by its CID",
                fix="its operator sets ipfs_api, or publish the image at a registry",
            )
        log.info("fetching %s", cid)
        try:
            async with work_folder(self._owner) as place:
                folder = place / "task"
                await self._fetch(cid, folder)
                image = await self._build(cid, folder, progress)
        except OSError as error:
            raise ContentError(
                f"task {cid} can't be kept here: {error.strerror or error}",
                fix="its operator makes room in the state directory",
            ) from error
        log.info("fetched %s: %s", cid, image.id)
        return image

    async def _fetch(self, cid: Cid, folder: Path) -> None:
        from lading.content.fetching import fetch  # noqa: PLC0415  # few executors fetch
        from lading.content.ipfs import Node  # noqa: PLC0415

        timeout = self._options.fetch_timeout
        limit = self._options.max_task * MIB
        async with Node(self._options.ipfs_api, timeout=timeout) as node:
            await node.block(cid)  # what nobody has keeps nobody from a turn
            async with self._fetching, self._in_time(cid, "fetched"):
                await fetch(node, cid, folder, limit=limit, timeout=timeout)

    @contextlib.asynccontextmanager
    async def _in_time(self, cid: Cid, done: str) -> AsyncIterator[None]:
        """Bound what a stranger's task takes of a turn, however it trickles."""
        most = self._options.build_timeout
        try:
            async with asyncio.timeout(most):
                yield
        except TimeoutError:
            raise TimedOut(
                f"task {cid} was not {done} within {format_seconds(most)}",
                seconds=most,
                fix="publish its image, too, or its operator sets build_timeout",
            ) from None

    async def _build(self, cid: Cid, folder: Path, progress: Progress) -> ImageInfo:
        from lading.content.layout import is_layout  # noqa: PLC0415

        options = self._options
        if options.build == "never" and not await asyncio.to_thread(is_layout, folder):
            raise NotSupported(
                f"task {cid} has to be built, and this executor builds nothing",
                fix="publish its image, too (lading push --image), and ask for that CID",
            )
        async with self._building, self._in_time(cid, "built"):
            try:
                return await into_image(
                    self._engine,
                    folder,
                    cid,
                    args=dict(item.split("=", 1) for item in options.build_args.split()),
                    network=options.build == "network",
                    progress=progress,
                )
            except BuildFailed as error:
                if options.build == "offline" and not error.fix:
                    error.fix = (
                        "if a step wants a network, there is none here: publish its image, too, "
                        "or its operator sets build to network"
                    )
                raise
