"""What a container wrote into directories of the host is given to who ran it.

::

    stamp = await asyncio.to_thread(Stamp.of, directories)
    ...                                             # the container runs, and ends
    report = await hand_over(engine, image, stamp, labels=labels)

Who may change owners does it in this process. Who may not, but may use an engine, lets a helper
container do it, which as a rule is not needed: it is started only if something is another user's.
:mod:`lading.run.giving` says what is given, and what is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from lading.engine.base import Container, Engine
from lading.engine.shield import to_the_end
from lading.engine.spec import ContainerSpec, Limits, Mount, Network
from lading.errors import EngineError, EngineUnreachable, LadingError, NotSupported
from lading.run import giving
from lading.run.creation import RUN_LABEL, create, remove
from lading.run.giving import Giver, Key, Place
from lading.run.records import new_id

__all__ = ["HELPER_LABEL", "Report", "Stamp", "hand_over"]

HELPER_LABEL = "lading.helper"
"""Label of a container that is part of no task: what it is there for."""

_INSIDE = "/.lading-handover"
"""Where the helper sees what it works on."""
_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID")
_LIBRARIES = ("/usr", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store")
_PLAIN_RUNTIMES = ("runc", "crun")
"""OCI runtimes under which a file is the same file as outside; others have kernels of their own."""
_PIDS = 64
_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class Stamp:
    """Directories as they are before a container starts.

    Parameters
    ----------
    places : tuple of Place
    unwritable : tuple of (str, str)
        Directories of which nothing will be given, since we can't write into them (or they aren't
        there) and so don't know their time; with the reason.
    """

    places: tuple[Place, ...]
    unwritable: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, directories: Iterable[str | os.PathLike[str]]) -> Self:
        """Look at them: at their clocks, and at whose directories are in them; blocks."""
        places, unwritable = [], []
        for directory in directories:
            path = os.path.realpath(directory)
            try:
                before = giving.inventory(path, os.geteuid())
                key = giving.identify(Path(path).stat())
                # Last: what changed during the inventory was changed before.
                places.append(Place(path, key, giving.now_at(path), before))
            except OSError as error:
                unwritable.append((str(directory), error.strerror or str(error)))
        return cls(tuple(places), tuple(unwritable))


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it.

    Parameters
    ----------
    given : int
        Entries that belong to the caller now, or can be removed by them now, and could not before.
    left : int
        Entries that could not be given.
    examples : tuple of str
        Some of those, each with its reason.
    why : str
        Why nobody could do more, where it is not a matter of single entries.
    fix : str
        What to do about it.
    helped : bool
        Whether a helper container was used.
    """

    given: int = 0
    left: int = 0
    examples: tuple[str, ...] = ()
    why: str = ""
    fix: str = ""
    helped: bool = False

    @property
    def complete(self) -> bool:
        """Whether all is the caller's that should be."""
        return self.left == 0 and not self.why

    @property
    def warning(self) -> str:
        """What to tell: what still belongs to others, why, and what to do; empty if nothing."""
        if self.complete:
            return ""
        some = f" (such as {'; '.join(self.examples)})" if self.examples else ""
        why = f": {self.why}" if self.why else ""
        what = f"{self.left} files" if self.left != 1 else "1 file"
        return f"{what} that the container wrote could not be given to you{some}{why}; {self.fix}"


async def hand_over(
    engine: Engine,
    image: str,
    stamp: Stamp,
    *,
    labels: Mapping[str, str],
    timeout: float = _TIMEOUT,
    helper: bool = True,
) -> Report:
    """Give what was written since a stamp to the user that this process runs as.

    A run is not lost because its files could not be given, so this raises nothing but what comes
    from outside. It is clean-up: once begun, it comes to its end.

    Parameters
    ----------
    engine : Engine
        Whose containers see the same directories.
    image : str
        Any that the engine has, as the task's own; nothing of it is run.
    stamp : Stamp
        Made before the container was started.
    labels : mapping
        What a helper carries, so that sweeping finds it (see :class:`lading.run.ownership.Owner`).
    timeout : float
        Seconds for the helper.
    helper : bool
        Whether there may be one: containers of a cluster do not see the directories.

    Raises
    ------
    asyncio.CancelledError
        The caller was cancelled meanwhile; it is done.
    """
    done = _hand_over(engine, image, stamp, labels, timeout if helper else None)
    return await to_the_end(done)


async def _hand_over(
    engine: Engine, image: str, stamp: Stamp, labels: Mapping[str, str], timeout: float | None
) -> Report:
    report, kept, denied = await asyncio.to_thread(_give_ourselves, stamp)
    if not denied or timeout is None:
        return report
    try:
        done = await _Helper(engine, image, stamp, labels, timeout).work(kept)
    except (LadingError, OSError) as error:
        why = error.message if isinstance(error, LadingError) else str(error)
        return replace(report, why=f"a helper container for it failed: {why}", helped=True)
    return Report(
        given=report.given + done["given"],
        left=done["left"],
        examples=tuple(_example(path, why) for path, why in done["examples"]),
        fix=report.fix,
        helped=True,
    )


