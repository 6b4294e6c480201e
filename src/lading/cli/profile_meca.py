"""``lading profile`` of a task folder: the smallest limits under which its example passes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.cli import failures, loop, printing
from lading.cli.images import sweep_quietly
from lading.cli.run_meca import image_of
from lading.cli.run_options import RunOptions, pairs, positive
from lading.cli.test_meca import Judge, job_of_example, read_example
from lading.cli.test_shown import line
from lading.contracts.meca.folder import CONFIG, TaskFolder
from lading.errors import InputError
from lading.folders.rewriting import check_writable
from lading.settings import EngineOptions, state_directory
from lading.units import format_bytes, format_cores, format_seconds, to_mebibytes

if TYPE_CHECKING:
    from lading.cli.profile import ProfileOptions
    from lading.contracts.meca.sizing import Sizing, Wish
    from lading.engine import Engine
    from lading.run.ownership import Owner
    from lading.run.records import Records

__all__ = ["Ordered", "run_profile"]

_HOST_SHARE = 0.8
"""Of the host's memory: as much as an executor gives to tasks."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """What ``lading profile`` is asked to do with a folder.

    Parameters
    ----------
    folder : Path
    options : RunOptions
    own : ProfileOptions
    engine : EngineOptions
    as_json : bool
    repeat : int or None
        None where nobody said it.
    """

    folder: Path
    options: RunOptions
    own: ProfileOptions
    engine: EngineOptions
    as_json: bool
    repeat: int | None


def run_profile(order: Ordered) -> None:
    """Find the smallest limits of a folder's task, and write them down if that is wanted.

    Raises
    ------
    RunError
        Its example fails under all limits.
    """
    _check(order)
    folder = read_example(order.folder)
    if order.own.write:
        check_writable(folder.path / CONFIG)
    found = loop.run(lambda _signals: _run(order, folder))
    if order.own.write:
        from lading.contracts.meca.configuring import write_limits  # noqa: PLC0415

        write_limits(folder.path, found.limits)
    if order.as_json:
        printing.json(_as_json(folder, found, written=order.own.write))
    else:
        _show(order, folder, found)


def _check(order: Ordered) -> None:
    own = order.own
    if not 1 <= own.slower < float("inf"):
        raise InputError("--slower", f"must be a factor from 1 on, not {own.slower:g}")
    if not 0 <= own.margin <= 1000:
        raise InputError("--margin", f"must be percent, from 0 to 1000, not {own.margin:g}")
    if order.repeat is not None and not 1 <= order.repeat <= 1000:
        raise InputError("--repeat", f"must be from 1 to 1000, not {order.repeat}")
    positive("--timeout", order.options.timeout)
    positive("--start-timeout", order.options.start_timeout)


async def _run(order: Ordered, folder: TaskFolder) -> Sizing:
    from lading.cli.run_processing import ours  # noqa: PLC0415
    from lading.contracts.processing.measure.profiling import refuse_cluster  # noqa: PLC0415
    from lading.engine.discovery import open_engine  # noqa: PLC0415

    state = state_directory()
    async with await open_engine(order.engine) as engine:
        refuse_cluster(await engine.info())
        with ours(state) as us:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(sweep_quietly(engine, state, us[1]))
                    return await _find(engine, order, folder, us)
            except BaseExceptionGroup as errors:
                raise failures.first(errors) from errors
    raise AssertionError  # a group that swallows nothing


async def _find(
    engine: Engine, order: Ordered, folder: TaskFolder, us: tuple[Owner, Records]
) -> Sizing:
    from lading.contracts.meca.sizing import find_limits, in_containers  # noqa: PLC0415

    args = pairs("--build-arg", "KEY=VALUE", order.options.build_arg)
    image = await image_of(engine, folder, order.options, args)
    run = in_containers(
        engine,
        job_of_example(folder, image, order.options),
        Judge(folder),
        owner=us[0],
        records=us[1],
    )
    wish = await _wish(engine, order, folder)
    return await find_limits(run, folder.limits, wish, told=lambda one: printing.note(str(one)))


async def _wish(engine: Engine, order: Ordered, folder: TaskFolder) -> Wish:
    from lading.contracts.meca.sizing import Wish  # noqa: PLC0415

    info = await engine.info()
    most = replace(
        folder.limits,
        cpus=max(float(info.cpus), folder.limits.cpus),
        memory=max(int(info.memory * _HOST_SHARE), folder.limits.memory),
    )
    wish = Wish(most, order.own.slower, order.own.margin / 100)
    return wish if order.repeat is None else replace(wish, repeat=order.repeat)


def _show(order: Ordered, folder: TaskFolder, found: Sizing) -> None:
    from lading.contracts.meca.sizing import in_cores  # noqa: PLC0415

    base, now = found.base, found.declared
    line("memory", f"{format_bytes(found.memory)}: the least that passed is "
         f"{format_bytes(found.smallest_memory)}, and {order.own.margin:g} % of margin; declared "
         f"are {format_bytes(now.memory)}")  # fmt: skip
    line("cores", f"{format_cores(found.cpus)}: the fewest, in tenths, that are not more than "
         f"{order.own.slower:g} times as slow; declared are {format_cores(now.cpus)}")  # fmt: skip
    limits = f"{format_bytes(base.limits.memory)} and {in_cores(base.limits.cpus)}"
    line("measured by", f"ready in {format_seconds(base.start_seconds)}, answered in "
         f"{format_seconds(base.call_seconds)}, memory {format_bytes(base.memory_peak)} with page "
         f"cache, under {limits}")  # fmt: skip
    line("runs", str(len(found.probes)))
    for note in found.notes:
        line("note", note)
    resource = f'"cpu": {found.cpus:g}, "mem": {to_mebibytes(found.memory)}'
    if order.own.write:
        line("written", f"{folder.path / CONFIG}: {resource}")
    else:
        line("suggested", f"{resource}; --write puts it into {CONFIG}")


def _as_json(folder: TaskFolder, found: Sizing, *, written: bool) -> dict[str, Any]:
    base = found.base
    return {
        "task": folder.name,
        "contract": "meca",
        "cpus": found.cpus,
        "memory": found.memory,
        "smallest_memory": found.smallest_memory,
        "declared_cpus": found.declared.cpus,
        "declared_memory": found.declared.memory,
        "start_seconds": round(base.start_seconds, 6),
        "call_seconds": round(base.call_seconds, 6),
        "memory_peak": base.memory_peak,
        "written": written,
        "notes": found.notes,
        "runs": [
            {
                "cpus": probe.limits.cpus,
                "memory_limit": probe.limits.memory,
                "passed": probe.passed,
                "slow": probe.slow,
                "error": probe.error.message if probe.error is not None else "",
                "start_seconds": round(probe.start_seconds, 6),
                "call_seconds": round(probe.call_seconds, 6),
                "memory_peak": probe.memory_peak,
            }
            for probe in found.probes
        ],
    }
