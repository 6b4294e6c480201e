"""The limits of a ``config.json``, written into it, with its other fields and its form kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lading.contracts.meca.folder import CONFIG
from lading.contracts.meca.request import CPU_NAMES, MEMORY_NAMES, TaskLimits, read_limits
from lading.errors import ConfigError
from lading.folders.editing import with_values
from lading.folders.rewriting import replace_file
from lading.units import to_mebibytes

__all__ = ["with_limits", "write_limits"]

_NEW = '{\n  "resource": {}\n}\n'


def write_limits(folder: Path, limits: TaskLimits) -> None:
    """Write cores and memory into a folder's ``config.json``; blocks on the disk.

    Parameters
    ----------
    folder : Path
    limits : TaskLimits
        Its memory is rounded down to whole MiB.

    Raises
    ------
    ConfigError
        It can't be read or written, or says something that can't be changed.
    """
    path = folder / CONFIG
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"can't be read: {error}") from None
    replace_file(path, with_limits(text, limits, str(path)).encode())


def with_limits(text: str, limits: TaskLimits, name: str = CONFIG) -> str:
    """Return the text of a ``config.json`` with other cores and memory.

    Parameters
    ----------
    text : str
        May be empty.
    limits : TaskLimits
    name : str
        What an error calls it.

    Raises
    ------
    ConfigError
        It can't be done without changing something else.
    """
    bare = text.removeprefix("\ufeff")
    new = not bare.strip()
    before: dict[str, Any] = {} if new else json.loads(bare)
    resource = before.get("resource")
    inside: tuple[str, ...] = ("resource",)
    if isinstance(resource, dict) and isinstance(resource.get("resource"), dict):
        inside, resource = ("resource", "resource"), resource["resource"]
    known = resource if isinstance(resource, dict) else {}
    values: dict[str, float] = {}
    # All spellings that it has: the last one counts, and none is to say otherwise.
    for spellings, value in (
        (CPU_NAMES, round(limits.cpus, 3)),
        (MEMORY_NAMES, to_mebibytes(limits.memory)),
    ):
        names = [one for one in spellings if one in known] or [spellings[0]]
        values |= dict.fromkeys(names, value)
    after = with_values(_NEW if new else text, inside, values)
    _check(name, before, after, limits)
    return after


def _check(name: str, before: dict[str, Any], after: str, limits: TaskLimits) -> None:
    """See that it says what it should now, and everything else that it said."""
    said = json.loads(after.removeprefix("\ufeff"))
    found = read_limits(said["resource"])
    wanted = (round(limits.cpus, 3), to_mebibytes(limits.memory))
    if (found.cpus, to_mebibytes(found.memory)) != wanted or not _others(before) == _others(said):
        raise ConfigError(
            name, "can't be changed without changing more", fix="write cpu and mem into it by hand"
        )


def _others(content: Any) -> Any:
    """Leave out the limits, and objects that hold nothing else."""
    if not isinstance(content, dict):
        return content
    kept = {
        key: _others(value) if key == "resource" else value
        for key, value in content.items()
        if key not in (*CPU_NAMES, *MEMORY_NAMES)
    }
    return {key: value for key, value in kept.items() if key != "resource" or value}
