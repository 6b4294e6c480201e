"""A requestor's application and provider containers that do as they are told, for the driver.

The application keeps a task's pieces in SQLite in its work directory, so it survives what the
driver survives. It writes down every call that breaks the contract's order.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lading.contracts.golem.driver.events import Event, NodeChanged, NodeState
from lading.contracts.golem.driver.journal import Journal
from lading.contracts.golem.driver.nodes import Node, Work
from lading.contracts.golem.driver.options import DriverOptions
from lading.contracts.golem.driver.records import AppReference, Assignment, TaskOutcome
from lading.contracts.golem.driver.task import resume_task, run_task, task_home
from lading.contracts.golem.structs import Infrastructure, Subtask, Task, VerifyResult
from lading.errors import AppError, AppGone, ExitedEarly

FINAL = (VerifyResult.SUCCESS, VerifyResult.FAILURE, VerifyResult.INCONCLUSIVE)


def right(piece: int) -> str:
    """What the result of a piece must be."""
    return f"{piece * piece}\n"


class FakeApp:
    """An application whose task has numbered pieces; the result of each is its square.

    Parameters
    ----------
    work : Path
        Its work directory.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        self.calls: list[tuple[str, str]] = []
        self.violations: list[str] = []
        self.alive = True
        self.revived = 0
        self.died: Callable[[str, str], bool] = lambda name, subtask: False
        """Whether it dies in a call, before it does anything."""
        self.died_after: Callable[[str, str], bool] = lambda name, subtask: False
        """Whether it dies in a call, after it has done its work."""
        self.refuses: Callable[[str, int], bool] = lambda node, calls: False
        """Whether it gives a node nothing."""
        self.judges: Callable[[int, str, str], VerifyResult | None] = lambda piece, subtask, got: (
            None
        )
        """Another verdict than by content; None: by content."""
        self.errs: Callable[[str, str], str] = lambda name, subtask: ""
        """What a call's handler raises; empty: nothing."""
        self.waits: Callable[[str, str], float] = lambda name, subtask: 0.0
        """Seconds that a call takes."""
        self.resources: Callable[[int], list[str]] = lambda piece: []
        self.params: Callable[[int], dict[str, Any]] = lambda piece: {}
        self.looks: Callable[[Path], None] = lambda directory: None
        """Called in a thread, in CreateTask."""
        self.limit = 0
        self.given: dict[str, Any] = {}
        self._databases: dict[str, sqlite3.Connection] = {}
        self._told_pending = False
        self._verifying = False
        self._known: set[str] = set()
        self._verdicts: dict[str, VerifyResult] = {}
        self._news: dict[str, int] = {}
        self._count = 0

    def close(self) -> None:
        for database in self._databases.values():
            database.close()
        self._databases.clear()

    def names(self) -> list[str]:
        """Return the calls' names, in order."""
        return [name for name, _ in self.calls]

    def count(self, name: str) -> int:
        return self.names().count(name)

    def _database(self, task: str) -> sqlite3.Connection:
        if task not in self._databases:
            database = sqlite3.connect(self.work / task / "app.db", isolation_level=None)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = OFF")
            database.execute(
                "CREATE TABLE IF NOT EXISTS piece "
                "(number INTEGER PRIMARY KEY, state TEXT, subtask TEXT)"
            )
            database.execute("CREATE INDEX IF NOT EXISTS by_state ON piece (state, number)")
            database.execute("CREATE INDEX IF NOT EXISTS by_subtask ON piece (subtask)")
            self._databases[task] = database
        return self._databases[task]

    def pieces(self, task: str) -> dict[int, tuple[str, str]]:
        rows = self._database(task).execute("SELECT number, state, subtask FROM piece")
        return {number: (state, subtask) for number, state, subtask in rows}

    @contextlib.asynccontextmanager
    async def _call(self, name: str, subtask: str = "") -> AsyncIterator[None]:
        if not self.alive:
            raise AppGone(name, "UNAVAILABLE", "is dead")
        self.calls.append((name, subtask))
        if self.died(name, subtask):
            self.alive = False
            raise AppGone(name, "UNAVAILABLE", "died")
        if seconds := self.waits(name, subtask):
            await asyncio.sleep(seconds)
        if text := self.errs(name, subtask):
            raise AppError(name, "INTERNAL", text)
        yield
        if self.died_after(name, subtask):
            self.alive = False
            raise AppGone(name, "UNAVAILABLE", "died afterwards")

    def _broken(self, text: str) -> None:
        self.violations.append(text)

    async def create_task(
        self, task_id: str, max_subtasks_count: int, task_params: dict[str, Any]
    ) -> Task:
        async with self._call("CreateTask"):
            directory = self.work / task_id
            names = {"task_inputs", "task_outputs", "subtask_inputs", "subtask_outputs"}
            there = await asyncio.to_thread(lambda: {path.name for path in directory.iterdir()})
            if there != names:
                self._broken(f"CreateTask: found {there}")
            self.limit, self.given = max_subtasks_count, task_params
            await asyncio.to_thread(self.looks, directory)
            count = task_params.get("pieces", max_subtasks_count)
            database = self._database(task_id)
            database.execute("BEGIN")
            database.executemany(
                "INSERT INTO piece VALUES (?, 'pending', '')", [(i,) for i in range(count)]
            )
            database.execute("COMMIT")
        return Task("docker_cpu", {"image": "fake", "tag": "1"}, Infrastructure(64.0))

    async def has_pending_subtasks(self, task_id: str) -> bool:
        async with self._call("HasPendingSubtasks"):
            sql = "SELECT 1 FROM piece WHERE state = 'pending' LIMIT 1"
            found = self._database(task_id).execute(sql).fetchone()
            self._told_pending = found is not None
        return found is not None

    async def next_subtask(
        self, task_id: str, subtask_id: str, opaque_node_id: str
    ) -> Subtask | None:
        async with self._call("NextSubtask", subtask_id):
            if not self._told_pending:
                self._broken("NextSubtask without HasPendingSubtasks before it")
            self._told_pending = False
            if subtask_id in self._known:
                self._broken(f"NextSubtask: {subtask_id} again")
            if self.refuses(opaque_node_id, self.count("NextSubtask")):
                return None
            database = self._database(task_id)
            sql = "SELECT number FROM piece WHERE state = 'pending' ORDER BY number LIMIT 1"
            row = database.execute(sql).fetchone()
            if row is None:
                raise AppError("NextSubtask", "INTERNAL", "nothing is pending")
            (number,) = row
            sql = "UPDATE piece SET state = 'computing', subtask = ? WHERE number = ?"
            database.execute(sql, (subtask_id, number))
            self._known.add(subtask_id)
            params = {"piece": number, "subtask": subtask_id, **self.params(number)}
            return Subtask(params, self.resources(number))
        raise AssertionError("not reached")

    async def verify(self, task_id: str, subtask_id: str) -> tuple[VerifyResult, str | None]:
        async with self._call("Verify", subtask_id):
            if self._verifying:
                self._broken("two calls of Verify at once")
            if self._verdicts.get(subtask_id) in FINAL:
                self._broken(f"Verify: {subtask_id} has its verdict")
            self._verifying = True
            try:
                return await self._verify(task_id, subtask_id)
            finally:
                self._verifying = False

    async def _verify(self, task_id: str, subtask_id: str) -> tuple[VerifyResult, str | None]:
        database = self._database(task_id)
        sql = "SELECT number FROM piece WHERE subtask = ? AND state = 'computing'"
        row = database.execute(sql, (subtask_id,)).fetchone()
        if row is None:
            self._broken(f"Verify: {subtask_id} is not computed")
            raise AppError("Verify", "INTERNAL", f"{subtask_id} is unknown")
        (number,) = row
        directory = self.work / task_id / "subtask_outputs" / subtask_id

        def read() -> str:
            files = list(directory.iterdir())
            if len(files) != 1:
                self._broken(f"Verify: {len(files)} results of {subtask_id}")
            return files[0].read_text()

        got = await asyncio.to_thread(read)
        self._count += 1
        last = self._news.get(subtask_id)
        if last is not None and last == self._count - 1:
            self._broken(f"Verify: {subtask_id} asked again at once")
        self._news[subtask_id] = self._count
        verdict = self.judges(number, subtask_id, got)
        if verdict is None:
            verdict = VerifyResult.SUCCESS if got == right(number) else VerifyResult.FAILURE
        self._verdicts[subtask_id] = verdict
        if verdict is VerifyResult.SUCCESS:
            output = self.work / task_id / "task_outputs" / f"{number:05}"
            await asyncio.to_thread(output.write_text, got)
            database.execute("UPDATE piece SET state = 'done' WHERE number = ?", (number,))
        elif verdict is not VerifyResult.AWAITING_DATA:
            database.execute("UPDATE piece SET state = 'pending' WHERE number = ?", (number,))
        return verdict, None if verdict is VerifyResult.SUCCESS else f"got {got!r}"

    async def discard_subtasks(self, task_id: str, subtask_ids: list[str]) -> list[str]:
        async with self._call("DiscardSubtasks", " ".join(subtask_ids)):
            for subtask in subtask_ids:
                sql = "UPDATE piece SET state = 'pending', subtask = '' WHERE subtask = ?"
                self._database(task_id).execute(sql, (subtask,))
        return subtask_ids

    async def run_benchmark(self) -> float:
        async with self._call("RunBenchmark"):
            return 1.0

    async def abort_task(self, task_id: str) -> None:
        async with self._call("AbortTask"):
            pass

    async def abort_subtask(self, task_id: str, subtask_id: str) -> None:
        async with self._call("AbortSubtask", subtask_id):
            sql = "UPDATE piece SET state = 'pending', subtask = '' WHERE subtask = ?"
            self._database(task_id).execute(sql, (subtask_id,))

    async def shutdown(self) -> None:
        async with self._call("Shutdown"):
            pass

    async def revive(self) -> None:
        self.alive = True
        self.revived += 1
        self.forget()

    def forget(self) -> None:
        """Begin anew with the order of calls: it or the driver is another one now."""
        self._told_pending = False
        self._verifying = False
        self._news.clear()


