"""A kept log as `lading logs` shows it: while it is written, and when all else is gone."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.conftest import both_engines
from tests.support.command_line import Cli
from tests.support.processing import Tasks

from lading.engine import ContainerSpec, Engine, LogChunk, Network
from lading.run.kept_logs import KeptLog, kept_path
from lading.run.lifecycle import Running, start
from lading.run.log_reading import read
from lading.run.ownership import Owner
from lading.run.records import Kind, Records, Run, new_id, records_path


@dataclass
class Kept:
    """A run whose log is kept."""

    id: str
    running: Running
    log: KeptLog

    async def end(self) -> None:
        """What a runner does at the end: the container goes first, its log is ended after it."""
        await self.running.tail.finished(5)
        await self.running.close()
        await self.log.close()


Begin = Callable[..., Awaitable[Kept]]


@pytest.fixture
def cli(engine_host: str, tmp_path: Path) -> Cli:
    return Cli(engine_host, tmp_path / "state")


@pytest.fixture
async def begin(
    engine: Engine, cli: Cli, probe: str, test_labels: dict[str, str]
) -> AsyncIterator[Begin]:
    """Starts a run whose log is kept: `await begin("lines", "5", "0")`."""
    owner = await asyncio.to_thread(Owner.claim, cli.state)
    records = await asyncio.to_thread(Records, records_path(cli.state))
    begun: list[Kept] = []

    async def one(*args: str, limit: int = 1 << 20) -> Kept:
        run_id = new_id()
        log = await KeptLog.open(cli.state, run_id, limit=limit)
        kind = Kind.CONTAINER
        run = Run(id=run_id, kind=kind, contract="x", owner=owner.id, name="n", image=probe)
        labels = {**owner.labels(), **test_labels}
        spec = ContainerSpec(probe, args=args, labels=labels, network=Network.NONE)
        running = await start(engine, spec, records=records, run=run, on_log=log.write)
        begun.append(Kept(run_id, running, log))
        return begun[-1]

    yield one
    for kept in begun:
        await kept.end()
    records.close()
    await asyncio.to_thread(owner.release)


@dataclass
class Shown:
    """What a command wrote."""

    code: int | None
    out: bytes
    err: bytes


async def started(cli: Cli, *arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lading", *arguments, stdout=pipe, stderr=pipe, env=cli.env
    )


async def shown(cli: Cli, *arguments: str) -> Shown:
    process = await started(cli, *arguments)
    out, err = await process.communicate()
    return Shown(process.returncode, out, err)


@both_engines
async def test_a_log_is_there_when_its_container_is_gone(cli: Cli, begin: Begin) -> None:
    printed, complained = await begin("lines", "3", "0"), await begin("err", "no model")
    for kept in (printed, complained):
        assert (await kept.running.wait()).code == 0
        await kept.end()
    whole = b"line 1\nline 2\nline 3\n"
    assert await shown(cli, "logs", printed.id) == Shown(0, whole, b"")
    assert await shown(cli, "logs", "--follow", printed.id) == Shown(0, whole, b"")
    assert await shown(cli, "logs", printed.id, "--tail", "1") == Shown(0, b"line 3\n", b"")
    assert await shown(cli, "logs", complained.id) == Shown(0, b"", b"no model\n")


async def test_a_log_is_there_when_the_engine_is_gone(cli: Cli, begin: Begin) -> None:
    kept = await begin("echo", "hello")
    await kept.running.wait()
    await kept.end()
    away = ("--engine", "unix:///nowhere/engine.sock")
    assert await shown(cli, "logs", kept.id[:12], *away) == Shown(0, b"hello\n", b"")
    assert (await shown(cli, "logs", "-f", kept.id, *away)).out == b"hello\n"
    gone = await shown(cli, "logs", "zzzz", *away)
    assert (gone.code, gone.out) == (69, b"")
    assert b"/nowhere/engine.sock" in gone.err


@both_engines
async def test_a_container_that_goes_while_it_is_followed(cli: Cli, begin: Begin) -> None:
    kept = await begin("lines", "100000", "1")
    from_the_beginning = await started(cli, "logs", "-f", kept.id)
    from_the_end = await started(cli, "logs", "-f", "--tail", "1", kept.id)
    followers = (from_the_beginning, from_the_end)
    first = []
    for follower in followers:
        assert follower.stdout is not None
        first.append(await follower.stdout.readline())
    await kept.running.close()
    late = LogChunk("stderr", b"what comes when the container is gone\n")
    kept.log.write(late)
    await kept.log.close()
    whole = b"".join(
        [
            chunk.data
            for chunk in await asyncio.to_thread(lambda: list(read(cli.state, kept.id)))
            if chunk.stream == "stdout"
        ]
    )
    assert whole.startswith(b"line 1\nline 2\n")
    seen = []
    for head, follower in zip(first, followers, strict=True):
        out, err = await follower.communicate()
        assert follower.returncode == 0
        assert err == late.data
        seen.append(head + out)
    assert seen[0] == whole, "no line is lost, and none comes twice"
    assert whole.endswith(seen[1])
    assert seen[1].startswith(b"line ")


@both_engines
async def test_a_log_that_is_cut_is_read_from_the_engine_while_it_has_it(
    cli: Cli, begin: Begin
) -> None:
    kept = await begin("lines", "200", "0", limit=400)
    await kept.running.wait()
    await kept.running.tail.finished(5)
    await kept.log.flush()
    whole = b"".join(b"line %d\n" % n for n in range(1, 201))
    assert await shown(cli, "logs", kept.id) == Shown(0, whole, b"")
    await kept.end()
    after = await shown(cli, "logs", kept.id)
    assert after.code == 0
    assert whole.endswith(after.out)
    assert after.out.endswith(b"line 200\n")
    left = (len(whole) - len(after.out)) / 1024
    assert after.err == b"warning: %.1f KiB of the log before this were not kept\n" % left


@both_engines
def test_a_run_removes_the_logs_that_are_too_old(cli: Cli, tmp_path: Path, probe: str) -> None:
    task = Tasks(tmp_path, probe)("echo", "kept")
    assert cli("run", "-q", task).returncode == 0
    (old,) = cli.recorded()
    log = kept_path(cli.state, old["run"])
    month = time.time() - 31 * 86_400
    os.utime(log, (month, month))
    log.with_name(".pruned").unlink(missing_ok=True)  # a day is not over
    assert cli("run", "-q", task).returncode == 0
    new = next(run["run"] for run in cli.recorded() if run["run"] != old["run"])
    assert not log.exists()
    assert cli("logs", new).stdout == b"kept\n"
