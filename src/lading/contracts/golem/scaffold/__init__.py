"""A new application: a folder that builds, and passes its own tests, before a line is changed.

The files of this folder whose names end with ``.template`` are what it is made of. ``my-app`` and
``my_app`` in them, and in their names, stand for the new application.
"""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from lading.errors import InputError

__all__ = ["check_name", "write_application"]

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_ENDING = ".template"
_HIDDEN = ("dockerignore", "gitignore")
"""Files whose names begin with a dot once they are written: as such, tools would obey them here."""
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
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(
                "NAME",
                f"{folder} is there already",
                fix="take another name, or write it elsewhere: --output FOLDER",
            )
        written = []
        for path, template in _templates(files(__name__), Path()):
            text = template.read_text("utf-8").replace("my_app", package).replace("my-app", name)
            target = Path(str(path).replace("my_app", package))
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            (folder / target).write_text(text, "utf-8")
            written.append(target)
    except OSError as error:
        raise InputError("NAME", f"{folder} can't be written: {error.strerror}") from None
    return sorted(written)


def _templates(folder: Traversable, above: Path) -> Iterator[tuple[Path, Traversable]]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _templates(item, above / item.name)
        elif item.name.endswith(_ENDING):
            name = item.name.removesuffix(_ENDING)
            yield above / (f".{name}" if name in _HIDDEN else name), item
