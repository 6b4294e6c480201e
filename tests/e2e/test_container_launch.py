"""The executor as a container itself, launched word for word as its document does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.images.build import ensure_probe
from tests.support import engines

ROOT = Path(__file__).parents[2]
TASK = "yourDockerAccount/sampleserver:latest"
BASE = "python:3.11-slim"

NAMES = ("mecanywhere_executor_test", "mecaanywhere_executor_test")  # the document's spellings
BUILD = "docker build -t mecanywhere-executor -f docker/Dockerfile ."
NETWORK = "docker network create --subnet 172.18.0.0/16 mecanywhere"
LAUNCH = (
    "docker run --name mecanywhere_executor_test -v /var/run/docker.sock:/var/run/docker.sock "
    "--net=mecanywhere --ip=172.18.0.255 mecanywhere-executor:latest"
)
FIRST_CALL = (
    'curl http://172.18.0.255:2591 -X POST -H "Content-Type: application/json" '
    '-d \'{"id": "yourDockerAccount/sampleserver:latest", "input": "{\\"name\\": \\"sbip\\"}"}\''
)
LIMITED_CALL = (
    'curl http://172.18.0.255:2591 -X POST -H "Content-Type: application/json" '
    '-d \'{"id": "yourDockerAccount/sampleserver:latest", "resource": {"cpu":1, "mem":128}, '
    '"input": "{\\"name\\": \\"sbip\\"}"}\' -v'
)
OTHER_CALLS = {
    # Each with what this machine, which lends no GPU, no enclave and no other runtime, must say.
    'curl http://172.18.0.255:2591 -X POST -H "Content-Type: application/json" '
    '-d \'{"id": "hugy718/sample:v1","runtime": "microVM", "resource": {"cpu":1, "mem":128}, '
    '"input": "{\\"name\\": \\"sbip\\"}"}\'': "microVM",
    'curl http://172.18.0.255:2591 -X POST -H "Content-Type: application/json" '
    '-d \'{"id": "mecanywhere-python-task:1227", "resource": {"cpu":1, "mem":256, '
    '"use_gpu": true, "gpu_count": 3}, "input": "{\\"name\\": \\"sbip\\"}"}\'': (
        "not enough GPU available"
    ),
    'curl http://172.18.0.255:2591 -X POST -H "Content-Type: application/json" '
    '-d \'{"id": "sgx-task:latest", "resource": {"cpu":2, "mem":256}, '
    '"input": "{\\"value\\": \\"sbip\\"}", "use_sgx": true}\'': "SGX",
    'curl http://172.18.0.255:2591 -X POST -H "Content-Type: application/json" '
    '-d \'{"id": "mock-sgx-task:latest", "resource": {"cpu":2, "mem":256}, '
    '"input": "SGXRAREQUEST", "use_sgx": true}\'': "SGX",
}
ELSEWHERE = [
    "docker network create --subnet 173.18.0.0/16 mecanywhere",
    (
        "docker run --name mecaanywhere_executor_test -v /var/run/docker.sock:/var/run/docker.sock "
        "--net=mecanywhere --ip=173.18.0.255 -p 2591:2591 mecanywhere-executor:latest"
    ),
    (
        'curl http://localhost:2591 -X POST -H "Content-Type: application/json" '
        '-d \'{"id": "yourDockerAccount/sampleserver:latest", '
        '"input": "{\\"name\\": \\"sbip\\"}"}\''
    ),
]
STATS = "curl http://172.18.0.255:2591/stats"


def docker(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = ["docker", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if check and done.returncode:
        pytest.fail(f"{shlex.join(command)}:\n{done.stdout}\n{done.stderr}")
    return done


def shell(command: str) -> str:
    """Run a line as printed."""
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def _docker_on_its_usual_socket(docker_host: str) -> None:
    if docker_host != "unix:///var/run/docker.sock":
        pytest.skip("the document mounts /var/run/docker.sock, and Docker is elsewhere")
    if not shutil.which("docker") or not shutil.which("curl"):
        pytest.skip("the document's commands need the docker and curl commands")


@pytest.fixture(scope="module")
def images(_docker_on_its_usual_socket: None, docker_host: str) -> Iterator[None]:
    """The images that the document takes for granted; what we had to make is removed again."""
    made = []
    if docker("image", "inspect", BASE, check=False).returncode:
        shell(f"scripts/base-image {BASE}")  # pulls it, or makes one from packages
        made.append(BASE)
    docker("tag", ensure_probe(docker_host), TASK.lower())
    made.append(TASK.lower())
    yield
    for tag in made:
        docker("rmi", tag, check=False)


@pytest.fixture
def network(images: None) -> Iterator[None]:
    existing = docker("network", "ls", "--format", "{{.Name}}").stdout.split()
    if "mecanywhere" in existing:
        pytest.skip("there is a network mecanywhere on this engine, which is not ours to remove")
    yield
    for name in NAMES:
        docker("rm", "-f", name, check=False)
    docker("network", "rm", "mecanywhere", check=False)


def tasks() -> list[str]:
    listed = docker("ps", "-a", "--filter", "label=lading.contract=meca", "--format", "{{.Names}}")
    return [name for name in listed.stdout.split() if "sampleserver" in name]


@contextlib.contextmanager
def launched(command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        shlex.split(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "serving on" in line:
                break
        else:
            pytest.fail(f"the executor did not start:\n{''.join(lines)}")
        try:
            yield process
        finally:
            for name in NAMES:
                docker("stop", "-t", "20", name, check=False)
            process.communicate(timeout=60)


def lowered(command: str) -> str:
    """Image names are lower case: the document's placeholder is not, and no engine takes it."""
    return command.replace(TASK, TASK.lower())


