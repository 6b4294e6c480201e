"""Contract 3, Golem's Task API: applications, and the driver that computes a task over many nodes.

The names here are what an application is written with; each is loaded when it is first asked for,
so that nobody pays for gRPC who does not use it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lading.contracts.golem.blocking import Executor
    from lading.contracts.golem.clients import ProviderAppClient, RequestorAppClient
    from lading.contracts.golem.directories import (
        ProviderDir,
        ProviderTaskDir,
        RequestorDir,
        RequestorTaskDir,
    )
    from lading.contracts.golem.environments import create_docker_cpu_task, create_docker_gpu_task
    from lading.contracts.golem.handlers import (
        AppLifecycleHandler,
        ProviderAppHandler,
        RequestorAppHandler,
    )
    from lading.contracts.golem.servers import ProviderServer, RequestorServer
    from lading.contracts.golem.structs import Infrastructure, Subtask, Task, VerifyResult

__all__ = [
    "CONTRACT",
    "AppLifecycleHandler",
    "Executor",
    "Infrastructure",
    "ProviderAppClient",
    "ProviderAppHandler",
    "ProviderDir",
    "ProviderServer",
    "ProviderTaskDir",
    "RequestorAppClient",
    "RequestorAppHandler",
    "RequestorDir",
    "RequestorServer",
    "RequestorTaskDir",
    "Subtask",
    "Task",
    "VerifyResult",
    "create_docker_cpu_task",
    "create_docker_gpu_task",
]

CONTRACT = "golem"
"""The value of the label ``lading.contract``."""

_HOMES = {
    "AppLifecycleHandler": "handlers",
    "Executor": "blocking",
    "Infrastructure": "structs",
    "ProviderAppClient": "clients",
    "ProviderAppHandler": "handlers",
    "ProviderDir": "directories",
    "ProviderServer": "servers",
    "ProviderTaskDir": "directories",
    "RequestorAppClient": "clients",
    "RequestorAppHandler": "handlers",
    "RequestorDir": "directories",
    "RequestorServer": "servers",
    "RequestorTaskDir": "directories",
    "Subtask": "structs",
    "Task": "structs",
    "VerifyResult": "structs",
    "create_docker_cpu_task": "environments",
    "create_docker_gpu_task": "environments",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
