"""Nodes that fail repeatedly are left alone for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lading.contracts.golem.driver.events import Event, NodeRested

__all__ = ["Resting"]

_PATIENCE = 3
"""Failures in a row from which on a node rests."""
_LONGEST = 12
"""How many times the first rest the longest one is."""


class Resting:
    """Who has failed how often in a row, and rests until when.

    Parameters
    ----------
    first : float
        Seconds of the first rest; each further failure doubles them, up to twelve times as many.
    tell : callable
        Told of each rest.
    """

    def __init__(self, first: float, tell: Callable[[Event], None]) -> None:
        self._first = first
        self._tell = tell
        self._failures: dict[int, int] = {}
        self._until: dict[int, float] = {}

    def failed(self, node: int, reason: str) -> None:
        """Count a failure of a node: it could not compute, or its result was wrong."""
        count = self._failures[node] = self._failures.get(node, 0) + 1
        if count < _PATIENCE or not self._first:
            return
        seconds = self._first * min(2 ** min(count - _PATIENCE, 30), _LONGEST)
        self._until[node] = asyncio.get_running_loop().time() + seconds
        self._tell(NodeRested(node, seconds, count, reason))

    def succeeded(self, node: int) -> None:
        """A result of the node was right: what was before is forgotten."""
        self._failures.pop(node, None)
        self._until.pop(node, None)

    def left(self, node: int) -> float:
        """Return the seconds that the node still rests."""
        until = self._until.get(node)
        if until is None:
            return 0.0
        left = until - asyncio.get_running_loop().time()
        if left <= 0:
            del self._until[node]
        return max(left, 0.0)
