"""`python3 -m task_api.cli` as the document prints it, word for word, on each engine."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.compat.conftest import Original, both_engines
from tests.support import engines
from tests.support.processing import Images, Tasks

from task_api import cli

MIB = 1 << 20
PREFIX = "INFO:task_api.runners.DockerRunner.DockerRunner:"
PRINTS = {
    "identifier": "print",
    "description": "Prints lines.",
    "command": ["/probe", "lines", "3", "0"],
    "env": [{"name": "A", "value": "1", "description": "One.", "type": "int", "choices": []}],
    "inputs": [{"name": "in", "mounted_path": "/in", "description": "In."}],
}
WRITES = {
    "identifier": "write",
    "description": "Writes a file.",
    "command": ["/probe", "write", "/out/here", "done"],
    "outputs": [{"name": "out", "mounted_path": "/out", "description": "Out."}],
}


def the_run_of(original: Original) -> Path:
    (path,) = original.folder.glob("task_run-*.pkl")
    return path


def logged(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What the container printed, as it stands on stderr."""
    lines = done.stderr.splitlines()
    return [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX + "line ")]


@both_engines
def test_the_document(original: Original, images: Images) -> None:
    """Section "The Task API Command Line Interface", from top to bottom."""
    image = images.container(PRINTS, WRITES)
    folder = original.folder
    offer = {"name": "c", "description": "d", "api_version": 1, "templates": [PRINTS, WRITES]}
    folder.joinpath("processing-container.json").write_text(json.dumps(offer))
    folder.joinpath("data/in").mkdir(parents=True)
    task = {
        "name": "my-task",
        "image": "{{ env.MY_IMAGE }}",
        "taskTemplate": "print",
        "inputs": [{"name": "in", "input": {"host_path": "./data/in"}}],
        "outputs": [],
        "env": [{"name": "A", "value": "2"}, {"name": "DUMMY", "value": "x"}],
        "config": {"type": "k8s", "namespace": "services", "labels": {"a": "b"}},
    }
    folder.joinpath("task.json").write_text(json.dumps(task))
    folder.joinpath(".env").write_text(f"MY_IMAGE={image}\n")

    done = original.did("validate processing-container.json --schema pc")
    assert done.stdout == "✅ valid processing_container.json file\n"
    done = original.did("validate task.json --schema task")
    assert done.stdout == "✅ valid task\n"
    done = original.did("run task.json --mode docker")
    assert done.stdout == ""
    path = the_run_of(original)
    assert re.fullmatch(r"task_run-[0-9a-f]{64}\.pkl", path.name)
    assert logged(original.did(f"logs {path.name} --watch")) == ["line 1", "line 2", "line 3"]
    assert logged(original.did(f"logs {path.name}")) == ["line 1", "line 2", "line 3"]
    done = original.did(f"check-task-run {path.name}")
    assert "Container exited with status code 0" in done.stderr
    done = original.did(f"processing-container {image} --mode docker")
    shown = json.loads(done.stdout)
    assert list(shown) == ["name", "description", "api_version", "templates"]
    assert [item["identifier"] for item in shown["templates"]] == ["print", "write"]
    assert list(shown["templates"][0]) == [
        "command", "resources", "identifier", "description", "inputs", "outputs", "env"
    ]  # fmt: skip
    assert "check-task-run" in original.did("--help").stdout


@both_engines
def test_watched_it_has_ended_and_its_outputs_are_there(
    original: Original, images: Images, tmp_path: Path
) -> None:
    image = images.container(WRITES)
    outputs = [{"name": "out", "volume_source": {"host_path": "made"}}]
    task = {"name": "t", "image": image, "taskTemplate": "write", "outputs": outputs}
    (original.folder / "task.json").write_text(json.dumps(task))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    original.did(f"run task.json --mode docker --watch --output {elsewhere}/task_run.pkl")
    made = original.folder / "made" / "here"
    assert made.read_text() == "done"
    assert (made.stat().st_uid, made.stat().st_gid) == (os.getuid(), os.getgid())
    assert list(original.folder.glob("*.pkl")) == []
    assert original.containers() == []
    # A day later, from somewhere else.
    shutil.rmtree(original.folder / "made")
    done = original.did("check-task-run task_run.pkl", elsewhere)
    assert "Container exited with status code 0" in done.stderr
    assert logged(original.did("logs task_run.pkl --watch", elsewhere)) == []


