"""What `lading doctor` says of a cluster."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

from lading.cli import examinations
from lading.cli.examinations import Check, examine
from lading.engine import EngineInfo
from lading.settings import EngineOptions
from lading.testing import FakeEngine

OPTIONS = EngineOptions(engine="kubernetes")


class Cluster(FakeEngine):
    """One that says it is a cluster, and more."""

    said: dict[str, Any]

    async def info(self) -> EngineInfo:
        """What it is and has."""
        info = replace(
            await super().info(),
            kind="kubernetes",
            version="v1.33.0",
            address="kubernetes://there/jobs",
            runtimes=(),
            default_runtime="",
            shared=(),
            helper="tools:1",
        )
        return replace(info, **self.said)


async def found(monkeypatch: pytest.MonkeyPatch, **said: Any) -> dict[str, Check]:
    cluster = Cluster()
    cluster.said = said

    async def opened(_options: EngineOptions) -> Cluster:
        return cluster

    monkeypatch.setattr(examinations, "open_engine", opened)
    return {check.name: check async for check in examine(OPTIONS)}


async def test_what_is_said_of_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = await found(monkeypatch, cpus=8, memory=1 << 30)
    assert checks["engine"].text == "Kubernetes v1.33.0 at kubernetes://there/jobs; 8 cores, 1 GiB"
    assert "tools:1, which nodes must be able to pull" in checks["files"].text
    assert checks["websockets"].mark == "ok"
    # Of this machine, of Docker, or about nothing that a cluster has.
    assert not {"sealed tasks", "limits", "images", "SGX"} & set(checks)
    assert not any("Docker" in check.text + check.fix for check in checks.values())


async def test_what_nobody_may_know(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = await found(monkeypatch, cpus=0, memory=0)
    assert "cores and memory unknown: nodes may not be listed" in checks["engine"].text
    assert checks["runtimes"].text.startswith("no runtime class may be seen")


async def test_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = await found(
        monkeypatch, runtimes=("kata-qemu", "plain"), shared=("/data",), gpu_driver=True
    )
    assert checks["runtimes"].text.endswith("for microVM: kata-qemu")
    assert checks["files"].text.startswith("on the cluster's volumes: /data; others copied")
    assert checks["GPUs"].text.startswith("nodes offer some")
    everything = await found(monkeypatch, shared=("/",))
    assert "the nodes' own" in everything["files"].text


async def test_without_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets", None)
    check = (await found(monkeypatch))["websockets"]
    assert check.mark == "warn"
    assert "pip install '.[kubernetes]'" in check.fix
