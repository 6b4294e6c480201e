"""One task, run with inputs of several sizes: how its memory follows them, and what to declare.

Each run has outputs of its own in a temporary directory, removed after it, and no memory limit,
which would hide what the task needs. The inputs are read once beforehand, see
:mod:`lading.contracts.processing.measure.warming`.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lading.contracts.processing.channels import channels_of
from lading.contracts.processing.measure.fitting import FEW, MODES, Point
from lading.contracts.processing.measure.measuring import is_squeezed
from lading.contracts.processing.measure.profiles import Profile, Trial, judged
from lading.contracts.processing.measure.warming import read_once
from lading.contracts.processing.planning import Circumstances, Plan, plan
from lading.contracts.processing.runner import Outcome, run_plan
from lading.contracts.processing.scaling import target_size
from lading.contracts.processing.template import ScaleRule, ScaleRuleMode
from lading.engine.shield import to_the_end
from lading.errors import InputError, NotSupported, OutOfMemory
from lading.run.scratch import make_scratch
from lading.units import format_bytes

if TYPE_CHECKING:
    from lading.contracts.processing.instances import Changes, Offered
    from lading.contracts.processing.task import Task, TaskInstance
    from lading.engine import Engine, EngineInfo
    from lading.run.lifecycle import Running
    from lading.run.ownership import Owner
    from lading.run.records import Records

__all__ = ["Watcher", "Wish", "chosen_channel", "profile", "refuse_cluster"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be profiled.

    Parameters
    ----------
    directories : tuple of Path
        Inputs of several sizes.
    channel : str or None
        Which input they are for; None: the only one, or the only one with a scale rule.
    repeat : int
        Runs with each.
    keep_limit : bool
        Whether the memory limit holds that the files declare.
    scratch : Path
        Where the directory for outputs is made.
    """

    directories: tuple[Path, ...]
    channel: str | None = None
    repeat: int = 1
    keep_limit: bool = False
    scratch: Path = Path("/var/tmp")  # noqa: S108  # a new directory is made in it


class Watcher(Protocol):
    """Who is told how far it is."""

    def begins(self, number: int, total: int, directory: Path) -> None:
        """Hear that a run is to begin."""

    def started(self, running: Running) -> None:
        """Hear that it runs."""

    def ended(self, outcome: Outcome) -> None:
        """Hear how it ended."""

    def notices(self, text: str) -> None:
        """Hear what is doubtful."""


async def profile(
    engine: Engine,
    offered: Offered,
    task: Task,
    changes: Changes,
    *,
    wish: Wish,
    circumstances: Circumstances,
    owner: Owner,
    records: Records,
    watcher: Watcher,
) -> Profile:
    """Run a task with each input, and find how its memory follows the size.

    Parameters
    ----------
    engine : Engine
    offered : Offered
        The template and its image.
    task : Task
    changes : Changes
        What else the command line says.
    wish : Wish
    circumstances : Circumstances
    owner, records
        As :func:`~lading.contracts.processing.runner.run_plan` takes them.
    watcher : Watcher

    Raises
    ------
    InputError
        It is not clear which channel is meant, a directory can't be used, or all have one size.
    LadingError
        A run failed: the first that does is the last.
    NotSupported
        The engine does not tell what memory a container used; a cluster does not.
    """
    session = _Session(engine, offered, task, changes, wish, circumstances, watcher)
    try:
        await session.check()
        trials = [await session.trial(directory, owner, records) for directory in wish.directories]
    finally:
        await to_the_end(session.close())
    return judged(
        session.found(wish.directories[-1], Path("/nonexistent")),
        session.channel,
        trials,
        limited=wish.keep_limit,
        squeezed=session.squeezed,
    )


def refuse_cluster(info: EngineInfo) -> None:
    """Refuse to measure where peaks can't be seen.

    Raises
    ------
    NotSupported
        It is a cluster.
    """
    if info.cluster:
        raise NotSupported(
            "a cluster tells what a container uses every 15 seconds or so, and a profile needs "
            "the peak of each run",
            fix="profile it with Docker or Podman: scale rules and limits mean the same on a "
            "cluster",
        )


def chosen_channel(offered: Offered, task: Task, wanted: str | None) -> str:
    """Find the input channel that is meant.

    Raises
    ------
    InputError
        There is none of that name, or more than one might be meant.
    """
    names = [item.name for item in offered.template.inputs]
    if wanted is not None:
        if wanted not in names:
            raise InputError(
                "--channel",
                f"the template has no input channel {wanted!r}",
                fix=f"it has: {', '.join(names) or 'none'}",
            )
        return wanted
    own = {item.name for item in task.inputs if item.scale_rule is not None}
    ruled = [item.name for item in offered.template.inputs if item.scale_rule or item.name in own]
    for candidates in (ruled, names):
        if len(candidates) == 1:
            return candidates[0]
    if not names:
        raise InputError("--inputs", "the template has no input channel, so no size to follow")
    raise InputError(
        "--channel",
        f"the template has several inputs: {', '.join(ruled or names)}",
        fix="say which one gets the directories of --inputs",
    )


