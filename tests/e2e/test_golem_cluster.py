"""`lading golem` on a real cluster: requestor and providers as pods, no volume shared with us."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.images.golem import ensure_golem_image
from tests.support.command_line import Cli, failed
from tests.support.deployed import Space, space
from tests.support.golem import Golem
from tests.support.printed import ROOT

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(400)]

FRACTAL = ROOT / "examples/golem/fractal"
PROBE = ROOT / "tests/images/golem_probe"
PICTURE = {
    "width": 160,
    "height": 120,
    "tiles": 3,
    "center": [-0.743, 0.131],
    "scale": 0.02,
    "iterations": 300,
}


@pytest.fixture
def cluster(test_id: str) -> Iterator[Space]:
    with space(test_id) as made:
        yield made


@dataclass
class ClusterGolem(Golem):
    """Runs tasks on the test's cluster, whose nodes have Docker's images."""

    docker: str = ""

    @property
    def image(self) -> str:
        return ensure_golem_image(self.docker, PROBE)


@pytest.fixture
def golem(cluster: Space, tmp_path: Path, docker_host: str) -> ClusterGolem:
    cli = Cli(cluster.address, tmp_path / "state", more=cluster.env)
    return ClusterGolem(cli, tmp_path, docker=docker_host)


def pods(cluster: Space, side: str) -> list[Any]:
    return [
        pod
        for pod in cluster.pods()
        if pod["metadata"]["labels"].get("lading.golem.side") == side
        and pod["status"].get("phase") == "Running"
    ]


def test_the_fractal_of_a_cluster_is_that_of_docker(
    golem: ClusterGolem, cluster: Space, docker_host: str, tmp_path: Path
) -> None:
    image = ensure_golem_image(docker_host, FRACTAL)
    pictures = []
    for name, cli in (
        ("docker", Cli(docker_host, tmp_path / "docker-state")),
        ("cluster", golem.cli),
    ):
        output = tmp_path / name
        done = cli(
            *("golem", "run", image, "--params", json.dumps(PICTURE), "--output", str(output)),
            *("--nodes", "2", "--max-subtasks", "3", "--json"),
        )
        assert done.returncode == 0, done.stderr.decode()
        told = json.loads(done.stdout)
        assert told["subtasks"] > 1
        assert told["retries"] == 0
        assert [path.name for path in output.iterdir()] == ["fractal.png"]
        pictures.append((output / "fractal.png").read_bytes())
        assert (output / "fractal.png").stat().st_uid == (tmp_path).stat().st_uid
    assert pictures[0] == pictures[1]
    assert cluster.pods() == []
    assert golem.homes() == set()


def test_resources_go_there_and_failures_are_done_again(
    golem: ClusterGolem, cluster: Space
) -> None:
    done = golem("--nodes", "2", parts=3, do={"1": "die-once"})
    assert done.returncode == 0, done.stderr.decode()
    assert sorted(golem.parts()) == [0, 1, 2]
    assert b"ended with exit code 3" in done.stderr
    assert cluster.pods() == []


@pytest.mark.parametrize(
    ("does", "says"),
    [("outside", "leads out of the work directory"), ("missing", "is not there")],
)
def test_results_that_are_none_are_refused(golem: ClusterGolem, does: str, says: str) -> None:
    done = golem("--nodes", "1", "--retries", "0", parts=1, do={"0": does})
    failed(done, 70, says)


def test_a_requestor_that_dies_is_started_again(golem: ClusterGolem, cluster: Space) -> None:
    done = golem("--nodes", "1", parts=2, requestor={"NextSubtask": "die-once"})
    assert done.returncode == 0, done.stderr.decode()
    assert sorted(golem.parts()) == [0, 1]
    assert cluster.pods() == []


def test_a_driver_that_was_killed_is_gone_on_with(golem: ClusterGolem, cluster: Space) -> None:
    do = {"*": "print part {n}", "2": "print part {n}; print there; sleep 600"}
    with golem.started("--nodes", "1", parts=3, do=do, output=None) as process:
        deadline = time.monotonic() + 90
        while "there\n" not in golem.kept_logs():
            assert time.monotonic() < deadline, golem.kept_logs()
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.1)
        process.kill()
        process.wait(30)
    assert len(cluster.pods()) == 2  # the killed one's: requestor and provider
    (state,) = golem.listed()
    assert (state["state"], state["driven"]) == ("stopped", False)
    with golem.cli.started("golem", "resume", state["task"], "--json") as process:
        deadline = time.monotonic() + 90
        while golem.kept_logs().count("there\n") < 2:  # it sleeps again, and is asked for
            assert time.monotonic() < deadline, golem.kept_logs()
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    # Interrupted, it leaves nothing on the cluster; each part before was computed once.
    assert cluster.pods() == []
    counts = [golem.kept_logs().count(f"part {number}\n") for number in range(3)]
    assert counts == [1, 1, 2]
    done = golem.cli("golem", "abort", state["task"])
    assert done.returncode == 0, done.stderr.decode()
    assert cluster.pods() == []


def test_a_provider_whose_pod_is_deleted(golem: ClusterGolem, cluster: Space) -> None:
    with golem.started("--nodes", "1", "--rest", "0", parts=1, do={"0": "sleep 5"}) as process:
        deadline = time.monotonic() + 90
        while not (found := pods(cluster, "provider")):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.2)
        (pod,) = found
        affinity = pod["spec"]["affinity"]["podAntiAffinity"]
        assert affinity["preferredDuringSchedulingIgnoredDuringExecution"]
        cluster.kubectl(
            *("delete", "pod", pod["metadata"]["name"], "-n", cluster.name, "--grace-period=1")
        )
        _, text = process.communicate(timeout=120)
    assert process.returncode == 0, text.decode()
    assert list(golem.parts()) == [0]
    assert b"was removed while it ran" in text
    assert cluster.pods() == []


def test_directories_that_the_nodes_have_too(golem: ClusterGolem, cluster: Space) -> None:
    """Nothing is copied: on one node, ours are its directories."""
    with golem.started("--nodes", "1", "--cluster-files", "node", parts=2) as process:
        deadline = time.monotonic() + 90
        while not (found := pods(cluster, "requestor")):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.2)
        _, text = process.communicate(timeout=120)
    assert process.returncode == 0, text.decode()
    assert sorted(golem.parts()) == [0, 1]
    (pod,) = found
    assert [item["name"] for item in pod["spec"]["containers"]] == ["main"]
    assert "initContainers" not in pod["spec"]
    assert pod["spec"]["containers"][0]["securityContext"]["runAsUser"] == os.getuid()
    assert all(path.stat().st_uid == os.getuid() for path in golem.output.rglob("*"))
    assert cluster.pods() == []


def test_a_benchmark(golem: ClusterGolem, cluster: Space) -> None:
    told = golem.cli.json("golem", "benchmark", golem.image)
    assert told["score"] > 0
    assert cluster.pods() == []


def test_where_nobody_builds_the_way_out_is_said(golem: ClusterGolem, tmp_path: Path) -> None:
    nobody = {**golem.cli.more, "DOCKER_HOST": f"unix://{tmp_path}/nobody"}
    cli = replace(golem.cli, more=nobody)
    done = cli("golem", "run", str(FRACTAL), "--output", str(tmp_path / "o"))
    assert done.returncode != 0
    assert b"Docker" in done.stderr
