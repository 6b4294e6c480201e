"""Golem applications as pytest fixtures; a ``conftest.py`` names this module to have them.

::

    pytest_plugins = ["lading.testing.golem_fixtures"]
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from lading.contracts.golem.handlers import ProviderAppHandler, RequestorAppHandler
from lading.testing.golem import ContainerApp, InlineApp

__all__ = ["MakeContainerApp", "MakeInlineApp", "golem_container", "golem_inline"]


class MakeInlineApp(Protocol):
    """What the fixture ``golem_inline`` is."""

    def __call__(
        self,
        requestor: RequestorAppHandler | Callable[[], RequestorAppHandler],
        provider: ProviderAppHandler | Callable[[], ProviderAppHandler],
    ) -> InlineApp:
        """Make an application of handlers, or of what makes them."""


class MakeContainerApp(Protocol):
    """What the fixture ``golem_container`` is."""

    def __call__(self, image: str) -> ContainerApp:
        """Make an application of an image."""


@pytest.fixture
def golem_inline(tmp_path: Path) -> MakeInlineApp:
    """Applications in this process: ``golem_inline(MyRequestor, MyProvider).run({...})``."""
    numbers = itertools.count(1)

    def make(
        requestor: RequestorAppHandler | Callable[[], RequestorAppHandler],
        provider: ProviderAppHandler | Callable[[], ProviderAppHandler],
    ) -> InlineApp:
        directory = tmp_path / f"golem-inline-{next(numbers)}"
        return InlineApp(requestor, provider, directory=directory)

    return make


@pytest.fixture
def golem_container(tmp_path: Path) -> MakeContainerApp:
    """Applications in containers: ``golem_container("my/app:dev").run({...})``."""
    numbers = itertools.count(1)

    def make(image: str) -> ContainerApp:
        return ContainerApp(image, directory=tmp_path / f"golem-container-{next(numbers)}")

    return make
