"""`lading serve` and `lading run` of task containers on a real cluster: warm pods."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.images.build import ensure_probe
from tests.support import engines
from tests.support.command_line import Cli
from tests.support.deployed import Space, space
from tests.support.executors import ExecutorProcess, executor_process

from lading import EngineOptions, open_engine
from lading.contracts.meca import MARK
from lading.contracts.meca.task import TaskServer
from lading.engine import ContainerSpec, Network
from lading.run.lifecycle import running
from lading.run.readiness import Readiness

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(240)]

Start = Callable[..., Awaitable[ExecutorProcess]]


@pytest.fixture
def cluster(test_id: str) -> Iterator[Space]:
    with space(test_id) as made:
        yield made


@pytest.fixture
def probe(docker_host: str) -> str:
    """On the test's cluster, Docker's images are the nodes'."""
    return ensure_probe(docker_host)


@pytest.fixture
async def start(cluster: Space, tmp_path: Path) -> AsyncIterator[Start]:
    async with contextlib.AsyncExitStack() as stack:

        async def begin(*flags: str, state: Path = tmp_path) -> ExecutorProcess:
            return await stack.enter_async_context(
                executor_process(cluster.address, state, *flags, env=cluster.env)
            )

        yield begin


async def until(what: str, met: Callable[[], Any]) -> Any:
    """Ask until it is so: a cluster tells what it does in its own time."""
    async with asyncio.timeout(60):
        while not (found := await asyncio.to_thread(met)):
            await asyncio.sleep(0.1)
    return found


def container_of(answer: Any) -> str:
    name: str = answer.headers["x-lading-container"]
    return name


async def test_a_pod_is_used_again_and_has_its_limits(
    start: Start, probe: str, cluster: Space
) -> None:
    executor = await start()
    first = await executor.execute(probe, "hello", cpu=0.2, mem=48)
    assert (first.success, first.msg) == (True, "hello")
    again = await executor.execute(probe, "again", cpu=0.2, mem=48)
    assert again.msg == "again"
    assert container_of(first) == container_of(again)
    (pod,) = cluster.pods()
    assert pod["metadata"]["name"] == container_of(first)
    (main,) = [item for item in pod["spec"]["containers"] if item["name"] == "main"]
    assert main["resources"]["limits"]["memory"] in ("48Mi", str(48 << 20))
    assert main["resources"]["limits"]["cpu"] == "200m"
    security = main["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"]["drop"] == ["ALL"]
    # Without egress: a policy that lets nothing out chooses it.
    policy = cluster.kubectl.json("get", "networkpolicy", "lading-none", "-n", cluster.name)
    assert "Egress" in policy["spec"]["policyTypes"]
    assert not policy["spec"].get("egress")
    wanted = policy["spec"]["podSelector"].get("matchLabels", {})
    assert wanted.items() <= pod["metadata"]["labels"].items()
    # What the cluster has, not this machine.
    stats = (await executor.ask("GET", "/stats")).json()
    (node,) = cluster.kubectl.json("get", "nodes")["items"]
    assert stats["total_cpu"] == int(node["status"]["allocatable"]["cpu"])
    assert stats["used_cpu"] == stats["task_used_cpu"]
    assert (await executor.ask("GET", "/ready")).status == 200


async def test_more_pods_for_more_at_once_and_room_by_removing_idle_ones(
    start: Start, probe: str, cluster: Space
) -> None:
    executor = await start("--cpu", "0.4", "--concurrency", "1")
    slow = {"sleep_ms": 20_000}  # longer than a pod takes to start, also on a busy machine
    both = await asyncio.gather(*(executor.execute(probe, slow, cpu=0.2) for _ in range(2)))
    assert all(answer.success for answer in both), [answer.msg for answer in both]
    assert len({container_of(answer) for answer in both}) == 2
    assert len(cluster.pods()) == 2
    large = await executor.execute(probe, "large", cpu=0.4)
    assert large.success, large.msg
    assert cluster.names() == [container_of(large)]
    too_large = await executor.execute(probe, "x", cpu=0.5)
    assert too_large.msg == "resource limit exceeds the maximum"


async def test_paused_there_are_no_pods_and_stopped_neither(
    start: Start, probe: str, cluster: Space
) -> None:
    executor = await start()
    assert (await executor.execute(probe, "x")).success
    assert (await executor.ask("POST", "/pause")).status == 200
    assert cluster.pods() == []
    assert (await executor.ask("GET", "/ready")).status == 503
    assert (await executor.execute(probe)).msg == "mecanywhere executor not started"
    assert (await executor.ask("POST", "/unpause")).status == 200
    assert (await executor.execute(probe, "y")).msg == "y"
    assert (await executor.ask("POST", "/stop")).status == 200
    async with asyncio.timeout(40):
        assert await executor.process.wait() == 0
    assert cluster.pods() == []


