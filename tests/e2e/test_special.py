"""Enclaves, stronger runtimes and GPUs: handed out exactly, or refused by name."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.conftest import Start
from tests.support import engines
from tests.support.nvml import build_fake_nvml, nvml_environment

from lading.engine import Engine


async def test_enclave(start: Start, probe: str, engine: Engine, tmp_path: Path) -> None:
    """The mock enclave server is the probe: GET /ra attests, POST /run takes the input."""
    aesm = tmp_path / "aesmd"
    aesm.mkdir()
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(aesm / "aesm.socket"))
        config = tmp_path / "executor.yaml"
        config.write_text(f"sgx:\n  enable: true\n  sgx_device: /dev/null\n  aesmd_path: {aesm}\n")
        executor = await start("--config", str(config))
        attested = await executor.execute(probe, "SGXRAREQUEST", use_sgx=True)
        assert attested.success
        # The task's body is in msg, so the caller parses JSON twice.
        assert json.loads(attested.msg)["msg"] == {"report": "00", "key": "mock"}
        ran = await executor.execute(probe, '{"value": "abc"}', use_sgx=True)
        assert json.loads(ran.msg) == {"msg": "cba"}
        assert ran.headers["x-lading-container"] == attested.headers["x-lading-container"]
        plain = await executor.execute(probe, "SGXRAREQUEST")
        assert plain.msg == "SGXRAREQUEST"
        assert plain.headers["x-lading-container"] != ran.headers["x-lading-container"]
        info = await (await engine.container(ran.headers["x-lading-container"])).inspect()
        root = Path(f"/proc/{info.pid}/root")
        assert (root / "dev/sgx/enclave").is_char_device()
        # The way into an enclave's container through the host's /proc follows no mounts below
        # symbolic links, and /var/run is none here.
        assert (root / "var/run/aesmd/aesm.socket").is_socket()


async def test_enclave_without_its_device(start: Start, probe: str, tmp_path: Path) -> None:
    device = str(tmp_path / "sgx_enclave")
    executor = await start("--sgx", "--sgx-device", device, "--aesmd-path", str(tmp_path))
    answer = await executor.execute(probe, use_sgx=True)
    assert not answer.success
    assert "sgx_enclave" in answer.msg
    assert (await executor.execute(probe, "x")).success


async def test_micro_vm_runs_in_the_configured_runtime(
    start: Start, probe: str, engine: Engine, engine_host: str
) -> None:
    if "runsc" not in (await engine.info()).runtimes:
        pytest.skip("the engine has no runtime runsc: `scripts/engine all` registers it")
    executor = await start("--microvm-runtime", "runsc", "--start-timeout", "60")
    answer = await executor.execute(probe, "guarded", runtime="microVM", mem=128)
    assert (answer.success, answer.msg) == (True, "guarded")
    name = answer.headers["x-lading-container"]
    status, details = engines.call(engine_host, "GET", f"/containers/{name}/json")
    assert (status, details["HostConfig"]["Runtime"]) == (200, "runsc")
    assert "runsc" in str(Path(f"/proc/{details['State']['Pid']}/exe").readlink())
    plain = await executor.execute(probe, "plain", mem=128)
    assert plain.headers["x-lading-container"] != name


async def test_micro_vm_is_never_silently_unprotected(start: Start, probe: str) -> None:
    executor = await start("--microvm-runtime", "kata")
    answer = await executor.execute(probe, runtime="microVM")
    assert not answer.success
    assert "'kata'" in answer.msg
    assert "runc" in answer.msg  # what the engine has
    honest = await executor.execute(probe, runtime="microVM", path="/v1/execute")
    assert (honest.status, honest.json()["title"]) == (501, "NotSupported")


async def test_gpus_without_a_driver_in_the_engine(
    start: Start, probe: str, engine: Engine, tmp_path: Path
) -> None:
    if (await engine.info()).gpu_driver:
        pytest.skip("this engine can hand out GPUs")
    folder = build_fake_nvml(tmp_path)
    executor = await start("--has-gpu", env=nvml_environment(folder))
    stats = (await executor.ask("GET", "/stats")).json()
    assert stats["task_gpu"] == 3
    assert stats["task_used_gpu"] == 0
    assert stats["gpu_model"]
    one = {"use_gpu": True, "gpu_count": 1}
    answer = await executor.execute(probe, resource=one)
    assert not answer.success
    assert "no driver to hand out GPUs" in answer.msg
    many = await executor.execute(probe, resource={"use_gpu": True, "gpu_count": 4})
    assert many.msg == "not enough GPU available"


def test_exactly_the_idle_gpus_are_handed_out(tmp_path: Path) -> None:
    """No engine on a test machine has a GPU driver: the fake engine tells what it was asked for."""
    folder = build_fake_nvml(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.gpu_executor", str(tmp_path / "state")],
        env=nvml_environment(folder),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second, too_many, stats = (json.loads(line) for line in done.stdout.splitlines())
    assert first == ["GPU-aaaaaaaa-0000-0000-0000-000000000000"]
    assert second == ["GPU-bbbbbbbb-0000-0000-0000-000000000001"]
    assert too_many == "not enough GPU available"  # the third device is there, and busy
    assert (stats["task_gpu"], stats["task_used_gpu"]) == (3, 2)
    assert stats["gpu_model"] == "Fake-H1"
