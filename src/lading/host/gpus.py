"""GPUs: which there are and which are idle, as NVIDIA's management library (NVML) sees them.

NVML: https://docs.nvidia.com/deploy/nvml-api/. Its Python binding (nvidia-ml-py) is imported only
when somebody asks for GPUs, and called in a thread: a driver that wakes a sleeping card takes a
second.

Inside a container NVML shows only the devices that the container was given, renumbered from 0; so
``NVIDIA_VISIBLE_DEVICES``, by which they were chosen, is heeded only where it names none at all or
names UUIDs. ``CUDA_VISIBLE_DEVICES`` restricts further, by UUID or by index in NVML's order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from lading.errors import GpuUnavailable, NotSupported, how_to_install
from lading.settings import environment

if TYPE_CHECKING:
    from lading.engine import EngineInfo

__all__ = ["Gpu", "GpuMonitor", "Inventory", "available", "inventory", "lend"]

MOST_BUSY = 10
"""Per cent of compute, and of memory, up to which a GPU counts as idle (contract 1)."""

_FRESH = 0.5
"""Seconds for which a reading is used again: NVML itself averages over longer."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of this host.

    Parameters
    ----------
    index : int
        NVML's number of it.
    uuid : str
        ``GPU-...``, stable over restarts.
    model : str
        Its maker's name for it.
    memory : int
        Bytes.
    """

    index: int
    uuid: str
    model: str
    memory: int


@dataclass(frozen=True, slots=True)
class Inventory:
    """The GPUs of this host, and, where there are none, why."""

    gpus: tuple[Gpu, ...] = ()
    reason: str = ""


class _NvmlMissing(Exception):
    """NVML can't be used; the text says why."""


