"""How tasks end: as their container did, with words, and with nothing left."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import replace
from typing import Any

import pytest
from tests.airflow.conftest import versions
from tests.support.airflow import Airflow
from tests.support.processing import Images

pytestmark = [pytest.mark.airflow, pytest.mark.slow]
DAG = """
from datetime import timedelta
from airflow.models import DAG
from lading.airflow import IOMapping, ProcessingContainerOperator

def inline(*verb, **more):
    return {{"identifier": "t", "command": ["/probe", *verb], **more}}

def task(task_id, template, image="{probe}", **more):
    return ProcessingContainerOperator(task_id=task_id, image=image, taskTemplate=template, **more)

with DAG("outcomes"):
    task("skips", inline("exit", "126"))
    task("fails", inline("exit", "3"))
    task("hogs", inline("hog", "200000000"), resources={{"limits": {{"memory": "32Mi"}}}})
    if {slow}:
        task("slow", inline("sleep", "60"), execution_timeout=timedelta(seconds=4))
    for name in ("template", "operator", "conf"):
        env = [{{"name": "WHO", "value": "the template of {{{{ task.task_id }}}}"}}]
        task(f"from_{{name}}", inline("env", "WHO", env=env),
             env=[] if name == "template" else [{{"name": "WHO", "value": "the operator"}}])
    task("bad_conf", inline("exit", "0"))
    task("no_template", "another", image="{offers}")
    task("no_image", inline("exit", "0"), image="{registry}/none:1")
    made = task("makes", "make", image="{offers}")
    made >> task("no_channel", "make", image="{offers}",
                 iochannel_maps=[IOMapping(made, "out", "in")])
    late = task("no_output", "make", image="{offers}")
    late >> task("after", "take", image="{offers}",
                 iochannel_maps=[IOMapping(late, "result", "in")])
"""
CONF = {"task_form": {"from_conf": {"WHO": "the conf"}, "bad_conf": {"env": "x"}, "nobody": {}}}
STATES = {
    "skips": "skipped",
    "fails": "failed",
    "hogs": "failed",
    "slow": "failed",
    "from_template": "success",
    "from_operator": "success",
    "from_conf": "success",
    "bad_conf": "failed",
    "no_template": "failed",
    "no_image": "failed",
    "makes": "success",
    "no_channel": "failed",
    "no_output": "failed",
    "after": "upstream_failed",
}
WORDS = (
    "failed: fails ended with exit code 3",
    "out of memory: hogs was killed: out of memory, limit 32 MiB, peak ",
    "conf.task_form has 'nobody', of which DAG outcomes has no task; it has: after, bad_conf, ",
    "the template of from_template",
    "the operator",
    "the conf",
    "conf.task_form.bad_conf.env: is 'x' (str); wanted is a list of",
    "no template 'another'; it has: 'make', 'take'",
    "template make of task no_channel has no input channel 'in'; it has: none",
    "task no_output has no output channel 'result'; it has: 'out'",
)


@versions
@pytest.mark.parametrize("deferrable", ["False", "True"])
def test_outcomes(
    flow: Airflow, probe: str, images: Images, deferrable: str, docker_host: str
) -> None:
    channel = [{"name": "out", "mounted_path": "/out"}]
    offers = images.container(
        {"identifier": "make", "outputs": channel, "command": ["/probe", "write", "/out/f", "x"]},
        {"identifier": "take", "inputs": [{"name": "in", "mounted_path": "/in"}]},
    )
    # Airflow's own time-out breaks off `dags test` of 2.11 as a whole.
    slow = flow.major > 2 or deferrable == "True"
    text = DAG.format(probe=probe, offers=offers, registry="127.0.0.1:9", slow=slow)
    (flow.dags / "outcomes.py").write_text(text)
    flow = replace(flow, more={"AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": deferrable})
    states, told = flow.test("outcomes", CONF)
    assert states == {name: state for name, state in STATES.items() if slow or name != "slow"}, told
    assert deferrable == "False" or "task slow did not end within 0:00:04" in told
    for words in WORDS:
        assert words in told
    assert flow.left(docker_host) == []
    run = returned(flow, "from_conf")
    assert run["name"] == "from_conf"
    assert run["mode"] == "docker"
    assert [item["value"] for item in run["env"] if item["name"] == "WHO"] == ["the conf"]
    assert run["config"]["labels"]["kaapana.ai/type"] == "processing-container"


def returned(flow: Airflow, task: str) -> Any:
    """What a task has returned, from XCom."""
    with contextlib.closing(sqlite3.connect(flow.home / "airflow.db")) as database:
        query = "SELECT value FROM xcom WHERE task_id = ? AND key = 'return_value'"
        ((value,),) = database.execute(query, (task,)).fetchall()
    found = json.loads(value)
    return json.loads(found) if isinstance(found, str) else found
