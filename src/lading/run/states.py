"""What is run, and where a run is: the words that records have for it."""

from __future__ import annotations

import enum

__all__ = ["Kind", "RunState"]


class RunState(enum.StrEnum):
    """Where a run is."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    """Somebody asked for its end: however it ends now, it was cancelled."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    """Whoever watched it died, or somebody removed its container."""


class Kind(enum.StrEnum):
    """What was run."""

    CONTAINER = "container"
    CALL = "call"
    """One request, served by a container that serves many."""
