"""One container of a cluster: a pod of which one container counts."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lading.engine.kubernetes import logs
from lading.engine.kubernetes.life import Life, described
from lading.engine.kubernetes.pod import MAIN
from lading.engine.kubernetes.pods import Pods
from lading.engine.kubernetes.starting import Events, until_begun
from lading.engine.kubernetes.state import (
    container_info,
    exit_of,
    image_id,
    is_leaving,
    lost,
    main_container,
    runs,
)
from lading.engine.kubernetes.streams import Forwards, execute
from lading.engine.shield import to_the_end
from lading.engine.spec import ContainerInfo, Exit, LogChunk, State, Stats
from lading.errors import ContainerNotFound, EngineError, EngineUnreachable, NotSupported

if TYPE_CHECKING:
    from lading.engine.base import OnWait
    from lading.engine.kubernetes.files import Files
    from lading.engine.kubernetes.watch import Sightings

__all__ = ["Cluster", "KubernetesContainer"]

_STREAM = "stdout"
"""A cluster keeps both streams as one."""
_LATE = 2.0
"""Seconds that the news of an end may come after the end of the log."""
_KEPT_LOG = 1 << 20
"""Bytes of the log that are kept of one that was stopped: the cluster forgets it."""
_COPYING = 30
"""Seconds added to the grace where files have to be copied back within it."""
_KILL = "SIGKILL"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What all containers of one client share."""

    pods: Pods
    events: Events
    forwards: Forwards


