"""A task folder: what its files say, and its archive for the builder.

Contract 1: ``Dockerfile``, ``src/``, ``name.txt``, ``description.txt``, ``example_input.bin``,
``example_output.bin``, ``config.json``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from lading.contracts.meca.request import TaskLimits, read_limits
from lading.errors import ConfigError, InputError
from lading.run.build_context import trial_tag

__all__ = ["TaskFolder", "default_tag", "line_of", "read_folder"]

RECIPE = "Dockerfile"
CONFIG_LABEL = "lading.config"
"""Label of a task's image: what its config.json says, as JSON."""
CONFIG = "config.json"
NAME, DESCRIPTION = "name.txt", "description.txt"
EXAMPLE_INPUT, EXAMPLE_OUTPUT = "example_input.bin", "example_output.bin"
CONTENTS = (RECIPE, "src", NAME, DESCRIPTION, EXAMPLE_INPUT, EXAMPLE_OUTPUT, CONFIG)
"""What the contract wants in it."""

_MOST = 256 << 20
"""Bytes of a file that is read into memory."""


@dataclass(frozen=True, slots=True)
class TaskFolder:
    """A task as its developer keeps it.

    Parameters
    ----------
    path : Path
        Absolute.
    name : str
        From ``name.txt``, or the folder's own.
    description : str
    limits : TaskLimits
        From ``config.json``, with the contract's defaults.
    example_input, example_output : bytes or None
        None where there is no such file.
    missing : tuple of str
        What the contract wants and the folder lacks; it can be built and run all the same.
    warnings : tuple of str
        What was ignored, with the file's name.
    """

    path: Path
    name: str
    description: str = ""
    limits: TaskLimits = field(default_factory=TaskLimits)
    example_input: bytes | None = None
    example_output: bytes | None = None
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_folder(folder: Path) -> TaskFolder:
    """Read a task folder; blocks on the disk.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    ConfigError
        It is no folder, has no ``Dockerfile``, or a file in it can't be used; names the file,
        and the line where there is one.
    """
    path = folder.expanduser().absolute()
    if not path.is_dir():
        reason = "is a file, not a folder" if path.exists() else "there is no such folder"
        raise ConfigError(str(folder), reason, fix="name a task folder, or an image")
    if not (path / RECIPE).is_file():
        raise ConfigError(
            str(folder),
            f"has no {RECIPE}, so it is no task folder",
            fix=f"a task folder holds {', '.join(CONTENTS)}",
        )
    warnings: list[str] = []
    name = _text(path / NAME).strip()
    return TaskFolder(
        path=path,
        name=name or path.resolve().name,
        description=_text(path / DESCRIPTION).strip(),
        limits=_limits(path / CONFIG, warnings),
        example_input=_bytes(path / EXAMPLE_INPUT),
        example_output=_bytes(path / EXAMPLE_OUTPUT),
        missing=tuple(item for item in CONTENTS if not _is_there(path / item)),
        warnings=tuple(warnings),
    )


def default_tag(folder: TaskFolder) -> str:
    """Name the image that is built from a folder for trying it out: ``lading-task/<name>:dev``."""
    return trial_tag(folder.name)


def _is_there(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _bytes(path: Path) -> bytes | None:
    """Read a file of the folder, and nothing that it points to outside: its author is a stranger,
    and what is read here is sent to the author's code.
    """  # noqa: D205
    if not path.exists():
        return None
    if not path.resolve().is_relative_to(path.parent.resolve()):
        raise ConfigError(
            str(path), f"is a link out of the task folder, to {path.resolve()}", fix="copy the file"
        )
    try:
        if path.stat().st_size > _MOST:
            raise ConfigError(str(path), f"is larger than {_MOST >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), f"can't be read: {error.strerror}") from None


def _text(path: Path) -> str:
    content = _bytes(path) or b""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}", "is not UTF-8", fix="save it as UTF-8") from None


def _limits(path: Path, warnings: list[str]) -> TaskLimits:
    text = _text(path)
    if not text.strip():
        return TaskLimits()
    content = _json(path, text)
    if not isinstance(content, dict):
        raise ConfigError(
            str(path), "must hold a JSON object", fix='write {"resource": {"cpu": 1, "mem": 128}}'
        )
    ignored: list[str] = []
    try:
        limits = read_limits(content.get("resource"), ignored)
    except InputError as error:
        key = error.field.rpartition(".")[2]
        place = f"{path}:{line_of(key, text)}" if key else str(path)
        raise ConfigError(f"{place}: {error.field}", error.reason, fix=error.fix) from None
    ignored += [f"unknown field {key!r} is ignored" for key in content if key != "resource"]
    warnings += [f"{path.name}: {line}" for line in ignored]
    return limits


def _json(path: Path, text: str) -> Any:
    def refuse(name: str) -> NoReturn:
        raise ConfigError(f"{path}:{line_of(name, text)}", f"{name} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path}:{error.lineno}:{error.colno}",
            f"is not JSON: {error.msg}",
            fix=f"look at line {error.lineno}, column {error.colno}",
        ) from None
    except RecursionError:
        raise ConfigError(str(path), "is nested too deep") from None


def line_of(word: str, text: str) -> int:
    """Find the line in which a key or a word stands first; 1 if it doesn't."""
    match = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)
    return text.count("\n", 0, match.start()) + 1 if match else 1
