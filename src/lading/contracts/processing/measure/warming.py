"""Inputs read once before they are measured with.

The kernel counts the page cache of a file as memory of whoever reads it first. A container whose
inputs lie there already is charged only for what it needs itself, in the first run as in the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path

from lading.contracts.processing.trees import amount, files

__all__ = ["read_once"]

_BLOCK = 1 << 20
_SHARE = 0.5
"""Of the free memory: more would push out what was read first."""


async def read_once(directories: Sequence[Path]) -> bool:
    """Read all files below some directories, unless there are too many for the memory.

    Returns
    -------
    bool
        Whether they were read.
    """
    given_up = threading.Event()
    try:
        return await asyncio.to_thread(_read, directories, given_up)
    finally:
        given_up.set()  # a thread can't be cancelled


def _read(directories: Sequence[Path], given_up: threading.Event) -> bool:
    free = _available()
    if free is not None and sum(amount(path).bytes for path in directories) > _SHARE * free:
        return False
    block = bytearray(_BLOCK)
    for directory in directories:
        for path, _ in files(directory):
            # What may not be read, or has gone, the container won't read either.
            with contextlib.suppress(OSError), (directory / path).open("rb", buffering=0) as file:
                while file.readinto(block) and not given_up.is_set():
                    pass
            if given_up.is_set():
                return False
    return True


def _available() -> int | None:
    """Return the bytes that the kernel could hand out, see proc(5); None where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(found.split()[1]) << 10
    except (OSError, StopIteration, ValueError, IndexError):
        return None
