"""The same subtask on several nodes: who computes it, and whether their results agree."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

from lading.contracts.golem.driver.nodes import Work
from lading.contracts.golem.driver.options import Compare, DriverOptions
from lading.contracts.golem.driver.records import Candidate

__all__ = ["Agreed", "Contest", "Disagreed"]


@dataclass(frozen=True, slots=True)
class Agreed:
    """There are results to verify.

    Parameters
    ----------
    candidates : tuple of Candidate
        To be verified one after the other, until one is right.
    dissenters : tuple of int
        Nodes whose results are not what the others agree on.
    """

    candidates: tuple[Candidate, ...]
    dissenters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Disagreed:
    """There is no result to verify.

    Parameters
    ----------
    reason : str
    node : int or None
        Whose fault it was; None where nobody knows.
    logs : str
        What the last that failed had printed.
    """

    reason: str
    node: int | None
    logs: str = ""


class Contest:
    """One subtask that one node computes, or several.

    Parameters
    ----------
    work : Work
    piece : bytes
        Digest of the work.
    attempt : int
        The how many-th try of this piece it is.
    options : DriverOptions

    Attributes
    ----------
    over : bool
        Whether it is decided; what is still computed is of no use.
    """

    def __init__(self, work: Work, piece: bytes, attempt: int, options: DriverOptions) -> None:
        self.work = work
        self.piece = piece
        self.attempt = attempt
        self.over = False
        self.began = asyncio.get_running_loop().time()
        self._seats = options.replicas
        self._must_agree = options.must_agree
        self._nodes = options.node_count
        self._by_verify = options.compare is Compare.VERIFY
        self._takers: set[int] = set()
        self._running: set[asyncio.Task[tuple[Candidate, str]]] = set()
        self._results: list[tuple[Candidate, str]] = []
        self._failures: list[tuple[int, str]] = []
        self._logs = ""
        self._taken = 0

    @property
    def alone(self) -> bool:
        """Whether one node's result is enough."""
        return self._seats == 1

    def wants(self, node: int) -> bool:
        """Say whether this node should compute it, too."""
        return not self.over and self._free() > 0 and node not in self._takers

    def take(self, node: int) -> None:
        """Have a node compute it, from now until :meth:`compute` ends."""
        self._takers.add(node)
        self._taken += 1

    async def compute(
        self, work: Coroutine[Any, Any, tuple[Candidate, str]]
    ) -> BaseException | None:
        """Do a node's work, unless it becomes of no use meanwhile; return how it failed, if it did.

        Raises
        ------
        asyncio.CancelledError
            The caller was cancelled; the work has ended.
        """
        if self.over:
            work.close()
            self._taken -= 1
            return None
        task = asyncio.create_task(work)
        self._running.add(task)
        try:
            await self._wait(task)
        finally:
            self._running.discard(task)
            self._taken -= 1
        if self.over or task.cancelled():
            if not task.cancelled():
                task.exception()  # retrieved: nobody wants it
            return None
        error = task.exception()
        if error is None:
            self._results.append(task.result())
        return error

    async def _wait(self, task: asyncio.Task[tuple[Candidate, str]]) -> None:
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:  # wait() leaves the task alone
                cancelled = error
                task.cancel()
        if cancelled is not None:
            if not task.cancelled():
                task.exception()
            raise cancelled

    def failed(self, node: int, reason: str, logs: str) -> None:
        """Count a node that has no result."""
        self._failures.append((node, reason))
        self._logs = logs

    def judge(self) -> Agreed | Disagreed | None:
        """Decide, if it can be decided; None: others have to compute first."""
        groups = self._groups()
        best = groups[0] if groups else None
        others = self._nodes - len(self._takers)
        possible = self._taken + min(self._free(), others)
        if self._by_verify and not self.alone:
            if possible:
                return None
            return Agreed(tuple(groups)) if groups else self._disagreed(groups)
        if best is not None and len(best.nodes) >= self._must_agree:
            return Agreed((best,), tuple(node for group in groups[1:] for node in group.nodes))
        if (len(best.nodes) if best is not None else 0) + possible < self._must_agree:
            return self._disagreed(groups)
        return None

    def end(self) -> None:
        """Stop whoever still computes it."""
        self.over = True
        for task in self._running:
            task.cancel()

    def _free(self) -> int:
        """How many more may compute it: a node that failed is replaced by another one.

        Not where a single result is wanted: then the application hands the work out again, under
        another id (rule 4).
        """
        if self.alone:
            return 0
        return self._seats - self._taken - len(self._results)

    def _groups(self) -> list[Candidate]:
        """Put equal results together, the most frequent first."""
        groups: defaultdict[str, list[Candidate]] = defaultdict(list)
        for candidate, digest in self._results:
            groups[digest].append(candidate)
        merged = [
            replace(group[0], nodes=tuple(node for item in group for node in item.nodes))
            for group in groups.values()
        ]
        return sorted(merged, key=lambda item: -len(item.nodes))

    def _disagreed(self, groups: list[Candidate]) -> Disagreed:
        if self.alone:
            node, reason = self._failures[-1]
            return Disagreed(reason, node, self._logs)
        failures = "; ".join(f"node {node} failed: {reason}" for node, reason in self._failures)
        if not groups:
            return Disagreed(failures, None, self._logs)
        counts = ", ".join(f"{len(item.nodes)} of {item.size} bytes" for item in groups)
        text = f"{self._must_agree} equal results are wanted, and there are: {counts}"
        return Disagreed(f"{text}; {failures}" if failures else text, None, self._logs)
