"""``lading run`` of several task files: a chain of steps, without a workflow engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lading.cli import chain_shown, failures, loop, printing
from lading.cli.images import fetch, sweep_quietly
from lading.cli.run_options import Order, ProcessingOptions, RunOptions
from lading.cli.run_processing import changes_of, circumstances_of, ours, placed
from lading.contracts.processing.chains.graph import Graph, Link, step_names
from lading.contracts.processing.instances import Changes, read_task
from lading.errors import InputError
from lading.settings import EngineOptions, environment, state_directory

if TYPE_CHECKING:
    from lading.contracts.processing.chains.chain import Chain
    from lading.contracts.processing.chains.scratch import Scratch
    from lading.contracts.processing.chains.steps import Wish
    from lading.contracts.processing.measure.measuring import Measurement
    from lading.contracts.processing.planning import Circumstances
    from lading.engine import Engine
    from lading.run.ownership import Owner
    from lading.run.records import Records

__all__ = ["run_chain"]

_WORK = "lading-work"
_ONE_STEP = {
    "--set": "--set NAME=VALUE for all, or --set {step}:NAME=VALUE",
    "--input": "--input {step}:CHANNEL=DIR",
    "--output": "--output {step}:CHANNEL=DIR",
}


def run_chain(order: Order) -> int:
    """Run task files as the steps of a chain, and tell of it.

    Returns
    -------
    int
        The exit code of the first step that failed; 0 if none did.

    Raises
    ------
    InputError
        Something given can't be used; no container was started.
    """
    options, wanted = order.options, order.wanted
    if wanted.parallel is not None and wanted.parallel < 1:
        raise InputError("--parallel", f"must be at least 1, not {wanted.parallel}")
    if wanted.template is not None:
        raise InputError(
            "--template", "is for one image", fix="name the template in each of the task files"
        )
    graph, links, wishes = _read(order.tasks, options, wanted)
    circumstances = circumstances_of(options, order.timeout)
    shown = chain_shown.Shown(wishes, watch=wanted.watch)
    it = _Run(
        graph,
        links,
        wishes,
        circumstances=circumstances,
        options=options,
        wanted=wanted,
        shown=shown,
    )
    try:
        loop.run(lambda _signals: it.run(order.engine))
    finally:
        if it.chain is not None:
            reports = list(it.chain.reports.values())
            if order.as_json:
                printing.json(chain_shown.as_object(reports, it.measurements))
            else:
                chain_shown.summary(reports, it.measurements)
    assert it.chain is not None
    failed = it.chain.first_failed
    return 0 if failed is None else failed.exit_code or 1


def _read(
    tasks: Sequence[str], options: RunOptions, wanted: ProcessingOptions
) -> tuple[Graph, list[Link], dict[str, Wish]]:
    """Read all files, and what the command line says of each."""
    from lading.contracts.processing.chains.steps import Wish  # noqa: PLC0415

    for given in tasks:
        if not given.endswith(".json") and not Path(given).is_file():
            raise InputError(
                given,
                "is no task file, and a chain has no other steps",
                fix="write a task.json for it",
            )
    files = step_names(tasks)
    links = [Link.parse(text) for text in dict.fromkeys(wanted.map)]
    graph = Graph.of(list(files), links)
    changes = _changes(list(files), options, wanted)
    wishes = {}
    for name, file in files.items():
        task, warnings = read_task(file, environment=environment())
        for warning in warnings:
            printing.warn(warning)
        wishes[name] = Wish(file, task, changes[name])
    return graph, links, wishes


def _changes(
    steps: Sequence[str], options: RunOptions, wanted: ProcessingOptions
) -> dict[str, Changes]:
    """Say for each step what is to be changed in its task."""
    given = {
        "--set": _by_step("--set", wanted.set, steps),
        "--input": _by_step("--input", options.input, steps),
        "--output": _by_step("--output", wanted.output, steps),
    }
    found = {}
    for step in steps:
        own = given["--set"].get(step, ())
        named = {text.partition("=")[0] for text in own}
        for_all = [t for t in given["--set"].get("", ()) if t.partition("=")[0] not in named]
        found[step] = changes_of(
            replace(options, input=given["--input"].get(step, ())),
            replace(wanted, set=(*for_all, *own), output=given["--output"].get(step, ())),
        )
    return found


def _by_step(flag: str, given: Sequence[str], steps: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Sort ``STEP:NAME=VALUE`` by steps; only a variable may go without one, to all of them."""
    found: dict[str, tuple[str, ...]] = {}
    for text in given:
        before, equals, value = text.partition("=")
        step, colon, name = before.partition(":")
        if not colon:
            step, name = "", before
        if step not in steps and (colon or flag != "--set"):
            what = f"there is no step {step!r}" if colon else "does not say of which step"
            form = _ONE_STEP[flag].format(step=steps[0])
            raise InputError(f"{flag} {text}", what, fix=f"write {form}; steps: {', '.join(steps)}")
        found[step] = (*found.get(step, ()), f"{name}{equals}{value}")
    return found


