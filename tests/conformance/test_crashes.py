"""What a process that was killed leaves behind, on real engines, is removed by the next."""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import cgroups

from lading.engine import ContainerSpec, Engine
from lading.run.lifecycle import start
from lading.run.ownership import Owner, sweep
from lading.run.records import Kind, Records, Run, RunState, new_id


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


CRASHES = """
    import asyncio, json, sys
    from pathlib import Path
    from lading.engine import ContainerSpec, NetworkSpec
    from lading.engine.discovery import open_engine
    from lading.run.lifecycle import start
    from lading.run.ownership import Owner
    from lading.run.records import Kind, Records, Run, RunState, new_id
    from lading.settings import EngineOptions

    async def main():
        host, state, image, labels = *sys.argv[1:4], json.loads(sys.argv[4])
        owner = Owner.claim(Path(state))
        records = Records(Path(state) / "records.db")
        labels |= owner.labels()
        engine = await open_engine(EngineOptions(engine=host))
        await engine.create_network(NetworkSpec(f"lading-{labels['lading.test']}", labels=labels))
        run = Run(new_id(), Kind.CONTAINER, "test", owner.id, "t", image)
        spec = ContainerSpec(image, labels=labels)
        await start(engine, spec, records=records, run=run, accounting=True)
        call = Run(new_id(), Kind.CALL, "test", owner.id, "t", image, parent=run.id)
        records.begin(call)
        records.flush()
        print(run.id, call.id, flush=True)
        await asyncio.sleep(600)

    asyncio.run(main())
"""


@pytest.mark.parametrize("engine_kind", ["docker", "podman", "kubernetes"])
async def test_what_a_killed_process_left_is_removed(
    engine: Engine,
    engine_kind: str,
    image: str,
    request: pytest.FixtureRequest,
    test_labels: dict[str, str],
    tmp_path: Path,
    records: Records,
    me: Owner,
) -> None:
    host = str(request.getfixturevalue(f"{engine_kind}_host"))
    mine = Run(new_id(), Kind.CONTAINER, "test", me.id, "t", image)
    spec = ContainerSpec(image, labels=test_labels)
    it = await start(engine, spec, records=records, run=mine, accounting=True)
    groups = await asyncio.to_thread(cgroups.of_runs, mine.id)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(CRASHES), host, str(tmp_path), image,
        json.dumps(test_labels), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert child.stdout
        left = (await child.stdout.readline()).decode().split()
        assert len(left) == 2
        before = await sweep(engine, tmp_path, records)
        assert (before.containers, before.lost) == ((), 0)
    finally:
        child.kill()
        await child.wait()
    report = await sweep(engine, tmp_path, records)
    assert report.failed == ()
    assert f"lading-{left[0]}" in report.containers
    assert await asyncio.to_thread(cgroups.of_runs, left[0]) == []
    assert report.networks == (f"lading-{test_labels['lading.test']}",)
    assert [records.get(run).state for run in left] == [RunState.LOST] * 2
    assert records.list(state=RunState.STARTING) == []
    assert [run.id for run in records.list(state=RunState.RUNNING)] == [mine.id]
    assert it.alive
    assert await asyncio.to_thread(cgroups.of_runs, mine.id) == groups
    await it.close()