class KubernetesContainer:
    """One container, see :class:`~lading.engine.base.Container`.

    Parameters
    ----------
    cluster : Cluster
    life : Life
        What is known of its pod.
    """

    def __init__(self, cluster: Cluster, life: Life) -> None:
        self._cluster = cluster
        self._pods = cluster.pods
        self._life = life

    @property
    def id(self) -> str:
        """Its namespace, its name, and which of all of that name it is."""
        return self._life.id

    @property
    def name(self) -> str:
        """Its pod's name."""
        return self._life.name

    @property
    def news_delay(self) -> float:
        """A node looks at its containers every second, and tells the cluster when it can."""
        return 6.0

    @property
    def stats_interval(self) -> float:
        """Every look is a call to the cluster, which itself looks no oftener."""
        return 15.0

    def __repr__(self) -> str:
        return f"<container {self._life.id}>"

    # Starting.

    async def start(self, on_wait: OnWait | None = None) -> None:
        """Make its pod, and wait until its program runs or has ended."""
        await self._start(on_wait)

    async def start_any(self, on_wait: OnWait | None = None) -> None:
        """Do :meth:`start`, though its program can't be begun: for what its image is to tell."""
        await self._start(on_wait, any_program=True)

    @property
    def ran(self) -> str:
        """Which image it got, exactly; empty where nobody says."""
        return image_id(self._life.pod) if self._life.pod is not None else ""

    async def _start(self, on_wait: OnWait | None, *, any_program: bool = False) -> None:
        life = self._life
        self._must_be_there()
        if life.begun.is_set():
            await self._must_run()
            return
        watch = await self._pods.watch(life.namespace)
        with watch.follow(life.name) as sightings:
            await self._pods.make(life)
            await until_begun(
                life,
                sightings,
                files=self._files() if life.placed.copies else None,
                events=self._cluster.events,
                patience=self._pods.options.cluster_patience,
                on_wait=on_wait,
                any_program=any_program,
            )

    async def _must_run(self) -> None:
        if self._life.end is not None or not runs(await self._pods.look(self._life)):
            raise NotSupported(
                f"container {self.name} was started before, and a cluster starts a pod only once",
                fix="create another one",
            )

    # Looking.

    async def inspect(self) -> ContainerInfo:
        """Look at it now."""
        life = self._life
        self._must_be_there()
        if not life.begun.is_set():
            return described(life, State.CREATED)
        if life.stopped and life.end is not None:
            return described(life, State.EXITED)
        if life.end is not None and (pod := self._pods.known(life)) is not None:
            return container_info(pod)  # nothing changes any more, and the watch has not lost it
        try:
            return container_info(await self._pods.look(life))
        except ContainerNotFound:
            if life.stopped and life.pod is not None:
                life.end = life.end or lost(life.pod)
                return described(life, State.EXITED)
            raise

    async def wait(self) -> Exit:
        """Wait until it has ended, without polling; returns at once if it has."""
        life = self._life
        self._must_be_there()
        await life.begun.wait()
        self._must_be_there()
        if life.end is None:
            async with self._pods.follow(life) as sightings:
                await self._until_ended(sightings)
        assert life.end is not None
        await self._take_back()
        return life.end

    async def _until_ended(self, sightings: Sightings) -> None:
        life, leaving = self._life, False
        while life.end is None:
            sight = await sightings.next()
            pod = sight.pod
            leaving = leaving or (is_leaving(pod) and exit_of(pod) is None)
            if life.removed or (leaving and not life.stopped):
                # By somebody else; its end is worth knowing, and soon known.
                end = exit_of(pod)
                if life.removed or end is not None or sight.gone:
                    raise self._removed(end)
                continue
            if sight.gone and not life.stopped and exit_of(pod) is None:
                raise self._removed()
            life.learn(pod)
            if sight.gone:
                life.end = life.end or lost(pod)

    async def _take_back(self) -> None:
        """Take back what it wrote into copies, once."""
        life = self._life
        if life.taken is None and life.placed.returning and not life.removed:
            life.taken = asyncio.ensure_future(self._files().copy_back())
        if life.taken is not None:
            await to_the_end(_result_of(life.taken))

    # What it writes.

    async def logs(
        self, *, follow: bool = False, tail: int | None = None
    ) -> AsyncIterator[LogChunk]:
        """What it wrote so far, and with `follow` what it writes until it ends."""
        life = self._life
        self._must_be_there()
        if not life.begun.is_set():
            return
        if life.log is not None:
            if text := _last_lines(life.log, tail):
                yield LogChunk(_STREAM, text)
            return
        call = life.call("reading the logs of")
        where = (self._pods.api, life.namespace, life.name, self._main)
        if not follow:
            if text := await logs.read(*where, call, tail=tail):
                yield LogChunk(_STREAM, text)
            return
        pieces = logs.follow(*where, call, ended=self._has_ended, tail=tail)
        async with contextlib.aclosing(pieces):  # type: ignore[type-var]  # it is a generator
            async for text in pieces:
                yield LogChunk(_STREAM, text)

    async def _has_ended(self) -> bool:
        """Whether it has ended; the news may come a moment after the end of the log."""
        life = self._life
        if life.end is not None or life.removed:
            return True
        with contextlib.suppress(TimeoutError, EngineUnreachable):
            async with asyncio.timeout(_LATE), self._pods.follow(life) as sightings:
                while life.end is None:
                    sight = await sightings.next()
                    life.learn(sight.pod)
                    if sight.gone:
                        return True
        return life.end is not None

    @contextlib.asynccontextmanager
    async def attached(self) -> AsyncIterator[AsyncIterator[LogChunk]]:
        """Listen to it from before its start: a cluster keeps all of it anyway."""
        self._must_be_there()
        yield self._heard()

    async def _heard(self) -> AsyncIterator[LogChunk]:
        life = self._life
        await life.begun.wait()
        self._must_be_there()
        async with self._pods.follow(life) as sightings:
            while life.end is None and (life.pod is None or not runs(life.pod)):
                sight = await sightings.next()
                life.learn(sight.pod)
                if sight.gone:
                    raise life.gone()
        async for chunk in self.logs(follow=True):
            yield chunk

    # What it does.

    async def stats(self) -> Stats:
        """What it uses; zeros once it has ended."""
        life = self._life
        self._must_be_there()
        if not life.begun.is_set() or life.end is not None or life.pod is None:
            return Stats(memory=0, memory_peak=None, cpu_seconds=0.0)
        from lading.engine.kubernetes.usage import usage  # noqa: PLC0415 - few ask

        node = str(life.pod["spec"].get("nodeName") or "")
        return await usage(self._pods.api, life.namespace, life.name, self._main, node)

    async def connect(self, port: int) -> socket.socket:
        """Open a TCP connection to a port that it listens on."""
        life = self._life
        if life.removed or life.end is not None or not life.begun.is_set():
            raise ConnectionRefusedError(f"container {self.name} does not run")
        try:
            if self._pods.api.access.in_cluster:
                return await self._connect_inside(port)
            call = life.call(f"connecting to port {port} of")
            return await self._cluster.forwards.connect(
                life.name, port, call, namespace=life.namespace
            )
        except ContainerNotFound as error:
            raise ConnectionRefusedError(f"container {self.name} is gone") from error

    async def _connect_inside(self, port: int) -> socket.socket:
        life = self._life
        address = ((life.pod or {}).get("status") or {}).get("podIP")
        if not address:
            pod = await self._pods.look(life)
            address = (pod.get("status") or {}).get("podIP")
        if not address:
            raise ConnectionRefusedError(f"container {self.name} has no address yet")
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(kind, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except BaseException:
            sock.close()
            raise
        return sock

    async def put(self, path: str, archive: bytes) -> None:
        """Unpack a tar archive into an existing directory of it."""
        self._must_have_begun("copying into")
        await self._files().put(path, archive)

    async def get(self, path: str) -> bytes:
        """Fetch a file or directory as a tar archive."""
        self._must_have_begun("copying out of")
        return await self._files().get(path)

    async def changed(
        self, path: str, known: Mapping[str, str]
    ) -> tuple[dict[str, str], bytes] | None:
        """Fetch what of a copied directory is new, see :class:`lading.engine.base.Selective`."""
        return await self._files().changed(path, known)

    # Ending.

    async def kill(self, signal: str = _KILL) -> None:
        """Send it a signal: to end is the cluster's to ask for, others take a ``kill`` in it."""
        life = self._life
        self._must_be_there()
        if not life.begun.is_set() or life.end is not None:
            return
        if signal == _KILL:
            life.stopped = True
            await self._pods.delete(life, 1)
            return
        name = signal.removeprefix("SIG")
        done = await execute(
            self._pods.api,
            life.name,
            self._main,
            ["kill", f"-{name}", "1"],
            life.call(f"sending {signal} to"),
            namespace=life.namespace,
        )
        if done.code:
            raise NotSupported(
                f"sending {signal} to container {self.name} failed: on a cluster that takes the "
                f"program kill in its image: {done.words}",
                fix="stop it instead, which sends SIGTERM",
            )

    async def stop(self, grace: float = 10.0) -> None:
        """Ask it to end (SIGTERM), and have it killed after `grace` seconds.

        The cluster forgets it then; what it wrote last and how it ended are kept here.
        """
        life = self._life
        self._must_be_there()
        if not life.begun.is_set() or life.end is not None:
            return
        await to_the_end(self._stop(max(math.ceil(grace), 1)))

    async def _stop(self, grace: int) -> None:
        life = self._life
        returning = bool(life.placed.returning)
        life.stopped = True
        async with self._pods.follow(life) as sightings:
            reading = asyncio.ensure_future(self._keep_log())
            try:
                if not await self._pods.delete(life, grace + returning * _COPYING):
                    life.end = life.end or lost(life.pod or {})
                    return
                if returning:
                    # Its log ends with it; what helps it stays until then, and a bit longer.
                    await asyncio.wait({reading}, timeout=grace)
                    with contextlib.suppress(EngineError):
                        await self._take_back()
                    await self._pods.delete(life, 1)
                await self._until_ended(sightings)
                await asyncio.wait({reading}, timeout=_LATE)
            finally:
                reading.cancel()
                await asyncio.wait({reading})

    async def _keep_log(self) -> None:
        life = self._life
        call = life.call("reading the logs of")
        kept = b""
        try:
            async for text in logs.follow(
                self._pods.api, life.namespace, life.name, self._main, call, ended=self._no_more
            ):
                kept = (kept + text)[-_KEPT_LOG:]
        except EngineError:
            pass
        finally:
            life.log = kept

    async def _no_more(self) -> bool:
        return True

    async def remove(self) -> None:
        """End it if it runs, and remove it; returns when the cluster has forgotten it."""
        life = self._life
        life.removed = True
        begun = life.begun.is_set()
        life.begun.set()
        if begun:
            await to_the_end(self._pods.remove(life))
        self._pods.lives.pop((life.namespace, life.name), None)

    # What these are made of.

    def _files(self) -> Files:
        life = self._life
        if life.files is None:
            from lading.engine.kubernetes.files import Files  # noqa: PLC0415 - 15 ms, few need it

            life.files = Files(self._pods.api, life.namespace, life.name, life.placed)
        return life.files

    @property
    def _main(self) -> str:
        return MAIN if self._life.pod is None else main_container(self._life.pod)

    def _must_be_there(self) -> None:
        if self._life.removed:
            raise self._life.gone()

    def _must_have_begun(self, doing: str) -> None:
        self._must_be_there()
        if not self._life.begun.is_set():
            raise NotSupported(
                f"{doing} container {self.name} failed: a cluster has it only once it was started",
                fix="start it first, or mount a directory",
            )

    def _removed(self, end: Exit | None = None) -> ContainerNotFound:
        error = ContainerNotFound(f"container {self.name} was removed meanwhile")
        error.end = end
        return error


async def _result_of(work: asyncio.Future[None]) -> None:
    await asyncio.wait({work})
    work.result()


def _last_lines(text: bytes, lines: int | None) -> bytes:
    if lines is None:
        return text
    return b"".join(text.splitlines(keepends=True)[-lines:]) if lines else b""