def _give_ourselves(stamp: Stamp) -> tuple[Report, set[Key], bool]:
    """Give as far as we may; also, which directories stay whose they were, and who is denied."""
    uid, gid = os.geteuid(), os.getegid()
    given, left, denied = 0, 0, False
    examples: list[str] = []
    kept: set[Key] = set()
    for place in stamp.places:
        giver = Giver(uid, gid, place.moment, functools.partial(place.keeps, uid))
        giver.give(place.path, place.key)
        given += giver.given
        left += giver.left
        denied = denied or giver.denied
        kept |= giver.kept
        examples += [_example(f"{place.path}/{path}", why) for path, why in giver.examples]
    paths = " ".join(place.path for place in stamp.places)
    fix = f"`sudo chown -R {uid}:{gid} {paths}` gives them to you" if left else ""
    return Report(given, left, tuple(examples), fix=fix), kept, denied


def _example(path: str, why: str) -> str:
    return f"{os.fsencode(path).decode('utf-8', 'backslashreplace')!r}: {why}"


class _Helper:
    """A container that runs the host's interpreter on :mod:`lading.run.giving`."""

    def __init__(
        self,
        engine: Engine,
        image: str,
        stamp: Stamp,
        labels: Mapping[str, str],
        timeout: float,
    ) -> None:
        self._engine = engine
        self._image = image
        self._places = stamp.places
        self._labels = labels
        self._timeout = timeout

    async def work(self, kept: set[Key]) -> dict[str, Any]:
        """Do it.

        Raises
        ------
        EngineError, OSError
            It could not be done.
        """
        refused: EngineError | None = None
        for folder in (tempfile.gettempdir(), *(place.path for place in self._places)):
            try:
                job = await asyncio.to_thread(self._write_job, folder, kept)
            except OSError:
                continue
            try:
                return await self._run(job)
            except (EngineUnreachable, NotSupported):
                raise
            except EngineError as error:  # such as: the engine has another /tmp than we
                refused = refused or error
            finally:
                await asyncio.to_thread(job.unlink, missing_ok=True)
        raise refused or OSError("there is no directory for a file that tells it what to do")

    def _write_job(self, folder: str, kept: set[Key]) -> Path:
        """Write what is to be done to where the engine sees it, too; its owner is who we are."""
        places = [
            (f"{_INSIDE}/{number}", place.path, place.key, place.moment)
            for number, place in enumerate(self._places)
        ]
        descriptor, name = tempfile.mkstemp(prefix=".lading-", suffix=".json", dir=folder)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchown(descriptor, -1, os.getegid())  # a directory may have given it its group
            json.dump({"places": places, "kept": sorted(kept)}, file)
        return Path(name)

    async def _run(self, job: Path) -> dict[str, Any]:
        run_id = new_id()
        spec = await self._spec(job, run_id)
        container = await create(self._engine, spec, run_id)
        try:
            await container.start()
            try:
                async with asyncio.timeout(self._timeout):
                    end = await container.wait()
            except TimeoutError:
                raise NotSupported(f"it took more than {self._timeout:g} s") from None
            if end.code != 0:
                raise NotSupported(await _last_words(container) or f"exit code {end.code}")
        finally:
            # Labelled: what can't be removed now, the next sweep finds.
            with contextlib.suppress(EngineError):
                await remove(container)
        done: dict[str, Any] = json.loads(await asyncio.to_thread(job.read_text, "ascii"))["done"]
        return done

    async def _spec(self, job: Path, run_id: str) -> ContainerSpec:
        program, mounts = await asyncio.to_thread(_interpreter)
        code = await asyncio.to_thread(Path(giving.__file__).read_text, "utf-8")
        mounts.append(Mount(str(job), f"{_INSIDE}/job", read_only=False))
        for number, place in enumerate(self._places):
            mounts.append(Mount(place.path, f"{_INSIDE}/{number}", read_only=False))
        info = await self._engine.info()
        plain = info.default_runtime in _PLAIN_RUNTIMES
        return ContainerSpec(
            image=self._image,
            name=f"lading-{run_id}",
            command=(program, "-I", "-S", "-B", "-c", code, f"{_INSIDE}/job"),
            # What the image says must not decide what the interpreter loads.
            env=dict.fromkeys(("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT"), ""),
            labels={**self._labels, RUN_LABEL: run_id, HELPER_LABEL: "handover"},
            mounts=tuple(mounts),
            limits=Limits(pids=_PIDS),
            network=Network.NONE,
            runtime=None
            if plain
            else next((name for name in _PLAIN_RUNTIMES if name in info.runtimes), None),
            user="0:0",
            directory="/",  # the image's own may be below what is mounted
            sealed=True,
            capabilities=_CAPABILITIES,
        )


def _interpreter() -> tuple[str, list[Mount]]:
    """Find our interpreter's program, and what of the host it has to see."""
    program = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    mounts: list[Mount] = []
    wanted = (*_LIBRARIES, sys.base_prefix, sys.base_exec_prefix, str(Path(program).parent))
    for folder in map(Path, wanted):
        # A mount that can only be read does not hold what else is mounted below it.
        if folder.is_dir() and not any(
            folder == seen
            or (seen in folder.parents and seen.stat().st_dev == folder.stat().st_dev)
            for seen in (Path(mount.target) for mount in mounts)
        ):
            mounts.append(Mount(str(folder.resolve()), str(folder)))
    # The image's own lists could name its own libraries.
    cache = Path("/etc/ld.so.cache")
    if cache.exists():
        mounts.append(Mount(str(cache.resolve()), str(cache)))
    mounts.append(Mount(os.devnull, "/etc/ld.so.preload"))
    return program, mounts


async def _last_words(container: Container) -> str:
    """Read the last line that it wrote to stderr."""
    words = b""
    with contextlib.suppress(LadingError):
        async for chunk in container.logs(tail=1):
            words += chunk.data if chunk.stream == "stderr" else b""
    return words.decode("utf-8", "replace").strip()
