"""Channels that are volumes of a cluster: as task files have them, and as a pod gets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lading.contracts.processing.channels import channels_of, channels_on_cluster
from lading.contracts.processing.task import TaskInstance
from lading.contracts.processing.volumes import VolumeChannel
from lading.engine import Volume
from lading.errors import InputError

CLAIM = {"persistentVolumeClaim": {"claimName": "data"}}


def instance(
    inputs: dict[str, Any] | None = None, outputs: dict[str, Any] | None = None
) -> TaskInstance:
    """An instance with channels at ``/<direction>/<name>``."""
    channels = {
        direction: [
            {"name": name, "mounted_path": f"/{direction}/{name}", "volume_source": source}
            for name, source in (given or {}).items()
        ]
        for direction, given in (("inputs", inputs), ("outputs", outputs))
    }
    return TaskInstance.model_validate(
        {"name": "x", "image": "i", "taskTemplate": "t", "identifier": "t", "description": "",
         **channels}
    )  # fmt: skip


def volumes(*, node_paths: bool = False, **channels: Any) -> tuple[VolumeChannel, ...]:
    return channels_on_cluster(instance(**channels), node_paths=node_paths)[1]


def test_a_volume_of_a_cluster_becomes_one_of_the_pod() -> None:
    inside = {**CLAIM, "subPath": "july/in"}
    found = volumes(inputs={"in": inside}, outputs={"out": CLAIM})
    assert [str(one) for one in found] == ["input channel 'in'", "output channel 'out'"]
    assert [one.as_volume() for one in found] == [
        Volume(CLAIM, "/inputs/in", read_only=True, sub_path="july/in"),
        Volume(CLAIM, "/outputs/out", read_only=False),
    ]
    assert found[1].as_volume(target="/elsewhere").read_only, "whoever only looks"
    described = found[0].described()
    assert described["path"] == "persistentVolumeClaim data/july/in"
    assert (described["bytes"], described["files"]) == (None, None)


@pytest.mark.parametrize(
    "source",
    [
        {"persistent_volume_claim": {"claim_name": "data"}},
        {"persistentVolumeClaim": {"claimName": "data"}, "name": "x"},
        {"persistentVolumeClaim": {"claimName": "data"}, "nfs": None},
    ],
)
def test_a_source_by_other_names(source: dict[str, Any]) -> None:
    (found,) = volumes(inputs={"in": source})
    assert found.source == CLAIM


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ({"nfs": {"server": "files", "path": "/data"}}, "nfs /data"),
        ({"emptyDir": {}}, "emptyDir"),
        ({"configMap": {"name": "settings"}}, "configMap settings"),
        ({"csi": {"driver": "s3", "volumeAttributes": {"bucket_name": "b"}}}, "csi s3"),
        ({"hostPath": {"path": "/data/in"}}, "hostPath /data/in"),
    ],
)
def test_where_it_is_in_words(source: dict[str, Any], place: str) -> None:
    (found,) = volumes(inputs={"in": source})
    assert (found.place, found.source) == (place, source), "keys of the user's stay as they are"


def test_a_host_path_is_a_directory_of_this_machine_or_of_the_node(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    task = instance(
        {"a": {"host_path": str(tmp_path / "in")}, "b": CLAIM},
        {"c": {"host_path": str(tmp_path / "new")}},
    )
    here, there = channels_on_cluster(task, node_paths=False)
    assert [one.path for one in here] == [tmp_path / "in", tmp_path / "new"]
    assert [one.name for one in there] == ["b"]
    here, there = channels_on_cluster(task, node_paths=True)
    assert here == ()
    assert [one.source for one in there] == [
        {"hostPath": {"path": str(tmp_path / "in"), "type": "Directory"}},
        CLAIM,
        {"hostPath": {"path": str(tmp_path / "new"), "type": "DirectoryOrCreate"}},
    ]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"persistentVolumeClaim": {"claimName": "a"}, "nfs": {}}, "is not the source of one"),
        ({"persistentVolumeClaim": "a"}, "persistentVolumeClaim is not the source of one"),
        ({"name": "x"}, "nothing is not the source of one"),
        ({**CLAIM, "subPath": "../out"}, r"subPath: '../out' is no path below the volume"),
        ({**CLAIM, "subPath": "/out"}, r"subPath: '/out' is no path below"),
        ({**CLAIM, "subPath": 3}, "subPath: 3 is no path below"),
    ],
)
def test_what_is_no_volume(source: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as told:
        volumes(inputs={"in": source})
    assert "input channel 'in'.volume_source" in str(told.value)


def test_what_is_no_path_of_a_node() -> None:
    for path in ("in", "./in", "~/in"):
        with pytest.raises(InputError, match="is no path of a node"):
            volumes(inputs={"in": {"host_path": path}}, node_paths=True)
    with pytest.raises(InputError, match="no directory of data"):
        volumes(outputs={"out": {"host_path": "/proc/x"}}, node_paths=True)
    with pytest.raises(InputError, match="the directory /nowhere/at/all does not exist"):
        channels_on_cluster(instance({"in": {"host_path": "/nowhere/at/all"}}), node_paths=False)


def test_two_at_one_place() -> None:
    two = instance({"a": CLAIM, "b": CLAIM})
    two.inputs[1].mounted_path = "/inputs/a/"
    with pytest.raises(InputError, match="where input channel 'a' is mounted already"):
        channels_on_cluster(two, node_paths=False)


def test_an_engine_of_one_machine_has_no_such_volumes() -> None:
    with pytest.raises(InputError, match="persistentVolumeClaim, which only a cluster has"):
        channels_of(instance({"a": CLAIM}))
