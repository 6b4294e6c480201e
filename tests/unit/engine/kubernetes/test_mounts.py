"""What a pod gets for directories of this machine."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from lading.engine.kubernetes.mounts import IN, KEEP, Placed, Rules, place, recall
from lading.engine.spec import Mount
from lading.errors import ConfigError, EngineError


def placed(rules: str, *mounts: Mount, user: str | None = None) -> Placed:
    return place(mounts, Rules.read(rules), helper="busybox:1", user=user)


def test_a_volume_by_the_longest_path() -> None:
    found = placed(
        "/data=pvc:all,/data/big/=pvc:big/sub, /scratch=node:/mnt/s",
        Mount("/data/x", "/a"),
        Mount("/data/big", "/b", read_only=False),
        Mount("/data/big/y/", "/c"),
        Mount("/data", "/d"),
        Mount("/scratch/z", "/e"),
    )
    assert found.volumes == (
        {"name": "lading-claim-1", "persistentVolumeClaim": {"claimName": "all"}},
        {"name": "lading-claim-0", "persistentVolumeClaim": {"claimName": "big"}},
        {"name": "lading-node-4", "hostPath": {"path": "/mnt/s/z"}},
    )
    assert found.mounts == (
        {"name": "lading-claim-1", "subPath": "x", "mountPath": "/a", "readOnly": True},
        {"name": "lading-claim-0", "subPath": "sub", "mountPath": "/b", "readOnly": False},
        {"name": "lading-claim-0", "subPath": "sub/y", "mountPath": "/c", "readOnly": True},
        {"name": "lading-claim-1", "mountPath": "/d", "readOnly": True},
        {"name": "lading-node-4", "mountPath": "/e", "readOnly": True},
    )
    assert (found.init, found.keepers, found.copies) == ((), (), ())


def test_what_is_the_same_files_there() -> None:
    assert Rules.read("copy").shared == ()
    assert Rules.read("").shared == ()
    assert Rules.read("node").shared == ("/",)
    assert Rules.read("/a=pvc:c,/a/b=node:/x").shared == ("/a/b", "/a")


def test_the_nodes_own() -> None:
    found = placed("node", Mount("/data/x", "/a"))
    assert found.volumes == ({"name": "lading-node-0", "hostPath": {"path": "/data/x"}},)


def test_copies(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("x")
    mounts = (
        Mount(str(tmp_path / "d"), "/in"),
        Mount(str(tmp_path / "d"), "/work/out", read_only=False),
        Mount(str(tmp_path / "d"), "/taken", read_only=False, returns=False),
        Mount(str(tmp_path / "f"), "/etc/f"),
    )
    found = placed("copy", *mounts)
    assert found.volumes == ({"name": "lading-files", "emptyDir": {}},)
    assert [mount["subPath"] for mount in found.mounts] == ["0/in", "1/taken", "2/out", "3/f"]
    assert [copy.directory for copy in found.copies] == [True, True, True, False]
    assert [copy.target for copy in found.returning] == ["/work/out"]
    assert [item["name"] for item in (*found.init, *found.keepers)] == [IN, KEEP]
    assert found.copy_of("/work/out/a/../b") == (found.copies[2], PurePosixPath("2/out/b"))
    assert found.copy_of("/in/x") is None
    assert found.copy_of("/elsewhere") is None
    pod = {
        "metadata": {"annotations": found.annotation()},
        "spec": {"containers": [{"name": "main"}, *found.keepers]},
    }
    assert recall(pod).copies == found.copies
    assert recall(pod).keepers == found.keepers
    assert recall({"metadata": {}, "spec": {"containers": []}}) == Placed()


def test_nobody_keeps_what_can_only_be_read(tmp_path: Path) -> None:
    found = placed("copy", Mount(str(tmp_path), "/in"))
    assert (len(found.init), found.keepers) == (1, ())


def test_who_copies(tmp_path: Path) -> None:
    """A numbered user's own helper, in namespaces that let no root in."""
    for user, uid, added in ((None, 0, True), ("me", 0, True), ("7:8", 7, False), ("0", 0, True)):
        security = placed("copy", Mount(str(tmp_path), "/in"), user=user).init[0]["securityContext"]
        assert security["runAsUser"] == uid
        assert ("add" in security["capabilities"]) is added
        assert security["capabilities"]["drop"] == ["ALL"]
        assert security.get("runAsNonRoot", False) is not added


def test_what_is_mounted_inside_of_what_is_mounted_comes_after_it() -> None:
    found = placed("node", Mount("/a", "/work/in/deep"), Mount("/b", "/work"), Mount("/c", "/in"))
    assert [mount["mountPath"] for mount in found.mounts] == ["/work", "/in", "/work/in/deep"]


def test_what_can_not_be_copied() -> None:
    with pytest.raises(EngineError, match="/nowhere can't be copied to the cluster: No such file"):
        placed("copy", Mount("/nowhere", "/in"))
    with pytest.raises(EngineError, match="neither a file nor a directory"):
        placed("copy", Mount("/dev/null", "/in"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("everything", "'everything' can't be understood"),
        ("data=pvc:c", "'data=pvc:c' can't be understood"),
        ("/data=nfs:x", "'/data=nfs:x' can't be understood"),
        ("/data=pvc:", "names no claim"),
        ("/data=node:x", "names no path of a node"),
    ],
)
def test_rules_that_are_none(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        Rules.read(text)
    assert "pvc:CLAIM" in error.value.fix
