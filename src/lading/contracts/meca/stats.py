"""``GET /stats``: what the host has, what tasks may use of it, and what is in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from lading.units import to_mebibytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lading.engine import EngineInfo
    from lading.host.capacity import Capacity
    from lading.host.gpus import Gpu

__all__ = ["host_stats"]


def host_stats(info: EngineInfo, capacity: Capacity, gpus: Sequence[Gpu]) -> dict[str, object]:
    """Collect the figures of the contract.

    Returns
    -------
    dict
        ``total_cpu`` and ``task_cpu`` in cores; ``total_mem`` and ``task_mem`` in MiB;
        ``used_cpu`` and ``used_mem`` in % of the host, ``task_used_cpu`` and ``task_used_mem`` in %
        of what tasks may use (reserved, whether they use it or not); ``task_gpu`` and
        ``task_used_gpu`` as numbers of devices. Of a cluster, its total is what it can give to us,
        and used is what our tasks have of that: what others do there is not ours to see.
    """
    total, used = capacity.total, capacity.used
    if info.cluster:
        cpus, memory = info.cpus or _whole(total.cpus), info.memory or total.memory
        used_cpu, used_mem = _share(used.cpus, cpus), _share(used.memory, memory)
    else:
        cpus, memory = info.cpus, info.memory
        used_cpu = round(psutil.cpu_percent(interval=None), 2)
        used_mem = round(psutil.virtual_memory().percent, 2)
    return {
        "total_cpu": cpus,
        "total_mem": to_mebibytes(memory),
        "used_cpu": used_cpu,
        "used_mem": used_mem,
        "task_cpu": _whole(total.cpus),
        "task_mem": to_mebibytes(total.memory),
        "task_used_cpu": _share(used.cpus, total.cpus),
        "task_used_mem": _share(used.memory, total.memory),
        "gpu_model": gpus[0].model if gpus else "",
        "task_gpu": total.gpus,
        "task_used_gpu": used.gpus,
    }


def _whole(cores: float) -> int | float:
    """Cores as an integer where they are whole, as the original's callers expect them."""
    return int(cores) if cores == int(cores) else cores


def _share(used: float, total: float) -> float:
    return round(100 * used / total, 2) if total else 0.0
