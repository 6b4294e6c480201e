"""Who gets what: each node asks for work when it is free, one node after the other."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from lading.contracts.golem.constants import SUBTASK_OUTPUTS_DIR
from lading.contracts.golem.driver.calls import Calls
from lading.contracts.golem.driver.events import NodeChanged, NodeState, ResultTaken
from lading.contracts.golem.driver.files import Provided, clear_subtask, provide, take_result
from lading.contracts.golem.driver.journal import Journal
from lading.contracts.golem.driver.nodes import Node, Providers, Work
from lading.contracts.golem.driver.offloop import Stop, in_thread
from lading.contracts.golem.driver.records import Candidate, OpenSubtask, SubtaskState, TaskRecord
from lading.contracts.golem.driver.replicas import Agreed, Contest, Disagreed
from lading.contracts.golem.driver.resting import Resting
from lading.contracts.golem.driver.tally import Tally
from lading.contracts.golem.driver.verification import CANDIDATES, Verification
from lading.contracts.golem.structs import Subtask
from lading.errors import (
    AppError,
    EngineError,
    EngineTooOld,
    EngineUnreachable,
    GolemTaskFailed,
    ImageError,
    LadingError,
    NotSupported,
    RunError,
)
from lading.run.ids import new_id

__all__ = ["Schedule", "piece_of"]

_OPEN = 2
"""Subtasks for each node that may be open: with replicas, some wait for slower nodes."""
_HOPELESS = (EngineUnreachable, EngineTooOld, NotSupported, ImageError)
"""Of an engine's errors: no other try can succeed."""


def piece_of(_: Stop, subtask_id: str, subtask: Subtask) -> bytes:
    """Digest a piece of work: two subtasks that differ in nothing but their id are the same."""
    text = json.dumps(subtask.params, sort_keys=True).replace(subtask_id, "")
    whole = json.dumps([text, sorted(subtask.resources)]).replace(subtask_id, "")
    return hashlib.sha256(whole.encode()).digest()


