"""Steps that wait for each other: who gets what of whom, and what may run at once.

Nothing here knows what a step does; :mod:`lading.contracts.processing.chains.chain` does.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lading.errors import InputError

__all__ = ["Graph", "Link", "run_graph", "step_names"]

_FORM = "UPSTREAM:OUTPUT=STEP:INPUT"


@dataclass(frozen=True, slots=True)
class Link:
    """An output of one step that is the input of another.

    Parameters
    ----------
    upstream, output : str
        The step that writes, and the name of its channel.
    step, input : str
        The step that reads, and the name of its channel.
    """

    upstream: str
    output: str
    step: str
    input: str

    @classmethod
    def parse(cls, text: str) -> Link:
        """Read ``a:downloads=b:inputs``.

        Raises
        ------
        InputError
            It is none.
        """
        left, _, right = text.partition("=")
        upstream, _, output = left.partition(":")
        step, _, channel = right.partition(":")
        if not (upstream and output and step and channel):
            raise InputError("--map", f"{text!r} is not {_FORM}", fix="as a:downloads=b:inputs")
        return cls(upstream, output, step, channel)

    def __str__(self) -> str:
        return f"{self.upstream}:{self.output}={self.step}:{self.input}"


def step_names(files: Iterable[str]) -> dict[str, Path]:
    """Name the steps: ``a`` for ``dir/a.json``.

    Raises
    ------
    InputError
        Two have one name, or one has a name that is none.
    """
    steps: dict[str, Path] = {}
    for file in files:
        path = Path(file)
        name = path.stem
        if name.strip(".") == "" or ":" in name or "=" in name:
            raise InputError(
                file,
                f"{name!r} is no name for a step",
                fix="rename the file: a step is named as its file, without : and =",
            )
        other = steps.setdefault(name, path)
        if other is not path:
            raise InputError(
                file,
                f"is the step {name!r}, and so is {other}",
                fix="rename one of the files: a step is named as its file",
            )
    return steps


@dataclass(frozen=True, slots=True)
class Graph:
    """Which steps wait for which.

    Parameters
    ----------
    predecessors : mapping
        Of every step, in the order in which they were given.
    """

    predecessors: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, steps: Sequence[str], links: Sequence[Link]) -> Graph:
        """Make the graph that maps describe.

        Raises
        ------
        InputError
            A map names a step that there is not, an input is mapped twice, or the maps go in a
            circle.
        """
        before: dict[str, set[str]] = {step: set() for step in steps}
        fed: dict[tuple[str, str], Link] = {}
        for link in links:
            for name in (link.upstream, link.step):
                if name not in before:
                    raise InputError(
                        f"--map {link}",
                        f"there is no step {name!r}",
                        fix=f"there are: {', '.join(steps)}",
                    )
            other = fed.setdefault((link.step, link.input), link)
            if other is not link:
                raise InputError(
                    f"--map {link}",
                    f"the input {link.input!r} of {link.step} is mapped already, by --map {other}",
                    fix="map each input once",
                )
            before[link.step].add(link.upstream)
        graph = cls({step: frozenset(names) for step, names in before.items()})
        if circle := graph.circle():
            raise InputError(
                "--map",
                f"the maps go in a circle: {' -> '.join(circle)}",
                fix="take one of them away",
            )
        return graph

    def circle(self) -> list[str]:
        """Find steps that wait for each other, the first once more at the end; empty if none do."""
        open_, done = 1, 2
        state: dict[str, int] = {}
        for root in self.predecessors:
            if root in state:
                continue
            path = [root]
            waiting = [iter(sorted(self.predecessors[root]))]
            state[root] = open_
            while path:
                step = next(waiting[-1], None)
                if step is None:
                    state[path.pop()] = done
                    waiting.pop()
                elif state.get(step) == open_:
                    # Walked against the maps; told as the data goes.
                    return [step, *path[path.index(step) :][::-1]]
                elif step not in state:
                    state[step] = open_
                    path.append(step)
                    waiting.append(iter(sorted(self.predecessors[step])))
        return []

    def order(self) -> list[str]:
        """List the steps so that each comes after those that it waits for."""
        left = {step: len(names) for step, names in self.predecessors.items()}
        followers = self.followers()
        ready = [step for step, count in left.items() if count == 0]
        for step in ready:  # grows meanwhile
            for follower in followers[step]:
                left[follower] -= 1
                if left[follower] == 0:
                    ready.append(follower)
        return ready

    def followers(self) -> dict[str, list[str]]:
        """Say of every step who waits for it."""
        found: dict[str, list[str]] = {step: [] for step in self.predecessors}
        for step, names in self.predecessors.items():
            for name in names:
                found[name].append(step)
        return found

    def heights(self) -> dict[str, int]:
        """Say of every step how many come one after the other behind it."""
        followers = self.followers()
        heights: dict[str, int] = {}
        for step in reversed(self.order()):
            heights[step] = max((heights[name] + 1 for name in followers[step]), default=0)
        return heights


Work = Callable[[str, Callable[[], None]], Awaitable[bool]]
"""Does a step, and returns whether it succeeded. What it is given besides the step's name it may
call when no more is left to do than to tidy up: then there is room for another step."""


async def run_graph(graph: Graph, work: Work, *, parallel: int) -> list[str]:
    """Run all steps: each the moment its last predecessor is done and there is room.

    Of those that could begin, the one goes first behind which the most others wait one after the
    other.

    Parameters
    ----------
    graph : Graph
        Without a circle.
    work : callable
        After the first that did not succeed, none begins any more, and those that run are finished.
        What it raises cancels the others.
    parallel : int
        At most so many at once, and as many again that tidy up; 1 is strictly one after the other.

    Returns
    -------
    list of str
        The steps that were not begun.
    """
    heights, followers = graph.heights(), graph.followers()
    position = {step: number for number, step in enumerate(graph.predecessors)}
    missing = {step: len(names) for step, names in graph.predecessors.items()}
    ready = [(-heights[step], position[step], step) for step in missing if not missing[step]]
    heapq.heapify(ready)
    left = dict.fromkeys(graph.predecessors)
    running: set[str] = set()
    tidying: set[str] = set()
    failed = False

    async with asyncio.TaskGroup() as group:

        def begin() -> None:
            while ready and len(running) < parallel and len(tidying) < parallel and not failed:
                step = heapq.heappop(ready)[-1]
                running.add(step)
                group.create_task(one(step), name=f"step {step}")

        def make_room(step: str) -> None:
            if parallel > 1 and step in running:
                running.remove(step)
                tidying.add(step)
                begin()

        async def one(step: str) -> None:
            nonlocal failed
            if failed:  # since this was scheduled
                return
            del left[step]
            try:
                succeeded = await work(step, lambda: make_room(step))
            except BaseException:
                failed = True
                raise
            running.discard(step)
            tidying.discard(step)
            failed = failed or not succeeded
            if succeeded:
                for follower in followers[step]:
                    missing[follower] -= 1
                    if not missing[follower]:
                        heapq.heappush(ready, (-heights[follower], position[follower], follower))
            begin()

        begin()
    return list(left)
