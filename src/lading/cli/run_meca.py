"""``lading run`` of a task folder, or of the image of one: once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lading.cli import failures, loop, printing
from lading.cli.images import build, builder_of, fetch, sweep_quietly
from lading.cli.loop import Signals
from lading.errors import LadingError, NotReady, RunError, TimedOut
from lading.settings import EngineOptions, state_directory
from lading.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from lading.cli.run_options import RunOptions
    from lading.cli.wish import Wish
    from lading.contracts.meca.folder import TaskFolder
    from lading.contracts.meca.oneshot import Job, Outcome
    from lading.contracts.meca.request import TaskLimits
    from lading.engine import Engine, ImageInfo, LogChunk
    from lading.run.lifecycle import Running
    from lading.run.ownership import Owner

__all__ = ["image_of", "job_of", "run_prepared", "run_task"]

Prepare = Callable[["Engine", "Owner"], AbstractAsyncContextManager[tuple["Wish", "ImageInfo"]]]
"""Gives what is to be run, and has its image; what it made for that goes with the block."""


def run_task(wish: Wish, options: EngineOptions, *, keep: bool, as_json: bool, quiet: bool) -> None:
    """Run a task once, and tell of it.

    Raises
    ------
    RunError
        It did not answer as it should have.
    """

    @contextlib.asynccontextmanager
    async def prepare(engine: Engine, _: Owner) -> AsyncIterator[tuple[Wish, ImageInfo]]:
        yield wish, await _image(engine, wish)

    run_prepared(prepare, options, keep=keep, as_json=as_json, quiet=quiet)


def run_prepared(
    prepare: Prepare, options: EngineOptions, *, keep: bool, as_json: bool, quiet: bool
) -> None:
    """Run once what has to be got first, and tell of it.

    Raises
    ------
    RunError
        It did not answer as it should have.
    """
    try:
        loop.run(lambda signals: _run(prepare, options, signals, keep=keep, as_json=as_json))
    except RunError as error:
        if not quiet:
            error.logs = ""  # was shown as it came
        if isinstance(error, TimedOut):
            error.fix = "allow it more time with --timeout, or see its log"
        elif isinstance(error, NotReady):
            error.fix = "see its log; if it is only slow, allow it more time with --start-timeout"
        raise


async def _run(
    prepare: Prepare, options: EngineOptions, signals: Signals, *, keep: bool, as_json: bool
) -> None:
    from lading.contracts.meca.oneshot import run_once  # noqa: PLC0415
    from lading.engine.discovery import open_engine  # noqa: PLC0415
    from lading.run.ownership import Owner  # noqa: PLC0415
    from lading.run.records import Records, records_path  # noqa: PLC0415

    state = state_directory()
    async with await open_engine(options) as engine:
        owner = Owner.claim(state)
        records = None
        try:
            async with prepare(engine, owner) as (wish, image):
                job = job_of(wish.name, image, wish.body, wish.limits, wish.options)
                after = _After(job, signals, as_json=as_json)
                records = Records(records_path(state))
                async with asyncio.TaskGroup() as group:
                    group.create_task(sweep_quietly(engine, state, records))
                    outcome = await run_once(
                        engine,
                        job,
                        owner=owner,
                        records=records,
                        on_log=_show_log,
                        on_wait=_show_wait,
                        linger=after.linger if keep else None,
                    )
            after.show(outcome)
        except BaseExceptionGroup as group_of_errors:
            raise failures.first(group_of_errors) from group_of_errors
        finally:
            owner.release()
            if records is not None:
                records.close()


def job_of(
    name: str, image: ImageInfo, body: bytes, limits: TaskLimits, options: RunOptions
) -> Job:
    """Decide how a task is run, by the flags that say so."""
    from lading.contracts.meca.oneshot import Job  # noqa: PLC0415

    return Job(
        name=name,
        image=image,
        body=body,
        limits=limits,
        runtime=options.runtime,
        network=options.network,
        sealed=not options.capabilities,
        timeout=options.timeout,
        start_timeout=options.start_timeout,
    )


class _After:
    """What is shown once the task has answered."""

    def __init__(self, job: Job, signals: Signals, *, as_json: bool) -> None:
        self._job = job
        self._signals = signals
        self._as_json = as_json
        self._shown = False

    def show(self, outcome: Outcome) -> None:
        """Write the reply and the summary, once."""
        if self._shown:
            return
        self._shown = True
        if self._as_json:
            printing.json(_as_json(outcome, self._job))
        else:
            printing.result(outcome.reply.body)
            printing.note(_summary(outcome, self._job))

    async def linger(self, what: Outcome | LadingError, running: Running) -> None:
        """Show it already, and wait until somebody has seen enough of the container."""
        if isinstance(what, LadingError):
            printing.warn(f"it failed: {what.message}")
        else:
            self.show(what)
        if running.alive:
            printing.note(f"kept: container {running.container.name}; Ctrl-C removes it")
            signal = asyncio.create_task(self._signals.wait())

            def ended(_: Running) -> None:
                signal.cancel()

            running.on_exit(ended)
            await asyncio.wait({signal})


async def _image(engine: Engine, wish: Wish) -> ImageInfo:
    """Build it, find it, or fetch it; none of this counts against a task's time-out."""
    if wish.folder is not None:
        return await image_of(engine, wish.folder, wish.options, wish.build_args)
    return await fetch(engine, wish.name, wish.options.pull)


async def image_of(
    engine: Engine, folder: TaskFolder, options: RunOptions, args: Mapping[str, str]
) -> ImageInfo:
    """Build a folder's image for trying it out, with progress."""
    from lading.contracts.meca.folder import default_tag  # noqa: PLC0415
    from lading.run.creation import TASK_LABEL  # noqa: PLC0415

    tag = options.tag or default_tag(folder)
    async with builder_of(engine) as builder:
        built = await build(
            builder, folder.path, tag=tag, args=args, labels={TASK_LABEL: folder.name}
        )
    return built if builder is engine else replace(built, reference=tag)


def _show_log(chunk: LogChunk) -> None:
    printing.task_log(chunk.data)


def _show_wait(why: str) -> None:
    if why:
        printing.note(f"waits: {why}")


def _summary(outcome: Outcome, job: Job) -> str:
    usage = outcome.usage
    peak = format_bytes(usage.memory_peak) if usage.memory_peak else "not seen"
    parts = [
        f"ready in {format_seconds(outcome.start_seconds)}",
        f"answered in {format_seconds(outcome.call_seconds)}",
        f"memory {peak} of {format_bytes(job.limits.memory)}",
        f"CPU {format_seconds(usage.cpu_seconds) if usage.cpu_seconds else 'not seen'}",
        f"run {outcome.run_id}",
    ]
    return ", ".join(parts)


def _as_json(outcome: Outcome, job: Job) -> dict[str, Any]:
    body = outcome.reply.body
    value: dict[str, Any] = {
        "run": outcome.run_id,
        "task": job.name,
        "image": job.image.id,
        "container": outcome.container,
        "content_type": outcome.reply.content_type,
        "start_seconds": round(outcome.start_seconds, 6),
        "call_seconds": round(outcome.call_seconds, 6),
        "memory_limit": job.limits.memory,
        "memory_peak": outcome.usage.memory_peak,
        "cpu_seconds": outcome.usage.cpu_seconds,
    }
    try:
        value["reply"] = body.decode("utf-8")
    except UnicodeDecodeError:
        import base64  # noqa: PLC0415  # JSON has no bytes

        value["reply_base64"] = base64.b64encode(body).decode()
    return value