class Schedule:
    """The nodes of a task, from when its application runs until it is done, dies, or gives up.

    A node that gets nothing waits until something has changed: a result came, a verdict was given,
    a try failed, or, where it was refused, another node got work. When no node has anything to do
    and nothing is on its way, the task is done, or stuck.

    Parameters
    ----------
    calls : Calls
    providers : Providers
    journal : Journal
    record : TaskRecord
        Of a task that was created.
    tally : Tally
    resting : Resting
    nodes : sequence of Node
    home : Path
        Of the task.
    position : int
        How many results have come before.
    """

    def __init__(
        self,
        calls: Calls,
        providers: Providers,
        journal: Journal,
        record: TaskRecord,
        *,
        tally: Tally,
        resting: Resting,
        nodes: Sequence[Node],
        home: Path,
        position: int,
    ) -> None:
        self._calls = calls
        self._providers = providers
        self._journal = journal
        self._record = record
        self._task = record.task_id
        self._tally = tally
        self._resting = resting
        self._nodes = nodes
        self._home = home
        self._position = position
        self._asking = asyncio.Lock()
        self._change = asyncio.Event()
        self._over = asyncio.Event()
        self._nothing_pending = False
        self._idle: dict[int, NodeState] = {}
        self._asleep: set[int] = set()
        self._contests: list[Contest] = []
        self._shown: dict[int, NodeChanged] = {}
        self._provided = {node.number: Provided() for node in nodes}
        self._errors = 0
        self.verification = Verification(
            calls,
            journal,
            tally,
            resting,
            home=home,
            task_id=self._task,
            handing_out=self._asking,
            changed=self._changed,
            starving=lambda: bool(self._idle),
        )

    async def run(self) -> None:
        """Have everything computed and verified.

        Raises
        ------
        RequestorGone
            The requestor's application died; what was on its way has stopped.
        GolemTaskFailed
            It can't be finished.
        LadingError
            It can't be gone on with now.
        """
        async with asyncio.TaskGroup() as group:
            verifying = group.create_task(self.verification.run())
            async with asyncio.TaskGroup() as nodes:
                for node in self._nodes:
                    nodes.create_task(self._serve(node))
            verifying.cancel()

    # Changes.

    def _changed(self) -> None:
        """Have all ask again who have nothing to do."""
        self._nothing_pending = False
        self._idle.clear()
        self._tally.show()
        change, self._change = self._change, asyncio.Event()
        change.set()

    def _has_nothing(self, node: Node, state: NodeState) -> None:
        self._idle[node.number] = state
        self._show(node, state)
        # Results that await data are asked for as soon as a node has nothing better to do.
        self.verification.wake()
        self._look_for_the_end()

    def _look_for_the_end(self) -> None:
        if self._contests or not self.verification.idle:
            return
        resting = self._asleep - self._idle.keys()
        if len(self._idle) + len(resting) < len(self._nodes):
            return
        if waiting := self.verification.waiting:
            if resting and not self._nothing_pending:
                return
            names = ", ".join(subtask.subtask_id for subtask in waiting[:3])
            more = f" and {len(waiting) - 3} more" if len(waiting) > 3 else ""
            raise GolemTaskFailed(
                f"task {self._task}: the application never finishes verification: it awaits data "
                f"for subtask {names}{more}, and no other subtask is computed or verified",
                fix="see what its Verify waits for",
            )
        if self._nothing_pending:
            self._tally.check_withheld()
            self._over.set()
            self._change.set()
        elif not resting:
            raise GolemTaskFailed(
                f"task {self._task}: the application has work pending, but refuses it to every "
                f"node ({len(self._nodes)}), and nothing is computed or verified",
                fix="see why its NextSubtask gives nothing, or give it more --nodes",
            )

    def _show(self, node: Node, state: NodeState, subtask_id: str = "", attempt: int = 0) -> None:
        event = NodeChanged(node.number, state, subtask_id, attempt)
        if self._shown.get(node.number) != event:
            self._shown[node.number] = event
            self._tally.tell(event)

    # A node.

    async def _serve(self, node: Node) -> None:
        while (contest := await self._next(node)) is not None:
            self._show(node, NodeState.COMPUTING, contest.work.subtask_id, contest.attempt)
            await self._do(node, contest)
        self._show(node, NodeState.ENDED)

    async def _next(self, node: Node) -> Contest | None:
        """Wait for work; None: there will be none any more."""
        while not self._over.is_set():
            await self._rest(node)
            change = self._change
            if (contest := self._seat(node)) is not None:
                return contest
            if len(self._contests) >= _OPEN * len(self._nodes):
                self._show(node, NodeState.WAITING)  # for slower nodes to compute them, too
                await change.wait()
                continue
            async with self._asking:
                if change is not self._change or self._over.is_set():
                    continue
                contest, state = await self._ask(node)
            if contest is not None:
                return contest
            if change is self._change:
                self._has_nothing(node, state)
                await change.wait()
        return None

    async def _rest(self, node: Node) -> None:
        while (left := self._resting.left(node.number)) and not self._over.is_set():
            self._show(node, NodeState.RESTING)
            self._asleep.add(node.number)
            try:
                self._look_for_the_end()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._over.wait()
            finally:
                self._asleep.discard(node.number)

    def _seat(self, node: Node) -> Contest | None:
        for contest in self._contests:
            if contest.wants(node.number):
                contest.take(node.number)
                return contest
        return None

    async def _ask(self, node: Node) -> tuple[Contest | None, NodeState]:
        """Ask the application: first whether there is work, as some raise when there is none."""
        if self._nothing_pending:
            return None, NodeState.WAITING
        change, subtask_id = self._change, ""
        try:
            if not await self._calls.has_pending_subtasks():
                # Unless something has changed meanwhile, others need not ask, too.
                self._nothing_pending = change is self._change
                return None, NodeState.WAITING
            subtask_id = new_id()
            self._journal.asked(self._task, subtask_id)
            await self._journal.settled()
            subtask = await self._calls.next_subtask(subtask_id, node.id)
        except AppError as error:
            await self._erred(subtask_id, error)
            return None, NodeState.REFUSED
        self._errors = 0
        if subtask is None:
            self._journal.refused(self._task, subtask_id)
            return None, NodeState.REFUSED
        return await self._hand_out(node, subtask_id, subtask), NodeState.COMPUTING

    async def _erred(self, subtask_id: str, error: AppError) -> None:
        """Try again where the application could not say whether it has work, or which."""
        self._errors += 1
        if self._errors > self._tally.allowed:
            raise GolemTaskFailed(
                f"task {self._task}: the application can't hand out work; tried "
                f"{self._errors} times, the last: {error}",
                fix="see what is wrong with it",
            ) from error
        if subtask_id:
            with contextlib.suppress(AppError):  # it may never have heard of it
                await self._calls.discard_subtasks([subtask_id])
            self._journal.refused(self._task, subtask_id)
        self._changed()

    async def _hand_out(self, node: Node, subtask_id: str, subtask: Subtask) -> Contest:
        piece = await in_thread(piece_of, subtask_id, subtask)
        self._journal.handed(self._task, subtask_id, piece)
        await self._journal.settled()
        record = self._record
        work = Work(
            task_id=self._calls.task_id,
            subtask_id=subtask_id,
            params=subtask.params,
            resources=tuple(subtask.resources),
            env_id=record.env_id,
            prerequisites=record.prerequisites,
            min_memory_mib=record.min_memory_mib,
        )
        attempt = self._journal.failures(self._task, piece) + 1
        contest = Contest(work, piece, attempt, record.options)
        contest.take(node.number)
        self._contests.append(contest)
        self._tally.running += 1
        self._tally.show()
        if not contest.alone or NodeState.REFUSED in self._idle.values():
            self._changed()
        return contest

    # A subtask at a node.

    async def _do(self, node: Node, contest: Contest) -> None:
        error = await contest.compute(self._compute(node, contest))
        if error is not None:
            self._count(node, contest, error)
        if not contest.over:
            await self._decide(contest)
        await in_thread(clear_subtask, node.directory, contest.work.subtask_id)

    async def _decide(self, contest: Contest) -> None:
        verdict = contest.judge()
        if verdict is None:
            self._changed()  # another node may have to take its place
            return
        contest.end()
        if isinstance(verdict, Agreed):
            for number in verdict.dissenters:
                self._resting.failed(number, "its result is not what the other nodes agree on")
            await self._accept(contest, verdict)
        else:
            await self._give_up(contest, verdict)
        self._contests.remove(contest)
        self._tally.running -= 1
        self._changed()

    def _count(self, node: Node, contest: Contest, error: BaseException) -> None:
        """Count a failure of a try; raises what is none."""
        if isinstance(error, _HOPELESS) or not isinstance(error, RunError | EngineError):
            raise error
        reason = LadingError.__str__(error)  # without the log
        contest.failed(node.number, reason, error.logs if isinstance(error, RunError) else "")
        if not (isinstance(error, AppError) and error.call == "NextSubtask"):
            self._resting.failed(node.number, reason)  # otherwise a resource was missing

    async def _compute(self, node: Node, contest: Contest) -> tuple[Candidate, str]:
        work = contest.work
        await in_thread(
            provide,
            self._home / "work",
            task_id=work.task_id,
            names=work.resources,
            node=node.directory,
            provided=self._provided[node.number],
        )
        limit = self._record.options.subtask_timeout
        path = await self._providers.compute(node, work, deadline=limit)
        subtask = work.subtask_id
        if contest.alone:
            place = f"work/{work.task_id}/{SUBTASK_OUTPUTS_DIR}/{subtask}"
        else:
            place = f"{CANDIDATES}/{subtask}/{node.number}"
        candidate, digest = await in_thread(
            take_result,
            node=node.directory,
            path=path,
            number=node.number,
            home=self._home,
            place=place,
            waits=not contest.alone,
        )
        seconds = asyncio.get_running_loop().time() - contest.began
        taken = ResultTaken(node.number, subtask, candidate.name, candidate.size, seconds)
        self._tally.tell(taken)
        return candidate, digest

    async def _accept(self, contest: Contest, agreed: Agreed) -> None:
        self._position += 1
        subtask = OpenSubtask(
            contest.work.subtask_id, SubtaskState.COMPUTED, contest.piece, agreed.candidates
        )
        self._journal.computed(self._task, subtask.subtask_id, self._position, subtask.candidates)
        await self._journal.settled()
        self.verification.put(subtask)

    async def _give_up(self, contest: Contest, verdict: Disagreed) -> None:
        subtask = contest.work.subtask_id
        # First the application: killed in between, we would have it forget the subtask anyway.
        if problem := await self._calls.release(subtask):
            self._tally.withheld(subtask, contest.piece, problem)
        if not contest.alone:
            await in_thread(clear_subtask, self._home / CANDIDATES, subtask)
        self._tally.failure(subtask, contest.piece, verdict.reason, verdict.node, verdict.logs)
