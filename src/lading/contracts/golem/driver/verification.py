"""Verdicts: one at a time, in the order in which results came."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lading.contracts.golem.driver.calls import Calls, VerifyTimedOut
from lading.contracts.golem.driver.events import Verdict
from lading.contracts.golem.driver.files import clear_subtask, place_candidate
from lading.contracts.golem.driver.journal import Journal
from lading.contracts.golem.driver.offloop import in_thread
from lading.contracts.golem.driver.records import Candidate, OpenSubtask
from lading.contracts.golem.driver.resting import Resting
from lading.contracts.golem.driver.tally import Tally
from lading.contracts.golem.structs import VerifyResult
from lading.errors import AppError

__all__ = ["CANDIDATES", "Verification"]

CANDIDATES = "candidates"
"""Where results of replicas wait in a task's home."""
_LONGEST_WAIT = 64
"""Verdicts on others after which a result that awaits data is asked for at the latest."""


@dataclass(slots=True)
class _Waiting:
    """A result that awaits the data of others.

    Parameters
    ----------
    subtask : OpenSubtask
    asked : int
        How often it was asked for.
    verdicts, seen : int
        How many verdicts there had been, and how many results ``Verify`` had been called for, when
        it was asked for last.
    """

    subtask: OpenSubtask
    asked: int
    verdicts: int
    seen: int

    def due(self, verdicts: int) -> bool:
        """Say whether enough others were verified: one at first, then ever more.

        A thousand that await data would otherwise be asked for a million times.
        """
        return verdicts >= self.verdicts + min(1 << max(self.asked - 1, 0), _LONGEST_WAIT)

    def news(self, verdicts: int, seen: int) -> bool:
        """Say whether anything has come that it may have waited for."""
        return verdicts > self.verdicts or seen > self.seen


