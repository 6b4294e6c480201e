"""Which strips a task consists of, round after round, and which ones need which."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from life.world import Strip, cut

SHARED = 1
"""Rows of each neighbour that a strip computes as well: two strips that share them can be held
against each other."""


@dataclass(frozen=True)
class Plan:
    """How a world is computed.

    A *round* brings the whole world some generations further; its strips are computed apart. Part
    number ``round * strips + strip`` of the task is one strip of one round.

    Parameters
    ----------
    width, height : int
        Of the world, in cells.
    generations : int
        How many to compute.
    per_round : int
        How many of them in one round.
    strips : int
        How many there are in each round.
    """

    width: int
    height: int
    generations: int
    per_round: int
    strips: int

    @classmethod
    def of(cls, params: dict[str, Any], at_most: int) -> Plan:
        """Read parameters; raises ValueError, with words for whoever wrote them."""
        values = {"width": 200, "height": 200, "generations": 100, "per_round": 25, "strips": 4}
        if unknown := params.keys() - values.keys() - {"world"}:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        values |= {name: value for name, value in params.items() if name != "world"}
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: {value!r} is no whole number above 0")
        rounds = math.ceil(values["generations"] / values["per_round"])
        if rounds > at_most:
            raise ValueError(
                f"{rounds} rounds are more than the {at_most} subtasks allowed: "
                "more generations per_round make fewer of them"
            )
        values["strips"] = min(values["strips"], values["height"], at_most // rounds)
        return cls(**values)

    @classmethod
    def load(cls, task_dir: Path) -> Plan:
        """Read the plan of a task."""
        return cls(**json.loads((task_dir / "plan.json").read_text("utf-8")))

    def save(self, task_dir: Path) -> None:
        """Keep the plan with the task, for whoever goes on with it."""
        (task_dir / "plan.json").write_text(json.dumps(dataclasses.asdict(self)), "utf-8")

    @property
    def rounds(self) -> int:
        """How many rounds there are."""
        return math.ceil(self.generations / self.per_round)

    @property
    def parts(self) -> range:
        """The numbers of all parts."""
        return range(self.rounds * self.strips)

    def generations_of(self, part: int) -> int:
        """How many generations a part computes; the last round may have fewer."""
        done = part // self.strips * self.per_round
        return min(self.per_round, self.generations - done)

    def strip(self, part: int) -> Strip:
        """The rows that are this part's own."""
        return cut(self.height, self.strips)[part % self.strips]

    def wanted(self, part: int) -> Strip:
        """The rows that it computes: its own, and what it shares with its neighbours."""
        return self.strip(part).widened(SHARED, self.height)

    def within(self, part: int) -> Strip:
        """The rows that it must know for that."""
        return self.wanted(part).widened(self.generations_of(part), self.height)

    def round(self, number: int) -> range:
        """The parts of a round."""
        return range(number * self.strips, (number + 1) * self.strips)

    def sources(self, part: int) -> list[int]:
        """The parts of the round before that it needs; none in the first round."""
        number = part // self.strips
        if number == 0:
            return []
        needed = self.within(part)
        return [one for one in self.round(number - 1) if self.strip(one).touches(needed)]

    def neighbours(self, part: int) -> list[int]:
        """The parts of the same round that compute rows of it, too."""
        wanted = self.wanted(part)
        same = self.round(part // self.strips)
        return [one for one in same if one != part and self.wanted(one).touches(wanted)]

    def dependents(self, part: int) -> list[int]:
        """The parts of all later rounds that could not be what they are without it."""
        found = {part}
        for later in range((part // self.strips + 1) * self.strips, self.parts.stop):
            if found.intersection(self.sources(later)):
                found.add(later)
        return sorted(found - {part})
