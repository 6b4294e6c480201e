"""Processing-containers on a real cluster: what only a cluster has, and what only it can refuse."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support import engines
from tests.support.command_line import Cli, failed
from tests.support.docker_registry import LOGIN, docker_registry, engine_of_a_stranger, log_in
from tests.support.printed import ROOT
from tests.support.processing import Images, Tasks
from tests.support.spaces import Space

pytestmark = pytest.mark.kubernetes
pytestmark = pytest.mark.kubernetes
MIB = 1 << 20
IMPATIENT = ("--cluster-patience", "5")


@pytest.fixture
def cli(on_cluster: Cli) -> Cli:
    return on_cluster


@pytest.fixture
def on_docker(docker_host: str, tmp_path: Path) -> Cli:
    """The command line, on the Docker that is the node's engine."""
    return Cli(docker_host, tmp_path / "other-state")


def channel(known: dict[str, Any], direction: str) -> dict[str, Any]:
    (found,) = [item for item in known["channels"] if item["direction"] == direction]
    return dict(found)


def with_sources(tasks: Tasks, task: str, **sources: dict[str, Any]) -> str:
    """Give the channels of a task file other volumes, by their names."""
    content = json.loads(Path(task).read_text())
    for item in (*content["inputs"], *content["outputs"]):
        item["volume_source"] = sources.get(item["name"], item["volume_source"])
    return tasks.write(content)


# One meaning.


@pytest.mark.parametrize(
    ("rule", "limit"),
    [
        ({"type": "limit", "scale_factor": 10, "mode": "sum"}, 143),
        (
            {
                "type": "limit",
                "complexity": "10*n",
                "mode": "max_file_size",
                "target_glob": "*.dcm",
            },
            110,
        ),
        ({"type": "limit", "scale_factor": 20, "mode": "max_item_sum", "target_dir": "deep"}, 66),
    ],
)
def test_the_same_file_means_the_same(
    cli: Cli, on_docker: Cli, tasks: Tasks, there: Space, tmp_path: Path, rule: Any, limit: int
) -> None:
    """Results, sizes and limits, from a directory here and from a volume of the cluster."""
    for name, size in (("one/big.dcm", 10), ("one/deep/a", 3)):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size * MIB)
    template = {
        "inputs": [{"name": "in", "mounted_path": "/in", "scale_rule": rule}],
        "resources": {"limits": {"memory": "32Mi", "cpu": "500m"}},
    }
    task = tasks(
        "write", "/out/out/a", "done", template=template,
        inputs={"in": tmp_path / "in"}, outputs={"out": "OUT"},
    )  # fmt: skip
    claim = there.claim("data", tmp_path / "in")
    for name, run, file in (
        ("docker", on_docker, task),
        ("copied", cli, task),
        ("claimed", cli, with_sources(tasks, task, **{"in": claim})),
    ):
        out = tmp_path / name
        known = run.json("run", "-q", file, "--output", f"out={out}")
        assert (out / "a").read_text() == "done"
        assert (out / "a").stat().st_uid == os.geteuid()
        assert (known["memory_limit"], known["cpus"]) == (limit * MIB, 0.5)
        assert channel(known, "output")["files"] == 1
        inspected = run.json("inspect", known["run"])
        assert [item["size"] for item in inspected["requirements"]] == [
            {143: 13, 110: 10, 66: 3}[limit] * MIB
        ]
        assert channel(known, "input")["bytes"] == (None if name == "claimed" else 13 * MIB)


# Volumes of the cluster.


def test_a_claim_as_input_and_output(cli: Cli, tasks: Tasks, there: Space, tmp_path: Path) -> None:
    (tmp_path / "data/in").mkdir(parents=True)
    (tmp_path / "data/in/a").write_text("what is given")
    claim = there.claim("data", tmp_path / "data")
    at = {"inputs": {"x": "IN"}, "outputs": {"y": "OUT"}}
    sources = {"x": {**claim, "subPath": "in"}, "y": {**claim, "subPath": "out"}}
    task = with_sources(tasks, tasks("cat", "/in/x/a", **at), **sources)
    assert cli("run", "-q", "--watch", task).stdout == b"what is given"
    task = with_sources(tasks, tasks("write", "/out/y/b", "made", **at), **sources)
    done = cli("run", task)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data/out/b").read_text() == "made"
    assert b"y: in persistentVolumeClaim data/out" in done.stderr
    task = with_sources(tasks, tasks("write", "/in/x/b", "no", **at), **sources)
    done = cli("run", "--watch", task)
    assert done.returncode == 70
    assert b"Read-only file system" in done.stdout + done.stderr
    run = cli.recorded()[0]["run"]
    shown = cli("inspect", run).stdout.decode()
    assert "persistentVolumeClaim data/in, at /in/x" in shown