@pytest.mark.timeout(600)
def test_word_for_word(network: None) -> None:
    """Build, network, launch, curl, stats, and nothing left."""
    shell(BUILD)
    shell(NETWORK)
    with launched(LAUNCH):
        for call in (FIRST_CALL, LIMITED_CALL):
            answer = json.loads(shell(lowered(call)))
            assert answer == {"success": True, "msg": '{"name": "sbip"}'}
        stats = json.loads(shell(STATS))
        assert stats["task_used_cpu"] > 0
        assert len(tasks()) == 1
        for call, words in OTHER_CALLS.items():
            answer = json.loads(shell(call))
            assert not answer["success"]
            assert words in answer["msg"]
        details = json.loads(docker("inspect", tasks()[0]).stdout)[0]
        assert details["HostConfig"]["CapDrop"] == ["ALL"]
        # Nobody on the network of the executor can reach a task, and no task can reach it.
        assert list(details["NetworkSettings"]["Networks"]) == ["none"]
        absent = FIRST_CALL.replace(TASK, "127.0.0.1:9/hugy718/goserver:v2")
        assert not json.loads(shell(absent))["success"]
        as_printed = json.loads(shell(FIRST_CALL))
        assert "yourDockerAccount" in as_printed["msg"]  # says what is wrong with the name
    assert tasks() == []
    left = docker("ps", "-a", "--format", "{{.Names}}").stdout
    assert not re.search(r"lading-door", left), left


@pytest.mark.timeout(600)
def test_published_port_and_configuration(network: None, tmp_path: Path) -> None:
    """The launch for other machines, with a configuration file mounted over the default one."""
    shell(BUILD)
    shell(NETWORK)
    config = tmp_path / "executor.yaml"
    config.write_text("type: docker\ntimeout: 1\ncpu: 1\nmem: 256\n")
    port = 20_000 + os.getpid() % 10_000
    with launched(
        "docker run --name mecanywhere_executor_test -v /var/run/docker.sock:/var/run/docker.sock "
        f"-v {config}:/app/mecanywhere_executor.yaml --net=mecanywhere --ip=172.18.0.255 "
        f"-p {port}:2591 mecanywhere-executor:latest"
    ):
        stats = json.loads(shell(f"curl -s http://localhost:{port}/stats"))
        assert (stats["task_cpu"], stats["task_mem"]) == (1, 256)


@pytest.mark.timeout(600)
def test_word_for_word_on_other_machines(network: None) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 2591)) == 0:
            pytest.skip("something listens on port 2591 already")
    create, launch, call = ELSEWHERE
    shell(BUILD)
    shell(create)
    with launched(launch):
        answer = json.loads(shell(lowered(call)))
        assert answer == {"success": True, "msg": '{"name": "sbip"}'}


@pytest.mark.timeout(600)
def test_killed_executor_leaves_nothing_for_the_next(network: None) -> None:
    shell(BUILD)
    shell(NETWORK)
    with launched(LAUNCH):
        shell(lowered(FIRST_CALL))
        assert len(tasks()) == 1
        docker("kill", "-s", "KILL", "mecanywhere_executor_test")
    assert len(tasks()) == 1
    docker("rm", "-f", "mecanywhere_executor_test")
    with launched(LAUNCH):
        assert tasks() == []


def test_the_images_name_no_engine(images: None) -> None:
    """What `engines` says of the socket is what the tests above rely on."""
    assert engines.find("docker") == "unix:///var/run/docker.sock"
