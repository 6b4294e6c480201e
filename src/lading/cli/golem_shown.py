"""What a task shows while it is driven: numbers and nodes for people, lines for programs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from lading.cli import printing
from lading.contracts.golem.driver import events
from lading.units import format_seconds

if TYPE_CHECKING:
    from lading.contracts.golem.driver.journal import Assignment
    from lading.contracts.golem.driver.task import TaskOutcome

__all__ = ["Shown", "as_object", "summary"]

_TICK = 0.5
"""Seconds after which elapsed times are written anew."""
_PLAIN_EVERY = 5.0
"""Seconds between two lines of numbers where a program reads."""
_BAR = 12
"""Characters of the bar."""
_WARNINGS = (
    events.SubtaskFailed,
    events.NodeRested,
    events.AppRestarted,
    events.Discarded,
    events.Warned,
)


class _NodeLine:
    """What a node does now, in words."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.state = "waiting"
        self.since = time.monotonic()
        self.room = ""
        self.done = 0

    def __str__(self) -> str:
        seconds = format_seconds(round(time.monotonic() - self.since))
        what = f"{self.state} ({self.room})" if self.room else self.state
        return f"  node {self.number:<3} {self.done:>5} results  {what}, for {seconds}"


class Shown:
    """Tells of a task as it goes on."""

    def __init__(self) -> None:
        self._block = printing.LiveBlock()
        self._progress: events.Progress | None = None
        self._nodes: dict[int, _NodeLine] = {}
        self._last_plain = (0.0, "")
        self._seen_at = 0.0
        self.failed = 0

    def __call__(self, event: events.Event) -> None:
        """Take note of an event, and tell what is worth it."""
        if isinstance(event, events.Progress):
            self._numbers(event)
        elif isinstance(event, events.NodeChanged):
            self._node_changed(event)
        elif isinstance(event, events.ResultTaken):
            self._node(event.node).done += 1
        elif isinstance(event, events.Finishing):
            self._plain(now=True)
        if text := events.words(event):
            if isinstance(event, _WARNINGS):
                printing.warn(text)
            else:
                printing.note(text)
        self._draw()

    def waits(self, node: int, text: str) -> None:
        """Tell what a node waits for; an empty text: nothing any more."""
        if text and not self._block.moves:
            printing.note(f"node {node}: {text}" if node else text)
        self._node(node).room = text
        self._draw()

    @contextlib.asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        """Keep elapsed times fresh, where a person looks, while the block runs."""
        ticking = asyncio.create_task(self._tick(), name="progress") if self._block.moves else None
        try:
            yield
        finally:
            if ticking is not None:
                ticking.cancel()
                await asyncio.wait({ticking})
            self._block.clear()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._draw()

    def _numbers(self, progress: events.Progress) -> None:
        self._progress = progress
        self._seen_at = time.monotonic()
        self.failed = progress.failed
        self._plain()

    def _plain(self, *, now: bool = False) -> None:
        """Write the numbers as a line, not too often, where no block moves."""
        if self._block.moves or self._progress is None:
            return
        at, last = self._last_plain
        text = self._counts(self._progress)
        if (now or time.monotonic() - at >= _PLAIN_EVERY) and text != last:
            self._last_plain = (time.monotonic(), text)
            printing.note(text)

    def _node_changed(self, event: events.NodeChanged) -> None:
        node = self._node(event.node)
        node.since, node.room = time.monotonic(), ""
        if event.state is events.NodeState.COMPUTING:
            attempt = f", try {event.attempt}" if event.attempt > 1 else ""
            node.state = f"computing {event.subtask_id}{attempt}"
        else:
            node.state = str(event.state)

    def _node(self, number: int) -> _NodeLine:
        return self._nodes.setdefault(number, _NodeLine(number))

    def _draw(self) -> None:
        progress = self._progress
        if not self._block.moves or progress is None:
            return
        share = min(1.0, progress.done / progress.limit) if progress.limit else 0.0
        filled = round(share * _BAR)
        bar = "#" * filled + "." * (_BAR - filled)
        more = ""
        if progress.eta is not None:
            left = max(0.0, progress.eta - (time.monotonic() - self._seen_at))
            more = f"{format_seconds(round(left))} left, "
        nodes = [str(self._nodes[number]) for number in sorted(self._nodes) if number]
        self._block([f"[{bar}] {more}{self._counts(progress)}", *nodes])

    def _counts(self, progress: events.Progress) -> str:
        waits = f" ({progress.awaiting} awaiting)" if progress.awaiting else ""
        failed = f", {progress.failed} failed" if progress.failed else ""
        return (
            f"{progress.done} of {progress.limit} done, {progress.running} running, "
            f"{progress.verifying} verifying{waits}{failed}"
        )


def summary(outcome: TaskOutcome) -> None:
    """Tell how a task ended, and where its results are."""
    for text in outcome.notes:
        printing.warn(text)
    retries = f", {outcome.failed} tries failed" if outcome.failed else ""
    printing.note(
        f"task {outcome.task_id}: {outcome.done} subtasks{retries}, "
        f"{format_seconds(outcome.seconds)}; results in {outcome.output}"
    )


def as_object(outcome: TaskOutcome, assignment: Assignment) -> dict[str, Any]:
    """Describe a task that was done, for programs."""
    options = assignment.options
    return {
        "task": outcome.task_id,
        "app": assignment.app.name,
        "image": assignment.app.image,
        "state": "done",
        "nodes": options.node_count,
        "replicas": options.replicas,
        "subtasks": outcome.done,
        "retries": outcome.failed,
        "seconds": round(outcome.seconds, 6),
        "output": str(outcome.output),
        "notes": list(outcome.notes),
    }
