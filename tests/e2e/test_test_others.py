"""`lading test` of processing-containers and of Golem applications."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.e2e.conftest import both_engines
from tests.images.golem import ensure_golem_base
from tests.support import engines
from tests.support.command_line import Cli, documented, failed, lines_until
from tests.support.golem import Golem
from tests.support.processing import Json

_GOLEM_PROBE = Path(__file__).parents[1] / "images/golem_probe"


def remove_image(host: str, tag: str) -> None:
    engines.call(host, "DELETE", f"/images/{quote(tag, safe='')}?force=1")


def scratch_left() -> set[str]:
    return {path.name for path in Path(os.environ["TMPDIR"]).glob("lading-test-*")} - {
        path.name for path in Path(os.environ["TMPDIR"]).glob("lading-test-probe-*")
    }


# Processing-containers.


class Folder:
    """The folder of a processing-container of the probe: `folder.offers("write", ...)`."""

    def __init__(self, path: Path, probe: str) -> None:
        self.path = path
        (path / "example").mkdir(parents=True)
        (path / "Dockerfile").write_text(f"FROM {probe}\nCOPY processing-container.json /\n")
        self.offers("write", "/out/out/file.txt", "text")

    def offers(self, *verb: str, inputs: tuple[str, ...] = (), **template: Any) -> None:
        """Say what it offers: one template, with an output `out`."""
        offered: Json = {
            "identifier": "probe",
            "description": "Does as it is told.",
            "inputs": [{"name": name, "mounted_path": f"/in/{name}"} for name in inputs],
            "outputs": [{"name": "out", "mounted_path": "/out/out"}],
            "env": [],
            "command": ["/probe", *verb],
            **template,
        }
        content = {"name": "offers", "description": "Offers.", "templates": [offered]}
        (self.path / "processing-container.json").write_text(json.dumps(content))

    def example(self, **files: bytes) -> None:
        """Write files: `folder.example(inputs__in__a=b"1")`."""
        for name, content in files.items():
            path = self.path / "example" / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@pytest.fixture
def folder(engine_host: str, tmp_path: Path, probe: str, test_id: str) -> Iterator[Folder]:
    made = Folder(tmp_path / f"try-{test_id}", probe)
    yield made
    remove_image(engine_host, f"lading-task/{made.path.name}:dev")


@both_engines
def test_a_processing_container_gives_what_its_example_says(lading: Cli, folder: Folder) -> None:
    folder.offers("write", "/out/out/file.txt", "text", inputs=("in",))
    folder.example(inputs__in__a=b"1")
    (folder.path / "example/outputs/out").mkdir(parents=True)
    (folder.path / "example/outputs/out/file.txt").write_bytes(b"text\n")
    done = lading("test", str(folder.path))
    assert done.returncode == 0, done.stderr
    first, *figures = done.stdout.decode().splitlines()
    assert first == f"{folder.path.name}: passed (1 file as the example has them)"
    assert [line.split()[0] for line in figures] == [
        "ended", "memory", "processor", "image", "run",
    ]  # fmt: skip
    report = lading.json("test", str(folder.path), "--repeat", "2", "-q")
    assert set(report) == documented("test", "a processing-container")
    assert (report["passed"], len(report["seconds"]), report["exit_code"]) == (True, 2, 0)
    assert report["files"] == [{"channel": "out", "path": "file.txt", "likeness": "space"}]
    assert {run["state"] for run in lading.recorded()} == {"succeeded"}
    assert scratch_left() == set()
    assert {p.name for p in (folder.path / "example").iterdir()} == {"inputs", "outputs"}


@both_engines
def test_a_processing_container_that_gives_something_else(lading: Cli, folder: Folder) -> None:
    folder.example(outputs__out__gone=b"")
    (folder.path / "example/outputs/out/file.txt").write_bytes(b"tixt")
    done = lading("test", str(folder.path))
    assert done.returncode == 70
    text = done.stderr.decode()
    assert "is not what the example says: out/file.txt differs: line 1 differs, and 1 more" in text
    assert "  -tixt\n  +text\n" in text
    assert "out/gone: is missing" in text
    assert "--update` makes it the example" in text
    report = json.loads(lading("test", str(folder.path), "--json").stdout)
    assert (report["passed"], "-tixt" in report["diff"]) == (False, True)
    update = lading("test", str(folder.path), "--update")
    assert update.returncode == 0, update.stderr
    assert b"what came out of out is the example now" in update.stdout
    outputs = folder.path / "example/outputs/out"
    assert [path.name for path in outputs.iterdir()] == ["file.txt"]
    assert lading.json("test", str(folder.path), "--exact")["passed"] is True


def test_what_a_task_file_of_the_example_says_holds(lading: Cli, folder: Folder) -> None:
    folder.offers("write", "/out/out/file.txt", "text", inputs=("in", "large"))
    (folder.path / "large").mkdir()
    large = {"name": "large", "volume_source": {"host_path": "large"}}
    task = {
        "name": "from-file",
        "image": "lading-test/absent:1",
        "taskTemplate": "probe",
        "resources": {"limits": {"memory": "40Mi"}},
        "inputs": [large, {"name": "in", "volume_source": {"host_path": "inputs/in"}}],
        "outputs": [{"name": "out", "volume_source": {"host_path": "/nowhere"}}],
    }
    folder.example(inputs__in__a=b"1", outputs__out__b=b"")
    (folder.path / "example/task.json").write_text(json.dumps(task))
    report = lading.json("test", str(folder.path), "--update")
    assert (report["task"], report["memory_limit"]) == ("from-file", 40 << 20)
    assert not Path("/nowhere").exists()


@both_engines
def test_a_processing_container_that_fails(lading: Cli, folder: Folder) -> None:
    folder.example(outputs__out__a=b"")
    folder.offers("exit", "3")
    done = lading("test", str(folder.path), "--json")
    assert done.returncode == 70
    assert "exit code 3" in json.loads(done.stdout)["error"]
    folder.offers("hog", "100000000", resources={"limits": {"memory": "32Mi"}})
    done = lading("test", str(folder.path))
    assert done.returncode == 137
    assert b"raise resources.limits.memory of the template to 64Mi" in done.stderr
    folder.offers("sleep", "60")
    done = lading("test", str(folder.path), "--timeout", "1")
    assert done.returncode == 124
    assert scratch_left() == set()


def test_examples_of_processing_containers_that_cannot_be_used(lading: Cli, folder: Folder) -> None:
    path = str(folder.path)
    failed(lading("test", path), 2, "so there is nothing to compare with", "--update` then")
    folder.example(outputs__other__a=b"")
    failed(lading("test", path), 2, "outputs/other: the template probe has no such channel")
    shutil.rmtree(folder.path / "example/outputs")
    folder.offers("exit", "0", inputs=("in",))
    failed(lading("test", path, "--update"), 2, "inputs/in: there is no such directory")
    failed(lading("test", path, "--concurrency", "2"), 2, "--concurrency: is for task folders")


def test_what_lies_outside_a_folder_is_not_given_to_its_task(
    lading: Cli, folder: Folder, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    folder.offers("write", "/out/out/a", "b", inputs=("in",))
    folder.example(outputs__out__a=b"b")
    (folder.path / "example/inputs").mkdir()
    link = folder.path / "example/inputs/in"
    link.symlink_to(secret)
    failed(lading("test", str(folder.path)), 2, f"{link}: lies outside the folder, in {secret}")
    link.unlink()
    for path in (str(secret), "../secret"):
        volumes = [{"name": "in", "volume_source": {"host_path": path}}]
        task = {"name": "t", "image": "i:1", "taskTemplate": "probe", "inputs": volumes}
        (folder.path / "example/task.json").write_text(json.dumps(task))
        failed(lading("test", str(folder.path)), 2, "lies outside the folder, in ")
    assert lading.recorded() == []


def test_a_processing_container_that_is_interrupted(lading: Cli, folder: Folder) -> None:
    folder.offers("lines", "1000", "100")
    folder.example(outputs__out__a=b"before")
    with lading.started("test", str(folder.path), "--update") as process:
        lines_until(process.stderr, b"line 3")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert lading.left() == set()
    assert scratch_left() == set()
    assert (folder.path / "example/outputs/out/a").read_bytes() == b"before"


# Golem applications.


class Application:
    """The folder of the probe of the Golem Task API."""

    def __init__(self, golem: Golem, path: Path, test_id: str) -> None:
        self.golem, self.path = golem, path
        self.name, self.tag = f"lading-test/{test_id}-app", "1"
        shutil.copytree(_GOLEM_PROBE, path, ignore=shutil.ignore_patterns("__pycache__"))
        definition = {
            "name": self.name,
            "requestor_env": "docker_cpu",
            "requestor_prereq": {"image": self.name, "tag": self.tag},
            "max_benchmark_score": 10.0,
            "version": "0.1.0",
            "description": "Does as it is told.",
        }
        (path / "app.json").write_text(json.dumps(definition))
        self.params(parts=2)

    def params(self, **wanted: Any) -> None:
        content = {"image": self.name, "tag": self.tag, **wanted}
        (self.path / "params.json").write_text(json.dumps(content))

    def __call__(self, *flags: str) -> Any:
        base = ensure_golem_base(self.golem.cli.engine)
        return self.golem.cli("test", str(self.path), "--build-arg", f"BASE={base}", *flags)


@pytest.fixture
def application(golem: Golem, tmp_path: Path, test_id: str) -> Iterator[Application]:
    made = Application(golem, tmp_path / "app", test_id)
    yield made
    remove_image(golem.cli.engine, f"{made.name}:{made.tag}")


@both_engines
@pytest.mark.timeout(300)  # the first one may have to build an image
def test_an_application_computes_its_task(application: Application) -> None:
    golem = application.golem
    (application.path / "resources").mkdir()
    (application.path / "resources/data").write_bytes(b"1")
    done = application("--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report) == documented("test", "a Golem application")
    assert (report["passed"], report["subtasks"], report["results"]) == (True, 2, 3)
    assert golem.homes() == set()
    assert golem.listed() == [], "it was a trial"
    assert scratch_left() == set()
    runs = [run for run in golem.cli.recorded() if run["contract"] == "golem"]
    assert len(runs) == 3, "which is written down, as all runs are"
    done = application()
    first, *figures = done.stdout.decode().splitlines()
    assert first == f"{application.name}: passed (results came)"
    assert [line.split()[0] for line in figures] == ["task", "results", "image"]


@pytest.mark.timeout(300)
def test_an_application_that_has_an_example(application: Application) -> None:
    done = application("--update", "-q")
    assert done.returncode == 0, done.stderr
    outputs = application.path / "example/outputs"
    assert (outputs / "sum").read_bytes() == b"1\n"
    (outputs / "sum").write_bytes(b"7\n")
    done = application("-q")
    assert done.returncode == 70
    assert b"sum differs: 1 instead of 7" in done.stderr
    assert b"  -7\n  +1\n" in done.stderr


@both_engines
@pytest.mark.timeout(300)
def test_an_application_that_fails_is_forgotten(application: Application) -> None:
    golem = application.golem
    application.params(parts=2, do={"1": "raise"})
    done = application()
    assert (done.returncode, done.stdout) == (70, b""), done.stderr
    assert b"raised in 1" in done.stderr
    for word in (b"lading golem resume", b"--retries"):
        assert word not in done.stderr, "nobody goes on with a trial"
    application.params(parts=2, requestor={"CreateTask": "raise"})
    assert application().returncode == 70
    assert (golem.homes(), golem.listed(), scratch_left()) == (set(), [], set())


@pytest.mark.timeout(300)
def test_an_application_that_is_interrupted_is_forgotten(application: Application) -> None:
    golem = application.golem
    application.params(parts=2, do={"*": "hang"})
    base = ensure_golem_base(golem.cli.engine)
    words = ("test", str(application.path), "--build-arg", f"BASE={base}")
    with golem.cli.started(*words) as process:
        while not golem.containers("provider"):  # nothing is printed then
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert golem.cli.left() == set()
    assert (golem.homes(), golem.listed(), scratch_left()) == (set(), [], set())


def test_applications_that_cannot_be_tried(lading: Cli, tmp_path: Path) -> None:
    (tmp_path / "app.json").write_text("{}")
    done = lading("test", str(tmp_path))
    assert done.returncode == 2
    assert b"app.json" in done.stderr
    definition = {
        "name": "x", "requestor_env": "docker_cpu", "requestor_prereq": {"image": "x", "tag": "1"},
        "max_benchmark_score": 1.0,
    }  # fmt: skip
    (tmp_path / "app.json").write_text(json.dumps(definition))
    failed(lading("test", str(tmp_path)), 2, "params.json: there is no such file")
    (tmp_path / "resources").symlink_to("/etc")
    failed(lading("test", str(tmp_path)), 2, "resources: lies outside the folder")
    (tmp_path / "resources").unlink()
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources/link").symlink_to("/etc/hostname")
    failed(lading("test", str(tmp_path)), 2, "resources/link: lies outside the folder")
    (tmp_path / "resources/link").unlink()
    (tmp_path / "params.json").write_text("{\n1")
    failed(lading("test", str(tmp_path)), 2, "params.json:2:1: is not JSON")
    failed(lading("test", str(tmp_path), "--repeat", "3"), 2, "--repeat: is for other tasks")
