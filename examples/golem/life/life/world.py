"""Conway's Game of Life on a plane with edges, cut into strips that are computed apart.

Nothing here knows of containers or tasks: ``python world.py WORLD.cells GENERATIONS`` computes in
one process, and prints the world that comes of it.

A row is one integer, a bit for each cell, so that a step of it takes about thirty operations,
however wide it is.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

Rows = list[int]


def read(text: str, width: int = 0) -> Rows:
    """Read a file of cells: ``O`` lives, ``.`` does not, a line that begins with ``!`` is a remark.

    Raises ValueError where there is something else, or a row has more than `width` cells.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("!"):
            continue
        cells = line.rstrip()
        if strange := set(cells) - {".", "O"}:
            raise ValueError(f"line {number}: {strange.pop()!r} is neither 'O' nor '.'")
        if width and len(cells) > width:
            raise ValueError(f"line {number}: {len(cells)} cells, at most {width}")
        digits = cells.translate({ord("."): "0", ord("O"): "1"})
        rows.append(int(digits[::-1] or "0", 2))
    return rows


def write(rows: Rows, width: int) -> str:
    """Write rows as a file of cells."""
    dead_or_alive = {ord("0"): ".", ord("1"): "O"}
    return "".join(f"{row:0{width}b}"[::-1].translate(dead_or_alive) + "\n" for row in rows)


def centered(pattern: Rows, width: int, height: int) -> Rows:
    """Put a pattern into the middle of an empty world.

    Raises ValueError if it does not fit.
    """
    across = max((row.bit_length() for row in pattern), default=0)
    if across > width or len(pattern) > height:
        raise ValueError(
            f"{across} x {len(pattern)} cells are more than the world's {width} x {height}"
        )
    above = (height - len(pattern)) // 2
    shifted = [row << (width - across) // 2 for row in pattern]
    return [0] * above + shifted + [0] * (height - above - len(pattern))


def step(rows: Rows, width: int) -> Rows:
    """Compute the next generation; what is beyond the edges is dead, and stays so."""
    mask = (1 << width) - 1
    # Of each row, how many of three cells side by side live: one bit of ones, one of twos.
    threes = [(0, 0)]
    for row in rows:
        left, right = row << 1 & mask, row >> 1
        both = left ^ row
        threes.append((both ^ right, left & row | both & right))
    threes.append((0, 0))
    fresh = []
    for row, above, same, below in zip(rows, threes, threes[1:], threes[2:], strict=False):
        ones, carry = _add(above[0], same[0], below[0])
        twos, fours = _add(above[1], same[1], below[1])
        twos, more = twos ^ carry, twos & carry
        # Of the nine cells here and around, three live; or four, and this is one of them.
        three = ones & twos & ~(fours | more)
        four = ~(ones | twos) & (fours ^ more)
        fresh.append(three | four & row)
    return fresh


def _add(a: int, b: int, c: int) -> tuple[int, int]:
    """Add three bits, many at once: the sum's bit of ones, and its bit of twos."""
    either = a ^ b
    return either ^ c, a & b | either & c


def evolve(rows: Rows, width: int, generations: int) -> Rows:
    """Compute several generations."""
    for _ in range(generations):
        rows = step(rows, width)
    return rows


@dataclass(frozen=True)
class Strip:
    """Some rows of a world: from `top` to before `bottom`."""

    top: int
    bottom: int

    def widened(self, rows: int, height: int) -> Strip:
        """Take in as many rows on each side, as far as the world has them."""
        return Strip(max(0, self.top - rows), min(height, self.bottom + rows))

    def touches(self, other: Strip) -> bool:
        """Whether there are rows in both."""
        return self.top < other.bottom and other.top < self.bottom

    def of(self, rows: Rows, begins: int) -> Rows:
        """Take this strip out of rows whose first one is row `begins` of the world."""
        return rows[self.top - begins : self.bottom - begins]


def cut(height: int, count: int) -> list[Strip]:
    """Cut a world into strips, as equal as can be."""
    edges = [height * number // count for number in range(count + 1)]
    return [Strip(top, bottom) for top, bottom in itertools.pairwise(edges)]


def evolve_strip(known: Rows, within: Strip, wanted: Strip, width: int, generations: int) -> Rows:
    """Compute the rows `wanted` from the rows `within`, `generations` later.

    A generation is wrong one row further in from where the known rows end, so `within` must reach
    that many rows beyond `wanted`, except at the world's own edges.
    """
    return wanted.of(evolve(known, width, generations), within.top)


def main(world: str, generations: str) -> None:
    """Compute in one process."""
    text = Path(world).read_text("utf-8")
    width = max(len(line) for line in text.splitlines() if not line.startswith("!"))
    print(write(evolve(read(text), width, int(generations)), width), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
