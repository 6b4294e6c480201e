from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from tests.support.nvml import THREE, FakeGpu, build_fake_nvml, nvml_environment, set_gpus
from tests.unit.host.parts import MIB, ManualClock

from lading.errors import how_to_install
from lading.host.gpus import Gpu, GpuMonitor, available, inventory

A, B, C = (gpu.uuid for gpu in THREE)

LIST = """
import dataclasses, json
from lading.errors import how_to_install
from lading.host.gpus import available, inventory
found = inventory()
print(json.dumps({
    "gpus": [dataclasses.astuple(gpu) for gpu in found.gpus],
    "reason": found.reason,
    "idle": available([gpu.uuid for gpu in found.gpus]),
}))
"""


def seen(folder: Path, **env: str) -> Any:
    """What a process sees that finds the library in this folder."""
    done = subprocess.run(
        [sys.executable, "-c", LIST],
        env=nvml_environment(folder) | env,
        capture_output=True,
        check=True,
        text=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_fake_nvml(tmp_path_factory.mktemp("fake"))


def test_inventory_and_utilisation(folder: Path) -> None:
    set_gpus(folder, THREE)
    found = seen(folder)
    assert found["gpus"] == [
        [0, A, "Fake-H1", 16384 * MIB],
        [1, B, "Fake-H1", 16384 * MIB],
        [2, C, "Fake-H1", 16384 * MIB],
    ]
    assert found["reason"] == ""
    assert found["idle"] == [A, B], "10 % is still idle"


@pytest.mark.parametrize(
    ("compute", "memory", "idle"),
    [(0, 0, True), (10, 10, True), (11, 0, False), (0, 11, False), (100, 100, False)],
)
def test_both_utilisations_count(folder: Path, compute: int, memory: int, idle: bool) -> None:
    set_gpus(folder, (FakeGpu(A, compute, memory),))
    assert seen(folder)["idle"] == ([A] if idle else [])


def test_a_device_without_utilisation_is_judged_by_its_memory(folder: Path) -> None:
    set_gpus(
        folder,
        (
            FakeGpu(A, compute=None, used_mebibytes=1638),
            FakeGpu(B, compute=None, used_mebibytes=1639),
        ),
    )
    assert seen(folder)["idle"] == [A]


@pytest.mark.parametrize(
    ("env", "uuids"),
    [
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, [A, B, C]),
        ({"NVIDIA_VISIBLE_DEVICES": f"{C},{A}"}, [A, C]),
        ({"NVIDIA_VISIBLE_DEVICES": "2"}, [A, B, C]),  # the runtime has applied it already
        ({"CUDA_VISIBLE_DEVICES": "1,2"}, [B, C]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-bbbb"}, [B]),
        ({"NVIDIA_VISIBLE_DEVICES": A, "CUDA_VISIBLE_DEVICES": "0"}, [A]),
    ],
)
def test_only_visible_devices_are_listed(
    folder: Path, env: dict[str, str], uuids: list[str]
) -> None:
    set_gpus(folder, THREE)
    assert [gpu[1] for gpu in seen(folder, **env)["gpus"]] == uuids


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, "NVIDIA_VISIBLE_DEVICES is 'void'"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES leave none"),
        ({"FAKE_NVML": "/nonexistent"}, "NVML: Driver Not Loaded"),
    ],
)
def test_no_gpus_and_why(folder: Path, env: dict[str, str], reason: str) -> None:
    set_gpus(folder, THREE)
    found = seen(folder, **env)
    assert found["gpus"] == []
    assert reason in found["reason"]


def test_a_driver_without_devices(folder: Path) -> None:
    set_gpus(folder, ())
    assert seen(folder)["reason"] == "NVML: the driver knows no device"


def test_without_the_library_there_are_none(tmp_path: Path) -> None:
    # pynvml asks the loader; with a broken library under the real one's name it finds nothing.
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"no library")
    found = seen(tmp_path)
    assert found["gpus"] == []
    assert found["reason"].startswith("NVML: ")


def test_without_the_binding_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = inventory({})
    assert found.gpus == ()
    assert found.reason == f"nvidia-ml-py is not installed: {how_to_install('serve')}"
    assert available([A]) == ()


async def test_the_monitor_reads_in_a_thread_and_not_more_often_than_needed() -> None:
    clock = ManualClock()
    threads: list[int] = []
    busy: set[str] = set()

    def read(uuids: Collection[str]) -> list[str]:
        threads.append(threading.get_ident())
        return [uuid for uuid in uuids if uuid not in busy]

    monitor = GpuMonitor([Gpu(0, A, "m", MIB), Gpu(1, B, "m", MIB)], read, clock=clock.time)
    assert monitor.idle() == ()
    await asyncio.gather(*(monitor.refresh() for _ in range(5)))
    assert monitor.idle() == (A, B)
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
    busy.add(A)
    clock.advance(0.4)
    await monitor.refresh()
    assert monitor.idle() == (A, B)
    clock.advance(0.2)
    await monitor.refresh()
    assert monitor.idle() == (B,)
