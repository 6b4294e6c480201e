"""Runs on a cluster: a pod that nobody has to watch, as a worker ends when its task is deferred.

Its data are directories of the node, as in the original; what it prints and how it ended are read
from the cluster, by whoever waits for it, and then it is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.airflow.given import NAMESPACE
from lading.airflow.orders import Ended, Handle
from lading.contracts.processing import CONTRACT
from lading.contracts.processing.planning import Circumstances, plan
from lading.engine.shield import to_the_end
from lading.errors import ContainerNotFound, EngineUnreachable, RunError
from lading.run.creation import CONTRACT_LABEL, RUN_LABEL, TASK_LABEL, create, remove
from lading.run.ending import explain_exit

if TYPE_CHECKING:
    from lading.airflow.orders import Order
    from lading.contracts.processing.instances import Found
    from lading.engine import Container, Engine, LogChunk

__all__ = ["address", "finish", "log", "make", "start", "volume", "wait"]

_SCHEME = "kubernetes://"
_KILLED = 137
_OPEN, _CLOSED = 0o777, 0o755


def address(engine: str, namespace: str) -> str:
    """Return the address of a cluster in a namespace; empty for an engine that is none.

    Parameters
    ----------
    engine : str
        As ``--engine`` takes it.
    namespace : str
        The one that the DAG run names; empty: that of the address, or the usual one.
    """
    if engine in ("kubernetes", "k8s"):
        return f"{_SCHEME}/{namespace or NAMESPACE}"
    if not engine.startswith(_SCHEME):
        return ""
    context, _, named = engine.removeprefix(_SCHEME).rpartition("/")
    if "/" not in engine.removeprefix(_SCHEME):
        context, named = named, ""
    return f"{_SCHEME}{context}/{namespace or named or NAMESPACE}"


def volume(root: Path, path: Path) -> dict[str, Any]:
    """Say what a channel is: a directory below one of the node.

    A path of its own can't always be: ids of DAG runs have colons, which some container runtimes
    take for the end of a path.
    """
    source = {"path": str(root), "type": "DirectoryOrCreate"}
    return {"hostPath": source, "subPath": str(path.relative_to(root))}


def make(root: Path, outputs: Iterable[Path]) -> None:
    """Make the directories of output channels, where this machine sees those of the node; blocks.

    Whoever the image's programs run as may write there, until :func:`finish`.
    """
    if not root.is_dir():
        return  # made on the node, for root
    for path in outputs:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(_OPEN)


async def start(engine: Engine, order: Order, found: Found) -> Container:
    """Start a pod, and return once its container runs; it goes on by itself."""
    planned = await plan(
        engine,
        found.instance,
        found.image,
        Circumstances(node_paths=True),
        labels=order.identity.labels(),
        on_wait=order.tell,
    )
    labels = {
        RUN_LABEL: planned.run_id,
        CONTRACT_LABEL: CONTRACT,
        TASK_LABEL: found.instance.name,
    }
    spec = replace(planned.container_spec(labels), name=f"lading-{planned.run_id}")
    for note in planned.needs.notes:
        order.tell(f"warning: {note}")
    container = await create(engine, spec, planned.run_id)
    try:
        await container.start(lambda why: order.tell(f"waiting: {why}") if why else None)
    except BaseException:
        await to_the_end(remove(container))
        raise
    return container


async def wait(engine: Engine | None, handle: Handle) -> Ended:
    """Wait until a pod has ended.

    Raises
    ------
    EngineUnreachable
        The cluster does not answer.
    """
    task = str(handle.task_run.get("name", ""))
    try:
        container = await _container(engine, handle)
        limits = (await container.inspect()).limits
        end = await container.wait()
    except ContainerNotFound:
        why = f"{task}: its pod {handle.container} was deleted while it ran"
        return Ended(RunError.exit_code, why=f"{why}; see who deletes pods in its namespace")
    if not end.code and not end.out_of_memory:
        return Ended(0)
    error = explain_exit(end, task=task, limits=limits, peak=0, logs="", ready=True)
    code = _KILLED if end.out_of_memory and end.code else end.code
    return Ended(code, end.out_of_memory, why=str(error))


async def log(engine: Engine | None, handle: Handle) -> AsyncIterator[LogChunk]:
    """Read all that a pod prints, until it ends."""
    with contextlib.suppress(ContainerNotFound):
        container = await _container(engine, handle)
        async for chunk in container.logs(follow=True):
            yield chunk


async def finish(engine: Engine, handle: Handle) -> None:
    """Remove a pod that has ended, and let nobody else write to its outputs any more."""
    with contextlib.suppress(ContainerNotFound):
        await remove(await engine.container(handle.container))
    await asyncio.to_thread(_close, handle)


def _close(handle: Handle) -> None:
    for channel in handle.task_run.get("outputs") or ():
        source = channel["volume_source"]
        path = Path(source["hostPath"]["path"], source["subPath"])
        with contextlib.suppress(OSError):  # not seen from here
            path.chmod(_CLOSED)


async def _container(engine: Engine | None, handle: Handle) -> Container:
    if engine is None:
        raise EngineUnreachable("the cluster does not answer", fix="see that it runs")
    return await engine.container(handle.container)
