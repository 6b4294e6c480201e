"""What a task's files should say about memory, as the JSON that its author pastes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from lading.units import format_quantity, quantity

if TYPE_CHECKING:
    from lading.contracts.processing.template import Resources, ScaleRule

__all__ = ["DIGITS", "Suggestion", "plain", "resources", "rounded_up", "scale_rule"]

DIGITS = 2
"""Of a factor that one run suggests; more would pretend to know more."""
_DEFAULTS = {"target_dir": "", "target_glob": "*", "target_regex": ".*"}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One entry of a file.

    Parameters
    ----------
    field : str
        ``scale_rule`` or ``resources``.
    channel : str
        Whose ``scale_rule``; empty for ``resources``.
    value : dict
        What is to stand there.
    why : str
        Where it comes from, and which margin is in it.
    """

    field: str
    channel: str
    value: dict[str, Any]
    why: str

    def as_object(self) -> dict[str, Any]:
        """Describe it for programs."""
        return asdict(self)


def rounded_up(number: float, digits: int = DIGITS) -> float:
    """Round up to so many significant digits: 3.02 to 3.1, 0.0121 to 0.013, 128 to 130."""
    if number <= 0:
        return 0.0
    exact = Decimal(repr(number))
    step = Decimal(1).scaleb(exact.adjusted() - digits + 1)
    return float((exact / step).to_integral_value(ROUND_CEILING) * step)


def plain(number: float) -> str:
    """Write a number without an exponent, as a ``complexity`` needs it: ``0.00000012``."""
    text = format(Decimal(repr(number)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def scale_rule(
    channel: str,
    factor: float,
    *,
    power: int = 1,
    like: ScaleRule | None = None,
    mode: str = "sum",
    why: str = "",
) -> Suggestion:
    """Suggest a scale rule.

    Parameters
    ----------
    factor : float
        Bytes of memory for ``n ** power``, as it is to be written.
    like : ScaleRule or None
        The one that is there, of which the rest stays.
    mode : str
        Which size is n.
    """
    value: dict[str, Any] = {}
    if power != 1 or (like is not None and like.complexity is not None):
        value["complexity"] = f"{plain(factor)}*n" + (f"**{power}" if power != 1 else "")
    else:
        value["scale_factor"] = int(factor) if factor == int(factor) else factor
    value |= {"type": str(like.type) if like is not None else "limit", "mode": mode}
    if like is not None:
        there = {name: getattr(like, name) for name in _DEFAULTS}
        value |= {name: text for name, text in there.items() if text != _DEFAULTS[name]}
    return Suggestion("scale_rule", channel, value, why)


def resources(
    declared: Resources | None, amount: float, *, why: str, kind: str = "limit"
) -> Suggestion:
    """Suggest the declared memory; what else is declared stays.

    Parameters
    ----------
    amount : float
        Bytes; written as whole MiB, rounded up.
    kind : str
        Whether it is the ``limit`` or the ``request``.
    """
    limits, requests = (
        {name: value for name, value in (there or {}).items() if value is not None}
        for there in (declared and declared.limits, declared and declared.requests)
    )
    text = format_quantity(math.ceil(amount))
    (requests if kind == "request" else limits)["memory"] = text
    asked = requests.get("memory")
    if asked is not None and kind == "limit" and quantity(asked) > quantity(text):
        requests["memory"] = text  # no request is above its limit
    most = limits.get("memory")
    if most is not None and kind == "request" and quantity(most) < quantity(text):
        limits["memory"] = text
    parts: Mapping[str, Mapping[str, Any]] = {"limits": limits, "requests": requests}
    value = {name: dict(part) for name, part in parts.items() if part}
    return Suggestion("resources", "", value, why)
