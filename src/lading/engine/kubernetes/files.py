"""Files of a pod: what is copied in before it runs, what is taken back, and what is asked for.

All of it goes through programs that run in the pod (:mod:`lading.engine.kubernetes.streams`): the
helper's busybox for what is a copy, and the image's own ``tar`` for the rest, while it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import PurePosixPath

from lading.engine.kubernetes.api import Api
from lading.engine.kubernetes.archives import pack, unpack
from lading.engine.kubernetes.changes import changed
from lading.engine.kubernetes.errors import Call, Thing
from lading.engine.kubernetes.mounts import IN, KEEP, PLACE, Placed, let_go, shell, until_ready
from lading.engine.kubernetes.streams import Executed, Session, execute, session
from lading.errors import EngineError, EngineUnreachable, NotSupported

__all__ = ["Files"]

_MAIN = "main"
_NO_PROGRAM = re.compile(r"executable file not found|no such file or directory: unknown", re.I)
_NO_PATH = re.compile(
    r"no such file|can't change directory|cannot (?:stat|chdir)|not a directory", re.I
)
_ENDED = re.compile(
    r"completed pod|container not found|is not running|not found in pod|stopped container"
    r"|unable to upgrade connection",
    re.I,
)


class Files:
    """The files of one pod.

    Parameters
    ----------
    api : Api
    namespace, pod : str
    placed : Placed
        What it got for its mounts.
    """

    def __init__(self, api: Api, namespace: str, pod: str, placed: Placed) -> None:
        self._api = api
        self._namespace = namespace
        self._pod = pod
        self._placed = placed
        self._before: frozenset[str] = frozenset()
        self._own = _runs_as_user(placed)

    async def copy_in(self) -> None:
        """Fill the copies; the container that takes in is running.

        Raises
        ------
        EngineError
            Something can't be read here, or be written there.
        """
        await self._patiently(self._copy_in)

    async def _copy_in(self) -> None:
        call = self._call("copying files into")
        with _local(call, "read"):
            packed = await asyncio.to_thread(pack, self._placed.copies, own=self._own)
        script = (
            f"{until_ready(IN)}; busybox head -c $1 | busybox tar -x -f - -C {PLACE} "
            f"&& {let_go(IN)}"
        )

        async def pieces() -> AsyncIterator[bytes]:
            iterator = packed.pieces()
            with _local(call, "read"):
                while piece := await asyncio.to_thread(_some, iterator):
                    yield piece

        done = await self._execute(IN, shell(script, str(packed.size)), call, stdin=pieces())
        if done.code:
            raise EngineError(f"{call.doing} failed: {done.words or f'tar ended with {done.code}'}")
        self._before = packed.names

    async def copy_back(self) -> None:
        """Take back what was written, once the task has ended; then the pod can end, too.

        Raises
        ------
        EngineError
            Something can't be written here, or it can't be read there (any more).
        """
        if self._placed.keepers:
            await self._patiently(self._copy_back)

    async def _copy_back(self) -> None:
        call = self._call("copying files out of")
        names = [copy.name for copy in self._placed.returning]
        if not names:
            await self._execute(KEEP, shell(f"{until_ready(KEEP)}; {let_go(KEEP)}"), call)
            return
        # It stays until we have everything, and say so: not if the connection broke.
        script = (
            f'{until_ready(KEEP)}; cd {PLACE} && busybox tar -c -f - "$@" || exit; '
            f'[ "$(busybox head -c 1)" = y ] && {let_go(KEEP)}'
        )
        has_all = asyncio.Event()
        try:
            async with session(
                self._api,
                self._pod,
                KEEP,
                shell(script, *names),
                call,
                namespace=self._namespace,
                stdin=True,
            ) as program:
                await self._take(program, call, has_all)
        except EngineUnreachable:
            if has_all.is_set():
                return
            raise

    async def put(self, path: str, archive: bytes) -> None:
        """Unpack a tar archive into an existing directory.

        Raises
        ------
        FileNotFoundError
            There is no such directory.
        NotSupported
            It is no copy, and the container has no ``tar``, or does not run.
        """
        call = self._call("copying into")
        size = str(len(archive))
        if (within := self._kept(path)) is not None:
            script = f'busybox head -c $1 | busybox tar -x -f - -C {PLACE}/"$2"'
            command, container = shell(script, size, str(within)), KEEP
        else:
            script = 'head -c "$1" | tar -x -f - -C "$2"'
            command, container = ["sh", "-c", script, "sh", size, path], _MAIN
        done = await self._execute(container, command, call, stdin=archive)
        self._check(done, path, call, "sh, head and tar")

    async def get(self, path: str, *, limit: int | None = None) -> bytes:
        """Fetch a file or directory as a tar archive.

        Raises
        ------
        FileNotFoundError
            There is no such path.
        NotSupported
            It is no copy, and the container has no ``tar``, or does not run.
        """
        call = self._call("copying out of")
        if (within := self._kept(path)) is not None:
            at = PurePosixPath(PLACE) / within
            command, container = ["busybox"], KEEP
        else:
            at, command, container = _normal(path), [], _MAIN
        command += ["tar", "-c", "-f", "-", "-C", str(at.parent), "--", at.name or "."]
        done = await self._execute(container, command, call, limit=limit)
        self._check(done, path, call, "tar")
        return done.stdout

    async def changed(
        self, path: str, known: Mapping[str, str]
    ) -> tuple[dict[str, str], bytes] | None:
        """See :meth:`lading.engine.base.Selective.changed`."""
        within = self._kept(path)
        if within is None:
            return None
        call = self._call("looking into")

        async def execute(command: list[str], stdin: bytes) -> Executed:
            return await self._execute(KEEP, command, call, stdin=stdin)

        return await changed(execute, str(PurePosixPath(PLACE) / within), known)

    # What these are made of.

    def _kept(self, path: str) -> PurePosixPath | None:
        """Where a path is in the volume, if the container that keeps has it."""
        found = self._placed.copy_of(path) if self._placed.keepers else None
        return found[1] if found is not None else None

    async def _execute(
        self,
        container: str,
        command: list[str],
        call: Call,
        *,
        stdin: bytes | AsyncIterator[bytes] = b"",
        limit: int | None = None,
    ) -> Executed:
        try:
            return await execute(
                self._api,
                self._pod,
                container,
                command,
                call,
                namespace=self._namespace,
                stdin=stdin,
                limit=limit,
            )
        except EngineError as error:
            if _NO_PROGRAM.search(error.message):
                return Executed(127, b"", error.message.encode())
            if container == _MAIN and _ENDED.search(error.message):
                raise NotSupported(
                    f"{call.doing} failed: it does not run, and a cluster reaches into containers "
                    "only while they do",
                    fix="mount a directory for what is to be copied",
                ) from error
            raise

    def _check(self, done: Executed, path: str, call: Call, programs: str) -> None:
        if not done.code:
            return
        # Which of the two streams has the runtime's complaint depends on the runtime.
        said = done.words or done.stdout[-500:].decode(errors="replace").strip()
        if done.code in (126, 127) or _NO_PROGRAM.search(said):
            raise NotSupported(
                f"{call.doing} failed: on a cluster that takes {programs} in its image, which are "
                f"not there: {said}",
                fix="mount a directory for what is to be copied, or add them to the image",
            )
        if _NO_PATH.search(said):
            raise FileNotFoundError(f"{path}: no such file or directory in the container")
        raise EngineError(f"{call.doing} failed: {said}")

    async def _take(self, program: Session, call: Call, has_all: asyncio.Event) -> None:
        """Unpack what a program writes; it is told when we have everything."""
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        file = os.fdopen(reading, "rb", buffering=0)  # a buffer would wait to be filled

        def work() -> None:
            with file:
                unpack(file, self._placed.returning, self._before)
                loop.call_soon_threadsafe(has_all.set)
                while file.read(1 << 16):  # what tar fills its last record up with
                    pass

        unpacking = asyncio.create_task(asyncio.to_thread(work))
        unpacking.add_done_callback(program.give_up)
        telling = asyncio.create_task(_tell(program, has_all))
        try:
            async for piece in program.output():
                await asyncio.to_thread(_write, writing, piece)
        except (BrokenPipeError, EngineUnreachable):
            if not unpacking.done() or unpacking.exception() is None:
                raise
        finally:
            os.close(writing)
            telling.cancel()
            await asyncio.wait({unpacking, telling})
            failed = unpacking.exception()
        if program.code > 0:
            words = program.stderr.decode(errors="replace").strip()
            raise EngineError(f"{call.doing} failed: {words or f'tar ended with {program.code}'}")
        if failed is not None:
            with _local(call, "written"):
                raise failed

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it again where the connection broke: nothing is lost by it, and much without."""
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + self._api.timeout, 0.2
        while True:
            try:
                return await work()
            except EngineUnreachable:
                if loop.time() + pause > until:
                    raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, 5.0)

    def _call(self, doing: str) -> Call:
        return Call(f"{doing} container {self._pod}", Thing.POD)


