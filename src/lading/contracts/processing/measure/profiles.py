"""What the runs of a profile say: how memory follows the size, and what files should say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.contracts.processing.measure.fitting import (
    FEW,
    MODES,
    SPAN,
    Fit,
    Point,
    Sizing,
    best_fit,
    covered,
    fits,
    sized,
)
from lading.contracts.processing.measure.suggestions import Suggestion, plain, resources, scale_rule
from lading.contracts.processing.scaling import MARGIN
from lading.units import format_bytes

if TYPE_CHECKING:
    from lading.contracts.processing.task import TaskInstance
    from lading.contracts.processing.template import ScaleRule

__all__ = ["Profile", "Trial", "judged"]


@dataclass(frozen=True, slots=True)
class Trial:
    """The runs with one input.

    Parameters
    ----------
    directory : Path
    point : Point
        Sizes by mode, and peaks.
    limit_now : int or None
        What the files as they are would allow it, in bytes.
    seconds, cpu_seconds : tuple of float
    """

    directory: Path
    point: Point
    limit_now: int | None
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """How a task's memory follows the size of its input.

    Parameters
    ----------
    instance : TaskInstance
        Of the last run.
    channel : str
    limited : bool
        Whether the declared limit held.
    trials : tuple of Trial
    fits : tuple of Fit
        One for each mode in which the sizes differ.
    fit : Fit
        The one to go by.
    sizing : Sizing
    suggestions : tuple of Suggestion
    notes : tuple of str
        What is doubtful.
    """

    instance: TaskInstance
    channel: str
    limited: bool
    trials: tuple[Trial, ...]
    fits: tuple[Fit, ...]
    fit: Fit
    sizing: Sizing
    suggestions: tuple[Suggestion, ...]
    notes: tuple[str, ...] = ()

    @property
    def expression(self) -> str:
        """The fit, for people: ``2.99*n + 5.1 MiB``."""
        return expression(self.fit)

    def suggested_limit(self, trial: Trial) -> int:
        """Return what the suggestion allows an input, in bytes."""
        return int(covered(trial.point.sizes[self.fit.mode], self.sizing, self.fit.power))

    def as_object(self) -> dict[str, Any]:
        """Describe it for programs."""
        return {
            "task": self.instance.name,
            "template": self.instance.identifier,
            "image": self.instance.image,
            "channel": self.channel,
            "limited": self.limited,
            "points": [
                {
                    "directory": str(trial.directory),
                    "sizes": dict(trial.point.sizes),
                    "memory_peaks": list(trial.point.peaks),
                    "memory_median": trial.point.median,
                    "memory_peak": trial.point.highest,
                    "seconds": list(trial.seconds),
                    "cpu_seconds": list(trial.cpu_seconds),
                    "limit_now": trial.limit_now,
                    "limit_suggested": self.suggested_limit(trial),
                }
                for trial in self.trials
            ],
            "fit": {**asdict(self.fit), "expression": self.expression},
            "fits": [{**asdict(one), "expression": expression(one)} for one in self.fits],
            "suggestions": [one.as_object() for one in self.suggestions],
            "notes": list(self.notes),
        }


def expression(fit: Fit) -> str:
    """Write a fit for people."""
    if not fit.power:
        return format_bytes(fit.base)
    power = f"**{fit.power}" if fit.power != 1 else ""
    text = f"{plain(float(f'{fit.factor:.3g}'))}*n{power}"
    return f"{text} + {format_bytes(fit.base)}" if fit.base else text


def judged(
    instance: TaskInstance,
    channel: str,
    trials: Sequence[Trial],
    *,
    limited: bool = False,
    squeezed: bool = False,
) -> Profile:
    """Say what runs with several sizes have shown.

    Parameters
    ----------
    channel : str
        The input whose sizes differ.
    limited, squeezed : bool
        Whether they had a memory limit, and whether one came up to it.
    """
    points = [trial.point for trial in trials]
    rule = next(item.scale_rule for item in instance.inputs if item.name == channel)
    found = fits(points)
    best = best_fit(found, str(rule.mode) if rule is not None else MODES[0])
    sizing = sized(points, best)
    return Profile(
        instance=instance,
        channel=channel,
        limited=limited,
        trials=tuple(trials),
        fits=tuple(found),
        fit=best,
        sizing=sizing,
        suggestions=tuple(_suggested(instance, channel, rule, best, sizing)),
        notes=tuple(_notes(points, best, rule, squeezed=squeezed)),
    )


def _suggested(
    instance: TaskInstance, channel: str, rule: ScaleRule | None, best: Fit, sizing: Sizing
) -> list[Suggestion]:
    kind = str(rule.type) if rule is not None else "limit"
    if sizing.factor is None:
        why = f"the highest peak, {format_bytes(sizing.need)}, and 10 % more, in whole MiB"
        return [resources(instance.resources, MARGIN * sizing.need, kind=kind, why=why)]
    turn = format_bytes(sizing.up_to)
    n = "n" if best.power == 1 else f"n**{best.power}"
    small = (
        f"carries inputs of up to {turn}: {format_bytes(sizing.need)} and 10 % more, in whole MiB"
    )
    large = (
        f"the smallest factor of {n} that covers every peak from {turn} on; what a rule asks for "
        f"gets 10 % more"
    )
    return [
        scale_rule(channel, sizing.factor, power=best.power, like=rule, mode=best.mode, why=large),
        resources(instance.resources, MARGIN * sizing.need, kind=kind, why=small),
    ]


def _notes(
    points: Sequence[Point], best: Fit, rule: ScaleRule | None, *, squeezed: bool
) -> list[str]:
    """Say what is doubtful about what was found."""
    notes = []
    sizes = sorted({point.sizes[best.mode] for point in points})
    if len(sizes) < FEW:
        notes.append(f"{len(sizes)} sizes are few: give {FEW} or more to see whether the fit holds")
    least = next((size for size in sizes if size), 0)
    if sizes[-1] < SPAN * least:
        notes.append(
            f"the largest input is only {sizes[-1] / least:.1f} times the smallest: what holds "
            f"there may not hold far beyond"
        )
    if not best.explains:
        notes.append(
            f"the peaks do not follow the {best.mode} of the sizes well: the fit misses one by "
            f"{best.largest_residual_share * 100:.0f} %; more sizes and --repeat may tell more"
        )
    if not best.power:
        told = ": its scale_rule is not needed, as far as these sizes tell" if rule else ""
        notes.append(f"the peak does not grow with the size of the input{told}")
    if squeezed:
        notes.append("a peak is at its limit, so more may be needed: leave --keep-limit out")
    return notes
