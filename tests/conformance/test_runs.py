"""One container from start to gone, and every way it can fail, on every engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.differences import Unlike

from lading.engine import Container, ContainerSpec, Engine, Limits
from lading.errors import (
    ContainerLost,
    EngineError,
    EngineUnreachable,
    ExitedEarly,
    ImageNotFound,
    ImagePullFailed,
    NameTaken,
    NotReady,
    NotSupported,
    OutOfMemory,
)
from lading.http1 import open_socket
from lading.run.lifecycle import Running, running, start
from lading.run.readiness import Readiness
from lading.run.records import Kind, Records, Run, RunState, new_id
from lading.testing import FakeEngine

MARK = b"meca-init-done"
READY = Readiness(mark=MARK, port=8080, timeout=20)
MIB = 1 << 20


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(tmp_path / "records.db")
    yield records
    records.close()


class Task:
    """The probe with other arguments each time, and the record of its run."""

    def __init__(
        self, engine: Engine, image: str, labels: dict[str, str], records: Records
    ) -> None:
        self.engine = engine
        self.records = records
        self.run = Run(new_id(), Kind.CONTAINER, contract="test", owner="o", name="t", image=image)
        self._labels = labels
        self._image = image

    def spec(self, *args: str, **values: Any) -> ContainerSpec:
        values = {"image": self._image, "ports": (8080,), **values}
        return ContainerSpec(args=args or None, labels=self._labels, **values)

    async def start(
        self, *args: str, readiness: Readiness | None = READY, **values: Any
    ) -> Running:
        return await start(
            self.engine,
            self.spec(*args, **values),
            readiness=readiness,
            records=self.records,
            run=self.run,
        )

    def record(self) -> Run:
        return self.records.get(self.run.id)

    async def nothing_left(self) -> bool:
        return not await self.engine.containers(self._labels)


@pytest.fixture
async def task(
    engine: Engine, image: str, test_labels: dict[str, str], records: Records
) -> AsyncIterator[Task]:
    task = Task(engine, image, test_labels, records)
    yield task
    assert await task.nothing_left()


async def post(it: Running, body: object) -> tuple[int, bytes]:
    """One request to the task."""
    connection = await open_socket(await it.connect(8080))
    try:
        text = json.dumps(body).encode()
        response = await connection.send("POST", "/", (("host", "task"),), text)
        return response.status, await response.read()
    finally:
        connection.close()


async def test_a_server_serves_and_goes(task: Task, unlike: Unlike) -> None:
    it = await task.start()
    assert it.alive
    assert it.started_seconds > 0
    assert task.record().state is RunState.RUNNING
    assert task.record().container_id == it.container.id
    assert task.record().container_name == f"lading-{task.run.id}" == it.container.name
    assert await post(it, {"a": 1}) == (200, b'{"a": 1}')
    while not (await it.usage()).memory_peak:
        assert unlike("told late")
    assert await it.explain(0) is None
    await it.close(state=RunState.SUCCEEDED)
    await it.close()
    assert it.exited.done()
    assert task.record().state is RunState.SUCCEEDED
    assert task.record().memory_peak


async def test_a_program_runs_to_its_end(task: Task) -> None:
    it = await task.start("spin", "0.4", readiness=None)
    end = await it.wait()
    assert end.code == 0
    await it.close()
    assert (task.record().state, task.record().exit_code) == (RunState.SUCCEEDED, 0)


async def test_all_it_prints_is_told(task: Task) -> None:
    heard: list[bytes] = []
    spec = task.spec("lines", "300", "0")
    it = await start(task.engine, spec, on_log=lambda chunk: heard.append(chunk.data))
    await it.wait()
    await it.tail.finished(5)
    assert b"".join(heard) == b"".join(b"line %d\n" % n for n in range(1, 301))
    assert it.tail.tail(1) == "line 300"
    await it.close()


async def test_a_program_that_fails(task: Task) -> None:
    it = await task.start("exit", "7", readiness=None)
    ended: list[Running] = []
    it.on_exit(ended.append)
    assert (await it.wait()).code == 7
    error = await it.explain()
    assert isinstance(error, ExitedEarly)
    assert error.code == 7
    assert str(error).startswith("t ended with exit code 7, after ")
    await it.close()
    assert ended == [it]
    assert (task.record().state, task.record().exit_code) == (RunState.FAILED, 7)


async def test_a_run_whose_end_was_asked_for_is_cancelled(task: Task) -> None:
    # Once it prints, it handles SIGTERM; before that, the first process of a container ignores it.
    it = await task.start("lines", "2", "60000", readiness=Readiness(mark=b"line 1", timeout=20))
    assert not it.stopped
    assert await asyncio.to_thread(task.records.mark_stopping, it.run_id)
    assert (task.record().state, it.stopped) == (RunState.STOPPING, True)
    await it.container.stop(10)
    await it.wait()
    await it.close()
    run = task.record()
    assert (run.state, run.exit_code, run.error) == (RunState.CANCELLED, 143, "stopped by hand")
    assert not await asyncio.to_thread(task.records.mark_stopping, it.run_id)
    assert task.record().state is RunState.CANCELLED


async def test_the_mark_on_stderr_before_the_port(task: Task) -> None:
    it = await task.start("serve", "--stderr", "--mark-first", "--listen-ms", "150")
    assert await post(it, {}) == (200, b"{}")
    await it.close()


async def test_ready_by_http(task: Task) -> None:
    it = await task.start(readiness=Readiness(port=8080, http="/health"))
    await it.close()
    with pytest.raises(NotReady, match=r"listens on port 8080 but GET /no answers with status 404"):
        await task.start(readiness=Readiness(port=8080, http="/no", timeout=2))


async def test_it_never_prints_its_mark(task: Task) -> None:
    with pytest.raises(NotReady) as caught:
        await task.start("serve", "--no-mark", readiness=Readiness(mark=MARK, timeout=0.6))
    message = "t is not ready: it never printed its mark 'meca-init-done' after 600 ms"
    assert str(caught.value).startswith(message)
    assert (task.record().state, task.record().error) == (RunState.FAILED, caught.value.message)


async def test_it_prints_its_mark_and_never_listens(task: Task) -> None:
    with pytest.raises(NotReady) as caught:
        await task.start(
            "serve", "--no-listen", readiness=Readiness(mark=MARK, port=8080, timeout=4)
        )
    assert "printed its mark 'meca-init-done' but nothing listens on port 8080" in str(caught.value)
    assert caught.value.logs == "meca-init-done"


async def test_it_exits_at_start(task: Task) -> None:
    with pytest.raises(ExitedEarly) as caught:
        await task.start("serve", "--no-listen", "--exit-after-mark", "3")
    assert caught.value.code == 3
    assert "t ended with exit code 3 before it was ready" in str(caught.value)
    assert caught.value.logs == "meca-init-done"
    assert task.record().state is RunState.FAILED


async def test_it_needs_more_memory_than_it_has(task: Task) -> None:
    with pytest.raises(OutOfMemory) as caught:
        await task.start("hog", str(256 * MIB), limits=Limits(memory=64 * MIB))
    assert str(caught.value).startswith(
        "t was killed: out of memory, limit 64 MiB, peak 64 MiB; try --memory 128Mi"
    )
    assert task.record().out_of_memory
    assert task.record().memory_peak == 64 * MIB


async def test_it_is_killed_for_memory_while_it_serves(task: Task) -> None:
    it = await task.start(limits=Limits(memory=64 * MIB))
    with pytest.raises(ConnectionError):
        await post(it, {"hog": 256 * MIB})
    assert isinstance(await it.explain(10), OutOfMemory)
    await it.close()
    assert (task.record().state, task.record().out_of_memory) == (RunState.FAILED, True)


async def test_it_is_removed_behind_our_back(task: Task) -> None:
    it = await task.start()
    ended = asyncio.Event()
    it.on_exit(lambda _: ended.set())
    await (await task.engine.container(it.container.id)).remove()
    await ended.wait()
    assert not it.alive
    with pytest.raises(ConnectionError):
        await it.connect(8080)
    # Some engines tell of the kill, some of the removal, whichever they know first.
    assert isinstance(await it.explain(), ContainerLost | ExitedEarly)
    await it.close()
    assert task.record().state in (RunState.LOST, RunState.FAILED)


async def test_an_image_that_is_not_there(task: Task, unlike: Unlike) -> None:
    missing = (ImageNotFound, ImagePullFailed) if unlike("no images") else ImageNotFound
    with pytest.raises(missing):
        await task.start(image="lading-test/never-made:1")
    assert task.record().state is RunState.FAILED
    assert "never-made" in task.record().error


async def test_a_runtime_that_is_not_there(task: Task) -> None:
    with pytest.raises(NotSupported):
        await task.start(runtime="no-such-runtime")
    assert task.record().state is RunState.FAILED


async def test_a_name_that_somebody_has_stays_theirs(
    task: Task, engine: Engine, test_labels: dict[str, str]
) -> None:
    it = await task.start("sleep", "60", readiness=None)
    other = Task(engine, task.run.image, test_labels, task.records)
    with pytest.raises(NameTaken):
        await other.start(name=it.container.name)
    assert it.alive
    await it.close()


async def test_grace_is_given(task: Task) -> None:
    async with running(task.engine, task.spec(), readiness=READY, grace=5.0) as it:
        exited = it.exited
    assert exited.result().code == 143


async def test_grace_ends(task: Task) -> None:
    spec = task.spec("ignore-term", "60")
    async with running(task.engine, spec, grace=0.2) as it:
        exited = it.exited
    assert exited.result().code == 137


async def test_an_error_in_the_block_ends_it(task: Task) -> None:
    with pytest.raises(ZeroDivisionError):
        async with running(
            task.engine, task.spec(), readiness=READY, records=task.records, run=task.run
        ):
            raise ZeroDivisionError("no")
    assert (task.record().state, task.record().error) == (RunState.FAILED, "ZeroDivisionError: no")


async def test_a_cancelled_start_leaves_nothing(task: Task, engine_kind: str) -> None:
    """At moments all over a start; on the fake, at every single step."""
    steps = range(60) if engine_kind == "fake" else range(8)
    for step in steps:
        task.run = Run(new_id(), Kind.CONTAINER, "test", "o", "t", task.run.image)
        starting = asyncio.create_task(task.start())
        for _ in range(step):
            await asyncio.sleep(0 if engine_kind == "fake" else 0.03)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await starting).close()
        assert await task.nothing_left()
        assert task.records.open_owners() == set()


async def test_a_close_that_is_cancelled_closes(task: Task) -> None:
    it = await task.start()
    closing = asyncio.create_task(it.close())
    await asyncio.sleep(0)
    for _ in range(3):
        closing.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert await task.nothing_left()
    assert task.record().state is RunState.CANCELLED


@pytest.mark.parametrize("engine_kind", ["fake"])
async def test_an_engine_that_is_away_for_a_while(task: Task, engine: Engine) -> None:
    """On the fake: nobody may stop the real ones."""
    assert isinstance(engine, FakeEngine)
    it = await task.start()
    connection = await open_socket(await it.connect(8080))
    engine.go_away()
    response = await connection.send("POST", "/", (("host", "task"),), b"[]")
    assert await response.read() == b"[]"  # what is warm goes on serving
    assert it.alive
    with pytest.raises(EngineUnreachable):
        await start(engine, task.spec())
    engine.come_back()
    connection.close()
    with pytest.raises(ConnectionError):
        await post(it, {"exit": 4})
    assert (await it.wait()).code == 4
    await it.close()


@pytest.mark.parametrize("engine_kind", ["fake"])
async def test_a_removal_that_an_absent_engine_delays(task: Task, engine: Engine) -> None:
    assert isinstance(engine, FakeEngine)
    it = await task.start()
    engine.go_away()
    closing = asyncio.create_task(it.close())
    while engine.calls["remove"] < 2:
        await asyncio.sleep(0)
    engine.come_back()
    await closing


@pytest.mark.parametrize("engine_kind", ["fake"])
async def test_a_removal_that_fails_can_be_tried_again(task: Task, engine: Engine) -> None:
    assert isinstance(engine, FakeEngine)
    it = await task.start()
    engine.fail("remove", EngineError("device or resource busy"), 4)
    with pytest.raises(EngineError, match="busy"):
        await it.close(state=RunState.SUCCEEDED)
    engine.fail("remove", EngineError("device or resource busy"))  # a moment later, it is not
    await it.close()
    assert (task.record().state, task.record().error) == (RunState.SUCCEEDED, "")


@pytest.mark.parametrize("engine_kind", ["fake"])
async def test_an_order_whose_answer_was_lost(task: Task, engine: Engine) -> None:
    """The engine made the container, and its reply never came."""
    assert isinstance(engine, FakeEngine)
    create = engine.create

    async def deaf(spec: ContainerSpec) -> Container:
        await create(spec)
        raise EngineUnreachable("the connection broke")

    engine.create = deaf  # type: ignore[method-assign,assignment]
    with pytest.raises(EngineUnreachable):
        await task.start()
    assert task.record().state is RunState.FAILED


async def test_usage_is_what_was_used(task: Task, engine_kind: str, unlike: Unlike) -> None:
    it = await task.start()
    await post(it, {"hog": 40 * MIB})
    while (used := await it.usage()).memory_peak < 40 * MIB:
        assert unlike("told late")
    assert 40 * MIB <= used.memory_peak < 80 * MIB
    if engine_kind != "fake":
        assert 0 < used.cpu_seconds < 5
    await it.close()
    assert (task.record().memory_peak or 0) >= 40 * MIB


async def test_many_at_once(task: Task, test_labels: dict[str, str]) -> None:
    tasks = [Task(task.engine, task.run.image, test_labels, task.records) for _ in range(4)]
    started = await asyncio.gather(*(one.start() for one in tasks))
    assert [await post(it, [n]) for n, it in enumerate(started)] == [
        (200, b"[%d]" % n) for n in range(4)
    ]
    await asyncio.gather(*(it.close() for it in started))
