"""Whether a document keeps to the letter of a JSON Schema, found out in a millisecond.

Only what our own schemas use of JSON Schema 2020-12 is known here; whatever isn't counts as not
allowed. So a yes can be relied on, and a no says: look closer. Building pydantic's models and
importing pydantic takes a hundred times as long, and is for files that have something to tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from lading.errors import InputError
from lading.units import quantity

__all__ = ["LARGEST_FACTOR", "QUANTITY", "allows"]

QUANTITY = "kubernetes-quantity"
"""The name that our schemas have for the format of an amount such as ``512Mi``."""
LARGEST_FACTOR = 10**15
"""No machine has so much memory for a byte."""
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str) and _is_text(value),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) in (int, float),
}
_SAYS_NOTHING = frozenset(
    ("$schema", "$id", "$defs", "title", "description", "default", "examples", "deprecated")
)


def allows(schema: Mapping[str, Any], value: Any) -> bool:
    """Say whether a value is what a schema asks for.

    Parameters
    ----------
    schema : mapping
        With its ``$defs``.
    value
        Of JSON.
    """
    return _Letter(schema.get("$defs", {})).allows(schema, value)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates, which JSON can write
        return False
    return True


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    # Python's $ also fits before a newline at the end.
    return re.compile(f"{pattern[:-1]}\\Z" if pattern.endswith("$") else pattern)


def _is_quantity(value: Any) -> bool:
    try:
        quantity(value)
    except InputError:
        return False
    return True


def _is_regex(value: str) -> bool:
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


_FORMATS: Mapping[str, Callable[[Any], bool]] = {QUANTITY: _is_quantity, "regex": _is_regex}


_OF_ONE: Mapping[str, Callable[[Any, Any], bool]] = {
    "enum": lambda rule, value: isinstance(value, str) and value in rule,
    "const": lambda rule, value: type(value) is type(rule) and bool(value == rule),
    "format": lambda rule, value: rule in _FORMATS and _FORMATS[rule](value),
    "pattern": lambda rule, value: _pattern(rule).search(value) is not None,
    "minLength": lambda rule, value: len(value) >= rule,
    "maxLength": lambda rule, value: len(value) <= rule,
    "minimum": lambda rule, value: bool(value >= rule),
    "maximum": lambda rule, value: bool(value <= rule),
}
"""Rules of values that hold no others; our schemas give each beside the type it is for."""


class _Letter:
    """The rules of a schema; those of one kind of value hold for others, whatever they say."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions

    def allows(self, schema: Any, value: Any) -> bool:
        if isinstance(schema, bool):
            return schema
        if "type" in schema and not _TYPES[schema["type"]](value):
            return False
        return all(
            self._keeps(keyword, rule, schema, value)
            for keyword, rule in schema.items()
            if keyword not in _SAYS_NOTHING and keyword != "type"
        )

    def _keeps(self, keyword: str, rule: Any, schema: Mapping[str, Any], value: Any) -> bool:
        if keyword == "$ref":
            return self.allows(self._definitions[rule.removeprefix("#/$defs/")], value)
        if keyword in ("anyOf", "oneOf"):
            fitting = sum(self.allows(one, value) for one in rule)
            return fitting == 1 if keyword == "oneOf" else fitting > 0
        if isinstance(value, dict):
            return self._object_keeps(keyword, rule, schema, value)
        if isinstance(value, list):
            return keyword == "items" and all(self.allows(rule, item) for item in value)
        return keyword in _OF_ONE and _OF_ONE[keyword](rule, value)

    def _object_keeps(
        self, keyword: str, rule: Any, schema: Mapping[str, Any], value: dict[str, Any]
    ) -> bool:
        known = schema.get("properties", {})
        if keyword == "required":
            return all(name in value for name in rule)
        if keyword == "properties":
            return all(self.allows(rule[name], value[name]) for name in value if name in rule)
        if keyword == "additionalProperties":
            return all(self.allows(rule, value[name]) for name in value if name not in known)
        return keyword == "minProperties" and len(value) >= int(rule)