@both_engines
def test_the_exit_code_is_the_containers(original: Original, tasks: Tasks) -> None:
    done = original.did(f"run {tasks('exit', '7')} --watch")
    assert "ended with exit code 7" in done.stderr
    done = original(f"check-task-run {the_run_of(original)}")
    assert (done.returncode, done.stdout) == (7, "")
    assert "ERROR:task_api.runners.DockerRunner.DockerRunner:Container returned exit code 7" in (
        done.stderr
    )
    assert original(f"check-task-run {the_run_of(original)} --no-watch").returncode == 7


@both_engines
def test_out_of_memory(original: Original, tasks: Tasks) -> None:
    """Only limits, and they are the template's: both crashed the original."""
    limits = {"resources": {"limits": {"memory": "16Mi"}}}
    original.did(f"run {tasks('hog', str(64 * MIB), template=limits)}")
    done = original(f"check-task-run {the_run_of(original)}")
    assert done.returncode == 137
    assert "Container stopped because of OutOfMemory! told was killed: out of memory" in done.stderr
    assert "limit 16 MiB, peak 16 MiB" in done.stderr


@both_engines
def test_a_running_task_is_followed_and_checked(original: Original, tasks: Tasks) -> None:
    """In the original, checking one that runs never ended."""
    original.did(f"run {tasks('lines', '40', '150')}")  # until the next command has begun, and more
    path = the_run_of(original)
    done = original.did(f"check-task-run {path} --no-watch")
    assert "Container is running" in done.stderr
    done = original.did(f"check-task-run {path}")
    assert "Container exited with status code 0" in done.stderr
    assert len(logged(original.did(f"logs {path}"))) == 40


@both_engines
@pytest.mark.parametrize("flag", ["--monitor-memory", "--monitor-container"])
def test_memory_is_compared_with_the_rules(
    original: Original, tasks: Tasks, tmp_path: Path, flag: str
) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a").write_bytes(bytes(2 * MIB))
    (tmp_path / "in" / "b").write_bytes(bytes(1 * MIB))
    rule = {"scale_factor": 2, "type": "limit", "mode": "sum"}
    inputs = [{"name": "in", "mounted_path": "/in", "scale_rule": rule}]
    limits = {"limits": {"memory": "64Mi"}}
    path = tasks(
        "hog", str(24 * MIB), "0.2", inputs={"in": tmp_path / "in"},
        template={"inputs": inputs, "resources": limits},
    )  # fmt: skip
    done = original.did(f"run {path} {flag}")
    lines = done.stdout.splitlines()
    peak = re.fullmatch(r"Peak memory usage of container: ([\d.]+)Mi", lines[0])
    assert peak is not None
    assert 24 <= float(peak[1]) < 40
    assert lines[1:5] == [
        "Sum of all files for channel: in: 3.0Mi",
        "Size of largest file for channel: in: 2.0Mi",
        "Calculated size for ScaleRule for channel: in: 3.0Mi",
        "Calculated resource requirement for channel: in: 6.0Mi",
    ]
    assert lines[5] == (
        "WARNING: Calculated resource requirement for channel: in is smaller than the peak memory "
        f"usage 6.0Mi < {peak[1]}Mi"
    )


@both_engines
def test_an_image_is_looked_up_by_what_it_is_now(original: Original, images: Images) -> None:
    """A tag that moves is noticed, and an unknown template lists those there are."""
    image = images.container({**PRINTS, "inputs": []}, name="moves:1")
    task = {"name": "t", "image": image, "taskTemplate": "nothing"}
    (original.folder / "task.json").write_text(json.dumps(task))
    done = original("run task.json")
    assert done.returncode == 2
    assert "no template 'nothing'" in done.stderr
    assert "it has: 'print'" in done.stderr
    images.container({**PRINTS, "identifier": "nothing", "inputs": []}, name="moves:1")
    original.did("run task.json --watch")
    assert original.containers() == []


