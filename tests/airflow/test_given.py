"""What a user gives for one run of a DAG: both forms, and what is told of wrong types."""

from __future__ import annotations

from typing import Any

import pytest

from lading.airflow.given import Given, others_in
from lading.contracts.processing.task import Task
from lading.errors import InputError

TASK = Task(
    name="seg",
    image="i",
    taskTemplate="t",
    env=[{"name": "MODEL", "value": "slow"}, {"name": "KEEP", "value": "1"}],  # type: ignore[list-item]
    command=["a"],
)


def given(form: object, task: str = "seg") -> Given:
    return Given.of({"task_form": {"seg": form}}, task)


def env(task: Task) -> dict[str, str]:
    return {item.name: item.value for item in task.env or ()}


@pytest.mark.parametrize(
    "conf", [None, {}, {"task_form": {}}, {"task_form": {"other": {"A": "1"}}}]
)
def test_nothing_given(conf: object) -> None:
    assert Given.of(conf, "seg") == Given()
    assert Given.of(conf, "seg").applied_to(TASK, "conf") == TASK


def test_variables_by_name() -> None:
    task = given({"MODEL": "fast", "COUNT": 3, "DEEP": True}).applied_to(TASK, "conf")
    assert env(task) == {"MODEL": "fast", "KEEP": "1", "COUNT": "3", "DEEP": "true"}


def test_fields_of_a_task() -> None:
    form = {
        "env": [{"name": "MODEL", "value": "fast"}],
        "resources": {"limits": {"memory": "1Gi"}},
        "command": ["b"],
    }
    task = given(form).applied_to(TASK, "conf")
    assert env(task) == {"MODEL": "fast", "KEEP": "1"}
    assert task.command == ["b"]
    assert task.resources is not None
    assert task.resources.limits == {"memory": "1Gi"}


@pytest.mark.parametrize("conf", [None, [1], {}, {"task_form": []}, {"task_form": {"seg": 1}}])
def test_no_names_of_others(conf: object) -> None:
    assert others_in(conf, ["seg", "report"]) == []


def test_names_that_are_no_tasks() -> None:
    conf: Any = {"task_form": {"seg": {}, "segg": {}}}
    assert others_in(conf, ["seg", "report"]) == ["'segg'"]


def test_the_namespace() -> None:
    conf = {"project_form": {"kubernetes_namespace": "project-a"}}
    assert Given.of(conf, "seg").namespace == "project-a"


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ([1], "conf: is [1] (list); wanted is an object"),
        ({"project_form": "p"}, "conf.project_form: is 'p' (str); wanted is an object"),
        (
            {"project_form": {"kubernetes_namespace": 3}},
            "conf.project_form.kubernetes_namespace: is 3 (int); wanted is a text",
        ),
        ({"task_form": []}, "conf.task_form: is [] (list); wanted is an object with task ids"),
        ({"task_form": {"seg": "x"}}, "conf.task_form.seg: is 'x' (str); wanted is an object"),
        (
            {"task_form": {"seg": {"env": {"A": "1"}}}},
            "conf.task_form.seg.env: is {'A': '1'} (dict); wanted is a list of {",
        ),
        (
            {"task_form": {"seg": {"env": [{"name": "A", "value": []}]}}},
            "conf.task_form.seg.env[0].value: is [] (list); wanted is a text",
        ),
        (
            {"task_form": {"seg": {"env": ["A"]}}},
            'conf.task_form.seg.env[0]: is \'A\' (str); wanted is {"name": .., "value": ..}',
        ),
        (
            {"task_form": {"seg": {"MODEL": {"a": 1}}}},
            "conf.task_form.seg.MODEL: is {'a': 1} (dict); wanted is the value of a variable",
        ),
    ],
)
def test_wrong_types(conf: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Given.of(conf, "seg")
    assert words in str(caught.value)


def test_a_field_that_no_task_can_have() -> None:
    with pytest.raises(InputError) as caught:
        given({"resources": {"limits": {"memory": "much"}}}).applied_to(TASK, "conf.task_form.seg")
    assert "conf.task_form.seg.resources.limits" in str(caught.value)
    assert "'much'" in str(caught.value)
