"""One driver's work on a task, from wherever it is to its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from lading.contracts.golem.directories import RequestorTaskDir
from lading.contracts.golem.driver.calls import Calls, RequestorGone
from lading.contracts.golem.driver.events import (
    AppRestarted,
    Event,
    Finishing,
    TaskBegan,
    TaskCreated,
    Warned,
)
from lading.contracts.golem.driver.homes import empty_home, remove_tree
from lading.contracts.golem.driver.journal import Journal
from lading.contracts.golem.driver.nodes import Providers, Requestor
from lading.contracts.golem.driver.offloop import Stop, in_thread
from lading.contracts.golem.driver.outputs import copy_resources, drop_staging, move_outputs
from lading.contracts.golem.driver.records import TaskOutcome, TaskRecord, TaskState
from lading.contracts.golem.driver.session import RESTARTS, Session
from lading.contracts.golem.driver.tally import Tally
from lading.engine.shield import to_the_end
from lading.errors import AppError, GolemTaskFailed, InputError, LadingError
from lading.units import format_seconds

__all__ = ["Drive"]

_LOOK = 0.5
"""Seconds between two looks whether another process wants the task aborted."""
_EARLY = (TaskState.PREPARING, TaskState.CREATING)


class _GivenUp(Exception):
    """The task ends now: it was aborted, or its time is up."""

    def __init__(self, state: TaskState, reason: str) -> None:
        super().__init__(reason)
        self.state = state


class Drive:
    """One driver's work on a task that it has claimed.

    Parameters
    ----------
    app : Requestor or None
        None: the application is not needed, or not told.
    providers : Providers or None
        None: nothing is computed.
    journal : Journal
    task_id : str
    home : Path
    tell : callable
        Gets every event.
    resumed : bool
        Whether another driver was here before.
    """

    def __init__(
        self,
        app: Requestor | None,
        providers: Providers | None,
        journal: Journal,
        task_id: str,
        *,
        home: Path,
        tell: Callable[[Event], None] = lambda _: None,
        resumed: bool = False,
    ) -> None:
        self._app = app
        self._providers = providers
        self._journal = journal
        self._task = task_id
        self._home = home
        self._tell = tell
        self._resumed = resumed
        self._notes: list[str] = []
        self._shut_down = False
        self._tally = Tally(journal, self._record(), self._told)

    def _told(self, event: Event) -> None:
        if isinstance(event, Warned):
            self._notes.append(event.text)
        self._tell(event)

    def _record(self) -> TaskRecord:
        return self._journal.task(self._task)

    def _calls(self) -> Calls | None:
        record = self._record()
        if self._app is None:
            return None
        return Calls(self._app, record.wire_id, record.options.app_timeout)

    async def run(self) -> TaskOutcome:
        """Bring the task to its end.

        Raises
        ------
        GolemTaskFailed
            It has failed, was aborted, or its time is up.
        AppError
            ``CreateTask`` was refused.
        LadingError
            It can't be gone on with now; it can be resumed.
        """
        record = self._record()
        nodes, done = record.options.node_count, record.done
        self._tell(TaskBegan(self._task, nodes, self._resumed, done))
        try:
            if record.state is TaskState.FAILING:
                raise GolemTaskFailed(record.error)
            await self._watched()
        except _GivenUp as end:
            await to_the_end(self._give_up(end.state, str(end)))
            if self._record().state is not TaskState.DONE:
                raise GolemTaskFailed(f"task {self._task}: {end}") from None
        except (GolemTaskFailed, AppError) as error:
            await to_the_end(self._give_up(TaskState.FAILED, error.message))
            raise
        except BaseException as error:
            self._leave(error)
            raise
        record = self._record()
        return TaskOutcome(
            self._task,
            record.output,
            record.done,
            record.failed,
            record.driven,
            tuple(dict.fromkeys(self._notes)),
        )

    async def abort(self) -> None:
        """Abort the task."""
        await to_the_end(self._give_up(TaskState.ABORTED, "aborted"))

    # Together with a look at the clock, and at what others want.

    async def _watched(self) -> None:
        work = asyncio.create_task(self._work())
        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(self._watch())
                await self._wait(work)
                watcher.cancel()
        except BaseExceptionGroup as found:
            await self._stop(work)
            raise found.exceptions[0] from None
        except BaseException:
            await self._stop(work)
            raise
        work.result()

    async def _wait(self, work: asyncio.Task[None]) -> None:
        await asyncio.wait({work})

    async def _stop(self, work: asyncio.Task[None]) -> None:
        """Have the work end, and wait for that however often we are cancelled meanwhile."""
        work.cancel()
        await to_the_end(self._wait(work))
        if not work.cancelled():
            work.exception()  # retrieved: what stopped it is told instead

    async def _watch(self) -> None:
        limit = self._record().options.task_timeout
        while True:
            if self._journal.abort_asked(self._task):
                raise _GivenUp(TaskState.ABORTED, "aborted")
            pause = _LOOK
            if limit and self._record().state is not TaskState.FINISHING:
                left = limit - self._tally.driven()
                if left <= 0:
                    text = f"not done within {format_seconds(limit)} (--task-timeout)"
                    raise _GivenUp(TaskState.FAILED, text)
                pause = min(pause, left)
            await asyncio.sleep(pause)

    # From state to state.

    async def _work(self) -> None:
        restarts = 0
        while self._record().state in _EARLY:
            try:
                await self._create(again=self._resumed or restarts > 0)
            except RequestorGone as error:
                restarts += 1
                await self._revive(error, restarts)
        if self._record().state is TaskState.RUNNING:
            await self._compute()
        await self._finish()

    async def _revive(self, gone: RequestorGone, times: int) -> None:
        if times > RESTARTS:
            raise GolemTaskFailed(
                f"task {self._task}: the requestor application died {times} times while it "
                f"created the task; the last time: {gone}",
                logs=gone.logs,
                fix="see what it printed",
            )
        self._tell(AppRestarted(str(gone), times))
        calls = self._calls()
        assert calls is not None
        with contextlib.suppress(RequestorGone):  # which the next call finds out
            await calls.revive()

    async def _create(self, *, again: bool) -> None:
        journal, task = self._journal, self._task
        if again:
            # What CreateTask would find could be half of one thing and half of another.
            await in_thread(_clear, self._home / "work" / self._record().wire_id)
            journal.anew(task)
            await journal.settled()
        assignment = journal.assignment(task)
        wire_id = self._record().wire_id
        directory = RequestorTaskDir(self._home / "work" / wire_id)
        await in_thread(_prepare, directory)
        await in_thread(copy_resources, assignment.resources, directory.task_inputs_dir)
        journal.enter(task, TaskState.CREATING, driven=self._tally.driven())
        await journal.settled()
        calls = self._calls()
        assert calls is not None
        began = time.monotonic()
        limit = assignment.options.subtask_limit
        created = await calls.create_task(limit, assignment.params)
        memory = created.inf_requirements.min_memory_mib
        journal.created(task, created.env_id, created.prerequisites, memory)
        await journal.settled()
        seconds = time.monotonic() - began
        self._tell(TaskCreated(created.env_id, created.prerequisites, memory, seconds))

    async def _compute(self) -> None:
        calls, providers = self._calls(), self._providers
        assert calls is not None
        assert providers is not None
        session = Session(
            calls, providers, self._journal, self._record(), self._tally, home=self._home
        )
        await session.run()
        count, reason = self._journal.left_over(self._task)
        if count:
            self._told(
                Warned(
                    f"{count} pieces of work failed, and the application has handed out none like "
                    f"them since; one of the reasons: {reason}"
                )
            )
        self._journal.enter(self._task, TaskState.FINISHING, driven=self._tally.driven())
        await self._journal.settled()

    async def _finish(self) -> None:
        record = self._record()
        self._tell(Finishing())
        calls = self._calls()
        if calls is not None:
            # Before its results are moved: it must not write to them any more.
            self._notes += await calls.farewell(abort=False)
            self._shut_down = True
        work = self._home / "work"
        self._notes += await in_thread(
            move_outputs, work, self._results(record), record.output, self._task
        )
        await self._end_well()

    def _results(self, record: TaskRecord) -> Path:
        return RequestorTaskDir(self._home / "work" / record.wire_id).task_outputs_dir

    async def _end_well(self) -> None:
        if problem := await in_thread(empty_home, self._home):
            self._notes.append(problem)
        self._journal.enter(self._task, TaskState.DONE, driven=self._tally.driven())
        await self._journal.settled()

    # Ends that nobody wished for.

    async def _give_up(self, state: TaskState, reason: str) -> None:
        record = self._record()
        driven = self._tally.driven()
        if record.state is TaskState.FINISHING and state is TaskState.ABORTED:
            moved = await in_thread(drop_staging, self._results(record), record.output, self._task)
            if moved:  # too late: its user has the results
                await self._end_well()
        if record.ended or self._record().ended:
            return
        if state is TaskState.FAILED:
            self._journal.enter(self._task, TaskState.FAILING, driven=driven, error=reason)
        calls = self._calls()
        if calls is not None and not self._shut_down:
            await calls.farewell(abort=record.state is not TaskState.PREPARING)
        # Of one that failed, what was done until then may be of use: forget_task removes that.
        if state is TaskState.FAILED:
            await in_thread(remove_tree, self._home / "nodes")
        else:
            await in_thread(empty_home, self._home)
        self._journal.enter(self._task, state, driven=driven, error=reason)
        await self._journal.settled()

    def _leave(self, error: BaseException) -> None:
        """Write down how far it is, for who resumes it."""
        reason = str(error) if isinstance(error, LadingError) else ""
        with contextlib.suppress(LadingError):
            record = self._record()
            if not record.ended:
                self._journal.enter(
                    self._task, record.state, driven=self._tally.driven(), error=reason
                )


def _prepare(_: Stop, directory: RequestorTaskDir) -> None:
    directory.prepare()


def _clear(stop: Stop, directory: Path) -> None:
    if problem := remove_tree(stop, directory):
        raise InputError("", problem, fix="remove it, then resume the task")
