"""How a run ended, in the words of an error and of its record."""

from __future__ import annotations

import signal

from lading.engine.spec import Exit, Limits
from lading.errors import ExitedEarly, OutOfMemory
from lading.run.records import RunState
from lading.units import format_bytes, format_quantity, format_seconds

__all__ = ["explain_exit", "outcome"]


def explain_exit(
    end: Exit, *, task: str, limits: Limits, peak: int, logs: str, ready: bool
) -> OutOfMemory | ExitedEarly:
    """Make the error of a container that ended when it should not have.

    Parameters
    ----------
    peak : int
        Bytes that were seen at the most, before it ended.
    logs : str
        Its last lines.
    ready : bool
        Whether it was ready before.
    """
    if end.out_of_memory:
        limit = limits.memory
        peak = max(peak, limit or 0)  # the last look was before the end
        return OutOfMemory(
            task,
            limit=limit,
            peak=peak or None,
            logs=logs,
            limit_text=format_bytes(limit) if limit else "",
            peak_text=format_bytes(peak) if peak else "",
            fix=f"try --memory {format_quantity(2 * limit)}" if limit else "",
        )
    when = "" if ready else " before it was ready"
    message = f"{task} ended with {_code(end.code)}{when}, after {format_seconds(end.seconds)}"
    if end.error:
        message += f": {end.error}"
    return ExitedEarly(message, code=end.code, logs=logs, fix="see its log")


def outcome(end: Exit | None, ran: bool) -> RunState:
    """Judge a run that nobody has judged.

    Parameters
    ----------
    end : Exit or None
        None where it is not known.
    ran : bool
        Whether it was still running when we ended it.
    """
    if ran:
        return RunState.CANCELLED
    if end is None:
        return RunState.LOST
    return RunState.SUCCEEDED if end.code == 0 else RunState.FAILED


def _code(code: int) -> str:
    if code > 128:
        try:
            return f"exit code {code} ({signal.Signals(code - 128).name})"
        except ValueError:
            pass
    return f"exit code {code}"