@dataclass
class _Session:
    """The runs of one profile."""

    engine: Engine
    offered: Offered
    task: Task
    changes: Changes
    wish: Wish
    circumstances: Circumstances
    watcher: Watcher
    channel: str = ""
    sizes: list[dict[str, int]] = field(default_factory=list)
    scratch: Path | None = None
    begun: int = 0
    squeezed: bool = False

    async def check(self) -> None:
        """Look at everything before anything runs: a run may take hours."""
        refuse_cluster(await self.engine.info())
        self.channel = chosen_channel(self.offered, self.task, self.wish.channel)
        for directory in self.wish.directories:
            found = self.found(directory, Path("/nonexistent"))
            await asyncio.to_thread(channels_of, found)
            rule = next(item.scale_rule for item in found.inputs if item.name == self.channel)
            self.sizes.append(await asyncio.to_thread(_sizes, directory, rule))
        if all(len({sizes[mode] for sizes in self.sizes}) < 2 for mode in MODES):
            amounts = ", ".join(format_bytes(sizes["sum"]) for sizes in self.sizes) or "none"
            raise InputError(
                "--inputs",
                f"at least two different sizes are needed, and these are: {amounts}",
                fix=f"give {FEW} directories or more, the largest as large as inputs can get",
            )
        await to_the_end(self._make_scratch())

    async def trial(self, directory: Path, owner: Owner, records: Records) -> Trial:
        """Run it with one input."""
        assert self.scratch is not None
        sizes = self.sizes[self.wish.directories.index(directory)]
        outcomes: list[Outcome] = []
        limit_now: int | None = None
        for repetition in range(self.wish.repeat):
            self.begun += 1
            self.watcher.begins(self.begun, self.wish.repeat * len(self.sizes), directory)
            outputs = self.scratch / str(self.begun)
            instance = self.found(directory, outputs)
            planned = await plan(self.engine, instance, self.offered.image, self.circumstances)
            limit_now = planned.needs.memory
            if not repetition:
                await self._warm(planned)
            outcomes.append(await self._run(planned, directory, owner, records))
            await to_the_end(self._remove(outputs))
        return Trial(
            directory,
            Point(sizes, tuple(one.usage.memory_peak for one in outcomes)),
            limit_now,
            tuple(round(one.exit.seconds, 6) for one in outcomes),
            tuple(one.usage.cpu_seconds for one in outcomes),
        )

    async def close(self) -> None:
        """Remove what the runs left."""
        if self.scratch is not None:
            await self._remove(self.scratch)

    def found(self, directory: Path, outputs: Path) -> TaskInstance:
        """Put the task together with one input."""
        changes = replace(
            self.changes,
            inputs={**self.changes.inputs, self.channel: str(directory)},
            # By number: a channel may have a name that no directory can have.
            outputs={
                item.name: str(outputs / str(number))
                for number, item in enumerate(self.offered.template.outputs)
            },
        )
        return self.offered.put_together(self.task, changes).instance

    async def _make_scratch(self) -> None:
        self.scratch = await asyncio.to_thread(make_scratch, "profile", self.wish.scratch)

    async def _warm(self, planned: Plan) -> None:
        inputs = [channel.path for channel in planned.channels if not channel.is_output]
        if not await read_once(inputs):
            self.watcher.notices(
                "the inputs are too large to be read beforehand, so the peaks count their page "
                "cache, which the task may not need"
            )

    async def _run(self, planned: Plan, directory: Path, owner: Owner, records: Records) -> Outcome:
        if not self.wish.keep_limit:
            spec = planned.spec
            planned = replace(
                planned,
                needs=replace(planned.needs, memory=None, memory_request=None),
                spec=replace(
                    spec,
                    limits=replace(spec.limits, memory=None),
                    requests=replace(spec.requests, memory=None),
                ),
            )
        outcome = await run_plan(
            self.engine, planned, owner=owner, records=records, on_start=self.watcher.started
        )
        self.watcher.ended(outcome)
        if outcome.error is not None:
            if isinstance(outcome.error, OutOfMemory) and planned.needs.memory:
                outcome.error.fix = "leave --keep-limit out, to see what it needs"
            outcome.error.message = f"with {directory}: {outcome.error.message}"
            raise outcome.error
        peak = outcome.usage.memory_peak
        if not peak:
            raise NotSupported("the engine does not tell what memory the container used")
        self.squeezed = self.squeezed or is_squeezed(peak, planned.needs.memory)
        return outcome

    async def _remove(self, path: Path) -> None:
        if await asyncio.to_thread(_removed, path):
            return
        self.watcher.notices(f"{path} holds outputs that can't be removed: remove it by hand")


def _removed(path: Path) -> bool:
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


def _sizes(directory: Path, rule: ScaleRule | None) -> dict[str, int]:
    rule = rule or ScaleRule(scale_factor=1)
    return {
        mode: target_size(directory, rule.model_copy(update={"mode": ScaleRuleMode(mode)}))
        for mode in MODES
    }
