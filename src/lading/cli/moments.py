"""Moments as people write them: so long ago, or a date."""

from __future__ import annotations

import re
import time
from datetime import datetime

from lading.errors import InputError

__all__ = ["SECONDS", "moment"]

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""Of each unit."""


def moment(text: str, flag: str = "--since") -> float:
    """Read ``30m``, ``2h``, ``3d`` ago, or an ISO 8601 date; in seconds since 1970.

    Raises
    ------
    InputError
        It is neither.
    """
    if match := _AGO.fullmatch(text.strip()):
        return time.time() - float(match[1]) * SECONDS[match[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()  # without an offset: the time here
    except (ValueError, OverflowError):
        raise InputError(
            flag, f"{text!r} is no time", fix="write 30m, 2h, 3d or 2026-01-31T12:00"
        ) from None