async def test_what_a_crash_left_is_removed_at_the_next_start(
    start: Start, probe: str, cluster: Space, tmp_path: Path
) -> None:
    with contextlib.suppress(AssertionError):  # it does not end well
        async with executor_process(cluster.address, tmp_path, env=cluster.env) as executor:
            left = container_of(await executor.execute(probe, "x"))
            executor.process.kill()
            await executor.process.wait()
    assert cluster.names() == [left]
    executor = await start()
    assert cluster.names() == []
    assert f"removed {left}, which a process that died left behind" in "\n".join(executor.log)


async def test_faults_mean_what_they_mean_elsewhere(
    start: Start, probe: str, cluster: Space
) -> None:
    executor = await start("--start-timeout", "5", "--cluster-patience", "10")
    failed = await executor.execute(probe, {"status": 500})
    assert (failed.success, failed.headers["x-lading-error"].split(":")[0]) == (False, "TaskFailed")
    ended = await executor.execute(probe, {"exit": 3})
    assert ended.headers["x-lading-error"].startswith("ExitedEarly"), ended.msg
    hungry = await executor.execute(probe, {"hog": 200_000_000}, mem=32)
    assert hungry.headers["x-lading-error"].startswith("OutOfMemory"), hungry.msg
    absent = await executor.execute("lading-test/nobody-has-it:1", "x")
    assert not absent.success
    # Deleted by somebody: the next request finds another one.
    name = container_of(await executor.execute(probe, "x"))
    cluster.kubectl("delete", "pod", name, "-n", cluster.name, "--grace-period=1")
    answer = await executor.execute(probe, "still there")
    assert answer.msg == "still there"
    assert container_of(answer) != name


async def test_warm_requests_ask_nothing_of_the_cluster(
    probe: str, cluster: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubectl.config))
    async with await open_engine(EngineOptions(engine=cluster.address)) as engine:
        image = await engine.image(probe)
        calls = cast("Any", engine)._api.calls
        looked = calls.copy()
        spec = ContainerSpec(image.runs_as, network=Network.NONE, ports=(8080,), sealed=True)
        async with running(engine, spec, readiness=Readiness(mark=MARK, port=8080)) as it:
            server = TaskServer(it, image=probe, max_reply=1000)
            await server.call("POST", "/", b"first", timeout=20)
            before = calls.total()
            for number in range(50):
                body = str(number).encode()
                assert (await server.call("POST", "/", body, timeout=20)).body == body
            assert calls.total() == before, calls
            server._client.close()
        life = calls - looked
    # For its whole life: a dry run and the pod, one watch, one log, no look at it in between.
    assert life["create", "pods"] == 2, life
    assert life["watch", "pods"] <= 2, life
    assert life["get", "pods/log"] == 1, life
    assert life["get", "pods"] == 0, life


# lading run.


@pytest.fixture
def lading(cluster: Space, tmp_path: Path) -> Cli:
    return Cli(cluster.address, tmp_path / "state", more=cluster.env)


def test_a_task_is_run_from_its_image(lading: Cli, probe: str, cluster: Space) -> None:
    done = lading("run", probe, "--input", "hello", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["reply"] == "hello"
    assert cluster.pods() == []


def test_what_nobody_saw_is_not_nothing(lading: Cli, probe: str) -> None:
    done = lading("run", probe, "--input", "hello")
    assert done.returncode == 0, done.stderr
    assert b" of 128 MiB, CPU " in done.stderr
    assert b"memory 0 B" not in done.stderr
    assert b"CPU 0 ms" not in done.stderr


def test_doctor_tells_of_the_cluster(lading: Cli) -> None:
    done = lading("doctor", "--json")
    checks = json.loads(done.stdout)["checks"]
    assert checks[0]["text"].startswith("Kubernetes v"), done.stderr
    found = {check["name"] for check in checks}
    assert {"websockets", "files", "runtimes", "GPUs", "leftovers"} <= found
    assert not {"sealed tasks", "limits", "images", "SGX"} & found


def _folder(path: Path, probe: str, name: str) -> str:
    (path / "src").mkdir(parents=True)
    (path / "src/x").write_text("x")
    (path / "Dockerfile").write_text(f"FROM {probe}\n")
    for file in ("description.txt", "example_input.bin", "example_output.bin"):
        (path / file).write_text("x\n")
    (path / "name.txt").write_text(f"{name}\n")
    (path / "config.json").write_text("{}")
    return str(path)


def test_a_folder_is_built_here_and_runs_there(
    lading: Cli, probe: str, tmp_path: Path, test_id: str, docker_host: str
) -> None:
    name = f"try-{test_id}"
    try:
        done = lading("run", _folder(tmp_path / "task", probe, name), "--input", "hello")
        assert done.returncode == 0, done.stderr
        assert b"hello" in done.stdout
        assert b"memory not seen" in done.stderr, "as a pod"
    finally:
        engines.call(docker_host, "DELETE", f"/images/lading-task/{name}:dev?force=1")


def test_where_nobody_builds_the_way_out_is_said(lading: Cli, probe: str, tmp_path: Path) -> None:
    nobody = replace(lading, more={**lading.more, "DOCKER_HOST": f"unix://{tmp_path}/nobody"})
    done = nobody("run", _folder(tmp_path / "task", probe, "x"))
    assert done.returncode != 0
    assert b"Docker" in done.stderr
    assert b"push" in done.stderr
