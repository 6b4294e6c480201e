"""What all of ``lading test`` shows in the same way, whatever contract a folder is for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lading.cli import printing
from lading.errors import RunError

if TYPE_CHECKING:
    from lading.engine import LogChunk

__all__ = ["Log", "line", "ways_out", "without_log"]

_MOST_LOG = 64 << 10
"""Bytes of a log, from its end, that programs are told."""


class Log:
    """Shows what a task prints, and keeps the end of it."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def __call__(self, chunk: LogChunk) -> None:
        """Take what it printed."""
        self._kept.extend(chunk.data)
        del self._kept[:-_MOST_LOG]
        printing.task_log(chunk.data)

    def __str__(self) -> str:
        return self._kept.decode("utf-8", "replace")


def line(name: str, text: str) -> None:
    """Write one figure to stdout."""
    printing.line(f"{name:<12}{text}")


def ways_out(folder: Path) -> str:
    """Say what can be done where something else came than the example says."""
    return (
        f"correct the task; or, if what came is right, `lading test {folder} --update` makes it "
        "the example"
    )


def without_log(error: RunError) -> RunError:
    """Take from an error the log that was shown as it came."""
    if not printing.is_quiet():
        error.logs = ""
    return error
