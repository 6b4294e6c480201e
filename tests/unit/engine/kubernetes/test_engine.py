"""What is found out before a pod is made."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.support.staged_cluster import StagedCluster

from lading.engine.kubernetes.engine import KubernetesEngine
from lading.engine.spec import ContainerSpec, Mount
from lading.errors import NotSupported
from lading.settings import EngineOptions


@pytest.mark.parametrize("needs", ["copies", "a port"])
async def test_without_the_library_no_pod_is_made(
    needs: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "websockets", None)
    spec = ContainerSpec("x:1", mounts=(Mount(str(tmp_path), "/in"),))
    if needs == "a port":
        spec = ContainerSpec("x:1", ports=(8080,))
    cluster = StagedCluster()
    async with cluster.api() as api:
        engine = KubernetesEngine(api, EngineOptions(), {}, ("v1.20.2", "v1.20"))
        with pytest.raises(NotSupported, match="websockets, which is not installed") as raised:
            await engine.create(spec)
        await engine.close()
    assert "pip install '.[kubernetes]'" in raised.value.fix
    assert cluster.asked == []
