"""What Airflow's operator adds: a task of a DAG against ``lading run`` of the same container."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.support.airflow import VERSIONS, Airflow, build_wheels, environment, missing

from benchmarks.figures import Figure
from benchmarks.setting import Setting

__all__ = ["airflow_figure"]

_DAG = """
import json
from airflow.models import DAG
from airflow.providers.standard.operators.empty import EmptyOperator
from lading.airflow import ProcessingContainerOperator

with DAG("bench"):
    before = None
    for number in range({tasks}):
        task = ProcessingContainerOperator(
            task_id=f"t{{number}}", image={image!r}, taskTemplate=json.loads({template!r}))
        if before:
            before >> task
        before = task
        before >> EmptyOperator(task_id=f"empty{{number}}")
"""


def airflow_figure(setting: Setting) -> Iterator[Figure]:
    """Compare the tasks of a DAG with ``lading run --watch`` of the same container, in turn.

    A task's time is Airflow's own: from its start to its end, without the scheduler. Both of the
    same environment.
    """
    version = VERSIONS[0]
    if why := missing(version):
        yield Figure("operator", None, why)
        return
    with tempfile.TemporaryDirectory() as folder:
        setting.say(f"operator: Airflow {version}")
        place = environment(version, build_wheels(Path(folder)))
        rounds, tasks = setting.rounds(5, 2), setting.rounds(6, 4)
        mine: dict[str, list[float]] = {"False": [], "True": [], "empty": []}
        other: list[float] = []
        for number in range(rounds):
            for deferrable in ("False", "True"):
                home = Path(folder, f"{number}-{deferrable}")
                flow = Airflow.make(version, place, home, setting.engine)
                flow = replace(flow, more={"AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": deferrable})
                times, empty = _tasks(flow, setting.image, tasks)
                mine[deferrable] += times
                mine["empty"] += empty
            other += _runs(place, Path(folder), setting, tasks)
    parts = {
        "a task of a DAG, median, ms": statistics.median(mine["False"]) * 1000,
        "the same, deferred and resumed, median, ms": statistics.median(mine["True"]) * 1000,
        "an empty task of it, median, ms": statistics.median(mine["empty"]) * 1000,
        "lading run --watch, median, ms": statistics.median(other) * 1000,
    }
    value = statistics.median(mine["False"]) / statistics.median(other)
    yield Figure("operator", value, parts=parts)


def _template() -> dict[str, object]:
    return {"identifier": "bench", "command": ["/probe", "echo", "hello"]}


def _tasks(flow: Airflow, image: str, tasks: int) -> tuple[list[float], list[float]]:
    """Seconds that each task of a DAG took, and each that does nothing."""
    text = _DAG.format(tasks=tasks, image=image, template=json.dumps(_template()))
    (flow.dags / "bench.py").write_text(text)
    states, told = flow.test("bench")
    if set(states.values()) != {"success"}:
        raise subprocess.SubprocessError(f"{states}: {told[-2000:]}")
    with contextlib.closing(sqlite3.connect(flow.home / "airflow.db")) as database:
        rows = database.execute(
            "SELECT task_id, (julianday(end_date) - julianday(start_date)) * 86400 "
            "FROM task_instance"
        ).fetchall()
    empty = [float(seconds) for name, seconds in rows if name.startswith("empty")]
    return [float(seconds) for name, seconds in rows if not name.startswith("empty")], empty


def _runs(place: Path, folder: Path, setting: Setting, count: int) -> list[float]:
    """Seconds that each of some `lading run` took, of the same environment."""
    task = folder / "task.json"
    task.write_text(
        json.dumps({"name": "bench", "image": setting.image, "taskTemplate": _template()})
    )
    env = {
        "PATH": f"{place / 'bin'}:/usr/bin:/bin",
        "HOME": str(folder),
        "LADING_STATE": str(folder / "state"),
        "LADING_ENGINE": setting.engine,
    }
    times = []
    for _ in range(count):
        began = time.perf_counter()
        command = [str(place / "bin/lading"), "run", "--watch", str(task)]
        subprocess.run(command, env=env, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return times