@contextmanager
def _nvml() -> Iterator[ModuleType]:
    try:
        import pynvml  # noqa: PLC0415 - most hosts have no GPU and should not pay for it
    except ImportError as error:
        raise _NvmlMissing(f"nvidia-ml-py is not installed: {how_to_install('serve')}") from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise _NvmlMissing(f"NVML: {error}") from error
    try:
        yield pynvml
    except pynvml.NVMLError as error:
        raise _NvmlMissing(f"NVML: {error}") from error
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def inventory(env: Mapping[str, str] | None = None) -> Inventory:
    """List the GPUs; blocks, call it in a thread.

    Parameters
    ----------
    env : mapping
        Where ``CUDA_VISIBLE_DEVICES`` and ``NVIDIA_VISIBLE_DEVICES`` are looked up; by default the
        process's environment.
    """
    try:
        with _nvml() as nvml:
            found = [_describe(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
    except _NvmlMissing as error:
        return Inventory(reason=str(error))
    if not found:
        return Inventory(reason="NVML: the driver knows no device")
    gpus, reason = _visible(found, environment() if env is None else env)
    return Inventory(tuple(gpus), reason)


def _describe(nvml: ModuleType, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    return Gpu(
        index=index,
        uuid=nvml.nvmlDeviceGetUUID(handle),
        model=nvml.nvmlDeviceGetName(handle),
        memory=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
    )


def _visible(gpus: Sequence[Gpu], env: Mapping[str, str]) -> tuple[list[Gpu], str]:
    left = list(gpus)
    runtime = env.get("NVIDIA_VISIBLE_DEVICES", "all").strip()
    named = [item.strip() for item in runtime.split(",")]
    if runtime in ("none", "void"):
        return [], f"NVIDIA_VISIBLE_DEVICES is {runtime!r}"
    if all(item.startswith("GPU-") for item in named):
        left = [gpu for gpu in left if gpu.uuid in named]
    cuda = env.get("CUDA_VISIBLE_DEVICES")
    if cuda is not None:
        wanted = [item.strip() for item in cuda.split(",")]
        left = [gpu for gpu in left if _is_named(gpu, wanted)]
    return left, "" if left else "NVIDIA_VISIBLE_DEVICES and CUDA_VISIBLE_DEVICES leave none"


def _is_named(gpu: Gpu, wanted: Collection[str]) -> bool:
    # CUDA takes any unambiguous beginning of a UUID.
    return any(
        item == str(gpu.index) or (item.startswith("GPU-") and gpu.uuid.startswith(item))
        for item in wanted
    )


def available(uuids: Collection[str]) -> tuple[str, ...]:
    """Find the idle ones among these GPUs; blocks, call it in a thread.

    Idle is: compute and memory utilisation, as NVML reads them, are both at most 10 % (contract 1).
    A device that does not count them (one split by MIG) is judged by how much of its memory is in
    use. None is idle where NVML can't be asked any more.
    """
    try:
        with _nvml() as nvml:
            return tuple(uuid for uuid in uuids if _idle(nvml, uuid))
    except _NvmlMissing:
        return ()


def _idle(nvml: ModuleType, uuid: str) -> bool:
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError:
        return False  # it fell off the bus, or was taken away from us
    try:
        rates = nvml.nvmlDeviceGetUtilizationRates(handle)
    except nvml.NVMLError_NotSupported:
        info = nvml.nvmlDeviceGetMemoryInfo(handle)
        return bool(info.used * 100 <= info.total * MOST_BUSY)
    except nvml.NVMLError:
        return False
    return bool(rates.gpu <= MOST_BUSY and rates.memory <= MOST_BUSY)


class GpuMonitor:
    """The GPUs that may be lent, as last read; the reading is what the ledger asks for.

    Parameters
    ----------
    gpus : sequence of Gpu
        Which to look at.
    read : callable
        Finds the idle ones among these UUIDs; called in a thread.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(
        self,
        gpus: Sequence[Gpu],
        read: Callable[[Collection[str]], Collection[str]] = available,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gpus = tuple(gpus)
        self._uuids = tuple(gpu.uuid for gpu in gpus)
        self._read = read
        self._clock = clock
        self._idle: tuple[str, ...] = ()
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    def watch(self, gpus: Sequence[Gpu]) -> None:
        """Look at these from now on, instead."""
        self.gpus = tuple(gpus)
        self._uuids = tuple(gpu.uuid for gpu in gpus)
        self._idle = ()
        self._read_at = None

    def idle(self) -> tuple[str, ...]:
        """The UUIDs of those that were idle at the last reading; none before the first."""
        return self._idle

    async def refresh(self) -> None:
        """Read again, unless the last reading is half a second old at most."""
        async with self._reading:
            if self._read_at is not None and self._clock() - self._read_at < _FRESH:
                return
            self._idle = tuple(await asyncio.to_thread(self._read, self._uuids))
            self._read_at = self._clock()


async def lend(count: int, info: EngineInfo) -> tuple[str, ...]:
    """Choose idle GPUs for a task that one runs for oneself.

    Parameters
    ----------
    count : int
        How many; 0 asks nobody.
    info : EngineInfo
        Of the engine that is to hand them out.

    Returns
    -------
    tuple of str
        Their UUIDs.

    Raises
    ------
    NotSupported
        The engine has no driver for them.
    GpuUnavailable
        There are not that many, or they are busy.
    """
    if not count:
        return ()
    if not info.gpu_driver:
        raise NotSupported(
            f"the container engine ({info.kind} {info.version}) has no driver to hand out GPUs",
            fix="install the NVIDIA container toolkit, or run without GPUs",
        )
    found = await asyncio.to_thread(inventory)
    idle = await asyncio.to_thread(available, [gpu.uuid for gpu in found.gpus])
    if len(idle) < count:
        why = found.reason or f"{len(found.gpus)} are here, {len(idle)} of them idle"
        raise GpuUnavailable(f"{count} GPUs are asked for: {why}", fix="see nvidia-smi")
    return idle[:count]
