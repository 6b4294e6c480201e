"""The Golem Task API, by the names that applications import.

Modules and names are loaded when they are asked for: a provider's container pays for each.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lading.contracts.golem.entrypoint import main as main
    from lading.contracts.golem.handlers import AppLifecycleHandler as AppLifecycleHandler
    from lading.contracts.golem.handlers import ProviderAppHandler as ProviderAppHandler
    from lading.contracts.golem.handlers import RequestorAppHandler as RequestorAppHandler
    from lading.contracts.golem.original.clients import ProviderAppClient as ProviderAppClient
    from lading.contracts.golem.original.clients import RequestorAppClient as RequestorAppClient
    from lading.contracts.golem.original.services import TaskApiService as TaskApiService

_OURS = "lading.contracts.golem"
_NAMES = {
    "AppLifecycleHandler": f"{_OURS}.handlers",
    "ProviderAppClient": f"{_OURS}.original.clients",
    "ProviderAppHandler": f"{_OURS}.handlers",
    "RequestorAppClient": f"{_OURS}.original.clients",
    "RequestorAppHandler": f"{_OURS}.handlers",
    "TaskApiService": f"{_OURS}.original.services",
    "main": f"{_OURS}.entrypoint",
}
_MODULES = (
    "apputils",
    "client",
    "constants",
    "dirutils",
    "entrypoint",
    "enums",
    "envs",
    "handlers",
    "messages",
    "proto",
    "server",
    "ssl",
    "structs",
    "testutils",
    "threading",
)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(_import_module(_NAMES[name]), name)
    if name in _MODULES:
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES, *_MODULES])
