"""``lading test`` of the folder of a Golem application."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.cli import loop, printing
from lading.cli.golem_run import drive, remove_empty
from lading.cli.run_options import pairs
from lading.cli.run_processing import files
from lading.cli.test_shown import line, ways_out, without_log
from lading.contracts.golem.trial import OUTPUTS, judged, leave_nothing, read_example
from lading.engine.shield import to_the_end
from lading.errors import GolemTaskFailed, OutputDiffers
from lading.folders.examples import replace_tree
from lading.run.scratch import make_scratch
from lading.settings import scratch_directory
from lading.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from lading.cli.golem_session import Session
    from lading.cli.test import Ordered
    from lading.contracts.golem.driver.journal import Assignment
    from lading.contracts.golem.driver.task import TaskOutcome
    from lading.contracts.golem.trial import Results

__all__ = ["run_trial"]


def run_trial(order: Ordered) -> None:
    """Have an application compute the task of its folder, and tell of it.

    Raises
    ------
    OutputDiffers
        No results came, or others than its example has.
    GolemTaskFailed, AppError
        It could not be computed.
    """
    order.refuse({"repeat", "concurrency", "start_timeout", "capabilities"}, "other tasks")
    scratch = make_scratch("test", scratch_directory())
    try:
        _try(order, scratch / "results")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _try(order: Ordered, output: Path) -> None:
    assignment = _assignment(order, output)
    outcome = loop.run(lambda _signals: _run(order, assignment))
    results = judged(order.folder, output, update=order.own.update, exact=order.own.exact)
    if order.own.update and results.error is None:
        replace_tree(output, order.folder / OUTPUTS)
        printing.note(f"{order.folder / OUTPUTS} written: {files(results.files)}")
    for text in outcome.notes:
        printing.warn(text)
    if order.as_json:
        printing.json(_as_json(order, assignment, outcome, results))
    else:
        _show(order, assignment, outcome, results)
    if results.error is not None:
        if results.findings:
            results.error.fix = ways_out(order.folder)
        raise without_log(results.error)


def _assignment(order: Ordered, output: Path) -> Assignment:
    options = order.options
    driver: dict[str, Any] = {"network": options.network, "runtime": options.runtime}
    if "timeout" in order.given:
        driver["task_timeout"] = options.timeout
    image = order.own.image or options.tag or ""
    return read_example(order.folder, output, image=image, driver=driver)


async def _run(order: Ordered, assignment: Assignment) -> TaskOutcome:
    build_args = pairs("--build-arg", "KEY=VALUE", order.options.build_arg)
    folder = order.folder if order.own.image is None else None
    try:
        outcome, _ = await drive(
            assignment, order.engine, order.options.pull, folder, build_args, ending=_forgotten
        )
    except GolemTaskFailed as error:
        error.fix = "see what is wrong with it: a trial tries nothing twice"
        raise
    return outcome


@contextlib.asynccontextmanager
async def _forgotten(here: Session, task_id: str, home: Path) -> AsyncIterator[None]:
    """Leave nothing of the task, however it ends: nobody goes on with a trial."""
    try:
        yield
    finally:
        await to_the_end(leave_nothing(here.journal, task_id, home=home))
        await to_the_end(asyncio.to_thread(remove_empty, home))


def _show(order: Ordered, assignment: Assignment, outcome: TaskOutcome, results: Results) -> None:
    passed = results.error is None
    how = "results came" if passed else ""
    if passed and results.findings:
        how = f"{files(len(results.findings))} as the example has them"
    if passed and order.own.update:
        how = "and its results are the example now"
    printing.verdict(assignment.app.name, "passed" if passed else "failed", how, good=passed)
    line("task", f"{outcome.done} subtasks on one node, {format_seconds(outcome.seconds)}")
    line("results", f"{files(results.files)}, {format_bytes(results.size)}")
    line("image", assignment.app.image)


def _as_json(
    order: Ordered, assignment: Assignment, outcome: TaskOutcome, results: Results
) -> dict[str, Any]:
    error = results.error
    return {
        "task": assignment.app.name,
        "contract": "golem",
        "passed": error is None,
        "diff": error.diff if isinstance(error, OutputDiffers) else "",
        "error": error.message if error is not None else "",
        "updated": order.own.update and error is None,
        "image": assignment.app.image,
        "subtasks": outcome.done,
        "seconds": round(outcome.seconds, 6),
        "results": results.files,
        "results_bytes": results.size,
        "files": [
            {"path": one.path, "likeness": str(one.comparison.likeness)} for one in results.findings
        ],
        "notes": list(outcome.notes),
    }
