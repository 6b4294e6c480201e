"""`--mode k8s` and `KubernetesRunner`, word for word, on a real cluster."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.compat.conftest import Original
from tests.support.processing import Images, Tasks
from tests.support.spaces import Space, owned, space

from lading.run.ownership import PROCESS_LABEL
from task_api.processing_container import common
from task_api.processing_container.task_models import Task, TaskRun
from task_api.runners.base import BaseRunner
from task_api.runners.KubernetesRunner import KubernetesRunner, PodPhase

pytestmark = pytest.mark.kubernetes
pytestmark = pytest.mark.kubernetes
MIB = 1 << 20
PREFIX = "INFO:task_api.runners.KubernetesRunner.KubernetesRunner:"
LOGGER = "task_api.runners.KubernetesRunner.KubernetesRunner"


@pytest.fixture
def there(kubernetes_host: str, test_id: str) -> Iterator[Space]:  # finds it
    with space(test_id) as made:
        yield made


@pytest.fixture
def original(
    docker_host: str, there: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Original]:
    """In a folder of its own, with the cluster as the current context's."""
    monkeypatch.setenv("KUBECONFIG", str(there.kubectl.config))
    monkeypatch.setenv("LADING_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("LADING_ENGINE", raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield Original(docker_host, tmp_path / "state", folder)
    for pod in there.pods():
        labels = json.loads(pod["metadata"]["annotations"]["lading/labels"])
        keeper = psutil.Process(int(labels[PROCESS_LABEL].partition("@")[0]))
        keeper.terminate()
        psutil.wait_procs([keeper], 60)
    assert owned(tmp_path / "state") == set()


@pytest.fixture
def config(there: Space) -> dict[str, Any]:
    return {"type": "k8s", "namespace": there.name}


def the_run_of(original: Original) -> Path:
    (path,) = original.folder.glob("task_run-*.pkl")
    return path


def logged(done: subprocess.CompletedProcess[str]) -> list[str]:
    lines = done.stderr.splitlines()
    return [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX + "line ")]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.message.startswith("line ")]


def start(file: str) -> TaskRun:
    return KubernetesRunner.run(common.parse_task(Path(file)))


# The command line.


