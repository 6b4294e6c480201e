"""Lading: one toolkit for task containers.

The names here are what programs use; each is loaded when it is first asked for, so that
``import lading`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lading.contracts.meca.executor import Executor
    from lading.contracts.meca.options import ExecutorOptions
    from lading.engine.base import Container, Engine
    from lading.engine.discovery import open_engine
    from lading.engine.spec import ContainerSpec, Limits
    from lading.errors import LadingError
    from lading.run.lifecycle import Running, running
    from lading.run.readiness import Readiness
    from lading.settings import EngineOptions

__version__ = "0.1.0"

__all__ = [
    "Container",
    "ContainerSpec",
    "Engine",
    "EngineOptions",
    "Executor",
    "ExecutorOptions",
    "LadingError",
    "Limits",
    "Readiness",
    "Running",
    "open_engine",
    "running",
]

_HOMES = {
    "Container": "lading.engine.base",
    "ContainerSpec": "lading.engine.spec",
    "Engine": "lading.engine.base",
    "EngineOptions": "lading.settings",
    "Executor": "lading.contracts.meca.executor",
    "ExecutorOptions": "lading.contracts.meca.options",
    "LadingError": "lading.errors",
    "Limits": "lading.engine.spec",
    "Readiness": "lading.run.readiness",
    "Running": "lading.run.lifecycle",
    "open_engine": "lading.engine.discovery",
    "running": "lading.run.lifecycle",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
