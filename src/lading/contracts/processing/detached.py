"""Runs that go on after their caller has left: each is watched by a keeper, a process of its own.

::

    started = await launch(Job(instance, image, EngineOptions(), state))

The keeper owns the run as any other process of ours does (:mod:`lading.run.ownership`): it keeps
the log, gives the outputs over, removes the container and finishes the record. It is in a session
of its own and holds none of its caller's files, so that a closed terminal or an ended caller does
not reach it. SIGTERM ends the run, with grace.

It is told what to do in one JSON object on stdin, so that no value of a variable stands on a
command line, and answers with one line of JSON on stdout: what runs, or why nothing does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading import errors
from lading.engine import ImageInfo
from lading.engine.shield import to_the_end
from lading.errors import LadingError
from lading.settings import EngineOptions

if TYPE_CHECKING:
    from lading.contracts.processing.planning import Circumstances
    from lading.contracts.processing.task import TaskInstance
    from lading.engine import Engine
    from lading.run.lifecycle import Running
    from lading.run.records import Records

__all__ = ["Job", "Started", "launch"]

_LOOK = 0.02
"""Seconds between two looks whether a keeper that was told to end has done so."""
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Job:
    """What a keeper has to do.

    Parameters
    ----------
    instance : TaskInstance
        Its paths may be relative to the current directory.
    image : ImageInfo
        One that the engine has.
    engine : EngineOptions
    state : Path
        The state directory.
    circumstances : Circumstances or None
        None: the usual ones.
    """

    instance: TaskInstance
    image: ImageInfo
    engine: EngineOptions
    state: Path
    circumstances: Circumstances | None = None

    def as_text(self) -> str:
        """Write it for a keeper; passwords too, which nobody else gets to see."""
        from lading.contracts.processing.task import BaseConfig  # noqa: PLC0415
        from lading.contracts.processing.taskrun import as_plain  # noqa: PLC0415

        instance = self.instance.model_dump(mode="json", fallback=as_plain)
        if type(self.instance.config) is BaseConfig:
            instance["config"]["type"] = "none"  # without one it would be read as a cluster's
        image = {item.name: getattr(self.image, item.name) for item in fields(self.image)}
        created = self.image.created
        image |= {
            "labels": dict(self.image.labels),
            "env": dict(self.image.env),
            "created": created.isoformat() if created else None,
        }
        told = {
            "instance": instance,
            "image": image,
            "engine": asdict(self.engine),
            "state": str(self.state.absolute()),
            "circumstances": asdict(self.circumstances) if self.circumstances else {},
        }
        return json.dumps(told)

    @classmethod
    def from_text(cls, text: str) -> Job:
        """Read what :meth:`as_text` wrote."""
        from lading.contracts.processing.planning import Circumstances  # noqa: PLC0415
        from lading.contracts.processing.task import TaskInstance  # noqa: PLC0415

        told = json.loads(text)
        return cls(
            TaskInstance.model_validate(told["instance"]),
            _image(told["image"]),
            EngineOptions(**told["engine"]),
            Path(told["state"]),
            Circumstances(**told["circumstances"]),
        )


@dataclass(frozen=True, slots=True)
class Started:
    """A run that goes on by itself.

    Parameters
    ----------
    run : str
        Its id.
    container, container_id : str
        The name and id of its container.
    memory : int or None
        The limit that it got, in bytes.
    notes : tuple of str
        What its user should know.
    """

    run: str
    container: str
    container_id: str
    memory: int | None = None
    notes: tuple[str, ...] = field(default=())


async def launch(job: Job) -> Started:
    """Start a run that does not need its caller any more; returns once its container runs.

    A cancellation ends the run, and is raised once nothing is left of it.

    Raises
    ------
    LadingError
        What :func:`~lading.contracts.processing.planning.plan` and
        :func:`~lading.contracts.processing.runner.run_plan` raise, until the container runs.
    """
    text = await asyncio.to_thread(job.as_text)
    # -P: what lies in the current directory is no module of ours.
    keeper = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "lading.contracts.processing.detached",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, told = await keeper.communicate(text.encode())
    except BaseException:
        await to_the_end(_abandon(keeper))
        raise
    lines = out.decode("utf-8", "replace").splitlines()
    try:
        answer = json.loads(lines[-1])
    except (IndexError, ValueError):
        words = told.decode("utf-8", "replace").strip().splitlines()
        raise LadingError(
            "the process that was to watch the run ended before it had begun: "
            + (words[-1] if words else "it said nothing"),
            fix="try it in the foreground",
        ) from None
    if "kind" in answer:
        raise _as_error(answer)
    return Started(**{**answer, "notes": tuple(answer["notes"])})


async def _abandon(keeper: asyncio.subprocess.Process) -> None:
    """End a keeper that nobody waits for any more, and wait until it is gone."""
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    assert keeper.stderr is not None
    keeper.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(keeper.pid, signal.SIGTERM)
    await asyncio.gather(keeper.stdout.read(), keeper.stderr.read(), keeper.wait())
    with contextlib.suppress(ProcessLookupError):
        while True:  # it may have closed them, as its container ran
            os.killpg(keeper.pid, 0)
            await asyncio.sleep(_LOOK)


def _image(told: dict[str, Any]) -> ImageInfo:
    """Read what :meth:`Job.as_text` wrote of an image."""
    lists = {name: tuple(value) for name, value in told.items() if isinstance(value, list)}
    created = told["created"]
    moment = datetime.fromisoformat(created) if created else None
    return ImageInfo(**{**told, **lists, "created": moment})


def _as_told(error: BaseException) -> dict[str, Any]:
    """Write an error so that :func:`_as_error` makes the same one of it."""
    if isinstance(error, BaseExceptionGroup):
        return _as_told(error.exceptions[0])
    if not isinstance(error, LadingError):
        return _as_told(LadingError(f"unexpected {type(error).__name__}: {error}"))
    return {
        "kind": type(error).__name__,
        "error": error.message,
        "fix": error.fix,
        "exit_code": error.exit_code,
        "fields": {
            name: value
            for name, value in vars(error).items()
            if isinstance(value, _PLAIN)
            or (isinstance(value, list) and all(isinstance(item, str) for item in value))
        },
    }


def _as_error(told: dict[str, Any]) -> LadingError:
    kind = getattr(errors, told["kind"], LadingError)
    error: LadingError = kind.__new__(kind, told["error"])
    vars(error).update(told["fields"])
    return error


# The keeper itself.


def main() -> None:
    """Do what stdin says; for the keeper's own process."""
    text = sys.stdin.read()
    if os.fork():  # so that it is nobody's child, and nobody's zombie in the end
        os._exit(0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    asyncio.run(_Keeper().run(text))


class _Keeper:
    """Runs one job, and tells of its beginning."""

    def __init__(self) -> None:
        self._answered = False

    async def run(self, text: str) -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        try:
            await self._run(Job.from_text(text))
        except asyncio.CancelledError:
            self._answer(_as_told(LadingError("the run was ended before it had begun")))
        except BaseException as error:
            if self._answered and isinstance(error, LadingError | BaseExceptionGroup):
                return  # its record says it
            self._answer(_as_told(error))
            raise

    async def _run(self, job: Job) -> None:
        from lading.contracts.processing.planning import plan  # noqa: PLC0415
        from lading.contracts.processing.runner import run_plan  # noqa: PLC0415
        from lading.engine.discovery import open_engine  # noqa: PLC0415
        from lading.run.ownership import Owner  # noqa: PLC0415
        from lading.run.records import Records, records_path  # noqa: PLC0415

        assert job.circumstances is not None
        async with await open_engine(job.engine) as engine:
            image = job.image
            if not image.reference:  # it may be gone by now
                image = await engine.image(image.id)
            with contextlib.closing(Records(records_path(job.state))) as records:
                owner = Owner.claim(job.state)
                try:
                    planned = await plan(
                        engine, job.instance, image, job.circumstances, labels=owner.labels()
                    )
                    os.chdir("/")  # what it holds, nobody can unmount
                    async with asyncio.TaskGroup() as group:
                        group.create_task(_sweep(engine, job.state, records))
                        await run_plan(
                            engine,
                            planned,
                            owner=owner,
                            records=records,
                            on_start=lambda running: self._started(running, planned.needs.notes),
                        )
                finally:
                    owner.release()

    def _started(self, running: Running, notes: tuple[str, ...]) -> None:
        self._answer(
            {
                "run": running.run_id,
                "container": running.container.name,
                "container_id": running.container.id,
                "memory": running.spec.limits.memory,
                "notes": notes,
            }
        )

    def _answer(self, told: dict[str, Any]) -> None:
        """Tell the caller, once, and let go of what it gave us; it may be gone by now."""
        if self._answered:
            return
        self._answered = True
        with contextlib.suppress(OSError):
            os.write(1, json.dumps(told).encode() + b"\n")
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        os.close(nothing)


async def _sweep(engine: Engine, state: Path, records: Records) -> None:
    """Remove what a crash left behind; the next run tries again what can't be."""
    from lading.run.ownership import sweep  # noqa: PLC0415

    with contextlib.suppress(LadingError):
        await sweep(engine, state, records)


if __name__ == "__main__":
    main()
