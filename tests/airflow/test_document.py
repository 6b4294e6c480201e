"""The DAGs of the document, as printed there, on both lines of Airflow."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from tests.airflow.conftest import versions
from tests.images.build import make_image
from tests.support import airflow, cluster
from tests.support.airflow import Airflow
from tests.support.processing import Images, offering

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.slow,
    pytest.mark.skipif(
        not airflow.DOCUMENT.exists(), reason=f"the document is not at {airflow.DOCUMENT}"
    ),
]
REPAIRS = {  # names that the document's DAG does not define
    "upstream_operator=task1": "upstream_operator=download",
    "upstream_operator=task2": "upstream_operator=processing",
}
STAND_IN = '"""Kaapana\'s own settings."""\nDEFAULT_REGISTRY = {!r}\nKAAPANA_BUILD_VERSION = "1"\n'


@pytest.fixture
def registry(flow: Airflow, images: Images) -> str:
    """The document's three images, which hand a greeting on, and the module that names them."""
    registry = f"lading-test/{images.test_id}"
    for name, template in {
        "my-get-data": {
            "identifier": "download-from-url",
            "outputs": [{"name": "downloads", "mounted_path": "/out"}],
            "command": ["/probe", "write", "/out/greeting", "a greeting, handed on"],
        },
        "my-processing": {
            "identifier": "my-algorithm",
            "inputs": [{"name": "inputs", "mounted_path": "/in"}],
            "outputs": [{"name": "results", "mounted_path": "/out"}],
            "command": ["/probe", "write", "/out/seen", "what my-algorithm made"],
        },
        "my-upload": {
            "identifier": "send-to-minio",
            "inputs": [{"name": "inputs", "mounted_path": "/in"}],
            "command": ["/probe", "cat", "/in/seen"],
        },
    }.items():
        full = f"{registry}/{name}:1"
        content = {"processing-container.json": offering(template)}
        images.made += [full, make_image(images.host, full, content)]
    package = flow.dags / "kaapana/blueprints"
    package.mkdir(parents=True)
    (package / "kaapana_global_variables.py").write_text(STAND_IN.format(registry))
    return registry


def put_dags(flow: Airflow) -> list[str]:
    """Write the document's DAGs, with the two names mended that it does not define."""
    texts = airflow.document_dags()
    for number, text in enumerate(texts):
        path = flow.dags / f"document_{number}.py"
        path.write_text(text)
        for broken, mended in REPAIRS.items():
            path.write_text(path.read_text().replace(broken, mended))
    return texts


@versions
def test_they_are_read(flow: Airflow, registry: str) -> None:
    printed = put_dags(flow)
    assert len(printed) == 2
    assert all(broken in printed[1] for broken in REPAIRS)
    assert flow.import_errors() == {}


@versions
@pytest.mark.parametrize("deferrable", ["False", "True"])
def test_three_tasks_hand_their_data_on(
    flow: Airflow, registry: str, deferrable: str, docker_host: str
) -> None:
    put_dags(flow)
    flow = replace(flow, more={"AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": deferrable})
    states, told = flow.test("test-task-operator")
    assert states == dict.fromkeys(("get-data", "process-data", "upload-data"), "success"), told
    assert "what my-algorithm made" in told
    assert ("running trigger in line" in told) == (deferrable == "True")
    (run,) = flow.data.iterdir()
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files == {".lading-dag", "get-data/downloads/greeting", "process-data/results/seen"}
    assert flow.left(docker_host) == []


@pytest.mark.parametrize(
    ("version", "deferrable"), [("3.3.2", "False"), ("3.3.2", "True"), ("2.11.2", "True")]
)
def test_three_tasks_on_a_cluster(
    flow: Airflow, registry: str, deferrable: str, kubernetes_host: str
) -> None:
    put_dags(flow)
    more = {
        "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": deferrable,
        "LADING_ENGINE": "kubernetes",
        "KUBECONFIG": os.environ["KUBECONFIG"],
    }
    flow = replace(flow, more=more)
    namespace = cluster.namespace_of(kubernetes_host)
    conf = {"project_form": {"kubernetes_namespace": namespace}}
    states, told = flow.test("test-task-operator", conf)
    assert states == dict.fromkeys(("get-data", "process-data", "upload-data"), "success"), told
    assert "what my-algorithm made" in told
    (run,) = flow.data.iterdir()
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files == {".lading-dag", "get-data/downloads/greeting", "process-data/results/seen"}
    assert cluster.pods(namespace) == []


@versions
def test_the_smallest_one(flow: Airflow, registry: str, images: Images) -> None:
    """Its image has a place holder for a name."""
    put_dags(flow)
    path = flow.dags / "document_0.py"
    path.write_text(path.read_text().replace("<container-image>", "mine"))
    template = {"identifier": "my-tasktemplate-identifier", "command": ["/probe", "echo", "small"]}
    name = f"{registry}/mine:1"
    content = {"processing-container.json": offering(template)}
    images.made += [name, make_image(images.host, name, content)]
    states, told = flow.test("my-dag")
    assert states == {"my-task": "success"}, told
    assert "small" in told
