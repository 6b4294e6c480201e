"""The numbers of a task: what is done and failed, how far it is, and when failures are too many."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from lading.contracts.golem.driver.events import Discarded, Event, Progress, SubtaskFailed, Warned
from lading.contracts.golem.driver.journal import Journal
from lading.contracts.golem.driver.records import TaskRecord
from lading.errors import GolemTaskFailed

__all__ = ["Tally"]

_FEW_NODES = 4
"""With fewer nodes, a row of failures is as long as if there were so many."""


class Tally:
    """Counts, writes down, and tells.

    Parameters
    ----------
    journal : Journal
    record : TaskRecord
        As it is when this driver begins.
    tell : callable
        Gets every event.

    Attributes
    ----------
    done, failed, running, queued, awaiting : int
        See :class:`~lading.contracts.golem.driver.events.Progress`; `queued` are all that wait for
        a verdict and need no data of others.
    """

    def __init__(self, journal: Journal, record: TaskRecord, tell: Callable[[Event], None]) -> None:
        options = record.options
        self._journal = journal
        self._task = record.task_id
        self._limit = options.subtask_limit
        self.allowed = options.retries
        self._longest_row = (options.retries + 1) * max(options.node_count, _FEW_NODES)
        self.tell = tell
        self.done, self.failed = record.done, record.failed
        self.running = self.queued = self.awaiting = 0
        self.in_a_row = record.in_a_row
        self._before = record.driven
        self._began = time.monotonic()
        self._done_before = record.done
        self._told: tuple[int, ...] = ()
        self._withheld: dict[bytes, str] = {}

    def driven(self) -> float:
        """Return how many seconds drivers have spent on the task."""
        return self._before + time.monotonic() - self._began

    def show(self) -> None:
        """Tell the numbers, if one has changed."""
        waiting = self.queued + self.awaiting
        numbers = (self.done, self.running, waiting, self.awaiting, self.failed)
        if numbers == self._told:
            return
        self._told = numbers
        self.tell(
            Progress(
                limit=self._limit,
                done=self.done,
                running=self.running,
                verifying=waiting,
                awaiting=self.awaiting,
                failed=self.failed,
                seconds=self.driven(),
                eta=self._eta(),
            )
        )

    def _eta(self) -> float | None:
        made, left = self.done - self._done_before, self._limit - self.done
        if made <= 0 or left < 0:
            return None
        return left * (time.monotonic() - self._began) / made

    def withheld(self, subtask_id: str, piece: bytes, reason: str) -> None:
        """Note that the application can't be made to hand a piece of work out again."""
        text = f"the application can't be made to forget subtask {subtask_id}: {reason}"
        self._withheld[piece] = text
        self.tell(Warned(text))

    def check_withheld(self) -> None:
        """Find out whether work is missing, now that the application has no more.

        Raises
        ------
        GolemTaskFailed
            It is.
        """
        for text in self._withheld.values():
            raise GolemTaskFailed(
                f"task {self._task}: a piece of work was never done, and {text}",
                fix="see what is wrong with its AbortSubtask and DiscardSubtasks",
            )

    def verified(self, subtask_id: str, piece: bytes) -> None:
        """Write down that a subtask is done."""
        self.done += 1
        self.in_a_row = 0
        self._withheld.pop(piece, None)
        self._journal.done(self._task, subtask_id, piece, driven=self.driven())

    def failure(
        self, subtask_id: str, piece: bytes, reason: str, node: int | None, logs: str = ""
    ) -> None:
        """Write down that a try failed.

        Raises
        ------
        GolemTaskFailed
            The same piece of work has failed too often, or too many have failed without a success.
        """
        self.failed += 1
        self.in_a_row += 1
        before = self._journal.failures(self._task, piece) if piece else self.in_a_row - 1
        self._journal.failed(
            self._task, subtask_id, piece, reason, in_a_row=self.in_a_row, driven=self.driven()
        )
        count = before + 1
        self.tell(SubtaskFailed(node, subtask_id, reason, count, self.allowed))
        if count > self.allowed:
            times = f"{count} times" if count > 1 else "once"
            raise GolemTaskFailed(
                f"task {self._task}: the same piece of work failed {times}, and may be retried "
                f"{self.allowed} times; the last failure, of subtask {subtask_id}: {reason}",
                fix="see what is wrong with it, or allow more with --retries",
                logs=logs,
            )
        if self.in_a_row >= self._longest_row:
            raise GolemTaskFailed(
                f"task {self._task}: {self.in_a_row} subtasks failed in a row, and none succeeded; "
                f"the last, {subtask_id}: {reason}",
                fix="see what is wrong with the application, or allow more with --retries",
                logs=logs,
            )

    def discarded(self, subtask_ids: Sequence[str], reason: str) -> None:
        """Write down that the application has forgotten subtasks."""
        done = self._journal.discarded(self._task, subtask_ids, reason)
        self.done -= done
        self._done_before = min(self._done_before, self.done)
        self.tell(Discarded(tuple(subtask_ids), done))
