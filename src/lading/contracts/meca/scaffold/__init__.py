"""A new task: a folder that builds, and passes its check, its example and its own test at once.

The files below whose names end with ``.template`` are what it is made of: ``every`` has what all
have, ``words`` what those in Python have (a task that counts words), and each template its own.
``my-task`` in them stands for the new task's name.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from lading.errors import InputError
from lading.folders.writing import check_title, write_folder

__all__ = ["TEMPLATES", "write_task"]

TEMPLATES = {
    "python": "plain Python, nothing to install",
    "flask": "Flask",
    "fastapi": "FastAPI on uvicorn",
    "c": "a compiled program, alone in its image",
}
"""Name of each template, and what it is."""

_PARTS = {
    "python": ("every", "words", "python"),
    "flask": ("every", "words", "flask"),
    "fastapi": ("every", "words", "fastapi"),
    "c": ("every", "c"),
}


def write_task(name: str, folder: Path, template: str = "python") -> list[Path]:
    """Write the folder of a new task; blocks on the disk.

    Parameters
    ----------
    name : str
        What the task is called, in any script.
    folder : Path
        Made where it is missing; must be empty.
    template : str
        One of :data:`TEMPLATES`.

    Returns
    -------
    list of Path
        What was written, relative to the folder.

    Raises
    ------
    InputError
        There is no such template, the name can't be used, or the folder is there and not empty, or
        can't be written.
    """
    if template not in TEMPLATES:
        raise InputError(
            "--template", f"there is no {template!r}", fix=f"use one of {', '.join(TEMPLATES)}"
        )
    parts = [files(__name__) / part for part in _PARTS[template]]
    return write_folder(parts, folder, words={"my-task": check_title(name)})
