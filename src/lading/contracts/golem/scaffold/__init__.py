"""A new application: a folder that builds, and passes its own tests, before a line is changed.

The files of this folder whose names end with ``.template`` are what it is made of. ``my-app`` and
``my_app`` in them, and in their names, stand for the new application.
"""

from __future__ import annotations

import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path

from lading.errors import InputError
from lading.folders.writing import write_folder

__all__ = ["check_name", "write_application"]

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_TAKEN = {"golem_task_api", "lading", "tests"}


def check_name(name: str) -> str:
    """Check the name of an application; returns that of its Python package.

    Raises
    ------
    InputError
        It can't name an image and a package.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            "NAME",
            f"{name!r} can't name an image and a package of Python",
            fix="use lower case letters, digits and '-', beginning with a letter: word-count",
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names | _TAKEN:
        raise InputError(
            "NAME",
            f"{package!r} means something else in Python",
            fix=f"take another one: my-{name}",
        )
    return package


def write_application(name: str, folder: Path) -> list[Path]:
    """Write a new application.

    Parameters
    ----------
    name : str
        Of the application, its image and, with ``_`` for ``-``, its package.
    folder : Path
        Made where it is missing.

    Returns
    -------
    list of Path
        What was written, relative to the folder.

    Raises
    ------
    InputError
        The name can't be used, or the folder is there and not empty, or can't be written.
    """
    package = check_name(name)
    return write_folder(
        [files(__name__)],
        folder,
        words={"my_app": package, "my-app": name},
        paths={"my_app": package},
    )
