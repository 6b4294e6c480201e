from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.conformance.conftest import Make, OpenClient
from tests.conformance.differences import Unlike
from tests.support.containers import output, ready

from lading.engine import ContainerSpec, Engine, Gpu, Limits, Network, State
from lading.errors import (
    ContainerNotFound,
    EngineError,
    NameTaken,
    NetworkNotFound,
    NotSupported,
    Unschedulable,
)


@pytest.mark.parametrize("code", [0, 1, 42, 255])
async def test_exit_codes(make: Make, code: int) -> None:
    container = await make("exit", str(code))
    end = await container.wait()
    assert end.code == code
    assert not end.out_of_memory
    assert end.started.tzinfo is not None
    assert end.started <= end.finished
    assert end.seconds >= 0
    assert abs(datetime.now(UTC) - end.finished) < timedelta(minutes=5)


async def test_states_from_created_to_exited(make: Make, image: str, unlike: Unlike) -> None:
    container = await make("sleep", "60", start=False)
    info = await container.inspect()
    assert (info.state, info.pid, info.exit) == (State.CREATED, None, None)
    assert info.id == container.id
    assert info.name == container.name
    assert info.image.endswith(image)
    if not unlike("nothing before the start"):
        assert info.image_id.startswith("sha256:")
    await container.start()
    info = await container.inspect()
    assert info.state is State.RUNNING
    assert info.image_id.startswith("sha256:")
    assert bool(info.pid) is not unlike("no process ids")
    assert info.exit is None
    await container.kill()
    end = await container.wait()
    info = await container.inspect()
    assert (info.state, info.pid) == (State.EXITED, None)
    assert info.exit == end


async def test_starting_what_runs_leaves_it_alone(make: Make) -> None:
    container = await make("sleep", "60")
    before = (await container.inspect()).pid
    await container.start()
    assert (await container.inspect()).pid == before


async def test_starting_again_what_has_ended(make: Make, unlike: Unlike) -> None:
    container = await make("exit", "4")
    first = await container.wait()
    if unlike("started once"):
        with pytest.raises(NotSupported, match="only once; create another"):
            await container.start()
        return
    await container.start()
    second = await container.wait()
    assert second.code == 4
    assert second.started >= first.finished


async def test_a_taken_name(make: Make, test_id: str) -> None:
    name = f"lading-{test_id}"
    first = await make("sleep", "60", name=name, start=False)
    assert first.name == name
    with pytest.raises(NameTaken, match=name):
        await make("sleep", "60", name=name, start=False)
    await first.remove()
    again = await make("sleep", "60", name=name, start=False)
    assert again.id != first.id


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        (None, ("echo", "a"), b"a\n"),
        (("/probe", "echo", "b"), None, b"b\n"),
        (("/probe", "echo"), ("c", "d"), b"c d\n"),
    ],
)
async def test_command_and_args(
    make: Make,
    command: tuple[str, ...] | None,
    args: tuple[str, ...] | None,
    expected: bytes,
) -> None:
    container = await make(command=command, args=args)
    await container.wait()
    assert (await output(container))[0] == expected


async def test_neither_command_nor_args_is_the_images_own(make: Make) -> None:
    await ready(await make())


async def test_a_program_that_is_not_there(make: Make) -> None:
    container = await make(command=("/nowhere",), start=False)
    with pytest.raises(EngineError, match="/nowhere"):
        await container.start()


async def test_environment(make: Make) -> None:
    own = await make("env", "WORD", env={"WORD": "a=b c"})
    images = await make("env", "PROBE", env={"WORD": "x"})
    changed = await make("env", "PROBE", env={"PROBE": "2"})
    for container in (own, images, changed):
        assert (await container.wait()).code == 0
    assert (await output(own))[0] == b"a=b c\n"
    assert (await output(images))[0] == b"1\n"
    assert (await output(changed))[0] == b"2\n"


async def test_the_directory_in_which_it_starts(make: Make) -> None:
    container = await make("cat", "hello.txt", directory="/data")
    assert (await container.wait()).code == 0
    assert (await output(container))[0] == b"hello\n"


async def test_user(make: Make) -> None:
    container = await make("id", user="1234:4321")
    await container.wait()
    assert (await output(container))[0] == b"1234:4321\n"


async def test_listing_by_labels(engine: Engine, make: Make, test_labels: dict[str, str]) -> None:
    one = await make("sleep", "60", labels={"a": "1", "b": "x"}, start=False)
    two = await make("sleep", "60", labels={"a": "2"})
    gone = await make("exit", "0", labels={"a": "1"})
    await gone.wait()

    async def ids(**labels: str) -> set[str]:
        return {info.id for info in await engine.containers({**test_labels, **labels})}

    assert await ids() == {one.id, two.id, gone.id}
    assert await ids(a="1") == {one.id, gone.id}
    assert await ids(a="") == {one.id, two.id, gone.id}
    assert await ids(a="1", b="") == {one.id}
    assert await ids(a="3") == set()
    listed = {info.id: info for info in await engine.containers(test_labels)}
    assert listed[one.id].state is State.CREATED
    assert listed[two.id].state is State.RUNNING
    assert listed[gone.id].state is State.EXITED
    assert listed[one.id].name == one.name
    assert listed[one.id].labels["b"] == "x"


