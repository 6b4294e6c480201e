"""JSON texts of people: where in the text a value stands, for messages that lead there.

Parsing is :mod:`json`'s (RFC 8259, without its ``NaN`` and ``Infinity``). Positions are looked up
only when there is something to say: by walking the text along the path to the value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]  # as it is named since 2.7
from typing import Any

__all__ = ["JsonError", "Path", "Repeated", "locate", "parse", "spell"]

Path = Sequence[str | int]
"""From the root of a document to a value: ``("env", 0, "value")``."""

Repeated = tuple[str, int, int]
"""A key that an object has a second time: the key, and the line and column of it."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"\s*:?|[{}]')
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)
_SPACE = re.compile(r"[ \t\n\r]*")
_decoder = json.JSONDecoder()


class JsonError(ValueError):
    """A text is no JSON.

    Parameters
    ----------
    message : str
        What is wrong.
    line, column : int
        Where, counted from 1.
    """

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


def parse(text: str) -> tuple[Any, list[Repeated]]:
    """Read a JSON text.

    Returns
    -------
    tuple of (Any, list of Repeated)
        The value, and the keys that some object has more than once: the last of them counts.

    Raises
    ------
    JsonError
        It is none, or a number is no number.
    """
    twice = False

    def whole(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        found = dict(pairs)
        twice = twice or len(found) < len(pairs)
        return found

    def no_number(name: str) -> None:
        raise JsonError(f"{name} is no number in JSON", *_outside_texts(text, name))

    try:
        value = json.loads(text, object_pairs_hook=whole, parse_constant=no_number)
    except json.JSONDecodeError as error:
        raise JsonError(_in_words(error), error.lineno, error.colno) from None
    except RecursionError:
        raise JsonError("nested too deeply", 1, 1) from None
    except JsonError:
        raise
    except ValueError:  # a whole number of more than 4300 digits
        raise JsonError("a number that is too long", *_outside_texts(text, r"\d{4301,}")) from None
    for match in _ESCAPE.finditer(text):
        if match[1] is not None:
            place = _line_and_column(text, match.start())
            raise JsonError("half of a pair of surrogates, which is no character", *place)
    return value, list(_repeated(text)) if twice else []


def _outside_texts(text: str, pattern: str) -> tuple[int, int]:
    """Find what JSON has nowhere but in texts."""
    for match in re.finditer(rf'"(?:[^"\\]|\\.)*"|({pattern})', text):
        if match[1] is not None:
            return _line_and_column(text, match.start())
    return 1, 1


def _repeated(text: str) -> Iterator[Repeated]:
    """Find the keys that an object has already, in valid JSON."""
    objects: list[set[str]] = []
    for match in _TOKEN.finditer(text):
        found = match[0]
        if found == "{":
            objects.append(set())
        elif found == "}":
            objects.pop()
        elif found.endswith(":"):
            key = json.loads(found[:-1])
            if key in objects[-1]:
                yield key, *_line_and_column(text, match.start())
            objects[-1].add(key)


def locate(text: str, path: Path) -> tuple[int, int]:
    """Find a value, or where it is missing, the innermost object or list that is there.

    Parameters
    ----------
    text : str
        Valid JSON.
    path : sequence of str or int

    Returns
    -------
    tuple of (int, int)
        Line and column, counted from 1.
    """
    at = _skip(text, 0)
    for step in path:
        inside = _member(text, at, step)
        if inside is None:
            break
        at = inside
    return _line_and_column(text, at)


def spell(path: Path) -> str:
    """Write a path as people do: ``templates[0].env[2].value``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _in_words(error: json.JSONDecodeError) -> str:
    message = error.msg
    rest = error.doc[error.pos :].lstrip()
    before = error.doc[: error.pos].rstrip()
    if not rest:
        return f"the text ends in the middle ({message[0].lower()}{message[1:]})"
    if rest[:1] in "]}" and before.endswith(","):
        return f"a comma before {rest[0]!r}, which JSON does not allow"
    if rest.startswith(("//", "/*", "#")):
        return "a comment, which JSON does not have"
    if rest[:1] == "'":
        return "a single quote: JSON has texts in double quotes"
    return f"{message[0].lower()}{message[1:]}, found {rest[:20].splitlines()[0]!r}"


def _line_and_column(text: str, at: int) -> tuple[int, int]:
    begin = text.rfind("\n", 0, at) + 1
    return text.count("\n", 0, at) + 1, at - begin + 1


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def _member(text: str, at: int, step: str | int) -> int | None:
    """Find where a member of the object or list at `at` begins."""
    opening = text[at : at + 1]
    if opening == "{" and isinstance(step, str):
        return _of_object(text, at, step)
    if opening == "[" and isinstance(step, int):
        return _of_list(text, at, step)
    return None


def _of_object(text: str, at: int, key: str) -> int | None:
    at = _skip(text, at + 1)
    while text[at] == '"':
        name, at = scanstring(text, at + 1)
        at = _skip(text, _skip(text, at) + 1)  # the colon
        if name == key:
            return at
        at = _next(text, at)
    return None


def _of_list(text: str, at: int, index: int) -> int | None:
    at = _skip(text, at + 1)
    for _ in range(index):
        if text[at] == "]":
            return None
        at = _next(text, at)
    return None if text[at] == "]" else at


def _next(text: str, at: int) -> int:
    """Step over a value and the comma behind it, or to the end of what holds it."""
    _, at = _decoder.raw_decode(text, at)
    at = _skip(text, at)
    return _skip(text, at + 1) if text[at] == "," else at
