"""How a run ended, in the words of an error and of its record."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from lading.engine.spec import Exit, Limits
from lading.errors import ContainerLost, ExitedEarly, OutOfMemory, RunError
from lading.run.states import RunState
from lading.units import format_bytes, format_quantity, format_seconds

if TYPE_CHECKING:
    from lading.run.records import Run

__all__ = ["code_of", "explain_exit", "explain_run", "failure", "outcome"]

_KILLED = 137


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


def explain_run(run: Run) -> RunError | None:
    """Make the error of a run that has ended, from its record; None if it ended well."""
    if run.out_of_memory:
        limit, peak = run.memory, run.memory_peak
        return OutOfMemory(
            run.name,
            limit=limit,
            peak=peak,
            limit_text=format_bytes(limit) if limit else "",
            peak_text=format_bytes(peak) if peak else "",
            fix=f"raise its memory limit, for instance to {format_quantity(2 * limit)}"
            if limit
            else "",
        )
    if run.state is RunState.SUCCEEDED:
        return None
    words = run.error or (
        f"it ended with {_code(run.exit_code)}" if run.exit_code is not None else "nobody says why"
    )
    ended = "failed" if run.state is RunState.FAILED else f"was {run.state}"
    message = f"run {run.id} {ended}: {words}"
    if run.state is RunState.FAILED and run.exit_code is not None:
        return ExitedEarly(message, code=run.exit_code, fix=f"`lading logs {run.id}` shows its log")
    return ContainerLost(message) if run.state is RunState.LOST else RunError(message)


def code_of(run: Run) -> int:
    """Return what a command ends with that waited for a run: its container's exit code.

    137 where memory ran out, though a child only was killed; 70 where there is no exit code.
    """
    if run.out_of_memory and run.exit_code != 0:
        return _KILLED
    if run.exit_code is not None:
        return run.exit_code
    return 0 if run.state is RunState.SUCCEEDED else RunError.exit_code


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


def failure(error: BaseException) -> RunState:
    """Judge a run that an error has ended."""
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return RunState.CANCELLED
    return RunState.LOST if isinstance(error, ContainerLost) else RunState.FAILED


def _code(code: int) -> str:
    if code > 128:
        try:
            return f"exit code {code} ({signal.Signals(code - 128).name})"
        except ValueError:
            pass
    return f"exit code {code}"
