"""Unary calls a second: to an application's server and by its client, against gRPC's own bare."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.figures import Figure
from benchmarks.setting import Setting
from lading.contracts.golem.clients import RequestorAppClient

__all__ = ["call_figures"]

_CALLERS = {"calls1": 1, "calls8": 8}
_SECONDS = 0.15

Call = Callable[[], Awaitable[object]]


def call_figures(setting: Setting, wanted: set[str]) -> Iterator[Figure]:
    """Count calls to both servers in turn, with one caller and with eight."""
    rounds = setting.rounds(80, 40)
    with _server("handler") as ours, _server("health") as bare:
        for name, callers in _CALLERS.items():
            if name in wanted:
                setting.say(f"{name}: {rounds} pairs")
                mine, theirs = asyncio.run(_in_turn(ours, bare, callers, rounds))
                ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
                parts = {
                    "application, calls a second": statistics.median(mine),
                    "bare health service, calls a second": statistics.median(theirs),
                }
                yield Figure(name, statistics.median(ratios), parts=parts)


@contextlib.contextmanager
def _server(kind: str) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.golem_servers", kind]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:  # closes its stdin, which ends it, and waits
        port = process.stdout.readline().strip()
        if not port:
            raise OSError(f"the server {kind!r} did not start")
        yield f"127.0.0.1:{port}"


async def _in_turn(
    ours: str, bare: str, callers: int, rounds: int
) -> tuple[list[float], list[float]]:
    request = health_pb2.HealthCheckRequest()
    async with (
        await RequestorAppClient.connect(ours) as client,
        grpc.aio.insecure_channel(bare) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        calls: tuple[Call, Call] = (
            lambda: client.has_pending_subtasks("task"),
            lambda: stub.Check(request),
        )
        got: tuple[list[float], list[float]] = ([], [])
        for call in calls:
            await _rate(call, callers)
        for number in range(rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                got[which].append(await _rate(calls[which], callers))
    return got


async def _rate(call: Call, callers: int) -> float:
    done = 0
    began = time.perf_counter()
    end = began + _SECONDS

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call()
            done += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    return done / (time.perf_counter() - began)
