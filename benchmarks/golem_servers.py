"""The two servers that calls are counted on: ``python -m benchmarks.golem_servers handler|health``.

Prints the port on which it listens, and answers until its stdin is closed.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from lading.contracts.golem.handlers import RequestorAppHandler
from lading.contracts.golem.servers import RequestorServer
from lading.contracts.golem.structs import Subtask, Task, VerifyResult


class _Idle(RequestorAppHandler):
    """A handler that has nothing to do, so that only the server's own time is counted."""

    async def create_task(self, *_arguments: Any) -> Task:
        return Task("docker_cpu", {})

    async def next_subtask(self, *_arguments: Any) -> Subtask | None:
        return None

    async def verify(self, *_arguments: Any) -> tuple[VerifyResult, str | None]:
        return VerifyResult.SUCCESS, None

    async def discard_subtasks(self, _task: Any, subtask_ids: list[str]) -> list[str]:
        return subtask_ids

    async def run_benchmark(self, _work_dir: Path) -> float:
        return 1.0

    async def has_pending_subtasks(self, _task: Any) -> bool:
        return True


async def _handler() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = RequestorServer(Path(folder), _Idle())
        await server.start("127.0.0.1:0")
        await _until_told(server.port)
        await server.stop()


async def _health() -> None:
    """What gRPC's own documentation shows, and nothing else."""
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await _until_told(port)
    await server.stop(None)


async def _until_told(port: int) -> None:
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run({"handler": _handler, "health": _health}[sys.argv[1]]())
