"""The figures that are promised, and how each is told."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["PROMISES", "Figure", "Promise", "table"]


@dataclass(frozen=True)
class Promise:
    """What a figure must reach, and should reach.

    Parameters
    ----------
    name : str
        As ``--only`` takes it.
    title : str
    unit : str
        Empty for a ratio.
    must, aim : float
        In `unit`.
    more_is_better : bool
    """

    name: str
    title: str
    unit: str
    must: float
    aim: float
    more_is_better: bool = False

    def kept(self, value: float, limit: float) -> bool:
        """Whether a value reaches a limit."""
        return value >= limit if self.more_is_better else value <= limit


PROMISES = {
    promise.name: promise
    for promise in (
        Promise("added", "added to a direct call, p50, 1 connection", "ms", 0.5, 0.3),
        Promise(
            "throughput",
            "throughput / do-nothing uvicorn app, 16 connections",
            "",
            0.15,
            0.25,
            more_is_better=True,
        ),
        Promise("cold", "cold start / the engine's own floor on a bridge", "", 1.15, 0.8),
        Promise("spare", "cold start with a spare ready", "ms", 30, 15),
        Promise("eight", "8 tasks cold at once / the engine's own 8", "", 1.3, 1.1),
        Promise("memory", "resident, 50 warm containers, 1,000 waiting", "MB", 150, 90),
        Promise("run", "lading run --watch / docker run --rm", "", 2.0, 1.5),
        Promise("validate", "lading validate / the original's time for it", "", 0.45, 0.25),
        Promise("chain", "20 steps of a chain / 20 docker run, two at a time", "", 1.2, 1.05),
        Promise("subtask", "a Golem subtask / docker run --rm of the same", "", 1.6, 1.2),
        Promise("subtasks", "200 subtasks on 4 nodes / 200 docker run", "", 1.4, 1.0),
        Promise(
            "calls1",
            "calls a second to an app, 1 caller / bare health",
            "",
            0.8,
            0.95,
            more_is_better=True,
        ),
        Promise(
            "calls8",
            "calls a second to an app, 8 callers / bare health",
            "",
            0.8,
            0.95,
            more_is_better=True,
        ),
        Promise("cid", "the CID of a large file / its SHA-256", "", 1.5, 1.1),
        Promise("cidfiles", "the CID of 5,000 files / each one's SHA-256", "", 3.0, 2.0),
        Promise("cidnode", "the CID of a file / an IPFS node's time for it", "", 0.3, 0.1),
        Promise("kubernetes", "lading run on a cluster / its own time for the pod", "", 1.2, 1.05),
        Promise("pods", "requests of a cluster's API, a pod of 100 at once", "", 6, 5),
        Promise("operator", "a task of an Airflow DAG / lading run of the same", "", 2.0, 1.2),
        Promise("driver", "the driver's memory, 10,000 subtasks", "MB", 120, 80),
    )
}


@dataclass
class Figure:
    """What was measured.

    Parameters
    ----------
    value : float or None
        None: could not be measured here, `why` says so.
    why : str
    failed : bool
        Whether `why` is a failure, and not only that this executor can't be asked.
    parts : dict of str to float
        What the value was made of, with units in the names.
    """

    name: str
    value: float | None
    why: str = ""
    failed: bool = False
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def promise(self) -> Promise:
        """What it is held against."""
        return PROMISES[self.name]

    @property
    def missed(self) -> bool:
        """Whether it is worse than it must be, or could not be had."""
        return self.failed or (
            self.value is not None and not self.promise.kept(self.value, self.promise.must)
        )

    @property
    def verdict(self) -> str:
        """One word or two."""
        if self.value is None:
            return "FAILED" if self.failed else "left out"
        if self.missed:
            return "MISSED"
        return "aim" if self.promise.kept(self.value, self.promise.aim) else "must"


def table(figures: list[Figure]) -> str:
    """Write the figures for a person."""
    lines = [f"{'figure':<54}{'measured':>12}{'must':>10}{'aim':>10}  reached"]
    for figure in figures:
        promise = figure.promise
        unit = f" {promise.unit}" if promise.unit else ""
        sign = ">=" if promise.more_is_better else "<="
        measured = "-" if figure.value is None else f"{figure.value:.3g}{unit}"
        lines.append(
            f"{promise.title:<54}{measured:>12}{f'{sign}{promise.must:g}{unit}':>10}"
            f"{f'{promise.aim:g}{unit}':>10}  {figure.verdict}"
        )
        if figure.why:
            lines.append(f"    {figure.why}")
        lines += [f"    {name:<46}{part:>16.3f}" for name, part in figure.parts.items()]
    return "\n".join(lines)
