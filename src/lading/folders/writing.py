"""New folders of templates: written whole, into a place that is free, or not at all.

Templates are the files of a package whose names end with ``.template``. Names such as
``dockerignore`` and ``github`` get their dot when they are written: with it, tools would obey
them where they lie.
"""

from __future__ import annotations

import contextlib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path

from lading.errors import InputError

__all__ = ["check_title", "write_folder"]

_ENDING = ".template"
_HIDDEN = frozenset(("dockerignore", "gitignore", "github"))
_LONGEST = 100
"""Bytes of a name: file systems take 255, and what is made of it adds to it."""


def check_title(name: str) -> str:
    """Check what somebody calls a new task, in any script; returns it in its composed form.

    It becomes the folder's name and the text in it; an image's tag is made of it elsewhere.

    Raises
    ------
    InputError
        It can't name a folder everywhere: empty, too long, a path, with control characters, or
        beginning with a dot, by which files are hidden and left out of IPFS.
    """
    # As a keyboard may send it decomposed, and files of both spellings look alike.
    title = unicodedata.normalize("NFC", name).strip()
    if not title:
        raise InputError("NAME", "is empty", fix="name the task: word-count, for example")
    if "/" in title or "\\" in title:
        raise InputError(
            "NAME", f"{name!r} is a path", fix="give a name, and the place with --output FOLDER"
        )
    if title.startswith((".", "-")):
        raise InputError("NAME", f"{name!r} begins with {title[0]!r}", fix="begin with a letter")
    # Controls, surrogates, line separators; format characters are part of some scripts' words.
    if any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in title):
        raise InputError("NAME", f"{name!r} holds control characters", fix="leave them out")
    if len(title.encode()) > _LONGEST:
        raise InputError("NAME", f"is longer than {_LONGEST} bytes", fix="take a shorter one")
    return title


def write_folder(
    sources: Iterable[Traversable],
    folder: Path,
    *,
    words: Mapping[str, str],
    paths: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write a folder of templates; blocks on the disk.

    Parameters
    ----------
    sources : iterable of Traversable
        Folders of templates; a file of a later one takes the place of one of the same name.
    folder : Path
        Made where it is missing; must be empty.
    words : mapping
        What stands in the templates for what; in JSON files as the inside of a JSON string.
    paths : mapping or None
        The same for the names of files.

    Returns
    -------
    list of Path
        What was written, relative to the folder.

    Raises
    ------
    InputError
        The folder is there and not empty, or can't be written; then nothing is left of it.
    """
    templates: dict[Path, Traversable] = {}
    for source in sources:
        templates |= dict(_templates(source, Path()))
    made: list[Path] = []
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(
                "NAME",
                f"{folder} is there already",
                fix="take another name, or write it elsewhere: --output FOLDER",
            )
        written = []
        for path, template in templates.items():
            target = Path(_replaced(str(path), paths or {}))
            _make_folders((folder / target).parent, made)
            text = _replaced(template.read_text("utf-8"), _fitted(words, target))
            made.append(folder / target)
            (folder / target).write_text(text, "utf-8")
            written.append(target)
    except OSError as error:
        _take_back(made)
        raise InputError("NAME", f"{folder} can't be written: {error.strerror}") from None
    except BaseException:
        _take_back(made)
        raise
    return sorted(written)


def _templates(folder: Traversable, above: Path) -> Iterator[tuple[Path, Traversable]]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _templates(item, above / _real_name(item.name))
        elif item.name.endswith(_ENDING):
            yield above / _real_name(item.name.removesuffix(_ENDING)), item


def _real_name(name: str) -> str:
    return f".{name}" if name in _HIDDEN else name


def _fitted(words: Mapping[str, str], target: Path) -> Mapping[str, str]:
    if target.suffix != ".json":
        return words
    return {word: json.dumps(meant, ensure_ascii=False)[1:-1] for word, meant in words.items()}


def _replaced(text: str, words: Mapping[str, str]) -> str:
    for word, meant in words.items():
        text = text.replace(word, meant)
    return text


def _make_folders(folder: Path, made: list[Path]) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir()
        made.append(path)


def _take_back(made: list[Path]) -> None:
    for path in reversed(made):
        with contextlib.suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()
