"""A fake NVIDIA management library, for tests of what happens on a host with GPUs.

A process sees its devices when it runs with `nvml_environment(folder)`.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_name("fake_nvml.c")


@dataclass(frozen=True)
class FakeGpu:
    """One device; a `compute` of None does not count utilisation, as one split by MIG."""

    uuid: str
    compute: int | None = 0
    memory: int = 0
    model: str = "Fake-H1"
    mebibytes: int = 16384
    used_mebibytes: int = 0


THREE = (
    FakeGpu("GPU-aaaaaaaa-0000-0000-0000-000000000000"),
    FakeGpu("GPU-bbbbbbbb-0000-0000-0000-000000000001", compute=10, memory=10),
    FakeGpu("GPU-cccccccc-0000-0000-0000-000000000002", compute=80, memory=40),
)
"""Idle, just idle enough, and busy."""


def build_fake_nvml(tmp_path: Path) -> Path:
    """Compile the library and list three devices.

    Returns the folder that holds `libnvidia-ml.so.1` and `gpus`, the list; see `set_gpus` and
    `nvml_environment`.
    """
    folder = tmp_path / "nvml"
    folder.mkdir(exist_ok=True)
    library = folder / "libnvidia-ml.so.1"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror"]
    command = ["cc", *options, "-o", str(library), str(_SOURCE)]
    subprocess.run(command, check=True)
    set_gpus(folder, THREE)
    return folder


def set_gpus(folder: Path, gpus: tuple[FakeGpu, ...]) -> None:
    """Change which devices there are and how busy; a running process sees it at once."""
    lines = [
        f"{gpu.uuid} {gpu.model} {gpu.mebibytes} {gpu.used_mebibytes} "
        f"{'-' if gpu.compute is None else gpu.compute} {gpu.memory}\n"
        for gpu in gpus
    ]
    fresh = folder / "gpus.new"
    fresh.write_text("".join(lines))
    fresh.replace(folder / "gpus")


def nvml_environment(folder: Path) -> dict[str, str]:
    """The environment in which a process finds the library, and what this process has besides."""
    env = {key: value for key, value in os.environ.items() if "VISIBLE_DEVICES" not in key}
    return env | {"LD_LIBRARY_PATH": str(folder), "FAKE_NVML": str(folder / "gpus")}
