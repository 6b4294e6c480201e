"""JSON values, as people are told of them."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["as_text", "json_kind", "shown"]

_LONGEST = 60


def as_text(value: Any) -> Any:
    """Write a value of another type as an environment variable has it: as JSON does."""
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return value  # not from JSON; refused as what it is


def json_kind(value: Any) -> str:
    """Name the kind of a JSON value for a person."""
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a text"}
    return kinds.get(type(value), "a list" if isinstance(value, list) else "an object")


def shown(value: Any) -> str:
    """Write a value of a file for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
