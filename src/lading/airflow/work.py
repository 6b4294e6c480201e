"""A task's container on an engine, for the operator and its trigger: begun, followed, ended.

::

    handle = await begin(order)               # in a worker
    ended = await follow(handle, tell)        # there, or in a triggerer

Whatever runs is found again by its labels, of the DAG, the run and the task: a worker may have been
killed before it could tell anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.airflow import kept, pods
from lading.airflow.given import NAMESPACE
from lading.airflow.orders import ATTEMPT_LABEL, Ended, Handle, Identity, Order
from lading.airflow.places import claim
from lading.airflow.registry import pull
from lading.contracts.processing.instances import Changes, find_template
from lading.contracts.processing.placement import placement_of
from lading.engine import State
from lading.engine.discovery import open_engine
from lading.errors import (
    ContainerNotFound,
    EngineUnreachable,
    InputError,
    NamespaceNotFound,
    TimedOut,
)
from lading.run.creation import RUN_LABEL
from lading.run.images import by_name
from lading.run.lines import Lines
from lading.run.ownership import Owner
from lading.settings import EngineOptions, engine_options, state_directory
from lading.units import format_seconds

if TYPE_CHECKING:
    from lading.contracts.processing.instances import Found
    from lading.contracts.processing.task import BaseConfig, TaskInstance
    from lading.engine import ContainerInfo, Engine, ImageInfo

__all__ = ["begin", "clear", "follow", "stop"]

TYPE_LABEL, TYPE = "kaapana.ai/type", "processing-container"
_PATIENCE, _PAUSE = 60.0, 1.0
"""Seconds that a cluster may be away when somebody begins to wait, and between two looks."""
_LAST_LINES = 10.0
"""Seconds that the end of a log may take to come after the end of its container."""


async def begin(order: Order) -> Handle:
    """Start the container of a task, and return once it runs; what earlier tries left is removed.

    Raises
    ------
    InputError
        A channel is not there, a value can't be used, or the data of the run are another DAG's.
    ImageError
        The image can't be had, or is no processing-container.
    EngineError
        The engine refused to start it.
    TimedOut
        It did not run in the time for that.
    """
    try:
        async with asyncio.timeout(order.start_within):
            return await _begin(order)
    except TimeoutError:
        raise TimedOut(
            f"the container of task {order.identity.task} did not run within "
            f"{format_seconds(order.start_within)}",
            seconds=order.start_within,
            fix="raise startup_timeout_seconds, or pull its image before",
        ) from None
    except NamespaceNotFound as error:
        raise NamespaceNotFound(
            error.message,
            status=error.status,
            fix="create it (kubectl create namespace), or name another: for a DAG by engine="
            '"kubernetes://CONTEXT/NAMESPACE", for a run by '
            '{"project_form": {"kubernetes_namespace": "NAMESPACE"}} in its conf; '
            f"without either it is {NAMESPACE}",
        ) from None


async def _begin(order: Order) -> Handle:
    state = state_directory().absolute()
    async with _engine(order.engine, order.namespace) as (engine, options, is_cluster):
        await _claim(order, is_cluster)
        found_running = await clear(engine, order.identity, adopt=order.adopt)
        task = order.task.model_copy(update={"config": _config(order, options, is_cluster)})
        near = engine.placed(placement_of(task.config))

        async def fetch(name: str) -> ImageInfo:
            if is_cluster and not isinstance(task.taskTemplate, str):
                return by_name(name)  # nothing is read from it, and to look takes a pod
            return await pull(near, options, name, None if is_cluster else order.login)

        async with _owner(state) as owner:
            offered = await find_template(
                engine, task, fetch=fetch, state=state, labels=owner.labels()
            )
        order.check(offered.template)
        outputs = {
            item.name: order.folder / item.name / order.index for item in offered.template.outputs
        }
        places = pods.volume if is_cluster else kept.directory
        changes = Changes(
            inputs={
                name: places(order.input_roots.get(name, order.root), path)
                for name, path in order.inputs.items()
            },
            outputs={name: places(order.root, path) for name, path in outputs.items()},
        )
        found = offered.put_together(task, changes)
        for warning in found.warnings:
            order.tell(f"warning: {warning}")
        await asyncio.to_thread(_check_inputs, order)
        if found_running is not None:
            order.tell(f"container {found_running.name} of this try runs already: it is kept")
            return await asyncio.to_thread(_adopted, order, found, found_running, options)
        for path in outputs.values():
            await asyncio.to_thread(_remove, path)
        if is_cluster:
            await asyncio.to_thread(pods.make, order.root, outputs.values())
            pod = await pods.start(engine, order, found)
            order.tell(f"pod {pod.name} runs")
            return _handle(order, found.instance, options, pod.id)
        started = await kept.start(order, found, options, state)
        for note in started.notes:
            order.tell(f"warning: {note}")
        order.tell(f"container {started.container} runs, run {started.run}")
        return _handle(
            order, found.instance, options, started.container_id, run=started.run, state=str(state)
        )


async def follow(handle: Handle, tell: Callable[[str], None]) -> Ended:
    """Wait until a task has ended, and tell every line that it prints.

    When its time is up it is ended. Nothing of it is left then.

    Parameters
    ----------
    tell : callable
        Told of each line, from the first one on.
    """
    left = None if handle.deadline is None else max(handle.deadline - time.time(), 0.0)
    lines = Lines(tell)
    async with _engine_of(handle) as engine:
        logs = asyncio.create_task(_tell_log(engine, handle, lines), name="log")
        try:
            async with asyncio.timeout(left):
                ended = await _wait(engine, handle)
        except TimeoutError:
            await stop(handle)
            ended = Ended(137, timed_out=True, why="its time was up")
        else:
            await asyncio.wait({logs}, timeout=_LAST_LINES)
        finally:
            logs.cancel()
            await asyncio.wait({logs})
            lines.end()
        if not logs.cancelled() and (error := logs.exception()) is not None:
            tell(f"warning: the rest of its log could not be read: {error}")
        if handle.mode == "k8s" and engine is not None:
            await pods.finish(engine, handle)
    return ended


async def stop(handle: Handle) -> None:
    """End what runs and remove it; nothing happens if it is gone."""
    async with _engine_of(handle) as engine:
        if engine is None:
            raise EngineUnreachable("the container engine does not answer", fix="start it")
        with contextlib.suppress(ContainerNotFound):
            await kept.end(engine, await (await engine.container(handle.container)).inspect())


async def clear(engine: Engine, identity: Identity, *, adopt: bool = False) -> ContainerInfo | None:
    """End and remove every container of a task of a DAG run, of whichever try.

    Parameters
    ----------
    adopt : bool
        Leave one that runs and is of this same try.

    Returns
    -------
    ContainerInfo or None
        That one.
    """
    left: ContainerInfo | None = None
    for info in await engine.containers(identity.selector()):
        is_ours = info.labels.get(ATTEMPT_LABEL) == str(identity.attempt)
        if adopt and left is None and is_ours and info.state is State.RUNNING:
            left = info
        else:
            await kept.end(engine, info)
    return left


async def clear_all(order_engine: str, namespace: str, identity: Identity) -> None:
    """Do :func:`clear` with nothing but what the operator knows."""
    async with _engine(order_engine, namespace) as (engine, _, _):
        await clear(engine, identity)


# Engines.


@contextlib.asynccontextmanager
async def _engine(wanted: str, namespace: str) -> AsyncIterator[tuple[Engine, EngineOptions, bool]]:
    """Open an engine; a cluster in the namespace of the DAG run.

    With the options that find the same one from other processes.
    """
    options = engine_options({"engine": wanted} if wanted else None)
    if address := pods.address(options.engine, namespace):
        options = replace(options, engine=address)
    async with await open_engine(options) as engine:
        info = await engine.info()
        is_cluster = info.kind == "kubernetes"
        yield engine, replace(options, engine=info.address), is_cluster


@contextlib.asynccontextmanager
async def _engine_of(handle: Handle) -> AsyncIterator[Engine | None]:
    """Open the engine on which something runs; None where it is away.

    What a keeper watches needs none to be waited for; a cluster is given a minute to answer.
    """
    patience = 0.0 if handle.mode == "docker" else _PATIENCE
    deadline = time.monotonic() + patience
    while True:
        try:
            engine = await open_engine(EngineOptions(**handle.engine))
        except EngineUnreachable:
            if time.monotonic() >= deadline:
                yield None
                return
            await asyncio.sleep(_PAUSE)
        else:
            break
    async with engine:
        yield engine


@contextlib.asynccontextmanager
async def _owner(state: Path) -> AsyncIterator[Owner]:
    owner = await asyncio.to_thread(Owner.claim, state)
    try:
        yield owner
    finally:
        await asyncio.to_thread(owner.release)


# What runs.


def _config(order: Order, options: EngineOptions, is_cluster: bool) -> BaseConfig:
    """Say how the task is run; what a run's conf has of that counts."""
    from lading.contracts.processing.task import DockerConfig, K8sConfig  # noqa: PLC0415

    given = order.task.config
    said = given.model_dump(exclude_unset=True) if given is not None else {}
    labels = {TYPE_LABEL: TYPE, **order.labels, **(said.pop("labels", None) or {})}
    labels |= order.identity.labels()  # by these it is found again
    if not is_cluster:
        return DockerConfig(labels=labels)
    login = order.login
    ours: dict[str, Any] = {
        "namespace": options.engine.rpartition("/")[2],
        "annotations": dict(order.annotations),
        "registryUrl": login.url if login is not None else None,
        "registryUsername": login.username if login is not None else None,
        "registryPassword": login.password if login is not None else None,
    }
    return K8sConfig(**{**ours, **said, "type": "k8s", "labels": labels})


