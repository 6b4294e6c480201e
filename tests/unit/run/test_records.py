"""The records: durable, shared, and never in the way."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from lading.errors import RecordError, RecordNotFound
from lading.run.journal import OnError
from lading.run.records import Kind, Records, Run, RunState, new_id


def make(kind: Kind = Kind.CONTAINER, **values: object) -> Run:
    run = Run(new_id(), kind, contract="meca", owner="o1", name="task", image="task:1")
    return replace(run, **values)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "records.db"


@contextlib.asynccontextmanager
async def opened(path: Path, on_error: OnError | None = None) -> AsyncIterator[Records]:
    records = await asyncio.to_thread(Records, path, on_error=on_error)
    try:
        yield records
    finally:
        await asyncio.to_thread(records.close)


def on_disk(path: Path) -> dict[str, str]:
    """What another process would see now."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT id, state FROM run").fetchall())


def test_columns_are_the_fields(path: Path) -> None:
    with contextlib.closing(Records(path)), contextlib.closing(sqlite3.connect(path)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(run)")]
    assert columns == [item.name for item in fields(Run)]


def test_every_field_comes_back(path: Path) -> None:
    run = make(
        state=RunState.RUNNING, started=1.5, image_id="sha256:1", container_id="c" * 64,
        container_name="lading-x", parent="p", cpus=0.5, memory=1 << 40, exit_code=137,
        out_of_memory=True, error="döner ☃", memory_peak=3, cpu_seconds=0.25, input_bytes=0,
        output_bytes=9, detail='{"a": 1}',
    )  # fmt: skip
    with contextlib.closing(Records(path)) as records:
        records.begin(run)
        assert records.get(run.id) == run
        assert records.get(run.id[:12]) == run


def test_ids_sort_by_time_and_are_unique() -> None:
    ids = [new_id() for _ in range(5000)]
    assert ids == sorted(set(ids))
    assert {len(item) for item in ids} == {16}


def test_a_container_is_durable_when_begun_and_when_finished(path: Path) -> None:
    run = make()
    with contextlib.closing(Records(path)) as records:
        records.begin(run)
        assert on_disk(path) == {run.id: "starting"}
        records.update(run.id, state=RunState.RUNNING, container_id="c1")
        records.finish(run.id, RunState.FAILED, exit_code=3, error="no")
        assert on_disk(path) == {run.id: "failed"}
        found = records.get(run.id)
    assert (found.container_id, found.exit_code, found.error) == ("c1", 3, "no")
    assert found.finished is not None
    assert found.finished >= found.created


async def test_beginnings_of_calls_are_written_together(path: Path) -> None:
    calls = [make(Kind.CALL) for _ in range(20)]
    async with opened(path) as records:
        for call in calls:
            records.begin(call)
        assert on_disk(path) == {}
        records.finish(calls[0].id, RunState.SUCCEEDED)
        assert on_disk(path) == {calls[0].id: "succeeded"}
        while len(on_disk(path)) < len(calls):
            await asyncio.sleep(0)
        records.finish(calls[1].id, RunState.FAILED)
        assert on_disk(path)[calls[1].id] == "failed"


async def test_calls_that_end_together_are_durable_when_told(path: Path) -> None:
    async with opened(path) as records:
        runs = [make(Kind.CALL) for _ in range(20)]
        for run in runs:
            records.begin(run)

        async def end(run: Run) -> str:
            await records.finish_together(run.id, RunState.SUCCEEDED, output_bytes=3)
            return on_disk(path)[run.id]

        assert await asyncio.gather(*map(end, runs)) == ["succeeded"] * 20
        alone = make(Kind.CALL)
        records.begin(alone)
        assert await end(alone) == "succeeded"


async def test_an_ending_is_written_though_nobody_waits_for_it_any_more(path: Path) -> None:
    async with opened(path) as records:
        runs = [make(Kind.CALL) for _ in range(3)]
        for run in runs:
            records.begin(run)
        first, second = (
            asyncio.ensure_future(records.finish_together(run.id, RunState.SUCCEEDED))
            for run in runs[:2]
        )
        asyncio.get_running_loop().call_soon(first.cancel)
        await second
        assert first.cancelled()
        assert on_disk(path) == {run.id: "succeeded" for run in runs[:2]}


async def test_who_ends_together_is_told_that_it_could_not_be_written(path: Path) -> None:
    async with opened(path) as records:
        runs = [make(Kind.CALL, error="x" * 5000) for _ in range(20)]
        for run in runs:
            records.begin(run)
        full_disk(records, pages=20)
        ends = [records.finish_together(run.id, RunState.SUCCEEDED) for run in runs]
        told = await asyncio.gather(*ends, return_exceptions=True)
        assert [type(error) for error in told] == [RecordError] * 20
        full_disk(records, pages=10_000)


async def test_closing_writes_what_waits(path: Path) -> None:
    call = make(Kind.CALL)
    async with opened(path) as records:
        records.begin(call)
    assert on_disk(path) == {call.id: "starting"}


def test_get_says_none_or_many(path: Path) -> None:
    with contextlib.closing(Records(path)) as records:
        first, second = make(), make()
        records.begin(first)
        records.begin(second)
        with pytest.raises(RecordNotFound, match="no run 'zz'"):
            records.get("zz")
        with pytest.raises(RecordNotFound, match="no run"):
            records.get("\udcff")  # an argument that is no text
        with pytest.raises(RecordNotFound, match="more than one"):
            records.get(first.id[:4])


def test_list_filters(path: Path) -> None:
    now = time.time()
    with contextlib.closing(Records(path)) as records:
        runs = [make(), make(Kind.CALL), make()]
        for run in runs:
            records.begin(run)
        records.finish(runs[0].id, RunState.SUCCEEDED)
        assert [run.id for run in records.list()] == [run.id for run in reversed(runs)]
        assert [run.id for run in records.list(kind=Kind.CALL)] == [runs[1].id]
        assert [run.id for run in records.list(state=RunState.SUCCEEDED)] == [runs[0].id]
        assert len(records.list(limit=2)) == 2
        assert len(records.list(since=now - 1)) == 3
        assert records.list(since=now + 60) == []


def test_lost_are_only_the_open_ones_of_that_owner(path: Path) -> None:
    with contextlib.closing(Records(path)) as records:
        mine, done, other = make(), make(), make(owner="o2")
        for run in (mine, done, other):
            records.begin(run)
        records.finish(done.id, RunState.SUCCEEDED)
        assert records.open_owners() == {"o1", "o2"}
        assert records.mark_lost("o1") == 1
        assert records.get(mine.id).state is RunState.LOST
        assert records.get(mine.id).finished is not None
        assert records.get(done.id).state is RunState.SUCCEEDED
        assert records.get(other.id).state is RunState.STARTING


def test_prune_by_age_and_number_but_never_what_runs(path: Path) -> None:
    with contextlib.closing(Records(path)) as records:
        runs = [make() for _ in range(6)]
        for run in runs:
            records.begin(run)
        for run in runs[1:]:
            records.finish(run.id, RunState.SUCCEEDED)
        assert records.prune(older_than=3600) == 0
        assert records.prune(older_than=3600, keep=3) == 2
        assert {run.id for run in records.list()} == {runs[i].id for i in (0, 3, 4, 5)}
        assert records.prune(older_than=-60) == 3
        assert [run.id for run in records.list()] == [runs[0].id]


def test_what_sqlite_cannot_hold_is_kept_as_near_as_can_be(path: Path) -> None:
    with contextlib.closing(Records(path)) as records:
        run = make(name="\ud800x", memory=1 << 80)
        records.begin(run)
        assert records.get(run.id).name == "?x"
        assert records.get(run.id).memory == (1 << 63) - 1


def test_unknown_columns_are_a_mistake_of_ours(path: Path) -> None:
    with contextlib.closing(Records(path)) as records:
        records.begin(run := make())
        with pytest.raises(TypeError, match="colour"):
            records.update(run.id, colour="red")


def test_a_newer_file_is_refused(path: Path) -> None:
    Records(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(RecordError, match="version 99, and this Lading knows 1; use the newer"):
        Records(path)


def test_a_file_that_is_none_of_ours_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(RecordError, match=r"records\.db can't be opened: file is not a database"):
        Records(path)


def test_a_place_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"file/records\.db can't be opened"):
        Records(tmp_path / "file" / "records.db")


async def test_a_locked_file_delays_nobody_and_loses_nothing(path: Path) -> None:
    async with opened(path) as records:
        run, calls = make(), [make(Kind.CALL) for _ in range(600)]
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            records.begin(run)
            records.update(run.id, state=RunState.RUNNING)
            for call in calls:
                records.begin(call)
                records.finish(call.id, RunState.SUCCEEDED)
            records.finish(run.id, RunState.CANCELLED)
            assert on_disk(path) == {}
            other.execute("COMMIT")
        await records.settled()
        states = on_disk(path)
        assert states.pop(run.id) == "cancelled"
        assert states == {call.id: "succeeded" for call in calls}
        records.begin(after := make())
        assert on_disk(path)[after.id] == "starting"


def test_closing_waits_for_a_lock(path: Path) -> None:
    records = Records(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    records.begin(run := make())
    other.execute("COMMIT")
    other.close()
    records.close()
    assert run.id in on_disk(path)


def full_disk(records: Records, pages: int) -> None:
    """SQLite's own way to say that there is no more room."""
    records._journal._connection.execute(f"PRAGMA max_page_count = {pages}")


def test_a_full_disk_raises_when_nobody_listens(path: Path) -> None:
    records = Records(path)
    full_disk(records, 4)
    with pytest.raises(RecordError, match=r"database or disk is full; make room") as caught:
        records.begin(make(detail="x" * 100_000))
    assert str(path) in str(caught.value)
    records.close()


async def test_a_full_disk_is_said_once_and_nothing_is_lost(path: Path) -> None:
    problems: list[RecordError] = []
    async with opened(path, problems.append) as records:
        full_disk(records, 4)
        runs = [make(detail="x" * 1000) for _ in range(100)]
        for run in runs:
            records.begin(run)
        assert len(problems) == 1
        assert "make room" in str(problems[0])
        full_disk(records, 1 << 30)  # the keeper's own connection was never limited
        await records.settled()
        assert set(on_disk(path)) == {run.id for run in runs}


async def test_what_waits_is_bounded_and_a_loss_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lading.run.journal._BACKLOG_LIMIT", 10)
    problems: list[RecordError] = []
    async with opened(path, problems.append) as records:
        full_disk(records, 4)
        runs = [make(detail="x" * 1000) for _ in range(30)]
        for run in runs:
            records.begin(run)
        assert [("lost" in str(problem)) for problem in problems] == [False, True]
        full_disk(records, 1 << 30)
        await records.settled()
        assert len(on_disk(path)) < 30


def test_all_or_nothing_is_written_together(path: Path) -> None:
    with contextlib.closing(Records(path)) as records:
        good, bad = make(), make()
        insert = ("INSERT INTO run (id) VALUES (?)", (good.id,))  # what else there must be is not
        with pytest.raises(RecordError, match="NOT NULL"):
            records._journal.write([("DELETE FROM run", ()), insert])
        records.begin(good)
        with pytest.raises(RecordError, match="NOT NULL"):
            records._journal.write([("DELETE FROM run", ()), insert])
        records.begin(bad)
        assert set(on_disk(path)) == {good.id, bad.id}


async def test_many_writes_are_checkpointed_and_the_log_rewound(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lading.run.journal._CHECKPOINT_EVERY", 50)
    monkeypatch.setattr("lading.run.journal._LOG_LIMIT", 1 << 18)
    async with opened(path) as records:
        calls = [make(Kind.CALL) for _ in range(3000)]
        for call in calls:
            records.begin(call)
            records.finish(call.id, RunState.SUCCEEDED)
            if call.id[-1] == "0":
                await asyncio.sleep(0)
        await records.settled()
        log = path.with_name(path.name + "-wal").stat().st_size
        assert log < 3000 * 2048
        assert len(on_disk(path)) == 3000


WRITER = """
    import asyncio, sys
    from pathlib import Path
    from lading.run.records import Kind, Records, Run, RunState, new_id

    async def main():
        records = Records(Path(sys.argv[1]))
        while True:
            container = Run(new_id(), Kind.CONTAINER, "meca", sys.argv[2], "t", "i")
            records.begin(container)
            for _ in range(40):
                call = Run(new_id(), Kind.CALL, "meca", sys.argv[2], "t", "i", parent=container.id)
                records.begin(call)
                if call.id[-1] < "h":
                    await asyncio.sleep(0.001)
                records.finish(call.id, RunState.SUCCEEDED, exit_code=0, output_bytes=7)
                await records.settled()
                print(call.id, flush=True)

    asyncio.run(main())
"""


def test_killed_writers_lose_no_finished_result(path: Path) -> None:
    """Two at once, killed at whatever they do, several times over."""
    told: set[str] = set()
    for turn in range(3):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(WRITER), path, f"owner-{n}"],
                stdout=subprocess.PIPE,
                text=True,
            )
            for n in range(2)
        ]
        for writer in writers:
            assert writer.stdout
            for _ in range(150 + 37 * turn):
                told.add(writer.stdout.readline().strip())
            writer.send_signal(signal.SIGKILL)
        for writer in writers:
            rest = writer.communicate()[0].split("\n")
            told.update(line for line in rest[:-1] if len(line) == 16)
            assert writer.returncode == -signal.SIGKILL
    with contextlib.closing(Records(path)) as records:
        assert records._journal.read("PRAGMA integrity_check") == [("ok",)]
        runs = {run.id: run for run in records.list(limit=1_000_000)}
        for call in told:
            assert runs[call].state is RunState.SUCCEEDED
            assert runs[call].output_bytes == 7
        assert any(run.finished is None for run in runs.values())
        for owner in records.open_owners():
            assert records.mark_lost(owner) > 0
        assert records.list(state=RunState.RUNNING) == records.list(state=RunState.STARTING) == []
