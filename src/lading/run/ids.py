"""Ids of runs: sorted by the time they were made."""

from __future__ import annotations

import os
import time

__all__ = ["first_id", "new_id"]

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]
_last_id = 0


def new_id() -> str:
    """Make an id: 16 characters of base 32, unique, and sorted by the time they were made.

    42 bits of milliseconds, then 38 bits that are random once a millisecond and counted up in it.
    """
    global _last_id  # noqa: PLW0603
    now = int(time.time() * 1000)
    if _last_id >> 38 >= now:
        _last_id += 1
    else:
        _last_id = now << 38 | int.from_bytes(os.urandom(5), "big") >> 2
    value = _last_id
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(70, -1, -10)])


def first_id(moment: float) -> str:
    """Return an id that sorts before all that are made from then on."""
    value = max(int(moment * 1000), 0) << 38
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(70, -1, -10)])
