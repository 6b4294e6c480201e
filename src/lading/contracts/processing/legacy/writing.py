"""A drafted folder on disk: all of it or nothing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lading.contracts.processing.legacy.drafting import ADAPTER
from lading.errors import InputError

if TYPE_CHECKING:
    from lading.contracts.processing.legacy.drafting import Draft

__all__ = ["check_free", "write"]


def check_free(folder: Path, field: str) -> None:
    """Check that a folder can be made: what is in the way is never overwritten.

    Parameters
    ----------
    folder : Path
    field : str
        What the caller calls it, for the error.

    Raises
    ------
    InputError
        There is a file, or a folder that holds something.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(field, f"{folder} is no directory", fix="name another")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(
            field, f"{folder} holds something already", fix="remove it, or name another folder"
        )


def write(draft: Draft, folder: Path, field: str) -> None:
    """Write a draft into a folder that is made for it.

    Raises
    ------
    InputError
        Something is in the way, or it can't be written.
    """
    check_free(folder, field)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            aside.chmod(0o755)
            for name, text in draft.files.items():
                path = aside / name
                path.write_text(text, "utf-8")
                # Whoever the image runs as must be able to read what is copied into it.
                path.chmod(0o755 if name == ADAPTER else 0o644)
            aside.rename(folder)  # also onto a directory that is empty
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    except OSError as error:
        raise InputError(field, f"{folder} can't be written: {error.strerror}") from None
