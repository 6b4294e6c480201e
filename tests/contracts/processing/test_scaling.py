"""Scale rules: what they ask for, and what becomes of limits and requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.contracts.processing.channels import INPUT, Channel
from lading.contracts.processing.scaling import MARGIN, Complexity, needs, requirement
from lading.contracts.processing.template import Resources, ScaleRule
from lading.errors import InputError
from lading.units import MIB


def rule(**fields: Any) -> ScaleRule:
    return ScaleRule.model_validate({"type": "limit", "mode": "sum", **fields})


@pytest.fixture
def channel(tmp_path: Path) -> Channel:
    """An input of 10 MiB."""
    with (tmp_path / "data").open("wb") as file:
        file.truncate(10 * MIB)
    return Channel("in", INPUT, tmp_path, "/in")


@pytest.mark.parametrize(
    ("fields", "size", "asked"),
    [
        ({"scale_factor": 2}, 100, 200),
        ({"scale_factor": 1.5}, 3, 5),  # rounded up
        ({"scale_factor": 0}, 100, 0),
        ({"scale_factor": -1}, 100, 0),
        ({"complexity": "n"}, 7, 7),
        ({"complexity": "+n"}, 7, 7),
        ({"complexity": "-n"}, 7, 0),
        ({"complexity": "2n"}, 7, 14),
        ({"complexity": "2*n"}, 7, 14),
        ({"complexity": "1.5n"}, 8, 12),
        ({"complexity": ".5*n"}, 8, 4),
        ({"complexity": "n**2"}, 9, 81),
        ({"complexity": "25*n**1"}, 4, 100),
        ({"complexity": "0.5n**2"}, 4, 8),
        ({"complexity": "n**0"}, 4, 1),
        ({"complexity": "n**99"}, 10**6, 1 << 62),  # more than any machine has
        ({"complexity": "-n**999"}, 10**6, 0),
        ({"scale_factor": 3, "complexity": "n**2"}, 10, 30),  # the later field counts
    ],
)
def test_what_a_rule_asks_for(fields: dict[str, Any], size: int, asked: int) -> None:
    assert Complexity.of(rule(**fields))(size) == asked


def test_an_expression_that_is_none() -> None:
    wrong = rule(scale_factor=None, complexity="n").model_copy(update={"complexity": "n*n"})
    with pytest.raises(InputError, match=r"scale_rule.complexity: 'n\*n' is no expression in n"):
        Complexity.of(wrong)


@given(
    st.builds(
        lambda sign, factor, times, power: f"{sign}{factor}{times}n{power}",
        st.sampled_from(["", "+", "-"]),
        st.sampled_from(["", "1", "25", "1.5", "0.001", ".5"]),
        st.sampled_from(["", "*"]),
        st.sampled_from(["", "**0", "**1", "**2", "**10", "**1000"]),
    ),
    st.integers(0, 1 << 60),
)
def test_whatever_a_rule_may_say_it_asks_for_so_many_bytes(expression: str, size: int) -> None:
    assert 0 <= Complexity.of(rule(complexity=expression))(size) <= 1 << 62


def test_a_requirement_says_why(channel: Channel) -> None:
    asked = requirement("in", channel.path, rule(scale_factor=3))
    assert (asked.size, asked.memory, asked.type) == (10 * MIB, 30 * MIB, "limit")
    assert str(asked) == "in: 10 MiB take 30 MiB"


@pytest.mark.parametrize(
    ("resources", "limit", "request_"),
    [
        (None, None, None),
        ({}, None, None),
        ({"limits": {"memory": "1Gi"}}, 1 << 30, None),
        ({"requests": {"memory": "1Gi"}}, None, 1 << 30),
        ({"limits": None, "requests": {"memory": "64Mi"}}, None, 64 * MIB),
        ({"limits": {"memory": "1Gi"}, "requests": {"memory": "64Mi"}}, 1 << 30, 64 * MIB),
        ({"limits": {"cpu": "1"}}, None, None),
        ({"limits": {"memory": 0}}, None, None),
        ({"limits": {"memory": None}}, None, None),
    ],
)
def test_what_is_declared_stays_without_rules(
    resources: Any, limit: int | None, request_: int | None
) -> None:
    declared = Resources.model_validate(resources) if resources is not None else None
    asked = needs(declared, [])
    assert (asked.memory, asked.memory_request) == (limit, request_)
    assert asked.declared_memory == limit
    assert asked.notes == ()


@pytest.mark.parametrize(
    ("declared", "factor", "limit"),
    [
        ({"memory": "1Mi"}, 1, 11 * MIB),  # 1.1 x 10 MiB
        ({"memory": "11Mi"}, 1, 11 * MIB),
        ({"memory": "1Gi"}, 1, 1 << 30),  # and nothing is added to what is declared
        (None, 2, 22 * MIB),  # a template without limits
        ({"cpu": "1"}, 2, 22 * MIB),
        ({"memory": "5Mi"}, 0, 5 * MIB),
        (None, 0, None),
    ],
)
def test_a_limit_becomes_the_larger_one(
    channel: Channel, declared: dict[str, str] | None, factor: float, limit: int | None
) -> None:
    asked = needs(Resources(limits=declared), [(channel, rule(scale_factor=factor))])
    assert asked.memory == limit
    assert asked.memory_request is None


def test_a_request_becomes_the_larger_one_and_the_limit_follows(channel: Channel) -> None:
    asking = rule(scale_factor=4, type="request")
    asked = needs(Resources(requests={"memory": "1Mi"}), [(channel, asking)])
    assert (asked.memory, asked.memory_request) == (None, 44 * MIB)
    asked = needs(Resources(limits={"memory": "40Mi"}), [(channel, asking)])
    assert (asked.memory, asked.memory_request) == (44 * MIB, 44 * MIB)
    assert asked.declared_memory == 40 * MIB
    assert asked.notes == (
        "the memory limit 40 MiB is raised to the request 44 MiB, as scale rules demand",
    )


def test_a_request_above_the_limit_is_lowered() -> None:
    declared = Resources(limits={"memory": "1Gi"}, requests={"memory": "2Gi"})
    asked = needs(declared, [])
    assert (asked.memory, asked.memory_request) == (1 << 30, 1 << 30)
    assert asked.notes == ("the memory request 2 GiB is lowered to the limit 1 GiB",)


def test_of_several_rules_the_largest_counts(channel: Channel) -> None:
    rules = [
        (channel, rule(scale_factor=1)),
        (channel, rule(scale_factor=3)),
        (channel, rule(scale_factor=2, type="request")),
    ]
    asked = needs(None, rules)
    assert (asked.memory, asked.memory_request) == (33 * MIB, 22 * MIB)
    assert [item.memory for item in asked.requirements] == [10 * MIB, 30 * MIB, 20 * MIB]


def test_cores_and_gpus() -> None:
    declared = Resources(
        limits={"cpu": "1500m", "nvidia.com/gpu": 2, "memory": "1Gi"}, requests={"cpu": "0.5"}
    )
    asked = needs(declared, [])
    assert (asked.cpus, asked.cpu_request, asked.gpus) == (1.5, 0.5, 2)
    assert needs(Resources(limits={"gpu": "1"}), []).gpus == 1
    assert needs(Resources(limits={"nvidia.com/gpu": 0}), []).gpus == 0


def test_what_one_machine_does_not_have_is_told() -> None:
    asked = needs(Resources(limits={"amd.com/gpu": "1", "ephemeral-storage": "1Gi"}), [])
    assert asked.notes == (
        "the resource 'amd.com/gpu' is not known on a single machine and left out",
    )


def test_an_amount_that_is_none_names_its_field() -> None:
    wrong = Resources.model_construct(limits={"memory": "much"}, requests=None)
    with pytest.raises(InputError, match=r"resources\.limits\.memory: 'much' is not a quantity"):
        needs(wrong, [])
    with pytest.raises(ValueError, match="unknown unit 'Qi'"):
        Resources(limits={"memory": "1Qi"})


@given(st.integers(0, 1 << 40), st.integers(1, 1000))
def test_the_margin_is_over_what_the_rule_asks(declared: int, factor: int) -> None:
    """No input, no requirement: what is declared stays, to the byte."""
    empty = Channel("in", INPUT, Path("/nonexistent"), "/in")
    asked = needs(Resources(limits={"memory": declared}), [(empty, rule(scale_factor=factor))])
    assert asked.memory == (declared or None)
    assert MARGIN == 1.1