@pytest.mark.parametrize("how", ["node", "claim", "copy"])
def test_directories_of_this_machine(
    cli: Cli, tasks: Tasks, there: Space, tmp_path: Path, how: str
) -> None:
    """Copied, on the node under the same path, or on a volume that this machine has, too."""
    (tmp_path / "data/in").mkdir(parents=True)
    (tmp_path / "data/in/a").write_bytes(b"x" * 10 * MIB)
    there.claim("data", tmp_path / "data")
    way = {"claim": f"{tmp_path}/data=pvc:data"}.get(how, how)
    rule = {"scale_factor": 10, "type": "limit", "mode": "sum"}
    template = {"inputs": [{"name": "x", "mounted_path": "/in/x", "scale_rule": rule}]}
    at = {"inputs": {"x": tmp_path / "data/in"}, "outputs": {"y": tmp_path / "data/new/out"}}
    task = tasks("write", "/out/y/b", "made", template=template, **at)
    known = cli.json("run", "-q", "--cluster-files", way, task)
    made = tmp_path / "data/new/out/b"
    assert (made.read_text(), made.stat().st_uid) == ("made", os.geteuid())
    assert known["memory_limit"] == 110 * MIB
    assert channel(known, "input")["bytes"] == 10 * MIB
    assert (channel(known, "output")["files"], channel(known, "output")["bytes"]) == (1, 4)


def test_a_claim_that_is_not_there(cli: Cli, tasks: Tasks) -> None:
    """The pod waits, says for what, and is given up."""
    task = tasks("exit", "0", inputs={"x": "IN"})
    missing = {"persistentVolumeClaim": {"claimName": "none-such"}}
    done = cli("run", with_sources(tasks, task, x=missing), *IMPATIENT)
    failed(done, 75, 'persistentvolumeclaim "none-such" not found')
    assert b"told: waits: " in done.stderr
    (run,) = cli.recorded()
    assert run["state"] == "failed"
    assert "none-such" in run["error"]


