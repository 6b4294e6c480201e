"""The computing alone."""

import random

import pytest

from life.plan import Plan
from life.world import Strip, centered, cut, evolve, evolve_strip, read, step, write

GLIDER = ".O.\n..O\nOOO\n"


def naive(cells):
    """The rule as everybody knows it, a cell at a time."""
    height, width = len(cells), len(cells[0])

    def lives(x, y):
        around = sum(
            cells[b][a]
            for b in range(max(0, y - 1), min(height, y + 2))
            for a in range(max(0, x - 1), min(width, x + 2))
            if (a, b) != (x, y)
        )
        return around == 3 or (around == 2 and cells[y][x])

    return [[lives(x, y) for x in range(width)] for y in range(height)]


def text_of(cells):
    return "".join("".join("O" if cell else "." for cell in row) + "\n" for row in cells)


def test_a_step_is_what_the_rule_says():
    chance = random.Random(4)
    cells = [[chance.random() < 0.4 for _ in range(31)] for _ in range(17)]
    rows = read(text_of(cells))
    for _ in range(12):
        cells, rows = naive(cells), step(rows, 31)
        assert write(rows, 31) == text_of(cells)


def test_a_glider_glides():
    world = centered(read(GLIDER), 20, 20)
    moved = evolve(world, 20, 4)
    assert moved[1:] == [row << 1 for row in world[:-1]]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_strips_apart_are_the_world(count):
    chance = random.Random(count)
    rows, width, generations = [chance.getrandbits(40) for _ in range(20)], 40, 6
    whole = evolve(rows, width, generations)
    for strip in cut(20, count):
        within = strip.widened(generations, 20)
        found = evolve_strip(within.of(rows, 0), within, strip, width, generations)
        assert found == strip.of(whole, 0)


@pytest.mark.parametrize(("text", "says"), [("OX", "'X' is neither"), ("O" * 9, "9 cells")])
def test_files_of_something_else_are_refused(text, says):
    with pytest.raises(ValueError, match=says):
        read(text, width=8)


def test_a_pattern_must_fit():
    with pytest.raises(ValueError, match="3 x 3 cells are more"):
        centered(read(GLIDER), 10, 2)


def test_a_plan_knows_which_strip_needs_which():
    plan = Plan.of({"height": 40, "generations": 25, "per_round": 10, "strips": 4}, at_most=100)
    assert (plan.rounds, len(plan.parts)) == (3, 12)
    assert [plan.generations_of(part) for part in (0, 4, 8)] == [10, 10, 5]
    assert plan.sources(0) == []
    assert plan.sources(5) == [0, 1, 2, 3]  # 11 rows on each side reach over the next strip
    assert plan.sources(8) == [4, 5]
    assert plan.neighbours(5) == [4, 6]
    assert plan.neighbours(4) == [5]
    assert plan.dependents(8) == []
    assert set(plan.dependents(4)) >= {8, 9}
    assert plan.strip(5) == Strip(10, 20)
    assert plan.wanted(4) == Strip(0, 11)


def test_a_plan_keeps_to_what_it_may():
    assert Plan.of({"generations": 100, "per_round": 25, "strips": 9}, at_most=10).strips == 2
    with pytest.raises(ValueError, match="4 rounds are more than the 3 subtasks"):
        Plan.of({"generations": 100, "per_round": 25}, at_most=3)
    with pytest.raises(ValueError, match="unknown: strip"):
        Plan.of({"strip": 2}, at_most=9)
    with pytest.raises(ValueError, match="width: 0 is no whole number"):
        Plan.of({"width": 0}, at_most=9)
