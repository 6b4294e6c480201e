"""Talks to a container engine; nothing above this folder knows an engine's own words."""

from __future__ import annotations

from lading.engine.base import Container, Engine, Progress
from lading.engine.spec import (
    ContainerInfo,
    ContainerSpec,
    Device,
    EngineInfo,
    Exit,
    Gpu,
    ImageInfo,
    Limits,
    LogChunk,
    Mount,
    Network,
    NetworkInfo,
    NetworkSpec,
    Placement,
    PullStatus,
    RegistryLogin,
    State,
    Stats,
    Volume,
)

__all__ = [
    "Container",
    "ContainerInfo",
    "ContainerSpec",
    "Device",
    "Engine",
    "EngineInfo",
    "Exit",
    "Gpu",
    "ImageInfo",
    "Limits",
    "LogChunk",
    "Mount",
    "Network",
    "NetworkInfo",
    "NetworkSpec",
    "Placement",
    "Progress",
    "PullStatus",
    "RegistryLogin",
    "State",
    "Stats",
    "Volume",
]
