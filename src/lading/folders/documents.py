"""Small files of a folder read whole, and JSON with the line of what is wrong with it."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Content", "Document", "parse_json", "read_whole"]

MARK = b"\xef\xbb\xbf"
"""The byte order mark that some editors write in front of UTF-8."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file of a folder.

    Parameters
    ----------
    there : bool
        Whether anything of that name is.
    data : bytes or None
        None where it can't be had.
    wrong : str
        Why; empty if it could be read.
    size : int
        In bytes.
    """

    there: bool
    data: bytes | None
    wrong: str = ""
    size: int = 0


def read_whole(path: Path, largest: int) -> Content:
    """Read a file of a folder, and nothing outside that it links to; blocks on the disk.

    Parameters
    ----------
    path : Path
    largest : int
        Bytes; of what has more, nothing is read.
    """
    if not os.path.lexists(path):
        return Content(there=False, data=None, wrong="there is none")
    try:
        if wrong := _refusal(path):
            return Content(there=True, data=None, wrong=wrong)
        with path.open("rb") as file:
            data = file.read(largest + 1)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        return Content(there=True, data=None, wrong=f"can't be read: {error.strerror}")
    if len(data) > largest:
        wrong = f"has {size:,} bytes, and is not looked into"
        return Content(there=True, data=None, wrong=wrong, size=size)
    return Content(there=True, data=data, size=size)


def _refusal(path: Path) -> str:
    """Say why something is no file of the folder; empty if it is one."""
    if not path.exists():
        return "is a link that leads nowhere"
    if not path.resolve().is_relative_to(path.parent.resolve()):
        return "is a link out of the folder"
    if path.is_dir():
        return "is a directory"
    return "" if path.is_file() else "is no file"


@dataclass(slots=True)
class Document:
    """What a text in JSON says.

    Parameters
    ----------
    value : object
        None if something is wrong.
    wrong : str
        Empty if nothing is.
    line : int or None
    twice : list of str
        Keys that stand twice in one object.
    """

    value: Any = None
    wrong: str = ""
    line: int | None = None
    twice: list[str] = field(default_factory=list)


def parse_json(data: bytes) -> Document:
    """Read JSON, strictly; a byte order mark is passed over.

    Parameters
    ----------
    data : bytes
    """
    document = Document()

    def constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) < len(items) and len(document.twice) < 10:
            counts = Counter(key for key, _ in items)
            document.twice += [key for key, count in counts.items() if count > 1][:10]
        return made

    try:
        text = data.removeprefix(MARK).decode("utf-8")
        document.value = json.loads(text, parse_constant=constant, object_pairs_hook=pairs)
    except UnicodeDecodeError as error:
        document.wrong, document.line = "is not UTF-8", data.count(b"\n", 0, error.start) + 1
    except json.JSONDecodeError as error:
        document.wrong = f"is not JSON: {error.msg}, column {error.colno}"
        document.line = error.lineno
    except RecursionError:
        document.wrong = "is nested too deep"
    except ValueError as error:
        document.wrong = str(error) if "is not JSON" in str(error) else "holds a number too long"
    return document
