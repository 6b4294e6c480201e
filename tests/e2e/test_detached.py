"""Runs that nobody waits for: watched by a keeper, stopped, waited for, and lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.e2e.conftest import both_engines
from tests.support.command_line import Cli, failed

from lading import EngineOptions
from lading.contracts.processing.detached import Job, Started, launch
from lading.contracts.processing.planning import Circumstances
from lading.contracts.processing.task import HostPathVolume, IOChannel, TaskInstance
from lading.contracts.processing.template import Resources, TaskTemplateEnv
from lading.engine import Engine, ImageInfo
from lading.errors import ImageNotFound, InputError, NotSupported
from lading.run.ownership import PROCESS_LABEL
from lading.run.records import Records, Run, RunState, records_path

pytestmark = both_engines
MIB = 1 << 20
Begin = Callable[..., Awaitable[Started]]


@pytest.fixture
def cli(engine_host: str, tmp_path: Path) -> Cli:
    return Cli(engine_host, tmp_path / "state")


@pytest.fixture
async def begin(engine: Engine, cli: Cli, probe: str) -> AsyncIterator[Begin]:
    """Launches a run of the probe: `await begin("sleep", "60000", grace=1.0)`."""
    begun: list[Started] = []
    image = await engine.image(probe)

    async def one(*command: str, image: ImageInfo = image, **values: object) -> Started:
        circumstances = Circumstances(**values.pop("circumstances", {}))  # type: ignore[arg-type]
        instance = TaskInstance(
            name="a task",
            image=probe,
            taskTemplate="t",
            identifier="t",
            description="",
            command=["/probe", *command],
            **values,  # type: ignore[arg-type]
        )
        options = EngineOptions(engine=cli.engine)
        begun.append(await launch(Job(instance, image, options, cli.state, circumstances)))
        return begun[-1]

    yield one
    for started in begun:
        with contextlib.suppress(LookupError):
            keeper = await keeper_of(engine, started)
            keeper.terminate()
            await gone(keeper)
    assert await asyncio.to_thread(cli.left) == set()


async def keeper_of(engine: Engine, started: Started) -> psutil.Process:
    """The process that watches a run; LookupError if its container is gone."""
    found = await engine.containers({"lading.run": started.run})
    if not found:
        raise LookupError(started.run)
    return psutil.Process(int(found[0].labels[PROCESS_LABEL].partition(" ")[0].partition("@")[0]))


async def gone(process: psutil.Process) -> None:
    await asyncio.to_thread(psutil.wait_procs, [process], 60)
    assert not process.is_running()


async def record(cli: Cli, started: Started) -> Run:
    def read() -> Run:
        with contextlib.closing(Records(records_path(cli.state))) as records:
            return records.get(started.run)

    return await asyncio.to_thread(read)


def channel(name: str, path: Path) -> IOChannel:
    source = HostPathVolume(host_path=str(path))
    return IOChannel(name=name, mounted_path=f"/{name}", volume_source=source)


async def test_it_ends_by_itself_and_all_is_in_its_place(
    begin: Begin, cli: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "made" / "here"
    started = await begin("write", "/out/a", "17", outputs=[channel("out", out)])
    assert started.container == f"lading-{started.run}"
    done = await asyncio.to_thread(cli, "wait", started.run)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"0\n", b"")
    assert (out / "a").read_bytes() == b"17"
    assert (out / "a").stat().st_uid == os.getuid()
    run = await record(cli, started)
    assert (run.state, run.exit_code, run.output_bytes) == (RunState.SUCCEEDED, 0, 2)
    assert run.memory_peak


async def test_a_log_outlives_it(begin: Begin, cli: Cli) -> None:
    started = await begin("lines", "2000", "0")
    assert (await asyncio.to_thread(cli, "wait", started.run)).returncode == 0
    done = await asyncio.to_thread(cli, "logs", "--follow", started.run)
    assert done.stdout == b"".join(b"line %d\n" % number for number in range(1, 2001))


async def test_the_exit_code_is_the_containers(begin: Begin, cli: Cli) -> None:
    first, second = await begin("exit", "0"), await begin("exit", "3")
    done = await asyncio.to_thread(cli, "wait", first.run, second.run)
    assert (done.returncode, done.stdout) == (3, b"0\n3\n")
    assert f"run {second.run} failed: a task ended with exit code 3" in done.stderr.decode()


async def test_out_of_memory(begin: Begin, cli: Cli) -> None:
    started = await begin("hog", str(64 * MIB), resources=Resources(limits={"memory": "16Mi"}))
    assert started.memory == 16 * MIB
    done = await asyncio.to_thread(cli, "wait", started.run)
    assert (done.returncode, done.stdout) == (137, b"137\n")
    assert b"a task was killed: out of memory, limit 16 MiB, peak 16 MiB" in done.stderr
    assert b"32Mi" in done.stderr


async def test_stopped_is_cancelled(begin: Begin, cli: Cli) -> None:
    started = await begin("sleep", "60000")
    done = await asyncio.to_thread(cli, "stop", started.run)
    assert (done.returncode, done.stdout) == (0, f"{started.run}\n".encode()), done.stderr
    done = await asyncio.to_thread(cli, "wait", started.run)
    assert (done.returncode, done.stdout) == (143, b"143\n")
    assert f"run {started.run} was cancelled: a task was stopped by hand" in done.stderr.decode()
    run = await record(cli, started)
    assert (run.state, run.exit_code) == (RunState.CANCELLED, 143)


async def test_a_wait_that_is_interrupted_stops_nothing(
    begin: Begin, cli: Cli, engine: Engine
) -> None:
    started = await begin("sleep", "60000")
    with cli.started("wait", started.run) as waiting:
        asked = psutil.Process(waiting.pid)
        while not await asyncio.to_thread(asked.net_connections, "unix"):
            await asyncio.sleep(0.02)
        waiting.send_signal(signal.SIGINT)
        _, told = await asyncio.to_thread(waiting.communicate)
    assert waiting.returncode == 130, told
    assert (await record(cli, started)).state is RunState.RUNNING
    assert (await keeper_of(engine, started)).is_running()


async def test_a_keeper_stands_on_its_own(begin: Begin, engine: Engine, cli: Cli) -> None:
    """It has no terminal, no files of its caller, little memory, and ends in good order."""
    started = await begin("sleep", "60000")
    keeper = await keeper_of(engine, started)
    assert keeper.cwd() == "/"
    assert keeper.terminal() is None
    assert os.getsid(keeper.pid) != os.getsid(0)
    assert keeper.memory_info().rss < 60 * MIB
    held = [Path(f"/proc/{keeper.pid}/fd/{number}").readlink() for number in (0, 1, 2)]
    assert set(held) == {Path("/dev/null")}
    keeper.send_signal(signal.SIGHUP)
    keeper.terminate()
    await gone(keeper)
    run = await record(cli, started)
    assert (run.state, run.error, run.exit_code) == (RunState.CANCELLED, "interrupted", 143)


async def test_a_keeper_that_dies(begin: Begin, engine: Engine, cli: Cli) -> None:
    started = await begin("sleep", "60000")
    with cli.started("wait", started.run) as waiting:
        keeper = await keeper_of(engine, started)
        keeper.kill()
        _, told = await asyncio.to_thread(waiting.communicate)
    assert waiting.returncode == 70
    assert b"the process that watched it died" in told
    failed(await asyncio.to_thread(cli, "wait", started.run), 70, "`lading rm --all`")
    assert (await asyncio.to_thread(cli, "rm", "--all")).returncode == 0
    done = await asyncio.to_thread(cli, "wait", started.run)
    assert (done.returncode, done.stdout) == (70, b"70\n")
    assert b"was lost: the process that ran it died" in done.stderr


async def test_what_keeps_it_from_starting_is_raised(
    begin: Begin, engine: Engine, probe: str, tmp_path: Path, cli: Cli
) -> None:
    with pytest.raises(InputError) as bad:
        await begin("exit", "0", inputs=[channel("in", tmp_path / "no")])
    assert (bad.value.field, bad.value.fix) == ("input channel 'in'", "make it, or name another")
    assert "does not exist" in str(bad.value)
    nothing = replace(await engine.image(probe), id="lading-test/nothing:1")
    with pytest.raises(ImageNotFound) as absent:
        await begin("exit", "0", image=nothing)
    assert absent.value.image == "lading-test/nothing:1"
    with pytest.raises(NotSupported, match="no OCI runtime 'none-such'"):
        await begin("exit", "0", circumstances={"runtime": "none-such"})
    assert (await asyncio.to_thread(cli.recorded)) == []


async def test_a_launch_that_is_cancelled_leaves_nothing(
    begin: Begin, cli: Cli, probe: str
) -> None:
    for pause in (0.05, 0.3, 0.6):
        launching = asyncio.ensure_future(begin("sleep", "60000"))
        await asyncio.wait({launching}, timeout=pause)
        launching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await launching
            continue  # it was faster, and ends with the test
        assert await asyncio.to_thread(cli.left) == set()


async def test_values_stand_on_no_command_line(begin: Begin, engine: Engine) -> None:
    secret = TaskTemplateEnv(name="PASSWORD", value="a-secret-value")
    started = await begin("sleep", "60000", env=[secret])
    keeper = await keeper_of(engine, started)
    assert "a-secret-value" not in " ".join(keeper.cmdline())
    assert started.notes == ()


async def test_the_command_line_leaves_it_running(
    begin: Begin, cli: Cli, engine: Engine, probe: str, tmp_path: Path
) -> None:
    template = {"identifier": "t", "description": "t", "inputs": [], "outputs": [], "env": []}
    task = {"name": "t", "image": probe, "taskTemplate": template, "command": ["/probe", "sleep"]}
    task["command"].append("60000")  # type: ignore[attr-defined]
    path = tmp_path / "task.json"
    path.write_text(json.dumps(task))
    done = await asyncio.to_thread(cli, "run", str(path), "--detach")
    assert (done.returncode, done.stderr) == (0, b"")
    started = Started(done.stdout.decode().strip(), "", "")
    keeper = await keeper_of(engine, started)
    try:
        assert (await record(cli, started)).state is RunState.RUNNING
        again = await asyncio.to_thread(cli, "run", str(path), "-d", "--watch")
        failed(again, 2, "--watch: tells of a run until it ends", "`lading logs --follow`")
        again = await asyncio.to_thread(cli, "run", str(path), str(path), "-d")
        failed(again, 2, "--detach: is for one task")
    finally:
        done = await asyncio.to_thread(cli, "stop", started.run)
        await gone(keeper)
    assert (await record(cli, started)).state is RunState.CANCELLED
