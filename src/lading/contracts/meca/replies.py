"""The executor's replies, byte for byte as the original's callers read them.

JSON is indented by four spaces, and ``<``, ``>``, ``&``, U+2028 and U+2029 in strings are escaped,
as Go's ``encoding/json`` does, which the original is written with.
"""

from __future__ import annotations

import json
from typing import Any, Final

from lading.errors import (
    GpuUnavailable,
    InvalidLimit,
    LadingError,
    NotAccepting,
    TaskFailed,
    TooLarge,
)

__all__ = ["BAD_CONFIG", "BAD_REQUEST", "JSON", "NO_STATS", "failure_text", "indented", "outcome"]

JSON: Final = "application/json; charset=utf-8"
BAD_REQUEST: Final = b'"Bad execution request"'
BAD_CONFIG: Final = b'"Bad reconfiguration request"'

_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_quote = json.JSONEncoder(ensure_ascii=False).encode

_TEXTS: Final[tuple[tuple[type[LadingError], str], ...]] = (
    (GpuUnavailable, "not enough GPU available"),
    (InvalidLimit, "invalid resource limit"),
    (TooLarge, "resource limit exceeds the maximum"),
    (NotAccepting, "mecanywhere executor not started"),
)
"""Refusals that callers of the original compare with; the details go in a header."""


def indented(value: Any) -> bytes:
    """Write JSON as the original does."""
    text = json.dumps(value, ensure_ascii=False, indent=4)
    return text.translate(_ESCAPES).encode("utf-8", "replace")


def outcome(*, success: bool, message: str) -> bytes:
    """Write ``{"success": .., "msg": ..}``, the reply to nearly everything."""
    quoted = _quote(message)
    if (
        "<" in quoted or ">" in quoted or "&" in quoted
        or "\u2028" in quoted or "\u2029" in quoted
    ):  # fmt: skip
        quoted = quoted.translate(_ESCAPES)
    flag = "true" if success else "false"
    text = f'{{\n    "success": {flag},\n    "msg": {quoted}\n}}'
    return text.encode("utf-8", "replace")


NO_STATS: Final = outcome(success=False, message="failed to retrieve resource stats")


def failure_text(error: LadingError) -> str:
    """Say why an execution failed, in the original's words where it has some."""
    for kind, text in _TEXTS:
        if isinstance(error, kind):
            return text
    if isinstance(error, TaskFailed):
        return f"{error}: {error.body.decode('utf-8', 'replace')}"
    return str(error)
