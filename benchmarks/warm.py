"""What a call to a warm task costs: latency at one connection, and throughput at sixteen."""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks.docker_api import PORT, address_of, request_bytes
from benchmarks.executor import Executor, free_port, server
from benchmarks.figures import Figure
from benchmarks.load import Load, Target
from benchmarks.setting import Setting

__all__ = ["warm_figures"]

INPUT = '{"name": "hello"}'
CPUS, MEMORY_MIB = 1.0, 128
_FLAGS = ("--cpu", "2", "--mem", "2048", "--queue", "100")

Targets = dict[str, Target]


def warm_figures(setting: Setting, wanted: set[str]) -> Iterator[Figure]:
    """Measure both, or the one that is wanted."""
    with contextlib.ExitStack() as stack:
        executor = stack.enter_context(setting.executor(*_FLAGS))
        targets = _targets(setting, executor, stack)
        if executor.ours:
            free = stack.enter_context(setting.executor(*_FLAGS, "--market", "none"))
            free.execute(_task(setting))
            targets["free"] = replace(targets["executor"], name="free", port=free.port)
        if "added" in wanted:
            yield _added(setting, targets)
        if "throughput" in wanted:
            yield _throughput(setting, targets)


def _targets(setting: Setting, executor: Executor, stack: contextlib.ExitStack) -> Targets:
    task = _task(setting)
    before = {item["Id"] for item in _running(setting)}
    answer = executor.execute(task)
    name = answer.headers.get("x-lading-container") or _new(setting, before)
    wrapped = request_bytes(json.dumps(task).encode(), "localhost")
    plain = request_bytes(INPUT.encode())
    found = setting.note_owner(executor, name)
    address, namespace = address_of(found), f"/proc/{found['State']['Pid']}/ns/net"
    direct = (
        Target("direct", address, PORT, plain, "hello")
        if address
        else Target("direct", "127.0.0.1", PORT, plain, "hello", namespace)
    )
    route = "" if address else f"pid:{found['State']['Pid']}:{PORT}"
    bridged = stack.enter_context(
        setting.container(network=setting.network, cpus=CPUS, memory_mib=MEMORY_MIB)
    )
    proxy = _serve(stack, "bare_proxy", {"BENCH_TASK": route or f"{address}:{PORT}"})
    nothing = _serve(stack, "do_nothing", {})
    return {
        "executor": Target("executor", executor.address, executor.port, wrapped, "hello"),
        "direct": direct,
        "bridge": Target("bridge", bridged.address, PORT, plain, "hello"),
        "proxy": Target("proxy", "127.0.0.1", proxy, wrapped, "hello"),
        "nothing": Target("nothing", "127.0.0.1", nothing, wrapped, "hello"),
    }


def _task(setting: Setting) -> dict[str, Any]:
    return {
        "id": setting.image,
        "resource": {"cpu": CPUS, "mem": MEMORY_MIB},
        "input": INPUT,
    }


def _serve(stack: contextlib.ExitStack, app: str, env: dict[str, str]) -> int:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.{app}:app", "--port", str(port)]
    command += ["--http", "httptools", "--loop", "uvloop", "--lifespan", "off"]
    command += ["--no-access-log", "--log-level", "warning"]
    stack.enter_context(server(command, port, env))
    return port


def _running(setting: Setting) -> list[dict[str, str]]:
    found: list[dict[str, str]] = setting.api.call("GET", "/containers/json")
    return found


def _new(setting: Setting, before: set[str]) -> str:
    """The container that another executor has just made, by the contract's name for it."""
    for item in _running(setting):
        if item["Id"] not in before and "mecanywhere_" in str(item["Names"]):
            return item["Id"]
    return next(item["Id"] for item in _running(setting) if "mecanywhere_" in str(item["Names"]))


def _added(setting: Setting, targets: Targets) -> Figure:
    names = [name for name in ("executor", "free", "direct", "bridge", "proxy") if name in targets]
    blocks: dict[str, list[Load]] = {name: [] for name in names}
    for number in range(setting.rounds(30, 6)):
        setting.say(f"added: block {number + 1}")
        for name in names if number % 2 else names[::-1]:
            found = setting.measure(targets[name], replies=300, warm_up=30)
            blocks[name].append(found)

    def added(name: str, to: str) -> float:
        pairs = zip(blocks[name], blocks[to], strict=True)
        return statistics.median(one.p50_us - other.p50_us for one, other in pairs) / 1000

    parts = {
        f"{name}, p50, ms": statistics.median(block.p50_us for block in blocks[name]) / 1000
        for name in names
    }
    parts |= {
        f"{name}, p99, ms": statistics.median(block.p99_us for block in blocks[name]) / 1000
        for name in ("executor", "proxy")
    }
    parts["added to a direct call over a bridge, ms"] = added("executor", "bridge")
    parts["added by the bare proxy, ms"] = added("proxy", "direct")
    if "free" in targets:
        parts["added without a ledger, ms"] = added("free", "direct")
    return Figure("added", added("executor", "direct"), parts=parts)


def _throughput(setting: Setting, targets: Targets) -> Figure:
    names = [name for name in ("nothing", "executor", "free", "proxy") if name in targets]
    rates: dict[str, list[float]] = {name: [] for name in names}
    seconds = 2.0 if not setting.quick else 1.0
    for name in names:  # the pool grows, and connections open, before anything counts
        setting.measure(targets[name], connections=16, seconds=seconds)
    for number in range(setting.rounds(7, 3)):
        setting.say(f"throughput: round {number + 1}")
        for name in names if number % 2 else names[::-1]:
            found = setting.measure(targets[name], connections=16, seconds=seconds, warm_up=200)
            rates[name].append(found.rate)

    def share(name: str) -> float:
        pairs = zip(rates[name], rates["nothing"], strict=True)
        return statistics.median(one / other for one, other in pairs)

    parts = {f"{name}, replies/s": statistics.median(rates[name]) for name in names}
    parts["bare proxy / do-nothing"] = share("proxy")
    if "free" in targets:
        parts["without a ledger / do-nothing"] = share("free")
    return Figure("throughput", share("executor"), parts=parts)
