"""The command ``lading``: one file per group of commands, printing in one place.

``lading.cli.app`` is made when it is first asked for; each command is imported when it is called
or its help is asked for, and imports what it needs when it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lading.cli.root import app

__all__ = ["app"]


def __getattr__(name: str) -> object:
    if name == "app":
        from lading.cli.root import app  # noqa: PLC0415

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
