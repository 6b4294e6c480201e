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
    PullStatus,
    State,
    Stats,
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
    "Progress",
    "PullStatus",
    "State",
    "Stats",
]