Behaviour = Callable[[Node, Work, int], Any]
"""Node, work, the how many-th try of the piece: None for the right result, text for another one, an
exception to raise, a Path to return, or a coroutine function to await (its result is used so)."""


class FakeProviders:
    """Computes squares in directories, or does what it is told.

    Attributes
    ----------
    computed : Counter
        How often each piece was begun.
    """

    def __init__(self, behave: Behaviour = lambda node, work, attempt: None) -> None:
        self.behave = behave
        self.computed: Counter[int] = Counter()
        self.finished: Counter[int] = Counter()
        self.by_node: Counter[int] = Counter()
        self.violations: list[str] = []
        self.running: dict[int, str] = {}
        self.most = 0
        self.deadlines: set[float | None] = set()
        self.cancelled = 0

    async def compute(self, node: Node, work: Work, *, deadline: float | None) -> Path:
        if node.number in self.running:
            self.violations.append(f"node {node.number} has two subtasks")
        self.running[node.number] = work.subtask_id
        self.most = max(self.most, len(self.running))
        self.by_node[node.number] += 1
        self.deadlines.add(deadline)
        piece = work.params["piece"]
        self.computed[piece] += 1
        attempt = self.computed[piece]
        try:
            await asyncio.sleep(0)
            action = self.behave(node, work, attempt)
            if callable(action):
                action = await action()
                action = None if action is True else action  # of an event that one waits for
            if isinstance(action, BaseException):
                raise action
            if isinstance(action, Path):
                return action
            text = right(piece) if action is None else str(action)
            path = Path(work.subtask_id, "result")
            await asyncio.to_thread(_put, node.directory / path, text)
            self.finished[piece] += 1
            return path
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            del self.running[node.number]

    async def close(self) -> None:
        pass


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def dead(text: str = "exited with 1") -> ExitedEarly:
    """How a provider container fails."""
    return ExitedEarly(text, code=1)


