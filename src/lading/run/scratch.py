"""A directory for what a trial writes, made where there is room and removed by who wanted it."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp

from lading.errors import InputError

__all__ = ["make_scratch"]


def make_scratch(purpose: str, parent: Path) -> Path:
    """Make a directory of one's own, ``lading-<purpose>-...``; blocks.

    Parameters
    ----------
    purpose : str
    parent : Path
        As of :func:`lading.settings.scratch_directory`.

    Raises
    ------
    InputError
        It can't be made.
    """
    try:
        return Path(mkdtemp(prefix=f"lading-{purpose}-", dir=parent))
    except OSError as error:
        raise InputError(
            "TMPDIR",
            f"no directory for the outputs can be made in {parent}: {error.strerror}",
            fix="let TMPDIR name a directory that you may write to",
        ) from None