class _Run:
    """One chain, from the engine to the end."""

    def __init__(
        self,
        graph: Graph,
        links: Sequence[Link],
        wishes: Mapping[str, Wish],
        *,
        circumstances: Circumstances,
        options: RunOptions,
        wanted: ProcessingOptions,
        shown: chain_shown.Shown,
    ) -> None:
        self.chain: Chain | None = None
        self.measurements: dict[str, Measurement] = {}
        self._graph = graph
        self._links = links
        self._wishes = wishes
        self._circumstances = circumstances
        self._options = options
        self._wanted = wanted
        self._shown = shown

    async def run(self, engine_options: EngineOptions) -> None:
        """Run it to its end."""
        from lading.contracts.processing.chains.scratch import Scratch  # noqa: PLC0415
        from lading.engine.discovery import open_engine  # noqa: PLC0415

        state = state_directory()
        scratch = Scratch(Path(self._wanted.work or _WORK))
        async with await open_engine(engine_options) as engine:
            with ours(state) as (owner, records):
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(sweep_quietly(engine, state, records))
                        await self._run(engine, state, owner, records, scratch)
                except BaseExceptionGroup as errors:
                    raise failures.first(errors) from errors
                finally:
                    # A few files; the loop has nothing else to do any more.
                    scratch.release()

    async def _run(
        self, engine: Engine, state: Path, owner: Owner, records: Records, scratch: Scratch
    ) -> None:
        from lading.contracts.processing.chains.chain import Chain  # noqa: PLC0415
        from lading.contracts.processing.chains.steps import prepare  # noqa: PLC0415

        prepared = await prepare(
            engine,
            self._wishes,
            self._graph,
            self._links,
            scratch=scratch,
            circumstances=self._circumstances,
            fetch=lambda name: fetch(self._near(engine, name), name, self._options.pull),
            state=state,
            labels=owner.labels(),
        )
        for warning in prepared.warnings:
            printing.warn(warning)
        self.chain = Chain(
            engine,
            prepared.steps,
            self._graph,
            circumstances=self._circumstances,
            scratch=scratch,
            owner=owner,
            records=records,
            resume=self._wanted.resume,
            on_change=self._shown.changed,
            on_log=self._shown.log_of if self._wanted.watch else None,
        )
        parallel = self._wanted.parallel or (await engine.info()).cpus
        async with self._shown.live():
            await self.chain.run(parallel=max(parallel, 1))
        if self._wanted.monitor:
            await self._measure(self.chain, records)

    def _near(self, engine: Engine, image: str) -> Engine:
        """Look for an image where a step that has it runs."""
        tasks = (wish.task for wish in self._wishes.values())
        return placed(engine, next(task for task in tasks if task.image == image))

    async def _measure(self, chain: Chain, records: Records) -> None:
        """Compare what each step that ran used with what it declares."""
        from lading.contracts.processing.measure.measuring import measure, write_down  # noqa: PLC0415

        for name, report in chain.reports.items():
            if report.outcome is not None:
                found = await asyncio.to_thread(measure, report.outcome)
                write_down(found, records, report.run_id)
                self.measurements[name] = found
