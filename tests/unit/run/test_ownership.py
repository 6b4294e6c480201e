"""Owners that live, die, and can't be judged."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lading.engine import ContainerSpec, NetworkSpec
from lading.errors import EngineError, RecordError
from lading.run.ownership import (
    LOCK_LABEL,
    MACHINE_LABEL,
    OWNER_LABEL,
    PROCESS_LABEL,
    Owner,
    is_alive,
    sweep,
)
from lading.run.records import Kind, Records, Run, RunState, new_id
from lading.testing import FakeEngine, FakeImage, FakeProcess

CHILD = """
    import json, sys, time
    from pathlib import Path
    from lading.run.ownership import Owner

    owner = Owner.claim(Path(sys.argv[1]))
    print(json.dumps(owner.labels()), flush=True)
    time.sleep(600)
"""


@dataclass
class Child:
    """A process that owns, until it is killed."""

    process: subprocess.Popen[str]
    labels: dict[str, str]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield Child(process, json.loads(process.stdout.readline()))
        process.kill()


async def idle(process: FakeProcess) -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    async with FakeEngine([FakeImage("idle:1", idle)]) as engine:
        yield engine
        for info in await engine.containers({}):
            await (await engine.container(info.id)).remove()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(tmp_path / "records.db")
    yield records
    records.close()


@pytest.fixture
def me(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner.claim(tmp_path)
    yield owner
    owner.release()


def open_run(owner: str, kind: Kind = Kind.CONTAINER) -> Run:
    return Run(new_id(), kind, contract="meca", owner=owner, name="t", image="i")


async def names(engine: FakeEngine) -> set[str]:
    return {info.name for info in await engine.containers({})}


async def make(engine: FakeEngine, name: str, labels: dict[str, str]) -> None:
    await (await engine.create(ContainerSpec("idle:1", name=name, labels=labels))).start()


async def test_the_dead_leave_nothing_and_the_living_keep_all(
    tmp_path: Path, child: Child, me: Owner, engine: FakeEngine, records: Records
) -> None:
    await make(engine, "mine", me.labels())
    await make(engine, "its", child.labels)
    await make(engine, "nobodys", {})
    await engine.create_network(NetworkSpec("net-mine", labels=me.labels()))
    await engine.create_network(NetworkSpec("net-its", labels=child.labels))
    runs = [open_run(me.id), *(open_run(child.labels[OWNER_LABEL], kind) for kind in Kind)]
    for run in runs:
        records.begin(run)

    report = await sweep(engine, tmp_path, records)
    assert (report.containers, report.networks, report.lost) == ((), (), 0)
    assert await names(engine) == {"mine", "its", "nobodys"}

    assert await asyncio.to_thread(is_alive, tmp_path, child.labels[OWNER_LABEL])
    child.kill()
    assert not await asyncio.to_thread(is_alive, tmp_path, child.labels[OWNER_LABEL])
    report = await sweep(engine, tmp_path, records)
    assert (report.containers, report.networks, report.lost) == (("its",), ("net-its",), 2)
    assert await names(engine) == {"mine", "nobodys"}
    assert [network.name for network in await engine.networks({OWNER_LABEL: ""})] == ["net-mine"]
    states = [records.get(run.id).state for run in runs]
    assert states == [RunState.STARTING, RunState.LOST, RunState.LOST]
    assert [path.stem for path in (tmp_path / "owners").iterdir()] == [me.id]


async def test_runs_of_the_dead_end_where_nothing_else_is_left(
    tmp_path: Path, child: Child, engine: FakeEngine, records: Records
) -> None:
    records.begin(open_run(child.labels[OWNER_LABEL], Kind.CALL))
    records.begin(open_run("released-without-ending-its-runs"))
    assert (await sweep(engine, tmp_path, records)).lost == 1
    child.kill()
    assert (await sweep(engine, tmp_path, records)).lost == 1
    assert records.open_owners() == set()


async def test_a_release_leaves_the_rest_to_the_end_of_its_process(
    tmp_path: Path, engine: FakeEngine
) -> None:
    owner = await asyncio.to_thread(Owner.claim, tmp_path)
    labels = owner.labels()
    await make(engine, "left", labels)
    await asyncio.to_thread(owner.release)
    await asyncio.to_thread(owner.release)
    # Its file is gone and its process lives: nobody can say whose it is.
    assert (await sweep(engine, tmp_path, None)).containers == ()


async def test_a_deleted_file_is_no_proof(tmp_path: Path, child: Child, engine: FakeEngine) -> None:
    await make(engine, "its", child.labels)
    (tmp_path / "owners" / f"{child.labels[OWNER_LABEL]}.lock").unlink()
    assert (await sweep(engine, tmp_path, None)).containers == ()
    child.kill()
    assert (await sweep(engine, tmp_path, None)).containers == ("its",)


async def test_a_later_process_of_the_same_number_is_another(
    tmp_path: Path, me: Owner, engine: FakeEngine
) -> None:
    labels = me.labels() | {OWNER_LABEL: "d" * 32}  # of which there is no file
    number, _, begun = labels[PROCESS_LABEL].partition("@")
    assert begun.isdigit()
    await make(engine, "alive", labels)
    await make(engine, "dead", labels | {OWNER_LABEL: "e" * 32, PROCESS_LABEL: f"{number}@1"})
    assert (await sweep(engine, tmp_path, None)).containers == ("dead",)


@pytest.fixture
def process_of_a_container() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A process in a control group that is named after a container, and the container's id."""
    identity = "f00d" * 16
    root = Path("/sys/fs/cgroup")
    group = (root / "pids" if (root / "pids").is_dir() else root) / identity
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"making a control group takes root: {error}")
    with subprocess.Popen(["sleep", "60"]) as process:
        (group / "cgroup.procs").write_text(str(process.pid))
        yield identity, process
        process.kill()
    group.rmdir()