@dataclass
class Stage:
    """A state directory, an application, providers, and what was told.

    Parameters
    ----------
    folder : Path
    """

    folder: Path
    app: FakeApp = field(init=False)
    providers: FakeProviders = field(default_factory=FakeProviders)
    events: list[Event] = field(default_factory=list)
    journal: Journal = field(init=False)
    target: Path = field(init=False)
    options: dict[str, Any] = field(default_factory=lambda: {"nodes": 3, "rest": 0.01})
    params: dict[str, Any] = field(default_factory=lambda: {"pieces": 6})
    resources: tuple[Path, ...] = ()
    listen: Callable[[Event], None] = lambda event: None
    driver: asyncio.Task[TaskOutcome] | None = None

    def __post_init__(self) -> None:
        self.target = self.folder / "output"
        self.journal = Journal(self.folder / "golem.db")
        self.assignment = self.assign()
        self.app = FakeApp(self.home / "work")

    def assign(self) -> Assignment:
        return Assignment(
            app=AppReference("fake", "fake:1"),
            params=self.params,
            resources=self.resources,
            output=self.target,
            options=DriverOptions(**self.options),
        )

    @property
    def home(self) -> Path:
        return task_home(self.folder, self.assignment.task_id)

    @property
    def task(self) -> str:
        return self.assignment.task_id

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self.listen(event)

    async def run(self, **options: Any) -> TaskOutcome:
        """Run a task; keyword arguments are options."""
        self.options |= options
        task = self.assignment.task_id
        self.assignment = Assignment(
            app=AppReference("fake", "fake:1"),
            params=self.params,
            resources=self.resources,
            output=self.target,
            options=DriverOptions(**self.options),
            task_id=task,
        )
        return await run_task(
            self.app,
            self.providers,
            self.journal,
            self.assignment,
            home=self.home,
            on_event=self._tell,
        )

    async def resume(self, options: DriverOptions | None = None) -> TaskOutcome:
        self.app.forget()
        return await resume_task(
            self.app,
            self.providers,
            self.journal,
            self.task,
            home=self.home,
            options=options,
            on_event=self._tell,
        )

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def states(self) -> dict[int, NodeState]:
        """What each node does now."""
        return {event.node: event.state for event in self.told(NodeChanged)}

    def outputs(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.target.iterdir())}

    def wanted(self) -> dict[str, str]:
        return {f"{piece:05}": right(piece) for piece in range(self.params["pieces"])}

    def check(self) -> None:
        """Fail unless everybody kept to the rules."""
        assert not self.app.violations, self.app.violations
        assert self.providers.violations == []
        assert self.providers.running == {}


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Set a stage up, and check at the end that everybody kept to the rules."""
    made = Stage(folder)
    try:
        yield made
        made.check()
    finally:
        made.app.close()
        made.journal.close()
