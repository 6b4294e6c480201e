"""What is wrong with a DAG is told when it is read, with the names that would be right."""

from __future__ import annotations

import pytest
from tests.airflow.conftest import versions
from tests.support.airflow import Airflow

pytestmark = [pytest.mark.airflow, pytest.mark.slow]
HEAD = """
from airflow.models import DAG
from lading.airflow import IOMapping, ProcessingContainerOperator

def inline(inputs=(), outputs=()):
    def channels(names):
        return [{{"name": name, "mounted_path": "/" + name}} for name in names]
    return {{"identifier": "t", "inputs": channels(inputs), "outputs": channels(outputs)}}

def task(task_id, template=None, **more):
    return ProcessingContainerOperator(
        task_id=task_id, image="i", taskTemplate=template or inline(["in"], ["out"]), **more)

def mapped(task, output="out", input="in"):
    return IOMapping(task, output, input)

with DAG("{name}"):
"""
WRONG = {
    "no_such_input": (
        """
        a = task("a", inline([], ["out", "log"]))
        a >> task("b", iochannel_maps=[mapped(a, input="inn")])
        """,
        "template t of task b has no input channel 'inn'; it has: 'in'",
    ),
    "no_such_output": (
        """
        a = task("a", inline([], ["out", "log"]))
        a >> task("b", iochannel_maps=[mapped(a, output="result")])
        """,
        "task a has no output channel 'result'; it has: 'out', 'log'",
    ),
    "not_upstream": (
        """
        a, c = task("a", inline([], ["out"])), task("c", inline([], ["out"]))
        c >> task("b", iochannel_maps=[mapped(a)])
        """,
        "task a is not upstream of task b; upstream are: c; add a >> b",
    ),
    "circle": (
        """
        a, b = task("a"), task("b")
        a.iochannel_maps = [mapped(b)]
        b.iochannel_maps = [mapped(a)]
        a >> b
        """,
        "tasks wait for each other's outputs in a circle: a <- b <- a",
    ),
    "of_itself": (
        """
        a = task("a")
        a.iochannel_maps = [mapped(a)]
        """,
        "tasks wait for each other's outputs in a circle: a <- a",
    ),
    "twice": (
        """
        a = task("a", inline([], ["out", "log"]))
        a >> task("b", iochannel_maps=[mapped(a), mapped(a, "log")])
        """,
        "two outputs are mapped to its input channel 'in'",
    ),
    "another_operator": (
        """
        from airflow.operators.empty import EmptyOperator
        a = EmptyOperator(task_id="a")
        a >> task("b", iochannel_maps=[mapped(a)])
        """,
        "task a runs no processing-container, so it has no channels",
    ),
    "misspelt_field": (
        """
        a = task("a", {"identifier": "t", "output": [{"name": "out", "mounted_path": "/out"}]})
        a >> task("b", iochannel_maps=[mapped(a)])
        """,
        "it has: none; its template has 'output' (did you mean 'outputs'?), which is no field",
    ),
    "no_absolute_path": (
        """
        task("a", data_directory="here")
        """,
        "data_directory of task a: 'here' is no absolute path",
    ),
    "half_a_login": (
        """
        task("a", registryUrl="r", registryUsername="u")
        """,
        "registryUrl and registryUsername of task a: come without registryPassword",
    ),
    "env": (
        """
        task("a", env={"A": "1"})
        """,
        """env of task a: is {'A': '1'}; give a list of {"name": .., "value": ..}""",
    ),
    "resources": (
        """
        task("a", resources="1Gi")
        """,
        """resources of task a: is '1Gi'; give {"limits": {..}, "requests": {..}}""",
    ),
}
RIGHT = """
        from airflow.models import DAG
        a = task("a", inline([], ["out"]), resources={"limits": {"memory": "1Gi"}},
                 labels={"a": "{{ run_id }}"}, command=["{{ ds }}"])
        b = task("b", "named", iochannel_maps=[mapped(a)])
        a >> b >> task("c", iochannel_maps=[mapped(a, input="in")])
"""


@versions
def test_mappings_and_parameters(flow: Airflow) -> None:
    for name, (body, _) in WRONG.items():
        (flow.dags / f"{name}.py").write_text(_file(name, body))
    (flow.dags / "right.py").write_text(_file("right", RIGHT))
    found = flow.import_errors()
    assert set(found) == {f"{name}.py" for name in WRONG}
    for name, (_, words) in WRONG.items():
        assert words in found[f"{name}.py"], found[f"{name}.py"]


def _file(name: str, body: str) -> str:
    lines = (line.removeprefix("    ") for line in body.splitlines())
    return HEAD.format(name=name) + "\n".join(lines) + "\n"


@versions
def test_airflow_lists_it(flow: Airflow) -> None:
    assert "lading " in flow("providers", "list").stdout
    assert "lading " in flow("plugins").stdout


@versions
def test_the_names_of_the_original_are_ours(flow: Airflow) -> None:
    code = """
import inspect, json
import lading.airflow as ours
import task_api_operator.KaapanaTaskOperator as first
import task_api_operators.KaapanaTaskOperator as second
for theirs in (first, second):
    assert theirs.KaapanaTaskOperator is ours.ProcessingContainerOperator
    assert theirs.IOMapping is ours.IOMapping
print(json.dumps([list(inspect.signature(one).parameters) for one in (
    ours.ProcessingContainerOperator.__init__, ours.IOMapping)]))
"""
    operator, mapping = flow.python(code)
    assert " ".join(operator) == (
        "self image taskTemplate env command resources registryUrl registryUsername "
        "registryPassword iochannel_maps startup_timeout_seconds execution_timeout labels "
        "annotations engine deferrable data_directory kwargs"
    )
    assert mapping == ["upstream_operator", "upstream_output_channel", "input_channel"]
