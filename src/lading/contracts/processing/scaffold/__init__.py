"""A new processing-container: a folder that builds, and passes its check, example and own test.

The files of this folder whose names end with ``.template`` are what it is made of. ``my-task`` in
them stands for the new container's name.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from lading.folders.writing import check_title, write_folder

__all__ = ["write_container"]


def write_container(name: str, folder: Path) -> list[Path]:
    """Write the folder of a new processing-container; blocks on the disk.

    Parameters
    ----------
    name : str
        What the container is called, in any script.
    folder : Path
        Made where it is missing; must be empty.

    Returns
    -------
    list of Path
        What was written, relative to the folder.

    Raises
    ------
    InputError
        The name can't be used, or the folder is there and not empty, or can't be written.
    """
    return write_folder([files(__name__)], folder, words={"my-task": check_title(name)})
