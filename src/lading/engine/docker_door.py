"""Opens the door that :mod:`lading.engine.doorman` describes: the part that knows the engine."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.engine.docker_errors import Call, Thing
from lading.engine.docker_wire import segment
from lading.engine.doorman import Door, accept, listen
from lading.engine.shield import to_the_end
from lading.errors import ContainerNotFound, EngineError, EngineUnreachable, NotSupported

if TYPE_CHECKING:
    from lading.engine.docker_api import Api

__all__ = ["DoorKeeper", "own_container"]

_CODE = Path(__file__)
_ID = re.compile(r"containers/([0-9a-f]{64})/")
_ANY_ID = re.compile(r"[0-9a-f]{64}")
_CALL = Call("opening the door for an executor in a container", Thing.CONTAINER)
_FIX = "run the executor on the host, or give its tasks a network that it is on"
_REFUSED_SECONDS = 60
"""How long a door that could not be opened is not tried again: who connects would wait for it."""


class DoorKeeper:
    """Opens the door at its first use, and again if it was lost.

    Parameters
    ----------
    api : Api
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._door: Door | None = None
        self._turn = asyncio.Lock()
        self._refusal: tuple[float, NotSupported] | None = None
        self.labels: Mapping[str, str] = {}

    async def door(self) -> Door:
        """Give the open door.

        Raises
        ------
        NotSupported
            There can't be one: we are no container, or not one of this engine.
        EngineUnreachable
            The engine is away.
        """
        now = asyncio.get_running_loop().time
        async with self._turn:
            if self._refusal is not None and now() < self._refusal[0]:
                raise self._refusal[1]
            if self._door is None or not self._door.open:
                try:
                    self._door = await self._open()
                except EngineUnreachable:
                    raise
                except EngineError as error:
                    refusal = error if isinstance(error, NotSupported) else _refused(error)
                    self._refusal = now() + _REFUSED_SECONDS, refusal
                    raise refusal from error
            return self._door

    async def _open(self) -> Door:
        own = await self._inspect_ourselves()
        try:
            listener, path = await asyncio.to_thread(listen)
        except OSError as error:
            raise _refused(error) from error
        made: list[str] = []
        try:
            await to_the_end(self._create(own, path, made))
            await self._api.call("POST", f"{made[0]}/start", _CALL)
            return await self._first(made[0], listener)
        except BaseException:
            for helper in made:  # also one that was made for a cancelled caller
                await to_the_end(self._discard(helper))
            raise
        finally:
            listener.close()
            await to_the_end(asyncio.to_thread(path.unlink, missing_ok=True))

    async def _first(self, helper: str, listener: socket.socket) -> Door:
        """Wait for the helper to come, or to end."""
        coming = asyncio.create_task(accept(listener))
        ending = asyncio.create_task(self._ended(helper))
        try:
            done, _ = await asyncio.wait(
                {coming, ending},
                timeout=self._api.timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            ending.cancel()
            if not coming.done():
                coming.cancel()
            await asyncio.gather(coming, ending, return_exceptions=True)
        if coming in done:
            return coming.result()
        raise NotSupported(
            "the door could not be opened: the helper container ended or did not answer", fix=_FIX
        )

    async def _ended(self, helper: str) -> None:
        async with self._api.stream("POST", f"{helper}/wait", _CALL) as response:
            await response.read()

    async def _create(self, own: dict[str, Any], path: Path, made: list[str]) -> None:
        target = f"/proc/{own['State']['Pid']}/root{path}"
        body = {
            "Image": own["Image"],
            "Entrypoint": [sys.executable],
            "Cmd": ["-m", "lading.engine.doorman", target],
            "User": "0",
            "WorkingDir": "/",
            "Env": [f"PYTHONPATH={_CODE.parents[2]}"],
            "Labels": {**self.labels, "lading.doorman": own["Id"]},
            "HostConfig": {
                "AutoRemove": True,
                "PidMode": "host",
                # To look into another process's /proc, and to enter its namespace. Not privileged:
                # that is more than is needed, and more than some hosts can give.
                "CapAdd": ["SYS_PTRACE", "SYS_ADMIN"],
                "SecurityOpt": ["apparmor=unconfined", "label=disable"],
                "NetworkMode": "none",
                "ReadonlyRootfs": True,
                # Code that isn't in the image but was mounted into us.
                "Mounts": [
                    {
                        "Type": "bind",
                        "Source": mount["Source"],
                        "Target": mount["Destination"],
                        "ReadOnly": True,
                    }
                    for mount in own.get("Mounts") or ()
                    if mount.get("Type") == "bind"
                    and any(
                        place.is_relative_to(mount["Destination"])
                        for place in (_CODE, Path(sys.executable))
                    )
                ],
            },
        }
        reply = await self._api.call("POST", "/containers/create", _CALL, body=body)
        made.append(f"/containers/{reply.json()['Id']}")

    async def _discard(self, helper: str) -> None:
        await self._api.call(
            "DELETE", f"{helper}?force=true&v=true", _CALL, accept=frozenset({404, 409})
        )

    async def _inspect_ourselves(self) -> dict[str, Any]:
        identity = await asyncio.to_thread(own_container)
        if not identity:
            raise NotSupported("entering its network takes root on the engine's machine", fix=_FIX)
        try:
            reply = await self._api.call("GET", f"/containers/{segment(identity)}/json", _CALL)
        except ContainerNotFound as error:
            raise NotSupported(
                "we are no container of this engine, so nobody can open a door for us", fix=_FIX
            ) from error
        found: dict[str, Any] = reply.json()
        return found

    def close(self) -> None:
        """Close it: the helper ends and is removed by the engine."""
        if self._door is not None:
            self._door.close()
            self._door = None


def _refused(error: Exception) -> NotSupported:
    return NotSupported(f"the door can't be opened: {error}", fix=_FIX)


def own_container(proc: Path = Path("/proc")) -> str:
    """Find the id of the container that this process runs in; empty if it seems to be in none.

    Engines mount ``/etc/hosts`` and its like from a folder that has the container's id; on
    cgroup v1, or with the host's cgroup namespace, the group's path has it as well.
    """
    if found := _ID.search((proc / "self/mountinfo").read_text()):
        return found[1]
    if found := _ANY_ID.search((proc / "self/cgroup").read_text()):
        return found[0]
    return ""
