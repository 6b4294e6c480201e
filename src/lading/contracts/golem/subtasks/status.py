"""Where a subtask is."""

from __future__ import annotations

import enum

__all__ = ["SubtaskStatus"]


class SubtaskStatus(enum.Enum):
    """Where a subtask is; the values are what the database holds."""

    WAITING = None
    """Of a part that was never handed out."""
    COMPUTING = "computing"
    VERIFYING = "verifying"
    SUCCESS = "success"
    FAILURE = "failure"
    ABORTED = "aborted"

    @classmethod
    def default(cls) -> SubtaskStatus:
        """Where a part is in the beginning."""
        return cls.WAITING

    def is_computable(self) -> bool:
        """Whether a part whose last subtask is here can be handed out."""
        return self in _COMPUTABLE


_COMPUTABLE = frozenset({SubtaskStatus.WAITING, SubtaskStatus.FAILURE, SubtaskStatus.ABORTED})
