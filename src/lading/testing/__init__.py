"""What you need to test your own tasks, and what drives them, without an engine."""

from __future__ import annotations

from lading.testing.fake_engine import Builder, FakeEngine
from lading.testing.fake_handle import FakeContainer
from lading.testing.fake_image import FakeImage, FakeRegistry, Program
from lading.testing.fake_process import FakeProcess, Handler

__all__ = [
    "Builder",
    "FakeContainer",
    "FakeEngine",
    "FakeImage",
    "FakeProcess",
    "FakeRegistry",
    "Handler",
    "Program",
]
