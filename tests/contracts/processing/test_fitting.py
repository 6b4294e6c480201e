"""Lines and curves through peaks, and what is declared by them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.contracts.processing.measure.fitting import (
    MODES,
    Fit,
    Point,
    Sizing,
    best_fit,
    covered,
    fit,
    fits,
    sized,
)
from lading.contracts.processing.measure.suggestions import plain, resources, rounded_up, scale_rule
from lading.contracts.processing.scaling import Complexity
from lading.contracts.processing.template import COMPLEXITY, Resources, ScaleRule
from lading.units import MIB, quantity

SIZES = (2 * MIB, 8 * MIB, 32 * MIB, 128 * MIB)


def point(size: int, *peaks: float, **others: int) -> Point:
    sizes = dict.fromkeys(MODES, size) | others
    return Point(sizes, tuple(map(round, peaks)))


@pytest.mark.parametrize(
    ("power", "factor", "base"),
    [
        (0, 0.0, 200 * MIB),
        (1, 3.0, 0.0),
        (1, 0.25, 0.0),
        (1, 3.0, 20 * MIB),
        (1, 0.5, 500 * MIB),
        (2, 1e-7, 0.0),
        (2, 1e-7, 300 * MIB),
    ],
)
def test_what_is_behind_the_peaks_is_found(power: int, factor: float, base: float) -> None:
    noise = random.Random(1)
    points = [
        point(size, base + (factor * size**power if power else 0) + noise.uniform(-0.2, 0.2) * MIB)
        for size in SIZES
    ]
    found = fit(points, "sum")
    assert found.power == power
    assert found.explains
    assert found.largest_residual < MIB
    assert found.factor == pytest.approx(factor, rel=0.05)
    assert found.base == pytest.approx(base, rel=0.05, abs=MIB)
    if power:
        assert found.r_squared is not None
        assert found.r_squared > 0.999


def test_the_mode_that_explains_is_found_and_the_declared_one_preferred() -> None:
    peaks = {8 * MIB: 24 * MIB, 16 * MIB: 48 * MIB, 64 * MIB: 192 * MIB}
    noise = iter((90, 20, 70))
    by_file = [
        point(next(noise) * MIB, peak, max_file_size=size, max_item_sum=0)
        for size, peak in peaks.items()
    ]
    found = fits(by_file)
    assert [one.mode for one in found] == ["sum", "max_file_size"]  # items never differ
    best = best_fit(found, "sum")
    assert best.mode == "max_file_size"
    assert best.factor == pytest.approx(3)
    alike = fits([point(size, peak) for size, peak in peaks.items()])
    assert best_fit(alike, "max_item_sum").mode == "max_item_sum"
    assert best_fit(alike, "sum").mode == "sum"


def test_runs_that_differ_are_not_explained_by_more_than_they_tell() -> None:
    points = [point(size, 3 * size, 3 * size + 30 * MIB) for size in SIZES]
    found = fit(points, "sum")
    assert (found.power, round(found.base)) == (1, 0)


def test_what_follows_nothing_is_said_to() -> None:
    points = [point(size, peak * MIB) for size, peak in zip(SIZES, (400, 30, 350, 20), strict=True)]
    assert not fit(points, "sum").explains


def test_memory_that_shrinks_with_the_input_needs_no_rule() -> None:
    points = [point(size, (400 - index) * MIB) for index, size in enumerate(SIZES)]
    found = fit(points, "sum")
    assert found.power == 0
    assert sized(points, found) == Sizing(400 * MIB, None, 0)


def test_an_empty_input_is_carried_by_the_declared_memory() -> None:
    points = [point(0, 20 * MIB), *(point(size, 20 * MIB + 3 * size) for size in SIZES)]
    sizing = sized(points, fit(points, "sum"))
    assert sizing.need >= 20 * MIB
    assert sizing.factor is not None


def test_the_least_is_wasted() -> None:
    # With a factor for the smallest input, the largest would get 23 times its size.
    points = [point(size * MIB, (200 + 3 * size) * MIB) for size in (10, 100, 1000)]
    sizing = sized(points, fit(points, "sum"))
    assert sizing.factor == pytest.approx(5)
    assert sizing.need == pytest.approx(500 * MIB, rel=1e-6)


amounts = st.integers(min_value=0, max_value=1 << 44)
some_points = st.lists(
    st.builds(
        lambda sizes, peaks: Point(dict(zip(MODES, sizes, strict=True)), tuple(peaks)),
        st.tuples(amounts, amounts, amounts),
        st.lists(st.integers(min_value=1, max_value=1 << 44), min_size=1, max_size=3),
    ),
    min_size=2,
    max_size=8,
).filter(lambda points: len({one.sizes["sum"] for one in points}) > 1)


@given(some_points)
def test_whatever_was_measured_is_covered(points: list[Point]) -> None:
    found = best_fit(fits(points), "sum")
    sizing = sized(points, found)
    assert all(covered(one.sizes[found.mode], sizing, found.power) >= one.highest for one in points)
    allowed = as_files_say(sizing, found)
    assert all(allowed(one.sizes[found.mode]) >= one.highest for one in points)
    for share in range(1, 20):  # also what lies between, and beyond
        size = max(one.sizes[found.mode] for one in points) * share / 10
        assert covered(size, sizing, found.power) >= found(size) * (1 - 1e-9)


def as_files_say(sizing: Sizing, found: Fit) -> Callable[[int], float]:
    """Read the suggestions back, as files are read; what the task may use then."""
    declared = resources(None, 1.1 * sizing.need, why="").value
    memory = quantity(str(Resources.model_validate(declared).limits["memory"]))  # type: ignore[index]
    if sizing.factor is None:
        return lambda _: memory
    suggested = scale_rule("in", sizing.factor, power=found.power, mode=found.mode)
    rule = ScaleRule.model_validate(suggested.value)
    assert str(rule.mode) == found.mode
    needed = Complexity.of(rule)
    return lambda size: max(memory, 1.1 * needed(size))


@given(st.floats(min_value=1e-18, max_value=1e12), st.integers(min_value=1, max_value=6))
def test_factors_are_rounded_up_and_written_without_exponent(number: float, digits: int) -> None:
    rounded = rounded_up(number, digits)
    assert number <= rounded <= number * (1 + 10.0 ** (1 - digits)) * (1 + 1e-9)
    text = plain(rounded)
    assert float(text) == rounded
    assert re.fullmatch(COMPLEXITY, f"{text}*n**2")


@pytest.mark.parametrize(
    ("number", "rounded"),
    [(3.02, 3.1), (3.0, 3.0), (0.0121, 0.013), (128, 130), (99.1, 100), (0, 0)],
)
def test_two_digits(number: float, rounded: float) -> None:
    assert rounded_up(number) == rounded
