"""What ``lading doctor`` looks at, one function for each."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lading.cli.targets import ours, owner_is_dead
from lading.contracts.meca import EXECUTOR_PORT
from lading.engine.discovery import candidates, open_engine
from lading.errors import LadingError, how_to_install
from lading.host.gpus import inventory
from lading.http1 import open_tcp
from lading.run.records import Records, records_path
from lading.settings import EngineOptions, state_directory
from lading.units import format_bytes

if TYPE_CHECKING:
    from lading.engine import Engine, EngineInfo

__all__ = ["Check", "examine"]

OK, WARN, FAIL = "ok", "warn", "fail"

SGX_DEVICE, AESM_SOCKET = Path("/dev/sgx_enclave"), Path("/var/run/aesmd/aesm.socket")
_CLUSTERS = ("kubernetes", "k8s")
_STRONGER = ("kata", "runsc")
_SERVE_NEEDS = ("fastapi", "uvicorn", "prometheus_client")
_LITTLE, _TOO_LITTLE = 2 << 30, 200 << 20
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_HEALTH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """What was found about one thing.

    Parameters
    ----------
    name : str
    mark : str
        ``ok``; ``warn``: something that tasks may ask for doesn't work; ``fail``: tasks can't be
        served.
    text : str
        What works or what doesn't, and why.
    fix : str
        What to do.
    """

    name: str
    mark: str
    text: str
    fix: str = ""


async def examine(options: EngineOptions) -> AsyncIterator[Check]:
    """Look at everything that serving tasks needs, and tell as it is found."""
    try:
        engine = await open_engine(options)
    except LadingError as error:
        yield Check("engine", FAIL, error.message, error.fix)
        if not options.engine.startswith(_CLUSTERS):
            yield await asyncio.to_thread(_gpus, None)
    else:
        async with engine:
            async for check in _of_engine(engine, options):
                yield check
    there = options.engine.startswith(_CLUSTERS)  # whose nodes are not this machine
    if not there:
        yield await asyncio.to_thread(_sgx)
    yield await asyncio.to_thread(_records)
    if not there:
        place = Path("/var/lib")
        yield await asyncio.to_thread(_disk, place, "images", "where engines keep images")
    yield await _port()
    yield await asyncio.to_thread(_parts)
    yield await asyncio.to_thread(_clock)


async def _of_engine(engine: Engine, options: EngineOptions) -> AsyncIterator[Check]:
    try:
        info = await engine.info()
    except LadingError as error:
        yield Check("engine", FAIL, error.message, error.fix)
        return
    if info.cluster:
        yield _cluster(info)
    else:
        yield await asyncio.to_thread(_engine, info, options)
    for warning in info.warnings:
        yield Check("engine", WARN, warning)
    if info.cluster:
        yield await asyncio.to_thread(_streams)
        yield _files(info)
        yield _classes(info)
        yield _gpus_of_nodes(info)
    else:
        yield _cgroups(info)
        yield _runtimes(info)
        yield _sealed(info)
        yield await asyncio.to_thread(_gpus, info)
    try:
        yield await _leftovers(engine)
    except LadingError as error:
        yield Check("leftovers", FAIL, error.message, error.fix)


def _engine(info: EngineInfo, options: EngineOptions) -> Check:
    source = next(
        (item.source for item in candidates(options) if item.address == info.address), "search"
    )
    rights = "without root" if info.rootless else "as root"
    return Check(
        "engine",
        OK,
        f"{info.kind} {info.version} (API {info.api_version}) at {info.address}, "
        f"found by {source}; runs {rights}, {info.cpus} cores, {format_bytes(info.memory)}",
    )


def _cluster(info: EngineInfo) -> Check:
    nodes = "unknown: nodes may not be listed, and no quota says it"
    cores = f"{info.cpus} cores" if info.cpus else f"cores {nodes}"
    memory = format_bytes(info.memory) if info.memory else f"memory {nodes}"
    room = f"{cores}, {memory}" if info.cpus or info.memory else f"cores and memory {nodes}"
    return Check("engine", OK, f"Kubernetes {info.version} at {info.address}; {room}")


def _streams() -> Check:
    if find_spec("websockets") is not None:
        return Check("websockets", OK, "files can be copied to pods and back, their ports called")
    return Check(
        "websockets",
        WARN,
        "not installed: no file can be copied to a pod or back, and none of its ports be called "
        "from outside the cluster",
        how_to_install("kubernetes"),
    )


def _files(info: EngineInfo) -> Check:
    if "/" in info.shared:
        return Check("files", OK, "every directory is the nodes' own, under the same path")
    shared = f"on the cluster's volumes: {', '.join(info.shared)}; others " if info.shared else ""
    return Check(
        "files",
        OK,
        f"{shared}copied there and back by {info.helper}, which nodes must be able to pull "
        "(--cluster-helper names another)",
    )


def _classes(info: EngineInfo) -> Check:
    text = "no runtime class may be seen"
    if info.runtimes:
        text = f"runtime classes: {', '.join(info.runtimes)}"
    if stronger := _stronger(info):
        return Check("runtimes", OK, f"{text}; for microVM: {', '.join(stronger)}")
    return Check(
        "runtimes",
        WARN,
        f'{text}; none for requests with "runtime": "microVM"',
        "have a RuntimeClass of Kata Containers or gVisor (runsc) made if tasks need it",
    )


def _stronger(info: EngineInfo) -> list[str]:
    return [name for name in info.runtimes if any(kind in name.lower() for kind in _STRONGER)]


def _gpus_of_nodes(info: EngineInfo) -> Check:
    if not info.gpu_driver:
        return Check("GPUs", OK, "none: no node offers any")
    return Check("GPUs", OK, "nodes offer some, or nobody may say that they don't")


def _cgroups(info: EngineInfo) -> Check:
    if info.cgroup_version == 0:
        return Check(
            "limits", WARN, "the engine does not say which control groups it has",
            "check that a task's limits hold: lading run IMAGE --memory 32Mi",
        )  # fmt: skip
    if info.rootless and info.cgroup_version == 1:
        return Check(
            "limits", FAIL, "an engine without root can set no limits with control groups 1",
            "boot the host with control groups 2, or use an engine that runs as root",
        )  # fmt: skip
    return Check("limits", OK, f"memory and CPU limits by control groups {info.cgroup_version}")


def _runtimes(info: EngineInfo) -> Check:
    known = ", ".join(info.runtimes) or info.default_runtime
    stronger = _stronger(info)
    text = f"default {info.default_runtime}; registered: {known}"
    if stronger:
        return Check("runtimes", OK, f"{text}; for microVM: {', '.join(stronger)}")
    return Check(
        "runtimes",
        WARN,
        f'{text}; none for requests with "runtime": "microVM"',
        "register Kata Containers or gVisor (runsc) with the engine if tasks need it",
    )


def _sealed(info: EngineInfo) -> Check:
    if info.local:
        return Check("sealed tasks", OK, "tasks can be served without any network of their own")
    if not info.address.startswith("unix:"):
        why = "the engine is reached over the network, so its containers may be elsewhere"
    elif os.geteuid() != 0:
        why = "that needs root, and this user is not"
    else:
        why = "the engine's containers are not processes that can be seen from here"
    return Check(
        "sealed tasks",
        WARN,
        f"{why}: tasks are reached over a closed bridge instead",
        "run Lading as root on the engine's own host to seal them fully and start them faster",
    )


def _gpus(info: EngineInfo | None) -> Check:
    found = inventory()
    if not found.gpus:
        return Check("GPUs", OK, f"none: {found.reason}")
    names = ", ".join(f"{gpu.model} ({format_bytes(gpu.memory)})" for gpu in found.gpus)
    text = f"{len(found.gpus)}: {names}"
    if info is not None and not info.gpu_driver:
        return Check(
            "GPUs", WARN, f"{text}; but the engine has no driver to hand them out",
            "install the NVIDIA container toolkit",
        )  # fmt: skip
    return Check("GPUs", OK, text)


def _sgx() -> Check:
    device, service = SGX_DEVICE.exists(), AESM_SOCKET.exists()
    if device and service:
        return Check("SGX", OK, f"{SGX_DEVICE} and the AESM service are here")
    if device:
        return Check(
            "SGX", WARN, f"{SGX_DEVICE} is here, but no AESM service at {AESM_SOCKET}",
            "start aesmd (package sgx-aesm-service)",
        )  # fmt: skip
    return Check("SGX", OK, f"no {SGX_DEVICE}: tasks that need an enclave are refused")


def _records() -> Check:
    state = state_directory()
    try:
        with contextlib.closing(Records(records_path(state))):
            pass
        handle = state / f".doctor-{os.getpid()}"
        handle.touch()
        handle.unlink()
    except LadingError as error:
        return Check("records", FAIL, error.message, error.fix)
    except OSError as error:
        return Check(
            "records", FAIL, f"{state} is not writable: {error.strerror}", "set LADING_STATE"
        )
    return _disk(state, "records", "for records")


def _disk(path: Path, name: str, purpose: str) -> Check:
    try:
        free = shutil.disk_usage(path).free
    except OSError as error:
        return Check(name, WARN, f"{path}: {error.strerror}")
    text = f"{format_bytes(free)} free {purpose} ({path})"
    if free < _TOO_LITTLE:
        return Check(name, FAIL, text, "make room")
    return Check(name, WARN if free < _LITTLE else OK, text, "make room" if free < _LITTLE else "")


async def _leftovers(engine: Engine) -> Check:
    containers = await ours(engine)
    dead = [info.name for info in containers if await asyncio.to_thread(owner_is_dead, info)]
    if dead:
        return Check(
            "leftovers",
            WARN,
            f"containers whose process died: {', '.join(dead)}",
            "the next start removes them, or `lading rm --all`",
        )
    return Check("leftovers", OK, f"none; {len(containers)} containers are watched")


async def _port() -> Check:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", EXECUTOR_PORT))
        except OSError as error:
            taken = error
        else:
            return Check("port", OK, f"{EXECUTOR_PORT} is free")
    if await _executor_answers():
        return Check("port", OK, f"an executor serves on {EXECUTOR_PORT} already")
    return Check(
        "port",
        WARN,
        f"{EXECUTOR_PORT} is taken ({taken.strerror}), and not by an executor",
        f"see who has it (ss -ltnp), or choose another: lading serve --listen "
        f"127.0.0.1:{EXECUTOR_PORT + 1}",
    )


async def _executor_answers() -> bool:
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_HEALTH_SECONDS):
            connection = await open_tcp("127.0.0.1", EXECUTOR_PORT)
            try:
                reply = await connection.send("GET", "/health", (("host", "localhost"),))
                return reply.status in (200, 401)
            finally:
                connection.close()
    return False


def _parts() -> Check:
    missing = [name for name in _SERVE_NEEDS if find_spec(name) is None]
    if missing:
        return Check("serve", FAIL, f"not installed: {', '.join(missing)}", how_to_install("serve"))
    return Check("serve", OK, "all that `lading serve` needs is installed")


def _clock() -> Check:
    now = time.time()
    shown = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    built = Path(__file__).stat().st_mtime
    if now < built - 86_400:
        return Check(
            "clock", WARN, f"{shown} lies before Lading was installed",
            "set the clock: certificates and attestations will seem invalid",
        )  # fmt: skip
    synchronised = "" if _synchronised() else "; the kernel does not know it to be synchronised"
    return Check("clock", OK, f"{shown}{synchronised}")


def _synchronised() -> bool:
    try:
        # struct timex is 208 bytes on 64-bit Linux; all zeros only reads.
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (AttributeError, OSError):
        return False
    return 0 <= int(state) < _TIME_ERROR