def test_the_commands(
    original: Original, tasks: Tasks, there: Space, config: dict[str, Any], tmp_path: Path
) -> None:
    """A run is read by every command, also after its pod is gone."""
    done = original.did(f"run {tasks('lines', '3', '0', config=config)} --mode k8s")
    assert done.stdout == ""
    path = the_run_of(original)
    assert path.name.startswith("task_run-lading-")
    assert logged(original.did(f"logs {path.name} --watch")) == ["line 1", "line 2", "line 3"]
    done = original.did(f"check-task-run {path.name}")
    assert "Container exited with status code 0" in done.stderr
    assert there.pods() == []
    assert logged(original.did(f"logs {path.name}")) == ["line 1", "line 2", "line 3"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path.rename(elsewhere / "run.pkl")
    assert len(logged(original.did("logs run.pkl --watch", elsewhere))) == 3
    assert "status code 0" in original.did("check-task-run run.pkl --no-watch", elsewhere).stderr


def test_watched_it_has_ended_and_its_outputs_are_on_the_node(
    original: Original, tasks: Tasks, config: dict[str, Any], tmp_path: Path
) -> None:
    """A host_path is the node's; here the node is this machine."""
    out = tmp_path / "on the node"
    task = tasks("write", "/out/o/here", "done", outputs={"o": out}, config=config)
    original.did(f"run {task} --mode k8s --watch")
    assert (out / "here").read_text() == "done"


def test_a_scale_rule_counts_what_is_on_the_node(
    original: Original, tasks: Tasks, there: Space, config: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_bytes(bytes(10 * MIB))
    rule = {"scale_factor": 10, "type": "limit", "mode": "sum"}
    template = {
        "inputs": [{"name": "x", "mounted_path": "/in/x", "scale_rule": rule}],
        "resources": {"limits": {"memory": "32Mi"}, "requests": {"memory": "16Mi"}},
    }
    task = tasks("sleep", "600", template=template, inputs={"x": tmp_path / "in"}, config=config)
    original.did(f"run {task} --mode k8s")
    (pod,) = there.pods()
    (main,) = pod["spec"]["containers"]
    assert main["name"] == "main"
    assert main["resources"]["limits"]["memory"] in ("110Mi", str(110 * MIB))
    assert main["resources"]["requests"]["memory"] in ("16Mi", str(16 * MIB))
    assert pod["spec"]["restartPolicy"] == "Never"
    assert main["volumeMounts"][0]["readOnly"] is True


def test_exit_codes(original: Original, tasks: Tasks, config: dict[str, Any]) -> None:
    original.did(f"run {tasks('exit', '7', config=config)} --mode k8s --output seven.pkl")
    done = original("check-task-run seven.pkl")
    assert (done.returncode, done.stdout) == (7, "")
    limits = {"resources": {"limits": {"memory": "16Mi"}}}
    task = tasks("hog", str(64 * MIB), template=limits, config=config)
    original.did(f"run {task} --mode k8s --output much.pkl")
    done = original("check-task-run much.pkl")
    assert done.returncode == 137
    assert "Container stopped because of OutOfMemory! told was killed: out of memory" in done.stderr


def test_memory_as_far_as_a_cluster_tells(
    original: Original, tasks: Tasks, config: dict[str, Any]
) -> None:
    done = original.did(f"run {tasks('exit', '0', config=config)} --mode k8s --monitor-memory")
    assert done.stdout.startswith("Peak memory usage of container: ")
    assert "the peak may have been higher" in done.stdout


def test_a_processing_container_is_read_out_of_its_image(
    original: Original, images: Images
) -> None:
    """In the namespace `services`, or where there is none, in that of the context."""
    image = images.container({"identifier": "t"})
    done = original.did(f"processing-container {image} --mode k8s")
    assert json.loads(done.stdout)["templates"][0]["identifier"] == "t"
    assert common.get_task_template(image, "t", mode="k8s").identifier == "t"


def test_what_is_wrong_is_told(original: Original, tasks: Tasks, config: dict[str, Any]) -> None:
    for task, code, says in (
        (tasks("exit", "0", inputs={"x": "in"}, config=config), 2, "is no path of a node"),
        (tasks("exit", "0", config={**config, "tolerations": 1}), 2, "must be a list"),
        (tasks("exit", "0", config={**config, "namespace": "lading-none"}), 66, "lading-none"),
    ):
        done = original(f"run {task} --mode k8s")
        assert done.returncode == code, done.stderr
        assert says in done.stderr
        assert "Traceback" not in done.stderr


# The class.


def test_a_run_is_followed_and_stopped(
    original: Original, tasks: Tasks, there: Space, config: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO, LOGGER)
    task_run = start(tasks("lines", "1000", "100", config=config))
    (pod,) = there.pods()
    assert (task_run.id, task_run.mode) == (pod["metadata"]["name"], "k8s")
    phase = KubernetesRunner.wait_for_task_status(task_run, [PodPhase.RUNNING])
    assert phase is PodPhase.RUNNING
    with pytest.raises(TimeoutError, match=r"is Running after 0\.2 seconds, and not Succ"):
        KubernetesRunner.wait_for_task_status(task_run, [PodPhase.SUCCEEDED], timeout=0.2)
    with pytest.raises(TimeoutError, match=r"did not end within 1 seconds"):
        KubernetesRunner.logs(task_run, log_timeout=1)
    assert "line 1" in said(caplog)
    KubernetesRunner.check_status(task_run)  # it runs: nothing is raised
    BaseRunner.dump(task_run, original.folder / "run.pkl")
    KubernetesRunner.stop(task_run)
    assert there.pods() == []
    assert KubernetesRunner.wait_for_task_status(task_run) is PodPhase.FAILED
    with pytest.raises(SystemExit):
        KubernetesRunner.check_status(task_run)


def test_a_dry_run_makes_nothing(
    original: Original, tasks: Tasks, there: Space, config: dict[str, Any]
) -> None:
    task: Task = common.parse_task(Path(tasks("exit", "0", config=config)))
    assert KubernetesRunner.run(task, dry_run=True).id.startswith("lading-")
    assert there.pods() == []
    there.kubectl("create", "quota", "none", "--hard=pods=0", "-n", there.name)
    with pytest.raises(Exception, match="exceeded quota"):
        KubernetesRunner.run(task, dry_run=True)


def test_a_logger_of_ones_own(
    original: Original, tasks: Tasks, config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Mine(KubernetesRunner):
        pass

    caplog.set_level(logging.INFO, "mine")
    Mine.set_logger(logging.getLogger("mine"))
    Mine.logs(Mine.run(common.parse_task(Path(tasks("lines", "2", "0", config=config)))))
    assert [r.message for r in caplog.records if r.name == "mine"][-2:] == ["line 1", "line 2"]


def test_a_program_of_another_process(
    original: Original, tasks: Tasks, config: dict[str, Any]
) -> None:
    """It ends while its task runs, which goes on."""
    program = (
        "import sys; from task_api.processing_container import common\n"
        "from task_api.runners.KubernetesRunner import KubernetesRunner as K\n"
        "K.dump(K.run(common.parse_task(sys.argv[1])))\n"
    )
    task = tasks("lines", "20", "100", config=config)
    subprocess.run([sys.executable, "-c", program, task], check=True, env=original.env)
    done = original.did(f"logs {the_run_of(original)} --watch")
    assert len(logged(done)) == 20
