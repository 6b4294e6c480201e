"""Containers of tasks, begun, followed, ended, and found again: what needs no Airflow."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.images.build import remove_image
from tests.support import cluster, engines
from tests.support.docker_registry import LOGIN, docker_registry, engine_of_a_stranger, log_in
from tests.support.leaks import Footprint
from tests.support.processing import Images

from lading import EngineOptions, open_engine
from lading.airflow import work
from lading.airflow.orders import Ended, Handle, Identity, Order
from lading.airflow.places import MARK, claim
from lading.contracts.processing.task import Task
from lading.engine import RegistryLogin
from lading.errors import ImageDenied, InputError, NamespaceNotFound, TimedOut
from lading.run.ownership import PROCESS_LABEL

Make = Callable[..., Order]


@pytest.fixture(params=["docker", "kubernetes"])
def engine_host(request: pytest.FixtureRequest) -> str:
    host: str = request.getfixturevalue(f"{request.param}_host")
    return host


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LADING_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("LADING_ENGINE", raising=False)
    return tmp_path / "state"


@pytest.fixture
async def order(
    engine_host: str,
    probe: str,
    state: Path,
    tmp_path: Path,
    test_id: str,
    footprint: Footprint,
) -> AsyncIterator[Make]:
    """Makes orders for one task of one DAG run; ends what is left of it."""
    identity = Identity(test_id, "run:1", "task", data="/here")
    if not engine_host.startswith("kubernetes"):
        footprint.watch_label("lading.airflow.dag", test_id)

    def make(*verb: str, outputs: tuple[str, ...] = (), **more: object) -> Order:
        channels = [{"name": name, "mounted_path": f"/out/{name}"} for name in outputs]
        template = {"identifier": "t", "command": ["/probe", *verb], "outputs": channels}
        task = Task.model_validate({"name": "task", "image": probe, "taskTemplate": template})
        plain = Order(
            identity=identity,
            task=task,
            root=tmp_path,
            folder=tmp_path / "run:1" / "task",
            index="",
            inputs={},
            engine=engine_host,
            namespace="",
            labels={},
            annotations={},
            start_within=60.0,
            time_limit=None,
            adopt=False,
            login=None,
            check=lambda template: None,
            tell=lambda line: None,
        )
        return replace(plain, **more)  # type: ignore[arg-type]

    yield make
    await work.clear_all(engine_host, "", identity)
    if engine_host.startswith("kubernetes"):
        assert cluster.pods(cluster.namespace_of(engine_host)) == []


async def followed(handle: Handle) -> tuple[Ended, list[str]]:
    lines: list[str] = []
    told = Handle.from_json(handle.as_json())
    return await work.follow(told, lines.append), lines


async def exists(host: str, handle: Handle) -> bool:
    async with await open_engine(EngineOptions(engine=host)) as engine:
        return handle.container in {one.id for one in await engine.containers({})}


async def test_a_task_to_its_end(order: Make, engine_host: str, tmp_path: Path) -> None:
    left = tmp_path / "run:1/task/out/of-another-try"
    left.parent.mkdir(parents=True)
    left.touch()
    handle = await work.begin(order("write", "/out/out/f", "x", outputs=("out",)))
    ended, _ = await followed(handle)
    assert ended == Ended(0)
    assert {path.name for path in left.parent.iterdir()} == {"f"}
    assert not await exists(engine_host, handle)
    assert handle.task_run["id"] == handle.container


async def test_an_image_with_a_user_of_its_own(order: Make, images: Images, tmp_path: Path) -> None:
    wanted = order("write", "/out/out/f", "x", outputs=("out",))
    image = images("ordinary:1", {}, "USER 1000")
    task = Task(**{**dict(wanted.task), "image": image})
    ended, _ = await followed(await work.begin(replace(wanted, task=task)))
    assert ended == Ended(0)
    folder = tmp_path / "run:1/task/out"
    assert (folder / "f").read_text() == "x"
    assert folder.stat().st_mode & 0o022 == 0


async def test_all_lines(order: Make) -> None:
    ended, lines = await followed(await work.begin(order("lines", "3", "100")))
    assert (ended.code, lines) == (0, ["line 1", "line 2", "line 3"])


async def test_the_same_try_is_taken_over(order: Make, engine_host: str) -> None:
    """Its worker was killed before it could tell that it waits elsewhere."""
    wanted = order("lines", "4", "1500", adopt=True)
    first = await work.begin(wanted)
    second = await work.begin(wanted)
    assert (second.container, second.run) == (first.container, first.run)
    ended, lines = await followed(second)
    assert (ended.code, lines) == (0, [f"line {number}" for number in range(1, 5)])


async def test_another_try_begins_with_nothing(
    order: Make, engine_host: str, tmp_path: Path
) -> None:
    first = await work.begin(order("sleep", "600", outputs=("out",)))
    wanted = order("echo", "again", outputs=("out",), adopt=True)
    second = await work.begin(replace(wanted, identity=replace(wanted.identity, attempt=2)))
    assert second.container != first.container
    assert not await exists(engine_host, first)
    ended, lines = await followed(second)
    assert (ended.code, lines) == (0, ["again"])
    ended, _ = await followed(first)  # a trigger that still waits for it
    assert ended.code
    assert ended.why


async def test_another_airflow_with_a_run_of_the_same_name(order: Make, engine_host: str) -> None:
    mine = await work.begin(order("sleep", "600"))
    wanted = order("echo", "theirs", adopt=True)
    theirs = await work.begin(replace(wanted, identity=replace(wanted.identity, data="/elsewhere")))
    assert theirs.container != mine.container
    assert (await followed(theirs))[1] == ["theirs"]
    assert await exists(engine_host, mine)


async def test_another_dag_with_a_run_of_the_same_name(
    order: Make, engine_host: str, tmp_path: Path
) -> None:
    wanted = order("write", "/out/out/f", "mine", outputs=("out",))
    assert (await followed(await work.begin(wanted)))[0] == Ended(0)
    theirs = order("write", "/out/out/f", "theirs", outputs=("out",))
    theirs = replace(theirs, identity=replace(theirs.identity, dag="other"))
    with pytest.raises(InputError, match=r"has the data of DAG .*; give each DAG a directory"):
        await work.begin(theirs)
    assert (tmp_path / "run:1/task/out/f").read_text() == "mine"
    again = replace(wanted, identity=replace(wanted.identity, attempt=2))
    assert (await followed(await work.begin(again)))[0] == Ended(0)


async def test_an_input_of_a_task_with_a_directory_of_its_own(order: Make, tmp_path: Path) -> None:
    there = tmp_path / "theirs/run:1/first/out"
    there.mkdir(parents=True)
    (there / "f").write_text("from there")
    wanted = order("cat", "/in/f", root=tmp_path / "mine", folder=tmp_path / "mine/run:1/task")
    template = {
        "identifier": "t",
        "command": ["/probe", "cat", "/in/f"],
        "inputs": [{"name": "in", "mounted_path": "/in"}],
    }
    task = Task.model_validate({**wanted.task.model_dump(), "taskTemplate": template})
    roots = {"in": tmp_path / "theirs"}
    handle = await work.begin(replace(wanted, task=task, inputs={"in": there}, input_roots=roots))
    assert await followed(handle) == (Ended(0), ["from there"])


@pytest.mark.parametrize("engine_host", ["kubernetes"], indirect=True)
async def test_a_namespace_that_is_not_there(order: Make, engine_host: str) -> None:
    with pytest.raises(NamespaceNotFound) as caught:
        await work.begin(order("echo", namespace="lading-none"))
    assert "--engine" not in str(caught.value)
    assert 'engine="kubernetes://CONTEXT/NAMESPACE"' in str(caught.value)
    assert '"kubernetes_namespace"' in str(caught.value)


async def test_its_time_is_up(order: Make, engine_host: str) -> None:
    handle = await work.begin(order("sleep", "600", time_limit=1.0))
    ended, _ = await followed(handle)
    assert ended.timed_out
    assert not await exists(engine_host, handle)


async def test_memory_that_runs_out(order: Make) -> None:
    wanted = order("hog", "200000000")
    task = Task.model_validate(
        {**wanted.task.model_dump(), "resources": {"limits": {"memory": "32Mi"}}}
    )
    ended, _ = await followed(await work.begin(replace(wanted, task=task)))
    assert (ended.code, ended.out_of_memory) == (137, True)
    assert "limit 32 MiB, peak " in ended.why


async def test_it_does_not_start_in_time(order: Make) -> None:
    with pytest.raises(TimedOut, match="task did not run within"):
        await work.begin(order("echo", start_within=0.001))


async def test_an_input_that_is_not_there(order: Make, tmp_path: Path) -> None:
    wanted = order("echo")
    template = {
        "identifier": "t",
        "command": ["/probe", "echo"],
        "inputs": [{"name": "in", "mounted_path": "/in"}],
    }
    task = Task.model_validate({**wanted.task.model_dump(), "taskTemplate": template})
    with pytest.raises(InputError, match="clear the upstream task"):
        await work.begin(replace(wanted, task=task, inputs={"in": tmp_path / "nowhere"}))


@pytest.mark.parametrize("engine_host", ["docker"], indirect=True)
async def test_the_process_that_watched_it_is_killed(order: Make, engine_host: str) -> None:
    first = await work.begin(order("sleep", "600"))
    _, info = engines.call(engine_host, "GET", f"/containers/{first.container}/json")
    os.kill(int(info["Config"]["Labels"][PROCESS_LABEL].partition("@")[0]), signal.SIGKILL)
    ended, _ = await followed(first)
    assert "will not be finished" in ended.why
    second = await work.begin(order("echo", "again"))
    assert not await exists(engine_host, first)
    assert (await followed(second))[0].code == 0


async def test_a_container_that_somebody_removed(order: Make, engine_host: str) -> None:
    handle = await work.begin(order("sleep", "600"))
    async with await open_engine(EngineOptions(**handle.engine)) as engine:
        await (await engine.container(handle.container)).remove()
    ended, _ = await followed(handle)
    assert ended.code
    assert "removed" in ended.why or "deleted" in ended.why


@pytest.mark.registry
async def test_a_private_image_with_the_credentials_of_its_task(
    order: Make, engine_host: str, docker_host: str, images: Images, tmp_path: Path
) -> None:
    """They are used for it alone, and none of them stays."""
    async with docker_registry(login=True) as registry:
        log_in(tmp_path, registry)
        private = f"{registry.host}/say:1"
        async with engine_of_a_stranger(docker_host, tmp_path) as docker:
            offers = images.container({"identifier": "say", "command": ["/probe", "echo", "hi"]})
            await docker.tag(offers, private)
            try:
                await docker.push(private)
            finally:
                await docker.remove_image(private)
        images.remove()  # an engine would find it by its id, too
        task = Task.model_validate({"name": "task", "image": private, "taskTemplate": "say"})
        login = RegistryLogin(registry.host, *LOGIN)
        try:
            handle = await work.begin(order(task=task, login=login))
            ended, lines = await followed(handle)
            assert (ended, lines) == (Ended(0), ["hi"])
            assert LOGIN[1] not in json.dumps(handle.as_json())
            with pytest.raises(ImageDenied):
                await work.begin(order(task=Task(**{**dict(task), "image": f"{private}0"})))
        finally:
            remove_image(docker_host, private)


# Whose the directory of a run is.


def test_tasks_of_one_run_claim_it_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "data/run"
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: claim(folder, "mine"), range(64))) == {""}
    assert [path.name for path in folder.iterdir()] == [MARK]


def test_tasks_of_two_dags_claim_it_at_once(tmp_path: Path) -> None:
    def try_it(number: int) -> str | None:
        dag = f"dag-{number % 2}"
        try:
            return claim(tmp_path / "run", dag) or dag
        except InputError:
            return None

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(try_it, range(64)))
    assert found.count(None) == 32
    assert len(set(found)) == 2


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def link(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    assert claim(tmp_path / "run", "mine") == ""
    with pytest.raises(InputError, match=r"has the data of DAG mine, .* DAG theirs"):
        claim(tmp_path / "run", "theirs")


def test_a_mark_without_a_text(tmp_path: Path) -> None:
    """Who made it was killed between two lines, where marks can't be made with their text."""
    (tmp_path / MARK).touch()
    with pytest.raises(InputError, match=r"\.lading-dag: is empty.*; remove it"):
        claim(tmp_path, "mine")


def test_a_directory_that_can_not_be_marked(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert "can't be made or read (Not a directory)" in claim(tmp_path / "data/run", "mine")