def test_a_chain_over_claims_and_copies(
    cli: Cli, tasks: Tasks, there: Space, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    claim = there.claim("disk", tmp_path / "disk")
    folder = tmp_path / "steps"
    folder.mkdir()

    def step(name: str, *verb: str, **at: Any) -> str:
        path = folder / f"{name}.json"
        path.write_text(Path(tasks(*verb, **at)).read_text())
        return str(path)

    first = step("a", "write", "/out/o/f", "from a", outputs={"o": "OUT"})
    Path(first).write_text(Path(with_sources(tasks, first, o=claim)).read_text())
    files = [
        first,
        step("b", "cat", "/in/i/f", inputs={"i": "IN"}),
        step("c", "write", "/out/o/f", "from c", template={"outputs": [
            {"name": "o", "mounted_path": "/out/o"}]}),
        step("d", "cat", "/in/i/f", inputs={"i": "IN"}),
    ]  # fmt: skip
    work = tmp_path / "work"
    maps = ("--map", "a:o=b:i", "--map", "c:o=d:i")
    done = cli("run", *files, *maps, "--watch", "--work", str(work), "--parallel", "4")
    assert done.returncode == 0, done.stderr
    shown = done.stdout + done.stderr
    assert b"b | from a" in shown
    assert b"d | from c" in shown
    assert (tmp_path / "disk/f").read_text() == "from a"
    assert (work / "c/o/f").read_text() == "from c"
    again = cli.json("run", *files, *maps, "--work", str(work), "--resume")
    states = {item["step"]: item["state"] for item in again["steps"]}
    assert states == {"a": "succeeded", "b": "succeeded", "c": "unchanged", "d": "unchanged"}, (
        "nobody sees from here what is on a claim"
    )


# Images.


def test_a_template_is_read_out_of_the_image(
    cli: Cli, tasks: Tasks, images: Images, there: Space, tmp_path: Path
) -> None:
    one = {"identifier": "say", "command": ["/probe", "echo", "hello"]}
    image = images.container(one)
    done = cli("run", image, "--template", "say", "-q", "--watch")
    assert done.stdout == b"hello\n", done.stderr
    assert there.pods() == []
    kept = [path.name for path in (cli.state / "containers").iterdir()]
    assert kept == [images.id().removeprefix("sha256:")], "by digest, never by tag"
    known = cli.json("inspect", cli.recorded()[0]["run"])
    assert images.id().removeprefix("sha256:") in known["image_digest"]
    images.container({**one, "command": ["/probe", "echo", "moved"]})
    done = cli("run", image, "--template", "say", "-q", "--watch")
    assert done.stdout == b"moved\n", done.stderr
    failed(cli("run", image, "--template", "sing"), 2, "has no template 'sing'", "it has: 'say'")


# The examples.


@pytest.mark.timeout(400)  # where the base image has to be made first
def test_the_examples_run_on_a_cluster_by_one_option(
    on_docker: Cli, there: Space, tmp_path: Path
) -> None:
    """Built with Docker; made and measured there, and on the cluster: the same report."""
    if engines.call(on_docker.engine, "GET", "/images/python:3.11-slim/json")[0] != 200:
        subprocess.run([ROOT / "scripts/base-image", "python:3.11-slim"], check=True)
    reports = {}
    for name, options in (("docker", ()), ("cluster", ("--engine", there.engine))):
        folder = tmp_path / name
        shutil.copytree(ROOT / "examples/processing", folder)
        cli = replace(on_docker, folder=folder)
        for built in ("make-signals", "measure-signals"):
            done = cli("build", built, "--quiet")
            assert done.returncode == 0, done.stderr
        for file in ("make.json", "measure.json"):
            done = cli("run", file, *options)
            assert done.returncode == 0, done.stderr
        report = folder / "data/report"
        reports[name] = {path.name: path.read_bytes() for path in report.iterdir()}
        shutil.rmtree(folder / "data")
        maps = ("--map", "make:signals=measure:signals", "--map", "make:labels=measure:labels")
        done = cli("run", "make.json", "measure.json", *maps, *options)
        assert done.returncode == 0, done.stderr
        chained = {path.name: path.read_bytes() for path in report.iterdir()}
        assert chained == reports[name]
    assert reports["cluster"] == reports["docker"] != {}


@pytest.mark.registry
async def test_a_private_image_with_the_credentials_of_its_task(
    cli: Cli, tasks: Tasks, images: Images, docker_host: str, there: Space, tmp_path: Path
) -> None:
    """Its template is read, it is pulled and run; nothing of the credentials stays."""
    one = {"identifier": "say", "command": ["/probe", "echo", "from afar"]}
    async with docker_registry(login=True) as registry:
        log_in(tmp_path, registry)
        private = f"{registry.host}/say:1"
        async with engine_of_a_stranger(docker_host, tmp_path) as docker:
            await docker.tag(images.container(one), private)
            try:
                digest = await docker.push(private)
            finally:
                await docker.remove_image(private)
        # Docker would find it by its id, too, wherever it came from.
        images.remove()
        images.made.clear()
        login = dict(zip(("registryUsername", "registryPassword"), LOGIN, strict=True))
        config = {"type": "k8s", "registryUrl": registry.host, **login}
        task = {"name": "told", "image": private, "taskTemplate": "say", "config": config}
        run = ("run", "-q", "--watch")
        try:
            done = await asyncio.to_thread(cli, *run, tasks.write(task))
            assert (done.returncode, done.stdout) == (0, b"from afar\n"), done.stderr
            (recorded,) = await asyncio.to_thread(cli.recorded)
            known = await asyncio.to_thread(cli.json, "inspect", recorded["run"])
            assert known["image_digest"] == f"{registry.host}/say@{digest}"
            assert there.secrets() == []
            assert LOGIN[1] not in json.dumps(known)
        finally:
            # By force: the node keeps what is left of containers for a while.
            for name in (private, f"{registry.host}/say@{digest}"):
                target = f"/images/{name}?force=1"
                await asyncio.to_thread(engines.call, docker_host, "DELETE", target)
        wrong = {**config, "registryPassword": "wrong"}
        other = tasks.write({**task, "config": wrong})
        failed(await asyncio.to_thread(cli, "run", other, *IMPATIENT), 77, registry.host)
