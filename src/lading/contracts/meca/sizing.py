"""The smallest limits under which a task still passes its example: found by real runs.

Memory first, then cores, each by bisection below what is known to pass, with a bounded number of
runs. A run passes if the reply is the example's and nothing takes longer than a stated factor of
what it takes under the limits that the task began with: a task that is short of memory may go on
and on reading its own program, and fewer cores never fail, they are only slower.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lading.contracts.meca.request import MIN_MEMORY, TaskLimits
from lading.contracts.meca.trial import try_task
from lading.errors import NotReady, OutOfMemory, OutputDiffers, RunError, TimedOut
from lading.units import MIB, format_bytes, format_cores, format_seconds

if TYPE_CHECKING:
    from lading.contracts.meca.oneshot import Job
    from lading.contracts.meca.trial import Judge
    from lading.engine import Engine
    from lading.run.ownership import Owner
    from lading.run.records import Records

__all__ = ["Allowed", "Probe", "Sizing", "Wish", "find_limits", "in_containers", "in_cores"]

_GROWTH = 4
_GROWN = 3
"""How often the declared memory is multiplied where the example fails under it."""
_MEMORY_RUNS = 10
"""Limits of memory that are tried at the most, below one that passes."""
_PRECISION = 1.05
"""Factor between the least that passes and the most that fails at which the search ends."""
_CONFIRMED = 3
"""Runs under what is suggested, all of which must pass."""
_RAISES = 6
_RAISE = 1.25
"""How often, and by which factor, memory is raised where a run fails that should have passed."""
_GRACE = 1.0
"""Seconds after which a run is ended that has taken longer than it may."""
_SLACK = 0.1
"""Seconds by which everything may be slower: the period in which the kernel counts out shares of a
processor. Short calls are nothing but noise."""
_TENTHS = 10
"""The contract counts cores with one decimal."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a task's limits are sought.

    Parameters
    ----------
    most : TaskLimits
        Cores and memory that may be tried: what this host has to give.
    slower : float
        By which factor it may be slower, cold or warm.
    margin : float
        Share of the smallest memory that is added to it.
    repeat : int
        Runs under the limits that are suggested, all of which must pass.
    """

    most: TaskLimits
    slower: float = 2.0
    margin: float = 0.2
    repeat: int = _CONFIRMED


@dataclass(frozen=True, slots=True)
class Allowed:
    """Seconds that a start, and a call, may take; infinite until something is known to pass."""

    start: float = math.inf
    call: float = math.inf


@dataclass(frozen=True, slots=True)
class Probe:
    """One run under some limits.

    Parameters
    ----------
    limits : TaskLimits
    start_seconds, call_seconds : float
        Until it was ready, and the longest call.
    memory_peak : int
        Bytes, page cache included.
    error : RunError or None
        Why the example failed.
    slow : bool
        Whether it took longer than it may.
    """

    limits: TaskLimits
    start_seconds: float = 0.0
    call_seconds: float = 0.0
    memory_peak: int = 0
    error: RunError | None = None
    slow: bool = False

    @property
    def passed(self) -> bool:
        """Whether these limits will do."""
        return self.error is None and not self.slow

    def __str__(self) -> str:
        """Tell of it in a line."""
        where = f"{format_bytes(self.limits.memory)}, {in_cores(self.limits.cpus)}"
        if self.error is not None:
            return f"{where}: failed, {self.error.message}"
        seconds = self.start_seconds, self.call_seconds
        took = " + ".join(map(format_seconds, seconds))
        verdict = "too slow" if self.slow else "passed"
        peak = self.memory_peak
        memory = f", memory {format_bytes(peak)} at the most" if peak else ""
        return f"{where}: {verdict}, {took}{memory}"


@dataclass(slots=True)
class Sizing:
    """What was found.

    Parameters
    ----------
    declared : TaskLimits
        What it began with.
    base : Probe
        The run that all others are measured by.
    memory, cpus
        What to declare: bytes with the margin, and cores.
    smallest_memory : int
        The least that passed, in bytes.
    probes : list of Probe
        All runs, in order.
    notes : list of str
        What its developer should know.
    """

    declared: TaskLimits
    base: Probe
    memory: int = 0
    cpus: float = 0.0
    smallest_memory: int = 0
    probes: list[Probe] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def limits(self) -> TaskLimits:
        """What to declare."""
        return replace(self.declared, memory=self.memory, cpus=self.cpus)


Run = Callable[[TaskLimits, Allowed], Awaitable[Probe]]


async def find_limits(
    run: Run, declared: TaskLimits, wish: Wish, *, told: Callable[[Probe], None] = lambda _: None
) -> Sizing:
    """Find the smallest limits under which a task passes.

    Parameters
    ----------
    run : callable
        Runs the task in a new container under the limits it is given, and may end it once it has
        taken more time than is allowed.
    declared : TaskLimits
        Where to begin.
    wish : Wish
    told : callable
        Gets each run, as soon as it has ended.

    Raises
    ------
    RunError
        It passes under no limits that could be tried; the error of the last run.
    """
    search = _Search(run, declared, wish, told)
    await search.begin()
    await search.memory()
    await search.cores()
    await search.confirm()
    return search.found


class _Search:
    def __init__(
        self, run: Run, declared: TaskLimits, wish: Wish, told: Callable[[Probe], None]
    ) -> None:
        self._run = run
        self._told = told
        self._wish = wish
        self._allowed = Allowed()
        self.found = Sizing(declared, Probe(declared))

    async def begin(self) -> None:
        """Find limits that pass: the declared ones, or more."""
        found = self.found
        first = probe = await self._probe(found.declared)
        for tried in self._larger():
            # Another reply is no matter of limits: the example, or the task, is wrong.
            if probe.passed or isinstance(probe.error, OutputDiffers):
                break
            probe = await self._probe(tried)
        if probe.error is not None:
            if probe is not first and not isinstance(probe.error, OutputDiffers):
                probe.error.message = (
                    f"it fails under all limits up to {format_bytes(probe.limits.memory)} and "
                    f"{in_cores(probe.limits.cpus)}: {probe.error.message}"
                )
            probe.error.fix = "see its log, and make it pass `lading test` first"
            if isinstance(probe.error, OutOfMemory):
                probe.error.fix = (
                    'set "mem" in config.json to more, if this host has it, and profile it again'
                )
            raise probe.error
        if probe is not first:
            found.notes.append("it does not pass under the limits that it declares now")
        # Twice, as the first run may have had to read everything from the disk.
        again = await self._probe(probe.limits)
        base = again if again.passed else probe
        found.base = replace(
            base,
            start_seconds=min(probe.start_seconds, base.start_seconds),
            call_seconds=min(probe.call_seconds, base.call_seconds),
            memory_peak=max(probe.memory_peak, again.memory_peak),
        )
        self._allowed = Allowed(
            found.base.start_seconds * self._wish.slower + _SLACK,
            found.base.call_seconds * self._wish.slower + _SLACK,
        )

    def _larger(self) -> list[TaskLimits]:
        """Say what to try where the declared limits won't do."""
        declared, most = self.found.declared, self._wish.most
        sizes = [min(declared.memory * _GROWTH**n, most.memory) for n in range(1, _GROWN + 1)]
        larger = [
            replace(declared, memory=size) for size in sorted(set(sizes)) if size > declared.memory
        ]
        if most.cpus > declared.cpus:
            memory = larger[-1].memory if larger else declared.memory
            larger.append(replace(declared, memory=memory, cpus=most.cpus))
        return larger

    async def memory(self) -> None:
        """Halve the way between what fails and what passes, in proportion."""
        found, base = self.found, self.found.base
        low, high = (MIN_MEMORY >> 20) - 1, math.ceil(base.limits.memory / MIB)
        # What it used is where the answer is, if the page cache was no large part of it.
        guess = math.ceil(base.memory_peak / MIB) or high
        for _ in range(_MEMORY_RUNS):
            if high <= max(low * _PRECISION, low + 1):
                break
            if not low < guess < high:
                guess = min(max(round(math.sqrt(low * high)), low + 1), high - 1)
            if await self._passes(replace(base.limits, memory=guess * MIB)):
                high = guess
            else:
                low = guess
            guess = 0
        found.smallest_memory = high * MIB
        found.memory = self._rounded(high * MIB * (1 + self._wish.margin))

    async def cores(self) -> None:
        """The same for tenths of a core, with the memory that was found."""
        found = self.found
        limits = replace(found.base.limits, memory=found.memory)
        low, high = 0, math.ceil(round(limits.cpus * _TENTHS, 6))
        found.cpus = limits.cpus
        while high - low > 1:
            middle = (low + high) // 2
            if await self._passes(replace(limits, cpus=middle / _TENTHS)):
                high, found.cpus = middle, middle / _TENTHS
            else:
                low = middle

    async def confirm(self) -> None:
        """Run it several times under what is suggested; more is suggested where that fails."""
        found, raised, passed = self.found, 0, 0
        while passed < self._wish.repeat:
            probe = await self._probe(found.limits)
            if probe.slow:
                probe = await self._probe(found.limits)  # others use this machine as well
            if probe.passed:
                passed += 1
                continue
            passed = 0
            if probe.error is None:
                if found.cpus >= found.base.limits.cpus:
                    found.notes.append(
                        "it is slower than before with as many cores as before: the machine is "
                        "busy, or it needs more memory"
                    )
                    break
                found.cpus = round(min(found.cpus + 1 / _TENTHS, found.base.limits.cpus), 3)
                continue
            raised += 1
            if raised > _RAISES:
                probe.error.message = (
                    f"it fails now and then, whatever its limits: {probe.error.message}"
                )
                raise probe.error
            seen = max(one.memory_peak for one in found.probes)
            found.memory = self._rounded(max(found.memory * _RAISE, seen * 1.1))
        if raised:
            found.notes.append(
                f"what it needs is not the same each time: {raised} runs failed under limits that "
                "had passed before, so more is suggested; with --repeat more runs have to pass"
            )

    async def _passes(self, limits: TaskLimits) -> bool:
        probe = await self._probe(limits)
        if not probe.passed and not isinstance(probe.error, OutOfMemory):
            probe = await self._probe(limits)  # others use this machine as well
        return probe.passed

    async def _probe(self, limits: TaskLimits) -> Probe:
        probe = await self._run(limits, self._allowed)
        late = probe.start_seconds > self._allowed.start or probe.call_seconds > self._allowed.call
        if late and probe.error is None:
            probe = replace(probe, slow=True)
        self.found.probes.append(probe)
        self._told(probe)
        return probe

    def _rounded(self, memory: float) -> int:
        """Round up to what config.json can say: whole MiB."""
        return max(math.ceil(memory / MIB) * MIB, MIN_MEMORY)


