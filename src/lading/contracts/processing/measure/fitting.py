"""How a task's memory follows the size of its input: a line, or a curve, through what was measured.

The simplest of five is taken that explains the peaks: a constant, ``a*n``, ``b + a*n``, ``a*n**2``,
``b + a*n**2``, each by least squares. Scale rules know no ``b``, so the declared memory has to
carry the small inputs and the rule the large ones: :func:`sized` finds where the one gives over to
the other with the least waste.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from lading.contracts.processing.measure.suggestions import rounded_up
from lading.contracts.processing.scaling import MARGIN
from lading.units import MIB

__all__ = [
    "FEW",
    "MODES",
    "SPAN",
    "Fit",
    "Point",
    "Sizing",
    "best_fit",
    "covered",
    "fit",
    "fits",
    "sized",
]

MODES = ("sum", "max_file_size", "max_item_sum")
FEW, SPAN = 4, 4.0
"""Below so many sizes, or where the largest is less than so many times the smallest, a fit is
doubtful."""
_NOISE, _NOISE_SHARE = MIB, 0.005
"""Bytes, and the part of the highest peak, that two equal runs may differ by."""
_BETTER = 2.0
"""A model that says more has to come so many times nearer."""
_EXPLAINED = 0.05
"""The part of a peak by which a fit may miss it."""
_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Point:
    """The runs with one input.

    Parameters
    ----------
    sizes : mapping
        n in bytes, by mode.
    peaks : tuple of int
        Bytes, one for each run.
    """

    sizes: Mapping[str, int]
    peaks: tuple[int, ...]

    @property
    def median(self) -> float:
        """What is fitted: an outlier does not count."""
        return median(self.peaks)

    @property
    def highest(self) -> int:
        """What has to be covered."""
        return max(self.peaks)


@dataclass(frozen=True, slots=True)
class Fit:
    """One model: ``base + factor * n ** power``, in bytes.

    Parameters
    ----------
    mode : str
        Which size is n.
    power : int
        0 where the peak does not depend on n.
    factor, base : float
    r_squared : float or None
        The part of the differences that it explains; None for a constant.
    largest_residual : float
        Bytes by which it misses a peak at the most.
    largest_residual_share : float
        The largest part of a peak by which it misses that.
    explains : bool
        Whether it misses none by more than a twentieth, or by more than equal runs differ.
    """

    mode: str
    power: int
    factor: float
    base: float
    r_squared: float | None
    largest_residual: float
    largest_residual_share: float
    explains: bool
    error: float
    """The root of the mean square of what it misses, per degree of freedom; bytes."""

    def __call__(self, size: float) -> float:
        """Return the bytes that an input of `size` bytes takes."""
        return self.base + (self.factor * size**self.power if self.power else 0.0)


@dataclass(frozen=True, slots=True)
class Sizing:
    """What to declare.

    Parameters
    ----------
    need : int
        Bytes that the declared memory must cover, without a margin.
    factor : float or None
        Of the rule; None where no rule is needed.
    up_to : int
        The n up to which the declared memory is what counts.
    """

    need: int
    factor: float | None
    up_to: int


def fits(points: Sequence[Point]) -> list[Fit]:
    """Find the simplest model that explains the peaks, for each mode in which the sizes differ."""
    return [fit(points, mode) for mode in MODES if len({point.sizes[mode] for point in points}) > 1]


def best_fit(found: Iterable[Fit], prefer: str, noise: float = _NOISE) -> Fit:
    """Choose the mode: the preferred one, unless another comes much nearer.

    Parameters
    ----------
    found : iterable of Fit
        From :func:`fits`; not empty.
    prefer : str
        The mode of the rule that is there.
    """
    # The sort is stable: after the preferred one they keep the order of MODES.
    ordered = sorted(found, key=lambda one: one.mode != prefer)
    least = min(one.error for one in ordered)
    return next(one for one in ordered if one.error <= max(_BETTER * least, noise))


def fit(points: Sequence[Point], mode: str) -> Fit:
    """Find the simplest model that explains the peaks.

    Parameters
    ----------
    points : sequence of Point
        At least two.
    """
    noise = max(
        _NOISE,
        _NOISE_SHARE * max(point.highest for point in points),
        max(point.highest - min(point.peaks) for point in points) / 2,
    )
    best = _model(points, mode, 0, based=True, noise=noise)
    assert best is not None
    for power, based in ((1, False), (1, True), (2, False), (2, True)):
        if best.largest_residual <= noise:
            break
        other = _model(points, mode, power, based=based, noise=noise)
        if other is not None and other.error * _BETTER <= best.error:
            best = other
    return best


def _model(
    points: Sequence[Point], mode: str, power: int, *, based: bool, noise: float
) -> Fit | None:
    """Fit one model by least squares; None where it makes no sense: nothing shrinks with n."""
    sizes = [float(point.sizes[mode]) for point in points]
    scale = max(sizes) or 1.0  # so that no square is larger than floats are
    x = [(size / scale) ** power for size in sizes]
    y = [point.median for point in points]
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    if power == 0:
        slope, base = 0.0, mean_y
    elif based:
        spread = math.fsum((one - mean_x) ** 2 for one in x)
        if not spread:
            return None
        both = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
        slope = both / spread
        base = mean_y - slope * mean_x
    else:
        slope = math.fsum(a * b for a, b in zip(x, y, strict=True)) / math.fsum(a * a for a in x)
        base = 0.0
    if power and (slope <= 0 or base < 0):
        return None
    missed = [b - base - slope * a for a, b in zip(x, y, strict=True)]
    square = math.fsum(one * one for one in missed)
    total = math.fsum((one - mean_y) ** 2 for one in y)
    free = len(points) - (1 if power else 0) - (1 if based else 0)
    shares = [abs(one) / point for one, point in zip(missed, y, strict=True) if point]
    return Fit(
        mode=mode,
        power=power,
        factor=slope / scale**power if power else 0.0,
        base=base,
        r_squared=1 - square / total if power and total else None,
        largest_residual=max(map(abs, missed)),
        largest_residual_share=max(shares, default=0.0),
        explains=all(
            abs(one) <= max(noise, _EXPLAINED * peak) for one, peak in zip(missed, y, strict=True)
        ),
        error=math.sqrt(square / free) if free > 0 else 0.0,
    )


def sized(points: Sequence[Point], found: Fit) -> Sizing:
    """Find the smallest factor, and the declared memory, that cover every peak that was measured.

    Up to some size the declared memory is what counts, beyond it the rule. Where that is, is chosen
    so that the largest waste among the measured sizes is the least; what the fit says at that
    point is covered too, so that no size between two measured ones falls short of it.
    """
    highest = max(point.highest for point in points)
    amounts = sorted({float(point.sizes[found.mode]) for point in points} - {0.0})
    if not found.power or not amounts:
        return Sizing(highest, None, 0)
    tried = [_turning_at(points, found, amount) for amount in amounts]
    _, best = min(tried, key=lambda pair: pair[0])
    return best


def _turning_at(points: Sequence[Point], found: Fit, turn: float) -> tuple[float, Sizing]:
    """Size it for one turning point; says how much is wasted at the most, as a ratio."""
    power, mode = found.power, found.mode
    below = [point.highest for point in points if point.sizes[mode] <= turn]
    need = max(*below, math.ceil(found(turn)), 0)
    beyond = [
        point.highest / float(point.sizes[mode]) ** power
        for point in points
        if point.sizes[mode] >= turn
    ]
    factor = rounded_up(max(*beyond, found(turn) / turn**power, 0.0), _DIGITS)
    waste = max(
        max(need, factor * float(point.sizes[mode]) ** power) / point.highest
        for point in points
        if point.highest
    )
    return waste, Sizing(need, factor, int(turn))


def covered(size: float, sizing: Sizing, power: int) -> float:
    """Return the bytes that a task with an input of `size` may use, sized so."""
    ruled = sizing.factor * float(size) ** power if sizing.factor is not None else 0.0
    return MARGIN * max(sizing.need, ruled)
