"""A task and its template: what counts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.processing.documents import CONTAINER, TASK, changed

from lading.contracts.processing.merging import (
    check_env,
    merge,
    merge_channels,
    merge_env,
    merge_resources,
    template_of,
    unused_channels,
)
from lading.contracts.processing.task import HostPathVolume, IOVolume, Task
from lading.contracts.processing.template import (
    BaseEnv,
    IOMount,
    ProcessingContainer,
    Resources,
    ScaleRule,
    TaskTemplate,
    TaskTemplateEnv,
)
from lading.errors import InputError

NAMES = st.sampled_from(["A", "B", "C", "D"])
VALUES = st.sampled_from(["", "1", "2", "3"])
OFFERED = st.lists(st.builds(TaskTemplateEnv, name=NAMES, value=VALUES, description=VALUES))
WANTED = st.lists(st.builds(BaseEnv, name=NAMES, value=VALUES))
AMOUNTS = st.none() | st.dictionaries(
    st.sampled_from(["cpu", "memory", "nvidia.com/gpu"]), st.sampled_from(["1", "2Gi", "500m"])
)
RESOURCES = st.none() | st.builds(Resources, limits=AMOUNTS, requests=AMOUNTS)


def template(**fields: Any) -> TaskTemplate:
    return TaskTemplate.model_validate({**CONTAINER["templates"][0], **fields})


def task(**fields: Any) -> Task:
    return Task.model_validate({**TASK, **fields})


def volume(name: str, path: str, **fields: Any) -> IOVolume:
    return IOVolume(name=name, volume_source=HostPathVolume(host_path=path), **fields)


def test_a_task_and_its_template_become_an_instance() -> None:
    made = merge(task(), template())
    assert (made.name, made.image) == ("july", "registry.example.org/tool:1")
    assert (made.identifier, made.description) == ("smooth", "Smooths.")
    assert made.taskTemplate == "smooth", "as the task has it"
    assert made.command == ["python3", "smooth.py"]
    assert made.config == task().config
    (channel,) = made.inputs
    assert (channel.name, channel.host_path) == ("in", "/data/july")
    assert (channel.mounted_path, channel.description) == ("/data/in", "Signals.")
    assert channel.scale_rule == template().inputs[0].scale_rule
    (env,) = made.env
    assert (env.name, env.value, env.choices, env.type) == ("WINDOW", "3", ["3", "5"], "int")


def test_the_command_of_a_task_counts_as_a_whole() -> None:
    assert merge(task(command=["other"]), template()).command == ["other"]
    assert merge(task(command=[]), template()).command == []
    assert merge(task(command=None), template()).command == ["python3", "smooth.py"]
    assert merge(task(), template(command=None)).command is None


def test_an_inline_template_stays_in_the_task() -> None:
    inline = task(taskTemplate=CONTAINER["templates"][0])
    assert isinstance(inline.taskTemplate, TaskTemplate)
    assert merge(inline, inline.taskTemplate).taskTemplate == template()


def test_a_template_that_is_not_there_is_an_error_that_lists_those_there_are() -> None:
    offered = ProcessingContainer.model_validate(
        changed(CONTAINER, "templates", [*CONTAINER["templates"], {"identifier": "other"}])
    )
    assert template_of(offered, "other").identifier == "other"
    with pytest.raises(InputError, match="tool has no template 'Smooth'") as caught:
        template_of(offered, "Smooth")
    assert caught.value.fix == "it has: 'smooth', 'other'"
    empty = ProcessingContainer.model_validate(changed(CONTAINER, "templates", []))
    with pytest.raises(InputError) as caught:
        template_of(empty, "x")
    assert caught.value.fix == "it has: none"


# Variables.


@given(OFFERED, WANTED)
def test_variables_are_merged_by_name(
    offered: list[TaskTemplateEnv], wanted: list[BaseEnv]
) -> None:
    merged = merge_env(offered, wanted)
    names = [item.name for item in merged]
    first = list(dict.fromkeys(item.name for item in offered))
    assert names == first + [
        name for name in dict.fromkeys(item.name for item in wanted) if name not in first
    ]
    for item in merged:
        asked = next((one for one in wanted if one.name == item.name), None)
        known = next((one for one in offered if one.name == item.name), None)
        assert item.value == (asked or known or item).value
        assert item.description == (known.description if known else None)


@given(OFFERED, WANTED)
def test_merging_variables_again_changes_nothing(
    offered: list[TaskTemplateEnv], wanted: list[BaseEnv]
) -> None:
    merged = merge_env(offered, wanted)
    assert merge_env(merged, wanted) == merged
    assert merge_env(merged, []) == merged
    assert merge_env(merged, None) == merged
    assert [item.value for item in merge_env(None, merged)] == [item.value for item in merged]


@given(OFFERED, WANTED)
def test_merging_changes_neither_side(
    offered: list[TaskTemplateEnv], wanted: list[BaseEnv]
) -> None:
    before = [item.model_dump() for item in (*offered, *wanted)]
    merge_env(offered, wanted)
    assert [item.model_dump() for item in (*offered, *wanted)] == before


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("int", ["1", "-7", " 3"], ["", "1.5", "one"]),
        ("integer", ["1"], ["1.5"]),
        ("float", ["1", "1e-3", "-0.5"], ["", "half"]),
        ("boolean", ["true", "False", "1", "0", "yes", "off"], ["", "maybe", "2"]),
        ("BOOL", ["true"], ["maybe"]),
        ("string", ["", "anything"], []),
        ("whatever", ["", "anything"], []),
    ],
)
def test_types_are_checked(kind: str, good: list[str], bad: list[str]) -> None:
    known = [TaskTemplateEnv(name="A", value="x", type=kind)]
    for value in good:
        check_env(known, [BaseEnv(name="A", value=value)])
    for value in bad:
        with pytest.raises(InputError, match=f"env A: {value!r} is not of its type, {kind}"):
            check_env(known, [BaseEnv(name="A", value=value)])


def test_choices_are_checked() -> None:
    known = [TaskTemplateEnv(name="A", value="x", choices=["1", "2"])]
    with pytest.raises(InputError, match="env A: '3' is not one of its choices") as caught:
        merge(task(env=[{"name": "A", "value": "3"}]), template(env=known))
    assert caught.value.fix == "choose one of '1', '2'"
    check_env(known, [BaseEnv(name="A", value="2"), BaseEnv(name="B", value="3")])
    check_env(known, [BaseEnv(name="A", value="x")])  # what the template itself has
    check_env([TaskTemplateEnv(name="A", choices=[])], [BaseEnv(name="A", value="3")])


# Channels.


def test_a_channel_without_a_volume_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match="the output channel 'out' has no volume") as caught:
        merge(task(outputs=[]), template())
    assert "--output out=DIR" in caught.value.fix
    with pytest.raises(InputError, match="the input channel 'in' has no volume"):
        merge(task(inputs=[]), template())


def test_a_volume_without_a_channel_is_told_of() -> None:
    more = task(outputs=[*TASK["outputs"], {"name": "x", "volume_source": {"host_path": "/x"}}])
    assert unused_channels(template(), more) == ["output channel 'x'"]
    assert unused_channels(template(), task()) == []
    assert [item.name for item in merge(more, template()).outputs] == ["out"]


def test_one_name_for_an_input_and_an_output_is_two_channels() -> None:
    both = template(outputs=[{"name": "in", "mounted_path": "/data/out"}])
    made = merge(task(outputs=[{"name": "in", "volume_source": {"host_path": "/out"}}]), both)
    assert [(one.host_path, one.mounted_path) for one in (*made.inputs, *made.outputs)] == [
        ("/data/july", "/data/in"),
        ("/out", "/data/out"),
    ]


def test_channels_are_in_the_order_of_the_template_and_the_first_volume_counts() -> None:
    mounts = [IOMount(name="b", mounted_path="/b"), IOMount(name="a", mounted_path="/a")]
    merged = merge_channels(mounts, [volume("a", "/1"), volume("b", "/2"), volume("a", "/3")], "x")
    assert [(item.name, item.host_path) for item in merged] == [("b", "/2"), ("a", "/1")]


def test_a_rule_of_the_task_counts_as_a_whole() -> None:
    mine, other = ScaleRule(scale_factor=2), ScaleRule(scale_factor=3, target_glob="*.x")
    mount = IOMount(name="a", mounted_path="/a", scale_rule=other)
    assert merge_channels([mount], [volume("a", "/1")], "input")[0].scale_rule == other
    asked = volume("a", "/1", scale_rule=mine)
    assert merge_channels([mount], [asked], "input")[0].scale_rule == mine


# Resources.


def test_a_template_with_limits_and_a_task_without_resources() -> None:
    assert merge(task(), template()).resources == template().resources
    assert merge(task(resources=None), template()).resources == template().resources
    assert merge(task(), template(resources=None)).resources is None


def test_only_limits_or_only_requests() -> None:
    limits, requests = Resources(limits={"memory": "1Gi"}), Resources(requests={"memory": "1Gi"})
    assert merge_resources(limits, None) == limits
    assert merge_resources(None, requests) == requests
    assert merge_resources(limits, requests) == Resources(
        limits={"memory": "1Gi"}, requests={"memory": "1Gi"}
    )


@given(RESOURCES, RESOURCES)
def test_amounts_are_merged_one_by_one(offered: Resources | None, asked: Resources | None) -> None:
    merged = merge_resources(offered, asked)
    assert (merged is None) == (offered is None and asked is None)
    for kind in ("limits", "requests"):
        below = (getattr(offered, kind, None) or {}) if offered else {}
        above = (getattr(asked, kind, None) or {}) if asked else {}
        assert (getattr(merged, kind, None) or {}) == {**below, **above}


@given(RESOURCES, RESOURCES, RESOURCES)
def test_in_which_order_amounts_are_put_together_makes_no_difference(
    one: Resources | None, two: Resources | None, three: Resources | None
) -> None:
    left = merge_resources(merge_resources(one, two), three)
    right = merge_resources(one, merge_resources(two, three))
    assert left == right
    assert merge_resources(left, None) == merge_resources(None, left)
    assert merge_resources(left, left) == merge_resources(left, None)
