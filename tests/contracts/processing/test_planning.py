"""What is decided about a run on a cluster, before anything is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lading.contracts.processing.planning import Circumstances, plan
from lading.contracts.processing.scaling import needs
from lading.contracts.processing.task import TaskInstance
from lading.contracts.processing.template import Resources
from lading.engine import EngineInfo, ImageInfo, Limits, Mount, Volume
from lading.errors import NotSupported
from lading.testing import FakeEngine
from lading.units import MIB

IMAGE = ImageInfo(
    "sha256:1", (), ("r/a@sha256:2",), 0, None, {}, (), (), {}, "", (), "", reference="r/a@sha256:2"
)
CLAIM = {"persistentVolumeClaim": {"claimName": "data"}}


class FakeCluster(FakeEngine):
    """Says that it is one."""

    async def info(self) -> EngineInfo:
        return replace(await super().info(), kind="kubernetes", gpu_driver=False)


def instance(folder: Path, **values: Any) -> TaskInstance:
    host = {"host_path": str(folder)}
    return TaskInstance.model_validate(
        {
            "name": "x", "image": "r/a:1", "taskTemplate": "t", "identifier": "t",
            "description": "",
            "inputs": [
                {"name": "a", "mounted_path": "/a", "volume_source": host},
                {"name": "b", "mounted_path": "/b", "volume_source": CLAIM},
            ],
            "config": {"type": "k8s", "namespace": "n", "labels": {"l": "1", "lading.run": "x"}},
            **values,
        }
    )  # fmt: skip


async def test_a_task_on_a_cluster(tmp_path: Path) -> None:
    limits = {"memory": "1Gi", "cpu": "2", "gpu": 1, "ephemeral-storage": "1Gi"}
    task = instance(tmp_path, resources={"limits": limits, "requests": {"amd.com/x": "1"}})
    async with FakeCluster() as engine:
        planned = await plan(engine, task, IMAGE, Circumstances(runtime="kata"))
    spec = planned.container_spec({"lading.run": "ours"}, name="n-1")
    assert (spec.image, spec.name, spec.runtime) == ("r/a@sha256:2", "n-1", "kata")
    assert spec.labels == {"l": "1", "lading.run": "ours"}
    assert spec.mounts == (Mount(str(tmp_path), "/a"),)
    assert spec.volumes == (Volume(CLAIM, "/b"),)
    assert (spec.limits.cpus, spec.limits.memory) == (2, 1024 * MIB)
    assert spec.gpus is None, "a cluster chooses them"
    assert spec.placement is not None
    assert spec.placement.namespace == "n"
    assert spec.placement.limits == {"nvidia.com/gpu": "1", "ephemeral-storage": "1Gi"}
    assert spec.placement.requests == {"amd.com/x": "1"}
    assert planned.needs.notes == ()
    assert (planned.cluster, planned.digest) == (True, "r/a@sha256:2")


async def test_paths_of_a_node(tmp_path: Path) -> None:
    async with FakeCluster() as engine:
        planned = await plan(engine, instance(tmp_path), IMAGE, Circumstances(node_paths=True))
    assert planned.channels == ()
    here = {"hostPath": {"path": str(tmp_path), "type": "Directory"}}
    assert [volume.source for volume in planned.volumes] == [here, CLAIM]


async def test_a_machine_ignores_what_is_of_a_cluster(tmp_path: Path) -> None:
    task = instance(tmp_path)
    task.inputs.pop()
    async with FakeEngine() as engine:
        planned = await plan(engine, task, replace(IMAGE, reference=""), Circumstances())
        with pytest.raises(NotSupported, match="no OCI runtime 'kata'"):
            await plan(engine, task, IMAGE, Circumstances(runtime="kata"))
    spec = planned.container_spec({})
    assert (spec.image, spec.placement, spec.volumes) == ("sha256:1", None, ())
    assert spec.limits == Limits(pids=4096)


def test_resources_that_only_a_cluster_knows() -> None:
    declared = Resources(limits={"memory": "1Mi", "hugepages-2Mi": "4Mi", "nvidia.com/gpu": "2"})
    found = needs(declared, [], cluster=True)
    assert found.more_limits == {"hugepages-2Mi": "4Mi", "nvidia.com/gpu": "2"}
    assert (found.notes, found.more_requests) == ((), {})
    alone = needs(declared, [])
    assert alone.more_limits == {}
    assert "hugepages-2Mi" in alone.notes[0]