async def test_an_owner_in_a_container_of_another_engine_is_not_judged_by_this_one(
    tmp_path: Path, engine: FakeEngine, process_of_a_container: tuple[str, subprocess.Popen[bytes]]
) -> None:
    """Its container is unknown here, but a process of it runs on this machine."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    other, process = process_of_a_container
    labels = {
        OWNER_LABEL: "a" * 32,
        LOCK_LABEL: "/only/in/there/owners/x.lock",
        MACHINE_LABEL: f"{socket.gethostname()} {boot} {other}",
    }
    await make(engine, "its", labels)
    assert (await sweep(engine, tmp_path, None)).containers == ()
    process.kill()
    await asyncio.to_thread(process.wait)
    assert (await sweep(engine, tmp_path, None)).containers == ("its",)


async def test_an_order_that_outlived_its_owner_is_found_by_the_next_sweep(
    tmp_path: Path, child: Child, engine: FakeEngine, records: Records
) -> None:
    """An engine may finish a create whose client is dead, after the sweep that forgot it."""
    child.kill()
    await sweep(engine, tmp_path, records)
    assert list((tmp_path / "owners").iterdir()) == []
    await make(engine, "late", child.labels)
    assert (await sweep(engine, tmp_path, records)).containers == ("late",)


async def test_another_machine_is_not_judged(
    tmp_path: Path, child: Child, engine: FakeEngine
) -> None:
    child.kill()
    for number, machine in enumerate(["elsewhere b00t -", "nonsense", ""]):
        labels = {**child.labels, "lading.lock": "/nowhere/x.lock", MACHINE_LABEL: machine}
        await make(engine, f"c{number}", labels | {OWNER_LABEL: f"o{number}"})
    assert (await sweep(engine, tmp_path, None)).containers == ()


async def test_an_owner_in_a_container_lives_as_long_as_that(
    tmp_path: Path, engine: FakeEngine
) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    executor = await engine.create(ContainerSpec("idle:1", name="executor"))
    await executor.start()
    labels = {
        OWNER_LABEL: "o",
        "lading.lock": "/only/in/there/o.lock",
        MACHINE_LABEL: f"{socket.gethostname()} {boot} {executor.id}",
    }
    await make(engine, "its", labels)
    assert (await sweep(engine, tmp_path, None)).containers == ()
    await executor.kill()
    await executor.wait()
    assert (await sweep(engine, tmp_path, None)).containers == ("its",)
    await make(engine, "its", labels)
    await executor.remove()
    assert (await sweep(engine, tmp_path, None)).containers == ("its",)


@pytest.mark.parametrize(
    ("owner", "place"),
    [
        ("precious", "precious.lock"),
        ("precious", "owners/precious.lock"),
        ("0" * 32, f"{'0' * 32}.lock"),
        ("0" * 32, "owners/other.lock"),
    ],
)
async def test_labels_of_a_strangers_image_name_no_file_of_ours(
    tmp_path: Path, engine: FakeEngine, owner: str, place: str
) -> None:
    """Containers that others make from an image carry its labels."""
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("anything")
    await make(engine, "others", {OWNER_LABEL: owner, LOCK_LABEL: str(file)})
    assert (await sweep(engine, tmp_path / "state", None)).containers == ()
    assert file.exists()


class Busy(Records):
    """Records to which a newcomer writes just before they are asked who has open runs."""

    newcomer: Owner | None = None

    def _claim(self) -> None:
        self.newcomer = Owner.claim(self.path.parent)

    def open_owners(self) -> set[str]:
        threading.Thread(target=self._claim).start()  # another process, as it were
        while self.newcomer is None:
            os.sched_yield()
        self.begin(open_run(self.newcomer.id))
        return super().open_owners()


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Busy]:
    records = Busy(tmp_path / "records.db")
    yield records
    records.close()
    assert records.newcomer
    records.newcomer.release()


async def test_whoever_begins_meanwhile_is_alive(
    tmp_path: Path, engine: FakeEngine, busy: Busy
) -> None:
    assert (await sweep(engine, tmp_path, busy)).lost == 0
    [run] = busy.list()
    assert run.state is RunState.STARTING


async def test_what_could_not_be_removed_is_tried_again(
    tmp_path: Path, child: Child, engine: FakeEngine
) -> None:
    await make(engine, "its", child.labels)
    child.kill()
    engine.fail("remove", EngineError("device or resource busy"))
    report = await sweep(engine, tmp_path, None)
    assert report.containers == ()
    assert report.failed == ("container its: device or resource busy",)
    assert [path.stem for path in (tmp_path / "owners").iterdir()] == [child.labels[OWNER_LABEL]]
    assert (await sweep(engine, tmp_path, None)).containers == ("its",)
    assert list((tmp_path / "owners").iterdir()) == []


async def test_an_engine_that_lists_nothing_is_an_error_as_any(
    tmp_path: Path, engine: FakeEngine
) -> None:
    engine.fail("containers", EngineError("no answer"))
    with pytest.raises(EngineError, match="no answer"):  # and no group of them
        await sweep(engine, tmp_path, None)


def test_an_owner_needs_a_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"file/owners/.*lock can't be made"):
        Owner.claim(tmp_path / "file")
