"""Plots of memory against the size of the input: in the terminal, and as a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lading.errors import InputError, NotSupported, how_to_install
from lading.units import GIB, KIB, MIB, format_bytes

__all__ = ["Plot", "as_lines", "check_file", "write_file"]

_SUFFIXES = (".png", ".svg", ".pdf")
_COLUMNS, _ROWS = 56, 14
_STEPS = 200


@dataclass(frozen=True, slots=True)
class Plot:
    """What is shown.

    Parameters
    ----------
    title, size_name : str
        Of the whole, and of the axis of sizes.
    points : sequence of (int, int)
        Size and peak of each run, in bytes.
    fit, limit : callable
        Bytes for a size: what was found, and what is suggested.
    """

    title: str
    size_name: str
    points: Sequence[tuple[int, int]]
    fit: Callable[[float], float]
    limit: Callable[[float], float]

    @property
    def right(self) -> float:
        """The largest size that is shown."""
        return 1.05 * max(size for size, _ in self.points) or 1.0

    @property
    def top(self) -> float:
        """The highest peak that is shown."""
        curves = [curve(size) for size, _ in self.points for curve in (self.fit, self.limit)]
        return 1.05 * max([*(peak for _, peak in self.points), *curves]) or 1.0


def as_lines(plot: Plot) -> list[str]:
    """Draw it with characters."""
    grid = [[" "] * _COLUMNS for _ in range(_ROWS)]

    def put(size: float, amount: float, mark: str) -> None:
        column, row = (
            round(size / plot.right * (_COLUMNS - 1)),
            round(amount / plot.top * (_ROWS - 1)),
        )
        if 0 <= column < _COLUMNS and 0 <= row < _ROWS:
            grid[_ROWS - 1 - row][column] = mark

    for column in range(_COLUMNS):
        size = column / (_COLUMNS - 1) * plot.right
        put(size, plot.limit(size), "-")
        put(size, plot.fit(size), "·")
    for size, peak in plot.points:
        put(size, peak, "o")
    top = format_bytes(plot.top)
    width = len(top)
    labels = [top, *[""] * (_ROWS - 2), "0 B"]
    lines = [
        f"{label:>{width}} |{''.join(cells).rstrip()}"
        for label, cells in zip(labels, grid, strict=True)
    ]
    right = format_bytes(plot.right)
    lines.append(f"{'':>{width}} +{'-' * _COLUMNS}")
    lines.append(f"{'':>{width}}  0 B{plot.size_name + ' ' + right:>{_COLUMNS - 3}}")
    lines.append(f"{'':>{width}}  o peak   · fit   - suggested limit")
    return lines


def check_file(path: Path) -> None:
    """Make sure that a plot can be written, before anything else takes hours.

    Raises
    ------
    InputError
        Its name or place won't do.
    NotSupported
        What draws it is not installed.
    """
    if path.suffix.lower() not in _SUFFIXES:
        known = ", ".join(_SUFFIXES)
        raise InputError("--plot", f"{path} has no suffix of {known}", fix="write it as plot.png")
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(
            "--plot", f"{path} can't be written", fix="name a file in a directory of yours"
        )
    if find_spec("matplotlib") is None:
        raise NotSupported(
            "plots as files need matplotlib, which is not installed",
            fix=f"{how_to_install('plot')}, or leave --plot out: there is a plot in the terminal",
        )


def write_file(plot: Plot, path: Path) -> None:
    """Write it to a file.

    Raises
    ------
    InputError
        It can't be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  # half a second

    unit, name = next(
        (unit, name)
        for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "B"))
        if plot.right >= unit or unit == 1
    )
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    sizes = [step / _STEPS * plot.right for step in range(_STEPS + 1)]
    shown = [size / unit for size in sizes]
    axes.plot(shown, [plot.limit(size) / MIB for size in sizes], "--", label="suggested limit")
    axes.plot(shown, [plot.fit(size) / MIB for size in sizes], label="fit")
    axes.plot(
        [size / unit for size, _ in plot.points],
        [peak / MIB for _, peak in plot.points],
        "o",
        label="peak",
    )
    axes.set(title=plot.title, xlabel=f"{plot.size_name}, {name}", ylabel="memory, MiB")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path)
    except OSError as error:
        raise InputError("--plot", f"{path} can't be written: {error.strerror}") from None
