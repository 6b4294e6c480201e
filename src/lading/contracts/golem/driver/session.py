"""A task that was created, until all its subtasks are verified, whatever dies meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from lading.contracts.golem.constants import SUBTASK_INPUTS_DIR, SUBTASK_OUTPUTS_DIR
from lading.contracts.golem.driver.below import Way
from lading.contracts.golem.driver.calls import Calls, RequestorGone
from lading.contracts.golem.driver.events import AppRestarted
from lading.contracts.golem.driver.journal import Journal
from lading.contracts.golem.driver.nodes import Node, Providers, node_id
from lading.contracts.golem.driver.offloop import Stop, in_thread
from lading.contracts.golem.driver.records import (
    Candidate,
    OpenSubtask,
    SubtaskState,
    TaskRecord,
)
from lading.contracts.golem.driver.resting import Resting
from lading.contracts.golem.driver.scheduling import Schedule
from lading.contracts.golem.driver.tally import Tally
from lading.errors import AppError, GolemTaskFailed, LadingError

__all__ = ["RESTARTS", "Session"]

RESTARTS = 3
"""How often an application is started again without a subtask verified in between."""


class Session:
    """The computing of one task by one driver.

    What is on its way when the application or the driver dies is treated in the same way: results
    that lie with the requestor, and for which ``Verify`` was not being asked, are kept; of the
    others the application is told to forget them, and hands their work out again.

    Parameters
    ----------
    calls : Calls
    providers : Providers
    journal : Journal
    record : TaskRecord
    tally : Tally
    home : Path
    """

    def __init__(
        self,
        calls: Calls,
        providers: Providers,
        journal: Journal,
        record: TaskRecord,
        tally: Tally,
        *,
        home: Path,
    ) -> None:
        self._calls = calls
        self._providers = providers
        self._journal = journal
        self._record = record
        self._tally = tally
        self._home = home
        self._resting = Resting(record.options.rest, tally.tell)
        self._nodes = [
            Node(number, node_id(record.task_id, number), home / "nodes" / str(number))
            for number in range(1, record.options.node_count + 1)
        ]

    async def run(self) -> None:
        """Have everything computed and verified.

        Raises
        ------
        GolemTaskFailed
            It can't be finished.
        LadingError
            It can't be gone on with now.
        """
        await in_thread(_make, self._nodes)
        restarts, done = 0, self._tally.done
        reason: str | None = None
        logs = ""
        while True:
            try:
                if reason is not None:
                    await self._revive(reason, restarts)
                await self._go_on()
            except RequestorGone as error:
                reason, logs = str(error), error.logs
            else:
                return
            restarts = restarts + 1 if self._tally.done <= done else 1
            done = self._tally.done
            if restarts > RESTARTS:
                raise GolemTaskFailed(
                    f"task {self._record.task_id}: the requestor application died {restarts} "
                    f"times, and no subtask was verified in between; the last time: {reason}",
                    logs=logs,
                    fix="see what it printed",
                )

    async def _revive(self, reason: str, times: int) -> None:
        self._tally.tell(AppRestarted(reason, times))
        await self._calls.revive()

    async def _go_on(self) -> None:
        tally = self._tally
        tally.running = tally.queued = tally.awaiting = 0
        kept = await self._recover()
        schedule = Schedule(
            self._calls,
            self._providers,
            self._journal,
            self._record,
            tally=tally,
            resting=self._resting,
            nodes=self._nodes,
            home=self._home,
            position=self._journal.last_position(self._record.task_id),
        )
        for subtask in kept:
            if subtask.state is SubtaskState.AWAITING:
                schedule.verification.keep_waiting(subtask)
            else:
                schedule.verification.put(subtask)
        tally.show()
        try:
            await schedule.run()
        except BaseExceptionGroup as group:
            raise _the_worst(group) from None

    async def _recover(self) -> list[OpenSubtask]:
        """Have the application forget what was on its way; return what is kept."""
        await self._journal.settled()
        kept: list[OpenSubtask] = []
        lost: list[OpenSubtask] = []
        for subtask in self._journal.open_subtasks(self._record.task_id):
            keep = subtask.state in (SubtaskState.COMPUTED, SubtaskState.AWAITING)
            there = keep and await in_thread(
                _is_there, self._home, task_id=self._calls.task_id, subtask=subtask
            )
            (kept if there else lost).append(subtask)
        if not lost:
            return kept
        gone = await self._discard(lost)
        why = "it was on its way when a driver or the application ended"
        self._tally.discarded(list(gone), why)
        return [subtask for subtask in kept if subtask.subtask_id not in gone]

    async def _discard(self, lost: Sequence[OpenSubtask]) -> dict[str, None]:
        """Have subtasks forgotten; return the ids of all that are, in order."""
        names = [subtask.subtask_id for subtask in lost]
        gone = dict.fromkeys(names)
        try:
            gone |= dict.fromkeys(await self._calls.discard_subtasks(names))
        except AppError:
            # It may know one of them no longer, or not yet, and say no to all.
            for subtask in lost:
                gone |= dict.fromkeys(await self._discard_one(subtask))
        return gone

    async def _discard_one(self, subtask: OpenSubtask) -> list[str]:
        name = subtask.subtask_id
        try:
            return await self._calls.discard_subtasks([name])
        except AppError:
            problem = await self._calls.release(name)
        if problem and subtask.state is not SubtaskState.ASKED:  # it may never have heard of that
            self._tally.withheld(name, subtask.piece, problem)
        return []


def _make(_: Stop, nodes: Sequence[Node]) -> None:
    for node in nodes:
        (node.directory / SUBTASK_INPUTS_DIR).mkdir(parents=True, exist_ok=True)


def _is_there(_: Stop, home: Path, *, task_id: str, subtask: OpenSubtask) -> bool:
    """Say whether the results are as they were written down: a power failure may have cut them."""

    def place(candidate: Candidate) -> str:
        own = f"work/{task_id}/{SUBTASK_OUTPUTS_DIR}/{subtask.subtask_id}/{candidate.name}"
        return candidate.path or own

    try:
        for candidate in subtask.candidates:
            *directories, name = place(candidate).split("/")
            with Way(home) as way:
                for directory in directories:
                    way.down(directory)
                found = os.stat(name, dir_fd=way.here, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or found.st_size != candidate.size:
                return False
    except OSError:
        return False
    return bool(subtask.candidates)


def _the_worst(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Choose what to tell of things that went wrong at once."""
    flat: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        else:
            flat.append(error)

    def rank(error: BaseException) -> int:
        kinds: tuple[type[Exception], ...] = (GolemTaskFailed, LadingError, RequestorGone)
        return next((at for at, kind in enumerate(kinds, 1) if isinstance(error, kind)), 0)

    return min(flat, key=rank)  # what is none of these is a mistake of ours, and comes first
