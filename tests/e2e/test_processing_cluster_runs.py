"""Processing-containers on a real cluster: what a config says, what is refused, how it ends."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.support.command_line import Cli, failed, lines_until
from tests.support.processing import Tasks
from tests.support.spaces import Space, space

pytestmark = pytest.mark.kubernetes
pytestmark = pytest.mark.kubernetes
MIB = 1 << 20
IMPATIENT = ("--cluster-patience", "5")


@pytest.fixture
def cli(on_cluster: Cli) -> Cli:
    return on_cluster


# The config.


def test_a_config_of_a_cluster(cli: Cli, tasks: Tasks, there: Space, test_id: str) -> None:
    with space(f"{test_id}-b") as other:
        other.kubectl("create", "serviceaccount", "runner", "-n", other.name)
        node = {"field_ref": {"field_path": "spec.nodeName"}}
        config = {
            "type": "k8s",
            "namespace": other.name,
            "labels": {"project": "july"},
            "annotations": {"why": "a text, of any kind"},
            "registryUrl": "registry.example",
            "registryUsername": "u",
            "registryPassword": "p",
            "imagePullSecrets": ["another"],
            "env_vars": [{"name": "NODE", "value_from": node}],
            "volumes": [{"name": "more", "emptyDir": {}}],
            "volume_mounts": [{"name": "more", "mountPath": "/more"}],
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "serviceAccountName": "runner",
        }  # fmt: skip
        limits = {"resources": {"limits": {"memory": "32Mi"}}}
        task = tasks("sleep", "60", config=config, template=limits)
        with cli.started("run", task) as process:
            pod = other.runs()
            spec, meta = pod["spec"], pod["metadata"]
            (main,) = spec["containers"]
            assert there.pods() == []
            assert meta["labels"]["project"] == "july"
            assert meta["labels"]["lading.contract"] == "processing"
            assert meta["annotations"]["why"] == "a text, of any kind"
            assert main["env"][-1]["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName"
            assert any(item["mountPath"] == "/more" for item in main["volumeMounts"])
            assert main["resources"]["limits"] == {"memory": str(32 * MIB)}
            assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
            assert any(item.get("key") == "gpu" for item in spec["tolerations"])
            assert spec["serviceAccountName"] == "runner"
            (secret,) = other.secrets()
            assert {"another", secret} == {item["name"] for item in spec["imagePullSecrets"]}
            owner = other.kubectl.json("get", "secret", secret, "-n", other.name)
            assert owner["metadata"]["ownerReferences"][0]["uid"] == meta["uid"]
            # Another command finds it, though its namespace is not the engine's.
            done = cli("stop", cli.json("ps", "--all")[0]["run"], "--grace", "1")
            assert done.returncode == 0, done.stderr
            assert process.wait(60) in (137, 143)
        assert other.pods() == []
        assert other.secrets() == []


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"tolerations": "gpu"}, "config.tolerations: must be a list, not a text"),
        ({"nodeSelector": {"a": 1}}, "config.nodeSelector.a: must be a text, not a number"),
        ({"volumes": [3]}, "config.volumes[0]: must be an object, not a number"),
        ({"registryUrl": "r", "registryUsername": "u"}, "has no registryPassword"),
    ],
)
def test_a_config_of_wrong_types(cli: Cli, tasks: Tasks, config: Any, says: str) -> None:
    failed(cli("run", tasks("exit", "0", config={"type": "k8s", **config})), 2, says)
    assert cli.recorded() == []


def test_a_field_that_nobody_understands_is_told(cli: Cli, tasks: Tasks) -> None:
    done = cli("run", tasks("exit", "0", config={"type": "k8s", "nodeSelektor": {}}))
    assert done.returncode == 0, done.stderr
    assert b"config.nodeSelektor is not understood and left out" in done.stderr


# What a cluster refuses, or has not.


def test_resources_that_no_node_has(cli: Cli, tasks: Tasks, there: Space) -> None:
    limits = {"nvidia.com/gpu": "1", "ephemeral-storage": "1Gi", "memory": str(32 * MIB)}
    task = tasks("exit", "0", template={"resources": {"limits": limits}})
    with cli.started("run", task, *IMPATIENT) as process:
        (main,) = there.pod()["spec"]["containers"]
        _, told = process.communicate(timeout=90)
    assert main["resources"]["limits"] == limits, "all of them are the cluster's to give"
    assert process.returncode == 75, told
    assert b"told: waits: 0/1 nodes are available" in told
    assert b"Insufficient nvidia.com/gpu" in told.rpartition(b"error: ")[2]
    assert there.pods() == []


def test_an_image_that_is_nowhere(cli: Cli, tasks: Tasks) -> None:
    tasks.image = "registry.invalid/none:1"
    done = cli("run", tasks("exit", "0"), *IMPATIENT)
    assert done.returncode in (66, 69)
    assert b"registry.invalid" in done.stderr


def test_who_may_not(cli: Cli, tasks: Tasks, there: Space, tmp_path: Path) -> None:
    """The missing permission is named."""
    there.kubectl("create", "serviceaccount", "nobody", "-n", there.name)
    config = json.loads(there.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    config["users"][0]["user"] = {"token": there.kubectl.token(there.name, "nobody")}
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    nobody = Cli(cli.engine, cli.state, more={**cli.more, "KUBECONFIG": str(path)})
    done = nobody("run", tasks("exit", "0"))
    failed(done, 77, "pods", there.name)
    assert b'resources: ["pods"], verbs: ["' in done.stderr, "a rule to ask for"
    config["users"][0]["user"] = {"token": "expired"}
    path.write_text(json.dumps(config))
    failed(nobody("run", tasks("exit", "0")), 77)


def test_a_quota(cli: Cli, tasks: Tasks, there: Space) -> None:
    there.kubectl("create", "quota", "small", "--hard=pods=0", "-n", there.name)
    done = cli("run", tasks("exit", "0"))
    assert done.returncode != 0
    assert b"exceeded quota: small" in done.stderr
    assert there.pods() == []


# While it runs, and afterwards.


def test_detached_it_goes_on(cli: Cli, tasks: Tasks, there: Space, tmp_path: Path) -> None:
    task = tasks("lines", "30", "100", outputs={"o": tmp_path / "out"})
    run = cli("run", "--detach", task).stdout.decode().strip()
    pod = there.pod()
    (row,) = cli.json("ps")
    assert (row["run"], row["state"]) == (run, "running")
    assert row["container"] == pod["metadata"]["name"]
    followed = cli("logs", "--follow", run)
    assert followed.stdout == b"".join(b"line %d\n" % n for n in range(1, 31))
    done = cli("wait", run)
    assert (done.returncode, done.stdout) == (0, b"0\n"), done.stderr
    assert there.pods() == []
    assert cli("logs", run).stdout == followed.stdout, "a day later, too"
    known = cli.json("inspect", run)
    assert known["state"] == "succeeded"
    assert known["image_digest"]


def test_out_of_memory(cli: Cli, tasks: Tasks) -> None:
    limits = {"resources": {"limits": {"memory": "32Mi"}}}
    done = cli("run", tasks("hog", str(64 * MIB), template=limits))
    failed(done, 137, "told was killed: out of memory, limit 32 MiB", "try --memory 64Mi")


def test_a_pod_that_somebody_deletes(cli: Cli, tasks: Tasks, there: Space) -> None:
    with cli.started("run", tasks("sleep", "60")) as process:
        name = there.runs()["metadata"]["name"]
        there.kubectl("delete", "pod", name, "-n", there.name, "--grace-period=1")
        assert process.wait(60) != 0
        assert process.stderr is not None
        told = process.stderr.read().decode()
    assert "removed" in told or "deleted" in told
    (run,) = cli.recorded()
    assert run["state"] in ("lost", "failed")


def test_ctrl_c(cli: Cli, tasks: Tasks, there: Space) -> None:
    with cli.started("run", tasks("sleep", "60")) as process:
        lines_until(process.stderr, b": running")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert there.pods() == []
    assert cli.recorded()[0]["state"] == "cancelled"


def test_what_a_killed_process_left_is_swept_wherever_it_is(
    cli: Cli, tasks: Tasks, test_id: str
) -> None:
    with space(f"{test_id}-b") as other:
        config = {"type": "k8s", "namespace": other.name}
        with cli.started("run", tasks("sleep", "600", config=config)) as process:
            lines_until(process.stderr, b": running")
            process.kill()
            process.wait(30)
        assert len(other.pods()) == 1
        done = cli("rm", "--all")
        assert done.returncode == 0, done.stderr
        assert other.pods() == []
        assert cli.recorded()[0]["state"] == "lost"


def test_what_a_cluster_can_not_tell_is_said(cli: Cli, tasks: Tasks, tmp_path: Path) -> None:
    for name, size in (("s", 1), ("l", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(bytes(size))
    task = tasks("exit", "0", inputs={"x": tmp_path / "s"})
    directories = [str(tmp_path / "s"), str(tmp_path / "l")]
    failed(cli("profile", task, "--inputs", *directories), 69, "profile it with Docker or Podman")
    measured = cli.json("run", "-q", "--monitor", task)["measurement"]
    assert measured["suggestions"] == []
    assert "every 15 seconds or so" in measured["notes"][0]


def test_a_folder_has_to_be_built_elsewhere(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "processing-container.json").write_text("{}")
    (folder / "Dockerfile").write_text("FROM scratch\n")
    failed(cli("run", str(folder)), 69, "build")
