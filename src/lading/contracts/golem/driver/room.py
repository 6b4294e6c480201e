"""Room for provider containers on this machine: never more of them than it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from lading.errors import GpuUnavailable, NotSupported
from lading.host.admission import Admission
from lading.host.capacity import Capacity, Resources
from lading.host.gpus import GpuMonitor, inventory

if TYPE_CHECKING:
    from lading.engine import EngineInfo
    from lading.host.capacity import Reservation

__all__ = ["ProviderRoom"]

_HOST_SHARE = 0.9
"""Of the memory: the rest is the host's own, the engine's and the requestor's."""
_TELL_AFTER = 0.1
"""Seconds of waiting for room before anybody is told of it."""
_ANY_CPUS, _ANY_MEMORY = 1 << 20, 1 << 50
"""More than a cluster has."""
_WAITING = 1 << 16
"""How many may wait: a driver's nodes are bounded already."""


class ProviderRoom:
    """What this machine, or this cluster, lends to providers.

    Memory and cores are counted where an app or its user names an amount; an app that names none
    shares what there is with the others, as containers do.

    Parameters
    ----------
    info : EngineInfo
        Of the engine on whose host they run.
    """

    def __init__(self, info: EngineInfo) -> None:
        self._info = info
        self._monitor = GpuMonitor(())
        lent = _lent(info)
        self._capacity = Capacity(lent, self._monitor.idle)
        self._admission = Admission(self._capacity, limit=_WAITING, gpus=self._monitor)
        self._looked = asyncio.Lock()

    @asynccontextmanager
    async def of(
        self, resources: Resources, on_wait: Callable[[str], None]
    ) -> AsyncIterator[Reservation]:
        """Have so much of the machine while the block runs.

        Parameters
        ----------
        resources : Resources
        on_wait : callable
            Told what it waits for, in words, if it does; and an empty text once it has its room.

        Raises
        ------
        TooLarge, GpuUnavailable
            This machine never has that much.
        NotSupported
            The engine can't hand out GPUs.
        """
        if resources.gpus:
            await self._look_for_gpus()
        room = self._admission.room(resources)
        told = False

        def tell() -> None:
            nonlocal told
            if text := room.waiting_for:
                told = True
                on_wait(text)

        timer = asyncio.get_running_loop().call_later(_TELL_AFTER, tell)
        try:
            reservation = await room.__aenter__()
        finally:
            timer.cancel()
            if told:
                on_wait("")
        try:
            yield reservation
        finally:
            await room.__aexit__()

    async def _look_for_gpus(self) -> None:
        """Find the GPUs, once somebody asks for one: most tasks never do."""
        if not self._info.gpu_driver or self._info.cluster:
            kind, version = self._info.kind, self._info.version
            raise NotSupported(
                f"the application wants GPUs, and the container engine ({kind} {version}) has no "
                "driver to hand them out",
                fix="install the NVIDIA container toolkit on a machine with Docker or Podman",
            )
        async with self._looked:
            if self._monitor.gpus:
                return
            found = await asyncio.to_thread(inventory)
            if not found.gpus:
                raise GpuUnavailable(
                    f"the application wants a GPU for each provider: {found.reason}",
                    fix="see nvidia-smi",
                )
            self._monitor.watch(found.gpus)
            total = self._capacity.total
            self._admission.resize(Resources(total.cpus, total.memory, len(found.gpus)))


def _lent(info: EngineInfo) -> Resources:
    """Say how much there is; of a cluster that can't say, its own scheduler decides."""
    if info.cluster:
        return Resources(float(info.cpus or _ANY_CPUS), info.memory or _ANY_MEMORY)
    return Resources(float(info.cpus), int(info.memory * _HOST_SHARE))