async def _wait(engine: Engine | None, handle: Handle) -> Ended:
    if handle.mode == "k8s":
        return await pods.wait(engine, handle)
    return await kept.wait(engine, handle)


async def _tell_log(engine: Engine | None, handle: Handle, lines: Lines) -> None:
    read = pods.log if handle.mode == "k8s" else kept.log
    async for chunk in read(engine, handle):
        lines.add(chunk)


def _handle(
    order: Order,
    instance: TaskInstance,
    options: EngineOptions,
    container: str,
    *,
    run: str = "",
    state: str = "",
) -> Handle:
    mode = "docker" if state else "k8s"
    return Handle(
        engine=asdict(options),
        mode=mode,
        container=container,
        run=run,
        state=state,
        deadline=None if order.time_limit is None else time.time() + order.time_limit,
        task_run=_task_run(instance, container, mode),
    )


def _adopted(
    order: Order,
    found: Found,
    info: ContainerInfo,
    options: EngineOptions,
) -> Handle:
    """Take over what runs; where nobody of this machine keeps it, it is a pod."""
    state = str(kept.state_of(info.labels) or "")
    run = info.labels.get(RUN_LABEL, "") if state else ""
    return _handle(order, found.instance, options, info.id, run=run, state=state)


def _task_run(instance: TaskInstance, container: str, mode: str) -> dict[str, Any]:
    """Write a task run as JSON; a password for a registry is left out."""
    from lading.contracts.processing.task import TaskRun  # noqa: PLC0415

    run = TaskRun(
        **{name: getattr(instance, name) for name in type(instance).model_fields},
        id=container,
        mode=mode,
    )
    return run.model_dump(mode="json", exclude={"config": {"registryPassword"}})


# Directories.


async def _claim(order: Order, is_cluster: bool) -> None:
    """See that the data of this run are this DAG's, before anything of it is touched."""
    if is_cluster and not await asyncio.to_thread(order.root.is_dir):
        return  # the node's, and not seen from this worker, which removes nothing there
    if why := await asyncio.to_thread(claim, order.folder.parent, order.identity.dag):
        order.tell(f"warning: {why}")


def _check_inputs(order: Order) -> None:
    for name, path in order.inputs.items():
        if not path.is_dir():
            raise InputError(
                f"input channel {name!r} of task {order.identity.task}",
                f"{path} is not there, or not seen from this worker",
                fix="clear the upstream task of this DAG run, and see that DATADIR is the same "
                "directory on every worker",
            )


def _remove(path: Path) -> None:
    """Remove what an earlier try left in an output channel."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InputError(
            str(path),
            f"what an earlier try left there can't be removed: {error.strerror} ({error.filename})",
            fix="remove it as its owner, and clear the task",
        ) from None
