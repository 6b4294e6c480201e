"""Runners as programs use them: by class methods, blocking, on each engine."""

from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from tests.compat.conftest import Original, both_engines
from tests.support import engines
from tests.support.processing import Images, Tasks

from lading.contracts.processing.taskrun import read_task_run
from lading.errors import ImageError, InputError, LadingError, RecordNotFound
from lading.run.ownership import PROCESS_LABEL
from task_api.processing_container import common, resources
from task_api.processing_container.task_models import TaskRun
from task_api.runners.DockerRunner import DockerRunner

pytestmark = both_engines
MIB = 1 << 20


def start(path: str) -> TaskRun:
    return DockerRunner.run(common.parse_task(path))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the container printed."""
    return [record.message for record in caplog.records if record.message.startswith("line ")]


def test_a_run_and_its_end(
    here: Original, tasks: Tasks, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO)
    task_run = start(tasks("lines", "20", "20", outputs={"out": "made"}))
    assert (len(task_run.id), task_run.mode, task_run.name) == (64, "docker", "told")
    assert task_run.outputs[0].host_path == str(here.folder / "made")
    DockerRunner.dump(task_run, output=tmp_path / "run.pkl")
    DockerRunner.logs(task_run, follow=True)
    assert said(caplog) == [f"line {number}" for number in range(1, 21)]
    DockerRunner.check_status(task_run=task_run, follow=True)
    caplog.clear()
    DockerRunner.logs(task_run, True, 30, 10)
    assert said(caplog) == [f"line {number}" for number in range(1, 21)]
    assert read_task_run(tmp_path / "run.pkl") == task_run


def test_it_is_found_by_its_containers_id_alone(
    here: Original, tasks: Tasks, caplog: pytest.LogCaptureFixture
) -> None:
    """A program may have made its TaskRun by hand."""
    task_run = start(tasks("lines", "2", "0"))
    DockerRunner.check_status(task_run, follow=True)
    caplog.set_level(logging.INFO)
    by_hand = TaskRun(**task_run.model_dump())
    DockerRunner.logs(by_hand)
    assert said(caplog) == ["line 1", "line 2"]
    assert DockerRunner.monitor_memory(by_hand) > 0
    nobody = by_hand.model_copy(update={"id": "f" * 64})
    for call in (DockerRunner.logs, DockerRunner.check_status, DockerRunner.stop):
        with pytest.raises(RecordNotFound, match="set LADING_STATE"):
            call(nobody)


def test_stop(here: Original, tasks: Tasks) -> None:
    """The original had none."""
    task_run = start(tasks("sleep", "60000"))
    DockerRunner.stop(task_run)
    assert here.containers() == []
    with pytest.raises(SystemExit) as ended:
        DockerRunner.check_status(task_run, follow=True)
    assert ended.value.code == 143
    DockerRunner.stop(task_run=task_run)


def test_a_task_whose_keeper_died_is_stopped_too(here: Original, tasks: Tasks) -> None:
    task_run = start(tasks("sleep", "60000"))
    (container,) = here.containers()
    keeper = psutil.Process(int(container["Labels"][PROCESS_LABEL].partition("@")[0]))
    keeper.kill()
    psutil.wait_procs([keeper], 60)
    with pytest.raises(LadingError, match="the process that watched it died"):
        DockerRunner.check_status(task_run, follow=True)
    with pytest.raises(LadingError, match="the process that watched it died"):
        DockerRunner.check_status(task_run)
    DockerRunner.stop(task_run)
    assert here.containers() == []
    with pytest.raises(SystemExit):
        DockerRunner.check_status(task_run)
    DockerRunner.stop(task_run)


def test_memory_of_a_running_task(
    here: Original, tasks: Tasks, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    task_run = start(tasks("hog", str(24 * MIB), "0.5"))
    peak = DockerRunner.monitor_memory(task_run)
    assert 24 * MIB <= peak < 40 * MIB
    assert any(record.message.startswith("Memory peak: ") for record in caplog.records)
    assert DockerRunner.monitor_memory(task_run) == peak


def test_memory_of_one_whose_record_is_not_finished_yet(here: Original, tasks: Tasks) -> None:
    """Its container is gone some time before its keeper has written down what it used."""
    task_run = start(tasks("hog", str(24 * MIB)))
    with ThreadPoolExecutor() as threads:
        (container,) = here.containers()
        keeper = psutil.Process(int(container["Labels"][PROCESS_LABEL].partition("@")[0]))
        keeper.suspend()
        try:
            engines.call(here.engine, "DELETE", f"/containers/{task_run.id}?force=true")
            peak = threads.submit(DockerRunner.monitor_memory, task_run)
            with pytest.raises(TimeoutError):
                peak.result(1)
        finally:
            keeper.resume()
        assert peak.result(60) > MIB


def test_following_has_an_end(here: Original, tasks: Tasks) -> None:
    task_run = start(tasks("sleep", "60000"))
    with pytest.raises(TimeoutError, match=r"did not end within 0\.2 seconds"):
        DockerRunner.logs(task_run, follow=True, log_timeout=0.2)
    DockerRunner.check_status(task_run)
    DockerRunner.stop(task_run)


def test_a_rule_raises_the_limit(here: Original, tasks: Tasks, tmp_path: Path) -> None:
    """In the original a rule without declared resources crashed the run."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(bytes(20 * MIB))
    rule = {"scale_factor": 2, "type": "limit", "mode": "sum"}
    channel = {"name": "in", "mounted_path": "/in", "scale_rule": rule}
    template = {"inputs": [channel], "outputs": [{"name": "in", "mounted_path": "/out"}]}
    path = tasks(
        "write", "/out/here", "done", inputs={"in": tmp_path / "in"}, template=template,
        outputs={"in": "made"},
    )  # fmt: skip
    task_run = start(path)
    assert task_run.resources is not None
    assert task_run.resources.limits == {"memory": "44Mi"}
    assert resources.compute_memory_requirement(task_run.inputs[0]) == 40 * MIB
    DockerRunner.check_status(task_run, follow=True)
    assert (here.folder / "made" / "here").read_text() == "done"