def in_cores(cpus: float) -> str:
    """Write a number of cores for a person: ``1 core``."""
    return f"{format_cores(cpus)} core{'' if cpus == 1 else 's'}"


def in_containers(
    engine: Engine,
    job: Job,
    judge: Judge,
    *,
    owner: Owner,
    records: Records,
) -> Run:
    """Make what runs a task for :func:`find_limits`: a container for each run, called twice.

    Parameters
    ----------
    engine : Engine
    job : Job
        Its limits and times are those of the first runs.
    judge : callable
        Compares a reply with the example.
    owner, records
        As :func:`lading.contracts.meca.trial.try_task` takes them.
    """

    async def run(limits: TaskLimits, allowed: Allowed) -> Probe:
        start, call = allowed.start + _GRACE, allowed.call + _GRACE
        wanted = replace(
            job,
            limits=limits,
            start_timeout=min(job.start_timeout, start),
            timeout=min(job.timeout, call),
        )
        trial = await try_task(engine, wanted, judge, owner=owner, records=records)
        seconds = max((one.seconds for one in trial.calls), default=0.0)
        probe = Probe(
            limits, trial.start_seconds, seconds, trial.usage.memory_peak, error=trial.error
        )
        # Ended by us for being late: that is no failure of the task.
        if isinstance(trial.error, NotReady) and start < job.start_timeout:
            probe = replace(probe, start_seconds=start, error=None)
        elif isinstance(trial.error, TimedOut) and call < job.timeout:
            probe = replace(probe, call_seconds=call, error=None)
        return probe

    return run
