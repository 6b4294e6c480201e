"""The command ``lading``: one file per group of commands, printing in one place.

``lading.cli.app`` is made when it is first asked for; each command is imported when it is called
or its help is asked for, and imports what it needs when it runs.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from lading.cli.root import app

__all__ = ["app", "run_and_exit"]


def run_and_exit() -> NoReturn:
    """Run the command line, and end the process at once.

    Everything of ours is closed by then. Taking a hundred modules apart, which is what Python does
    otherwise, takes as long as a small command does; mypy ends the same way.
    """
    from lading.cli.root import app  # noqa: PLC0415

    code: object = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    if isinstance(code, str):
        sys.stderr.write(code + "\n")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def __getattr__(name: str) -> object:
    if name == "app":
        from lading.cli.root import app  # noqa: PLC0415

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