def test_what_keeps_it_from_starting(here: Original, tasks: Tasks, images: Images) -> None:
    with pytest.raises(InputError, match="no template 'none'"):
        DockerRunner.run(
            common.parse_task(
                tasks.write(
                    {
                        "name": "t",
                        "image": images.container({"identifier": "a"}),
                        "taskTemplate": "none",
                    }
                )
            )
        )
    with pytest.raises(ImageError, match=r"holds no /processing-container\.json"):
        common.get_task_template(image=tasks.image, task_identifier="a", mode="docker")
    with pytest.raises(ValueError, match="does not exist"):
        start(tasks("exit", "0", inputs={"in": here.folder / "none"}))
    assert here.containers() == []


def test_templates_are_found_by_what_the_image_is_now(here: Original, images: Images) -> None:
    """The original remembered them by tag for the life of the process."""
    image = images.container({"identifier": "a"})
    assert common.get_task_template(image, "a").identifier == "a"
    with pytest.raises(InputError, match="it has: 'a'"):
        common.get_task_template(image, "b")
    images.container({"identifier": "b"})
    assert common.get_task_template(image, "b").identifier == "b"
    offer = common.get_processing_container(image=image, mode="docker")
    assert [item.identifier for item in offer.templates] == ["b"]


INSIDE = """
import asyncio, sys
from task_api.processing_container import common
from task_api.runners.DockerRunner import DockerRunner

async def main():
    task_run = DockerRunner.run(common.parse_task(sys.argv[1]))
    DockerRunner.check_status(task_run, follow=True)
    print(task_run.id)

asyncio.run(main())
"""


def test_inside_a_running_loop(here: Original, tasks: Tasks) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INSIDE, tasks("exit", "0")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) == 64


def test_it_outlives_its_caller(here: Original, tasks: Tasks) -> None:
    """Killed at once after the start, as a worker may be."""
    code = (
        "import os, signal, sys\n"
        "from task_api.processing_container import common\n"
        "from task_api.runners.DockerRunner import DockerRunner\n"
        "task_run = DockerRunner.run(common.parse_task(sys.argv[1]))\n"
        "DockerRunner.dump(task_run)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tasks("lines", "30", "20", outputs={"out": "made"})
    done = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert done.returncode == -9
    (written,) = here.folder.glob("task_run-*.pkl")
    task_run = read_task_run(written)
    DockerRunner.check_status(task_run, follow=True)
    assert here.containers() == []


def test_a_container_of_another_program(
    here: Original, tasks: Tasks, caplog: pytest.LogCaptureFixture, test_labels: dict[str, str]
) -> None:
    """Whatever the engine knows can be followed, checked and stopped, by its id."""
    caplog.set_level(logging.INFO)
    template = start(tasks("exit", "0"))
    DockerRunner.check_status(template, follow=True)
    body = {"Image": tasks.image, "Entrypoint": ["/probe"], "Labels": test_labels}
    ids = []
    for command in (["lines", "2", "0"], ["sleep", "60000"]):
        _, made = engines.call(here.engine, "POST", "/containers/create", {**body, "Cmd": command})
        engines.call(here.engine, "POST", f"/containers/{made['Id']}/start")
        ids.append(made["Id"])
    foreign = TaskRun(**(template.model_dump() | {"id": ids[0]}))
    DockerRunner.logs(foreign, follow=True)
    assert said(caplog) == ["line 1", "line 2"]
    DockerRunner.check_status(foreign, follow=True)
    DockerRunner.stop(foreign)
    DockerRunner.stop(foreign.model_copy(update={"id": ids[1]}))
    _, left = engines.call(here.engine, "GET", "/containers/json?all=1")
    assert not {item["Id"] for item in left} & set(ids)


def test_following_one_that_is_gone_ends(here: Original, tasks: Tasks) -> None:
    """At once, or this raises: nothing is waited for that can't come any more."""
    task_run = start(tasks("exit", "0"))
    DockerRunner.check_status(task_run, follow=True)
    assert here.containers() == []
    DockerRunner.logs(task_run, follow=True, log_timeout=10)
