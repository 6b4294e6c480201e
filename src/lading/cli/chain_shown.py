"""What a chain shows: its steps as they begin and end, what they print, and a table at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lading.cli import failures, printing
from lading.contracts.processing.chains.chain import Report, StepState
from lading.errors import OutOfMemory, RunError
from lading.units import format_bytes, format_quantity, format_seconds

if TYPE_CHECKING:
    from lading.contracts.processing.measure.measuring import Measurement
    from lading.engine import LogChunk

__all__ = ["Shown", "as_object", "summary"]

_TICK = 0.5
"""Seconds after which elapsed times are written anew."""


class Shown:
    """Tells of steps as they begin and end.

    Parameters
    ----------
    steps : iterable of str
    watch : bool
        Whether what their containers print is shown, so that an error need not repeat it.
    """

    def __init__(self, steps: Iterable[str], *, watch: bool) -> None:
        self._states = dict.fromkeys(steps, StepState.NOT_RUN)
        self._width = max(map(len, self._states), default=0)
        self._watch = watch
        self._began: dict[str, float] = {}
        self._unended: dict[str, dict[str, bytes]] = {}
        self._live = printing.Live("running")

    def changed(self, report: Report) -> None:
        """Tell of a step's new state."""
        name = report.step.name
        self._states[name] = report.state
        now = time.monotonic()
        if report.state is StepState.RUNNING:
            self._began.setdefault(name, now)
            if report.waits:
                printing.note(f"{name}: waits: {report.waits}")
            elif self._live.moves:
                self._show_running()
            elif self._began[name] == now:
                printing.note(f"{name}: running")
            return
        self._end_lines(name)
        elapsed = format_seconds(now - self._began.pop(name, now))
        printing.note(f"{name}: {_ended(report, elapsed)}")
        for text in report.notes:
            printing.warn(f"{name}: {text}")
        if report.error is not None:
            self._tell(report)
        self._show_running()

    def log_of(self, step: str) -> Callable[[LogChunk], None]:
        """Make what shows the lines of a step, with its name before each."""
        unended = self._unended.setdefault(step, {})

        def show(chunk: LogChunk) -> None:
            data = unended.pop(chunk.stream, b"") + chunk.data
            *lines, rest = data.split(b"\n")
            if rest:
                unended[chunk.stream] = rest
            self._log(step, lines)

        return show

    def _log(self, step: str, lines: Iterable[bytes]) -> None:
        prefix = f"{step:<{self._width}} | ".encode()
        if text := b"".join(prefix + line + b"\n" for line in lines):
            printing.task_log(text)

    def _end_lines(self, step: str) -> None:
        """Show what came after the last newline of a step that has ended."""
        self._log(step, self._unended.pop(step, {}).values())

    @contextlib.asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        """Show what runs and for how long, where a person looks, while the block runs."""
        ticking = asyncio.create_task(self._tick(), name="progress") if self._live.moves else None
        try:
            yield
        finally:
            if ticking is not None:
                ticking.cancel()
            self._live.clear()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._show_running()

    def _show_running(self) -> None:
        if not self._live.moves or not self._began:
            return
        now = time.monotonic()
        steps = [f"{step} {format_seconds(now - began)}" for step, began in self._began.items()]
        waiting = sum(state is StepState.NOT_RUN for state in self._states.values())
        self._live(", ".join(steps) + (f"; {waiting} to come" if waiting else ""))

    def _tell(self, report: Report) -> None:
        error = report.error
        assert error is not None
        if isinstance(error, RunError) and self._watch:
            error.logs = ""
        if isinstance(error, OutOfMemory) and error.limit:
            more = format_quantity(2 * error.limit)
            error.fix = f"raise resources.limits.memory of {report.step.name} to {more} or more"
        failures.report(error)


def _ended(report: Report, elapsed: str) -> str:
    if report.state is StepState.UNCHANGED:
        return f"unchanged since run {report.run_id}"
    code = report.exit_code
    more = f", exit code {code}" if report.state is StepState.FAILED and report.run else ""
    return f"{report.state} after {elapsed}{more}"


def summary(reports: Sequence[Report], measurements: Mapping[str, Measurement]) -> None:
    """Write the table of a chain, for people, and what was measured."""
    for step, measurement in measurements.items():
        from lading.cli.measurements import show  # noqa: PLC0415

        printing.line(f"{step}:")
        show(measurement)
    if printing.is_quiet():
        return
    rows = []
    for report in reports:
        run = report.run
        rows.append(
            (
                report.step.name,
                str(report.state),
                "" if report.exit_code is None else str(report.exit_code),
                "" if report.seconds is None else f"{report.seconds:.1f}",
                format_bytes(run.memory_peak) if run is not None and run.memory_peak else "",
                report.run_id,
            )
        )
    printing.table(("STEP", "STATE", "EXIT", "SECONDS", "PEAK", "RUN"), rows)


def as_object(reports: Sequence[Report], measurements: Mapping[str, Measurement]) -> dict[str, Any]:
    """Describe a chain for programs."""
    ended = {StepState.SUCCEEDED, StepState.UNCHANGED}
    return {
        "succeeded": all(report.state in ended for report in reports),
        "steps": [_step(report, measurements.get(report.step.name)) for report in reports],
    }


def _step(report: Report, measurement: Measurement | None) -> dict[str, Any]:
    found, run = report.step.found, report.run
    detail = json.loads(run.detail) if run is not None else {}
    error = report.error.message if report.error is not None else ""
    known: dict[str, Any] = {
        "step": report.step.name,
        "state": str(report.state),
        "run": report.run_id or None,
        "task": found.instance.name,
        "template": found.instance.identifier,
        "image": found.instance.image,
        "image_id": found.image.id,
        "exit_code": report.exit_code,
        "out_of_memory": run.out_of_memory if run is not None else False,
        "seconds": round(report.seconds, 6) if report.seconds is not None else None,
        "memory_limit": run.memory if run is not None else None,
        "memory_peak": run.memory_peak if run is not None else None,
        "cpu_seconds": run.cpu_seconds if run is not None else None,
        "channels": detail.get("channels", []),
        "error": error or (run.error if run is not None else ""),
        "notes": list(report.notes),
    }
    if measurement is not None:
        known["measurement"] = measurement.as_object()
    return known