class Verification:
    """The results that wait for a verdict, and the only one who asks for it.

    Parameters
    ----------
    calls : Calls
    journal : Journal
    tally : Tally
    resting : Resting
        Told of right and wrong results.
    home : Path
        Of the task.
    task_id : str
        As its user knows it.
    handing_out : asyncio.Lock
        Held while several candidates for one subtask are tried: after a FAILURE the application
        would hand the work out again, although the next one may be right.
    changed : callable
        Told after every verdict.
    starving : callable
        Says whether a node has nothing to do, so that those who await data are asked for early.
    """

    def __init__(
        self,
        calls: Calls,
        journal: Journal,
        tally: Tally,
        resting: Resting,
        *,
        home: Path,
        task_id: str,
        handing_out: asyncio.Lock,
        changed: Callable[[], None],
        starving: Callable[[], bool],
    ) -> None:
        self._calls = calls
        self._journal = journal
        self._tally = tally
        self._resting = resting
        self._home = home
        self._task = task_id
        self._handing_out = handing_out
        self._changed = changed
        self._starving = starving
        self._queue: deque[OpenSubtask] = deque()
        self._awaiting: list[_Waiting] = []
        self._busy = False
        self._verdicts = 0
        self._seen = 0
        self._wake = asyncio.Event()

    def put(self, subtask: OpenSubtask) -> None:
        """Queue a result."""
        self._queue.append(subtask)
        self.wake()

    def keep_waiting(self, subtask: OpenSubtask) -> None:
        """Take over a result that awaited data before: asked for when there is any news."""
        self._awaiting.append(_Waiting(subtask, asked=1, verdicts=0, seen=-1))
        self._count()

    def wake(self) -> None:
        """Look again for something to verify."""
        self._count()
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to ask for now, and nobody is asked."""
        return not (self._busy or self._queue or any(map(self._has_news, self._awaiting)))

    @property
    def waiting(self) -> list[OpenSubtask]:
        """Those that await data."""
        return [item.subtask for item in self._awaiting]

    async def run(self) -> None:
        """Verify what comes, until cancelled."""
        while True:
            item = self._next()
            if item is None:
                await self._wake.wait()
                self._wake.clear()
                continue
            self._busy = True
            try:
                await self._verify(item)
            finally:
                self._busy = False
                self._count()
            self._changed()

    def _has_news(self, item: _Waiting) -> bool:
        return item.news(self._verdicts, self._seen)

    def _next(self) -> _Waiting | None:
        """Choose: those for whom enough others were verified, then new ones, then any with news."""
        chosen = next((item for item in self._awaiting if item.due(self._verdicts)), None)
        if chosen is None and self._queue:
            return _Waiting(self._queue.popleft(), asked=0, verdicts=0, seen=0)
        if chosen is None and self._starving():
            chosen = next(filter(self._has_news, self._awaiting), None)
        if chosen is not None:
            self._awaiting.remove(chosen)
        return chosen

    def _count(self) -> None:
        self._tally.queued = len(self._queue) + self._busy
        self._tally.awaiting = len(self._awaiting)
        self._tally.show()

    async def _verify(self, item: _Waiting) -> None:
        subtask = item.subtask
        self._seen += not item.asked
        several = len(subtask.candidates) > 1
        async with self._handing_out if several else contextlib.nullcontext():
            for position, candidate in enumerate(subtask.candidates):
                await self._place(subtask, candidate)
                answer, reason = await self._ask(subtask)
                if answer is VerifyResult.AWAITING_DATA:
                    left = replace(subtask, candidates=subtask.candidates[position:])
                    self._await(left, item.asked + 1, reason)
                    return
                if answer is VerifyResult.SUCCESS:
                    self._right(subtask, candidate)
                    break
                last = candidate is subtask.candidates[-1]
                if answer is not None:
                    reason = f"Verify says {answer.name}: {reason or 'no reason given'}"
                    self._blame(candidate, reason)
                if answer is None or last:
                    self._wrong(subtask, reason)
                    break
        self._verdicts += 1
        if several:
            await in_thread(clear_subtask, self._home / CANDIDATES, subtask.subtask_id)

    async def _place(self, subtask: OpenSubtask, candidate: Candidate) -> None:
        if candidate.path:
            await in_thread(
                place_candidate,
                self._home,
                task_id=self._calls.task_id,
                subtask_id=subtask.subtask_id,
                candidate=candidate,
            )

    async def _ask(self, subtask: OpenSubtask) -> tuple[VerifyResult | None, str]:
        """Ask; None: the application errs or takes too long, and the subtask was given up."""
        self._journal.verifying(self._task, subtask.subtask_id)
        await self._journal.settled()
        try:
            answer, reason = await self._calls.verify(subtask.subtask_id)
        except (AppError, VerifyTimedOut) as error:
            # It does not know itself that the work has to be handed out again.
            if problem := await self._calls.release(subtask.subtask_id):
                self._tally.withheld(subtask.subtask_id, subtask.piece, problem)
            return None, str(error)
        self._tally.tell(Verdict(subtask.subtask_id, answer.name, reason))
        return answer, reason

    def _right(self, subtask: OpenSubtask, candidate: Candidate) -> None:
        for node in candidate.nodes:
            self._resting.succeeded(node)
        self._tally.verified(subtask.subtask_id, subtask.piece)

    def _wrong(self, subtask: OpenSubtask, reason: str) -> None:
        nodes = subtask.nodes
        node = nodes[0] if len(nodes) == 1 and len(subtask.candidates) == 1 else None
        self._tally.failure(subtask.subtask_id, subtask.piece, reason, node)

    def _blame(self, candidate: Candidate, reason: str) -> None:
        for node in candidate.nodes:
            self._resting.failed(node, reason)

    def _await(self, subtask: OpenSubtask, asked: int, reason: str) -> None:
        self._journal.awaiting(self._task, subtask.subtask_id, subtask.candidates, reason)
        self._awaiting.append(_Waiting(subtask, asked, self._verdicts, self._seen))