async def test_finding_by_name_and_id(engine: Engine, make: Make) -> None:
    container = await make("sleep", "60", start=False)
    assert (await engine.container(container.name)).id == container.id
    assert (await engine.container(container.id)).name == container.name


async def test_wait_before_start_after_the_end_and_by_two(make: Make) -> None:
    container = await make("exit", "5", start=False)
    async with asyncio.TaskGroup() as group:
        first, second = (group.create_task(container.wait()) for _ in range(2))
        await container.start()
    assert first.result().code == second.result().code == 5
    assert await container.wait() == first.result()


async def test_a_cancelled_wait_leaves_the_container(make: Make) -> None:
    container = await make("sleep", "60")
    task = asyncio.create_task(container.wait())
    await container.inspect()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await container.inspect()).state is State.RUNNING


@pytest.mark.parametrize("start", [False, True])
async def test_removed_while_somebody_waits(make: Make, start: bool) -> None:
    container = await make("sleep", "60", start=start)
    task = asyncio.create_task(container.wait())
    await container.inspect()
    await container.remove()
    with pytest.raises(ContainerNotFound, match=container.name):
        await task


async def test_remove_twice_and_at_once(make: Make) -> None:
    container = await make("sleep", "60")
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(container.remove())
    await container.remove()


async def test_everything_on_a_removed_container(make: Make) -> None:
    container = await make("sleep", "60")
    await container.remove()
    for verb in (
        container.inspect,
        container.start,
        container.wait,
        container.stats,
        container.kill,
        container.stop,
        lambda: container.get("/data"),
        lambda: output(container),
    ):
        with pytest.raises(ContainerNotFound):
            await verb()
    with pytest.raises(ConnectionError):
        await container.connect(8080)


async def test_kill_with_a_signal(make: Make) -> None:
    container = await make()
    await ready(container)
    await container.kill("SIGTERM")
    assert (await container.wait()).code == 143


async def test_kill_is_not_out_of_memory(make: Make, unlike: Unlike) -> None:
    container = await make("sleep", "60", limits=Limits(memory=32 << 20))
    await container.kill()
    end = await container.wait()
    assert end.code == 137 or (end.code == 143 and unlike("asked before it is killed"))
    assert not end.out_of_memory
    await container.kill()
    await container.stop()


async def test_stop_asks_first(make: Make) -> None:
    container = await make()
    await ready(container)
    await container.stop(grace=60)
    assert (await container.wait()).code == 143


async def test_stop_kills_what_does_not_listen(make: Make) -> None:
    container = await make("ignore-term", "60")
    await container.stop(grace=1)
    end = await container.wait()
    assert end.code == 137
    assert not end.out_of_memory


async def test_an_unknown_runtime_is_named(make: Make) -> None:
    with pytest.raises(NotSupported, match="no-such-runtime"):
        await make("exit", "0", runtime="no-such-runtime")


async def test_gpus_without_a_driver(
    make: Make, open_client: OpenClient, image: str, test_labels: dict[str, str], unlike: Unlike
) -> None:
    gpu = Gpu(devices=("0",))
    if not unlike("nodes may come"):
        with pytest.raises(NotSupported, match=r"(?i)gpu"):
            await make("exit", "0", gpus=gpu)
        return
    async with await open_client(cluster_patience=1) as impatient:
        container = await impatient.create(ContainerSpec(image, gpus=gpu, labels=test_labels))
        reasons: list[str] = []
        try:
            with pytest.raises(Unschedulable, match=r"nodes are.*nvidia.com/gpu; ask for less"):
                await container.start(reasons.append)
        finally:
            await container.remove()
    assert "nvidia.com/gpu" in reasons[0]
    assert reasons[-1] == ""


async def test_an_unknown_network_is_named(make: Make, network_name: str) -> None:
    with pytest.raises(NetworkNotFound, match=network_name):
        await make("exit", "0", network=network_name)


async def test_a_cancelled_create_leaves_nothing_or_a_container(
    engine: Engine, image: str, test_labels: dict[str, str]
) -> None:
    spec = ContainerSpec(image, labels=test_labels, network=Network.NONE)
    task = asyncio.create_task(engine.create(spec))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for info in await engine.containers(test_labels):
        await (await engine.container(info.id)).remove()