async def _tell(program: Session, has_all: asyncio.Event) -> None:
    from websockets.exceptions import ConnectionClosed  # noqa: PLC0415 - 100 ms

    await has_all.wait()
    with contextlib.suppress(ConnectionClosed):
        await program.send(b"y")


def _runs_as_user(placed: Placed) -> bool:
    """Whether the helper is some user, to whom all that it unpacks belongs."""
    return any(item["securityContext"].get("runAsUser") for item in placed.init)


def _normal(path: str) -> PurePosixPath:
    return PurePosixPath(os.path.normpath(path))


def _some(iterator: Iterator[bytes]) -> bytes:
    """Take the next pieces together: a thread is asked for them each time."""
    pieces, size = [], 0
    for piece in iterator:
        pieces.append(piece)
        size += len(piece)
        if size >= 1 << 18:
            break
    return b"".join(pieces)


def _write(to: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(to, view) :]


@contextlib.contextmanager
def _local(call: Call, what: str) -> Iterator[None]:
    """Say which of our own files is in the way."""
    try:
        yield
    except tarfile.TarError as error:
        raise EngineError(f"{call.doing} failed: the archive ends too early") from error
    except OSError as error:
        name = f"{error.filename}: " if error.filename is not None else ""
        raise EngineError(
            f"{call.doing} failed: {name}it can't be {what} here: {error.strerror or error}",
            fix="see to its permissions and to the room on the disk",
        ) from error
