"""The documentation: its commands executed as printed, its reference compared with the program."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from tests.e2e.conftest import Start
from tests.support import deployed
from tests.support.engines import call
from tests.support.ipfs import api_or_skip
from tests.support.printed import ROOT, Block, Shell, blocks, reader, shell

DOCS = ROOT / "docs"
FIRST_TASK = DOCS / "tutorials/first-task.md"
WORDS = "lading-task/words:dev"
BUILT = [
    WORDS,
    "lading-task/make-signals:dev",
    "lading-task/measure-signals:dev",
    "old-count:migrated",
    "old-count",
    "lading-task/word-count:dev",
    "lading-task/fractal:dev",
    "lading-test/primes-app:1.0",
    "lading-task/letters:dev",
    "greeting:1",
    "lading-task/sgx-task:dev",
    "lading-task/hello:dev",
]

BY_ADDRESS = ["letters", "by-cid"]
"""Tasks that pages run by their CIDs."""

NOT_EXECUTED = {
    "not executed: tests/e2e/test_container_launch.py does",
    "not executed: needs a GPU",
    "not executed: it would install into the environment of the tests",
    "not executed: needs SGX",
    "not executed: needs a private registry",
    "not executed: tests/e2e/test_publish.py does",
    "not executed: tests/e2e/test_deploy.py does",
    "not executed: tests/e2e/test_golem_cluster.py does",
}
"""Nothing else may be left out."""
NEEDS_WORDS = {"first-host", "micro-vms"}
CLUSTER = "from-laptop-to-cluster"
NEEDS_CLUSTER = {CLUSTER}
NEEDS_GOLEM = {"first-golem-app", "golem-run", "test-golem-app", "from-golem-task-api", CLUSTER}
NEEDS_IPFS = {"publish-a-task"}
USUAL_NODE = "http://127.0.0.1:5001"
NEEDS_RUNTIME = {"micro-vms": "runsc"}
NEEDS_PROGRAM = {"migrate-legacy": "docker"}


def commands(page: Path) -> list[Block]:
    found = blocks(page.read_text("utf-8"))
    return [block for block in found if not block.mark.startswith("not executed")]


ON_A_CLUSTER = (pytest.mark.kubernetes, pytest.mark.timeout(600))
"""Some pods more, a second or two each."""
PAGES = [
    pytest.param(page, marks=ON_A_CLUSTER if page.stem in NEEDS_CLUSTER else (), id=page.stem)
    for page in sorted(DOCS.rglob("*.md"))
    if commands(page)
]


@pytest.fixture
def terminal(engine_host: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shell]:
    """A reader's terminal in the clone, with Lading installed."""
    page = request.getfixturevalue("page").stem
    cluster = {}
    if page in NEEDS_CLUSTER:
        cluster["KUBECONFIG"] = str(request.getfixturevalue("own_namespace"))
    with reader(engine_host, tmp_path, BUILT, golem=page in NEEDS_GOLEM) as env:
        env.update(cluster)
        env["PATH"] = f"{ROOT / '.venv/bin'}:{os.environ['PATH']}"
        env["PYTEST_DEBUG_TEMPROOT"] = str(tmp_path)  # pytest keeps what its tests wrote
        with shell(ROOT, tmp_path, env) as opened:
            yield opened
        for task in BY_ADDRESS:
            for image in built_by_address(engine_host, task):
                call(engine_host, "DELETE", f"/images/{image}?force=true")


@pytest.fixture
def own_namespace(tmp_path: Path, test_id: str) -> Iterator[Path]:
    """A kubeconfig whose current context has a namespace that goes with the test."""
    admin = deployed.kubeconfig()
    kubectl = deployed.Kubectl(deployed.kubectl_program(), admin)
    name = f"lading-test-{test_id}"
    kubectl("create", "namespace", name)
    try:
        config = yaml.safe_load(admin.read_text("utf-8"))
        for context in config["contexts"]:
            context["context"]["namespace"] = name
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        yield path
        assert json.loads(kubectl("get", "pods", "-n", name, "-o", "json"))["items"] == []
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def built_by_address(engine_host: str, task: str) -> list[str]:
    """Images that a page had built of a task by its CID, which nobody knows before."""
    labels = json.dumps({"label": ["lading.cid", f"lading.task={task}"]})
    _, images = call(engine_host, "GET", f"/images/json?filters={quote(labels)}")
    return [str(image["Id"]) for image in images]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES)
def test_commands(page: Path, terminal: Shell, engine_host: str) -> None:
    if runtime := NEEDS_RUNTIME.get(page.stem):
        _, info = call(engine_host, "GET", "/info")
        if runtime not in (info.get("Runtimes") or {}):
            pytest.skip(f"the engine has no runtime {runtime}")
    if (program := NEEDS_PROGRAM.get(page.stem)) and shutil.which(program) is None:
        pytest.skip(f"{program}'s command line is not installed")
    if page.stem in NEEDS_IPFS and (found := api_or_skip()) != USUAL_NODE:
        pytest.skip(f"the page has the usual address of a node, {USUAL_NODE}, not {found}")
    if page.stem in NEEDS_WORDS:
        make_words(terminal)
    for block in commands(page):
        terminal.run(block)
    assert set(terminal.close()) <= {0, 130}


def make_words(terminal: Shell) -> None:
    """What a reader has done before: the tutorial of the first task, until its image is there."""
    for block in commands(FIRST_TASK):
        terminal.run(block)
        if "lading run" in block.code:
            return


def test_nothing_is_left_out_in_silence() -> None:
    marks = {block.mark for page in DOCS.rglob("*.md") for block in blocks(page.read_text("utf-8"))}
    assert {mark for mark in marks if mark.startswith("not")} == NOT_EXECUTED


def test_the_reference_is_what_the_program_says() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/docs_reference.py", "--check"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


async def test_every_metric_and_call_is_described(start: Start, probe: str) -> None:
    executor = await start()
    await executor.execute(probe, "x")
    shown = (await executor.ask("GET", "/metrics")).body.decode()
    page = (DOCS / "reference/metrics.md").read_text("utf-8")
    families = re.findall(r"^# HELP (\w+) ", shown, re.MULTILINE)
    assert [name for name in families if name not in page and not name.endswith("_created")] == []
    described = set(re.findall(r"`(lading_\w+)`", page)) - {"lading_executions_created"}
    assert described - set(families) == set()
    page = (DOCS / "reference/http.md").read_text("utf-8")
    openapi = (await executor.ask("GET", "/openapi.json")).json()
    for path, methods in openapi["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in page
    stats = (await executor.ask("GET", "/stats")).json()
    assert [name for name in stats if f"`{name}`" not in page] == []
