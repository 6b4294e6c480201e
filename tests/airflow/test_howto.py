"""The DAGs of docs/how-to/airflow.md, tasks that are expanded over a list, whose the data are."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from tests.airflow.conftest import versions
from tests.support import cluster
from tests.support.airflow import Airflow
from tests.support.printed import ROOT

SAME = """
from airflow.models import DAG
from lading.airflow import ProcessingContainerOperator

for name, own in (("one", {{}}), ("two", {{}}), ("three", {{"data_directory": "{data}"}})):
    with DAG(name, default_args=own) as dag:
        ProcessingContainerOperator(
            task_id="make", image="{image}",
            taskTemplate={{"identifier": "t",
                          "outputs": [{{"name": "out", "mounted_path": "/out"}}],
                          "command": ["sh", "-c", f"echo {{name}} > /out/f"]}})
    globals()[name] = dag
"""
pytestmark = [pytest.mark.airflow, pytest.mark.slow]
EXPANDED = """
from airflow.models import DAG
from lading.airflow import IOMapping, ProcessingContainerOperator

with DAG("expanded", default_args={{"data_directory": "{data}"}}):
    many = ProcessingContainerOperator.partial(
        task_id="many", image="{image}",
        taskTemplate={{"identifier": "t", "outputs": [{{"name": "out", "mounted_path": "/out"}}],
                      "command": ["sh", "-c", "echo $WHO > /out/f"]}},
    ).expand(env=[[{{"name": "WHO", "value": one}}] for one in ("first", "second")])
    many >> ProcessingContainerOperator(
        task_id="all", image="{image}", iochannel_maps=[IOMapping(many, "out", "in")],
        taskTemplate={{"identifier": "t", "inputs": [{{"name": "in", "mounted_path": "/in"}}],
                      "command": ["sh", "-c", "cat /in/0/f /in/1/f"]}})
"""


def printed(marker: str) -> list[str]:
    page = (ROOT / "docs/how-to/airflow.md").read_text("utf-8")
    return [part.partition("```")[0] for part in page.split(f"```{marker}\n")[1:]]


@versions
def test_two_steps(flow: Airflow, docker_host: str) -> None:
    text = printed("python")[0]
    assert "busybox:1.37" in text
    image = cluster.ensure_tools(docker_host)
    (flow.dags / "two.py").write_text(text.replace("busybox:1.37", image))
    states, told = flow.test("two-steps")
    assert states == {"make": "success", "show": "success"}, told
    assert "hello" in told
    (greeting,) = flow.data.glob("*/make/greetings/greeting")
    assert greeting.read_text() == "hello\n"


@versions
def test_a_first_task_with_data_that_exist(flow: Airflow, docker_host: str, tmp_path: Path) -> None:
    image = cluster.ensure_tools(docker_host)
    (flow.dags / "first.py").write_text(printed("python")[1].replace("busybox:1.37", image))
    (call,) = [part for part in printed("text") if "dags test show-given" in part]
    dag, _, conf = shlex.split(call.partition("dags test")[2])[:3]
    assert "/data/given" in conf
    (tmp_path / "given").mkdir()
    (tmp_path / "given/greeting").write_text("it was there")
    states, told = flow.test(dag, json.loads(conf.replace("/data/given", f"{tmp_path}/given")))
    assert states == {"show": "success"}, told
    assert "it was there" in told
    states, told = flow.test("show-given")
    assert states == {"show": "failed"}, told
    assert "nothing is mapped to the input channel 'texts'" in told


@versions
def test_expanded_tasks(flow: Airflow, docker_host: str) -> None:
    image = cluster.ensure_tools(docker_host)
    (flow.dags / "expanded.py").write_text(EXPANDED.format(image=image, data=flow.home / "own"))
    states, told = flow.test("expanded")
    assert states == {"many": "success", "all": "success"}, told
    assert "first" in told
    assert "second" in told
    assert list(flow.data.iterdir()) == []
    assert len(list((flow.home / "own").glob("*/many/out/*/f"))) == 2


@pytest.mark.parametrize("version", ["2.11.2"])  # 3.x, where runs have other names: test_scheduler
def test_two_dags_with_runs_of_the_same_name(flow: Airflow, docker_host: str) -> None:
    text = SAME.format(image=cluster.ensure_tools(docker_host), data=flow.home / "own")
    (flow.dags / "same.py").write_text(text)
    assert flow.test("one", day="2026-01-01")[0] == {"make": "success"}
    states, told = flow.test("two", day="2026-01-01")
    assert states == {"make": "failed"}, told
    assert "has the data of DAG one, which has a run of the same name as this of DAG two" in told
    states, told = flow.test("three", day="2026-01-01")
    assert states == {"make": "success"}, told
    assert [path.read_text() for path in flow.data.glob("*/make/out/f")] == ["one\n"]
    assert [path.read_text() for path in flow.home.glob("own/*/make/out/f")] == ["three\n"]
    assert flow.test("one", day="2026-01-01")[0] == {"make": "success"}
