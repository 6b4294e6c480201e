"""What pydantic says is wrong, in the words of the file and at its paths."""

from __future__ import annotations

from typing import Any

from lading.contracts.processing.reading.positions import Path
from lading.contracts.processing.reading.values import json_kind, shown

__all__ = ["in_words", "real_path"]

_WANTED = {
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}
"""What pydantic's kinds of error say that there should be."""


def real_path(value: Any, detail: Any) -> Path:
    """Leave out of a path what pydantic adds to it: the names of a union's members.

    Parameters
    ----------
    value
        The whole document.
    detail : dict
        One of pydantic's errors.
    """
    path: list[str | int] = []
    location = detail["loc"]
    for position, step in enumerate(location):
        is_missing = detail["type"] == "missing" and position == len(location) - 1
        if isinstance(value, dict) and isinstance(step, str):
            if step not in value and not is_missing:
                continue
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            continue
        path.append(step)
    return path


def in_words(detail: Any) -> str:
    """Tell one of pydantic's errors."""
    given = detail.get("input")
    kind, context = detail["type"], detail.get("ctx") or {}
    if (wanted := _WANTED.get(kind)) is not None:
        return f"must be {wanted}, not {json_kind(given)}"
    words = {
        "missing": "is missing",
        "string_too_short": "is empty",
        "value_error": str(context.get("error")),
        "literal_error": f"must be {context.get('expected')}, not {shown(given)}",
        "enum": f"must be {context.get('expected')}, not {shown(given)}",
        "string_pattern_mismatch": _pattern(context.get("pattern", ""), given),
        "int_parsing": f"{shown(given)} is no number",
        "float_parsing": f"{shown(given)} is no number",
        "less_than_equal": "is too large a number",
        "greater_than_equal": "is too large a number",
    }
    message = detail["msg"]
    return words.get(kind, f"{message[0].lower()}{message[1:]}, found {shown(given)}")


def _pattern(pattern: str, given: Any) -> str:
    if pattern.startswith("^/"):
        return f"must be an absolute path, such as /in, not {shown(given)}"
    if pattern.endswith("n(\\*\\*\\d+)?$"):
        return f"{shown(given)} is no expression in n, such as 1.5n, 10*n or n**2"
    return f"{shown(given)} does not match {pattern}"
