"""What the executor's process takes: 50 warm containers, and 1,000 requests that wait."""

from __future__ import annotations

import contextlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.docker_api import request_bytes
from benchmarks.executor import Executor
from benchmarks.figures import Figure
from benchmarks.setting import Setting

__all__ = ["memory_figure"]

_WARM, _WAITING = 50, 1_000
_SHARE = 0.02  # of a core: the least that fills one core with fifty
_MEMORY_MIB = 16
_AT_ONCE = 4  # requests that a container gets; the executor's default
_FLAGS = (
    "--cpu", "1", "--mem", "4096", "--queue", "1000", "--timeout", "30",
    "--concurrency", str(_AT_ONCE),
)  # fmt: skip


def memory_figure(setting: Setting) -> Figure:
    """Measure the resident memory of our executor's process."""
    if setting.against:
        return Figure("memory", None, "needs an executor started here")
    with setting.executor(*_FLAGS) as executor:
        parts = {"at the start, MB": _resident(executor)[0]}
        setting.say(f"memory: starting {_WARM} containers")
        with ThreadPoolExecutor(4) as crew:
            answers = list(
                crew.map(lambda number: executor.execute(_task(setting, number)), range(_WARM))
            )
        setting.note_owner(executor, answers[0].headers["x-lading-container"])
        executor.wait_for(idle=_WARM)
        parts[f"with {_WARM} warm containers, MB"] = _resident(executor)[0]
        setting.say(f"memory: {_WAITING} requests wait")
        with contextlib.ExitStack() as stack:
            for number in range(_WARM * _AT_ONCE + _WAITING):
                body = json.dumps(_task(setting, number % _WARM, '{"sleep_ms": 60000}'))
                sock = stack.enter_context(
                    socket.create_connection((executor.address, executor.port), timeout=60)
                )
                sock.sendall(request_bytes(body.encode(), "localhost"))
            executor.wait_for(waiting=_WAITING)
            resident, most = _resident(executor)
        parts["most at any time, MB"] = most
    return Figure("memory", resident, parts=parts)


def _task(setting: Setting, number: int, text: str = "hello") -> dict[str, Any]:
    """One of fifty that can't share a container: each has another limit of memory."""
    return {
        "id": setting.image,
        "resource": {"cpu": _SHARE, "mem": _MEMORY_MIB + number},
        "input": text,
    }


def _resident(executor: Executor) -> tuple[float, float]:
    """Resident now, and at the most so far, in MB (10^6 bytes)."""
    lines = Path(f"/proc/{executor.pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    now, most = (int(values[key].split()[0]) * 1024 / 1e6 for key in ("VmRSS", "VmHWM"))
    return now, most
