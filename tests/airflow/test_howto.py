"""The DAG of docs/how-to/airflow.md, and tasks that are expanded over a list."""

from __future__ import annotations

import pytest
from tests.airflow.conftest import versions
from tests.support import cluster
from tests.support.airflow import Airflow
from tests.support.printed import ROOT

pytestmark = [pytest.mark.airflow, pytest.mark.slow]
EXPANDED = """
from airflow.models import DAG
from lading.airflow import IOMapping, ProcessingContainerOperator

with DAG("expanded"):
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


@versions
def test_two_steps(flow: Airflow, docker_host: str) -> None:
    page = (ROOT / "docs/how-to/airflow.md").read_text("utf-8")
    text = page.partition("```python\n")[2].partition("```")[0]
    assert "busybox:1.37" in text
    image = cluster.ensure_tools(docker_host)
    (flow.dags / "two.py").write_text(text.replace("busybox:1.37", image))
    states, told = flow.test("two-steps")
    assert states == {"make": "success", "show": "success"}, told
    assert "hello" in told
    (greeting,) = flow.data.glob("*/make/greetings/greeting")
    assert greeting.read_text() == "hello\n"


@versions
def test_expanded_tasks(flow: Airflow, docker_host: str) -> None:
    image = cluster.ensure_tools(docker_host)
    (flow.dags / "expanded.py").write_text(EXPANDED.format(image=image))
    states, told = flow.test("expanded")
    assert states == {"many": "success", "all": "success"}, told
    assert "first" in told
    assert "second" in told