def test_what_is_wrong_with_a_file(original: Original) -> None:
    (original.folder / "task.json").write_text('{"name": "n",\n "image": 3, "taskTemplate": "t"}')
    done = original("validate task.json --schema pc")
    assert done.returncode == 1
    first, *more = done.stdout.splitlines()
    assert first == "❌ task.json is not a valid processing_container.json file!"
    assert "task.json:1:1: templates: is missing" in more
    (original.folder / "task.json").write_text('{"name": "n",\n')
    done = original("validate task.json")
    assert done.returncode == 1
    assert done.stdout.startswith("❌ task.json is not a valid task!\ntask.json:2:1: no valid JSON")
    done = original("validate none.json")
    assert (done.returncode, done.stdout) == (1, "❌ none.json not found!\n")
    for words in ("validate task.json --schema x", "run", "nothing", "run task.json --mode x"):
        assert original(words).returncode == 2
    done = original("run none.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: none.json: there is no such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_malicious_task_run_is_refused(original: Original) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.system, ("echo exploded >exploded",))

    (original.folder / "evil.pkl").write_bytes(pickle.dumps(Bomb(), 4))
    for words in ("logs evil.pkl --watch", "check-task-run evil.pkl"):
        done = original(words)
        assert done.returncode == 2
        assert "evil.pkl: is refused: it names posix.system" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (original.folder / "exploded").exists()


def test_a_task_run_that_nobody_can_read(original: Original, tasks: Tasks) -> None:
    """It is not left running where its file can't be written."""
    done = original(f"run {tasks('sleep', '60000')} --output none/run.pkl")
    assert done.returncode == 2
    assert "none/run.pkl: can't be written: No such file or directory" in done.stderr
    assert original.containers() == []


def test_without_a_cluster(original: Original, tasks: Tasks) -> None:
    config = {"type": "k8s", "namespace": "n"}
    task = tasks("exit", "0", config=config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(original.folder / "none"))
        for words in (f"run {task} --mode k8s", "processing-container i:1 --mode k8s"):
            done = original(words)
            assert done.returncode == 2
            assert "KUBECONFIG" in done.stderr


@both_engines
def test_called_as_functions(
    here: Original, tasks: Tasks, capsys: pytest.CaptureFixture[str], images: Images
) -> None:
    """As the original's own tests do: with an argument or two, the rest left to the defaults."""
    output = here.folder / "run.pkl"
    cli.run(input=Path(tasks("exit", "3")), mode=cli.Modes.docker, watch=True, output=output)
    cli.logs(output)
    with pytest.raises(SystemExit) as ended:
        cli.check_task_run(output)
    assert ended.value.code == 3
    cli.run(Path(tasks("exit", "0")), output=output)
    cli.check_task_run(output)
    capsys.readouterr()
    cli.processing_container(image=images.container(PRINTS), mode=cli.Modes.docker)
    assert json.loads(capsys.readouterr().out)["name"] == "offers"
    cli.validate(Path(tasks("exit", "0")))
    assert capsys.readouterr().out == "✅ valid task\n"


@both_engines
def test_a_container_that_somebody_else_removes(original: Original, tasks: Tasks) -> None:
    original.did(f"run {tasks('sleep', '60000')}")
    path = the_run_of(original)
    with subprocess.Popen(
        [sys.executable, "-m", "task_api.cli", "logs", str(path), "--watch"],
        env=original.env,
        stderr=subprocess.DEVNULL,
    ) as following:
        (container,) = original.containers()
        engines.call(original.engine, "DELETE", f"/containers/{container['Id']}?force=true")
        assert following.wait(60) == 0
    done = original(f"check-task-run {path}")
    # Podman may tell of the kill before there is a removal to tell of.
    code, words = done.returncode, ("was removed while it ran", "exit code 137")
    assert code == 70 or (code == 137 and "podman" in original.engine), done.stderr
    assert words[code == 137] in done.stderr
