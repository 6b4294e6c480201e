"""Values in a JSON text changed, and everything else left as its author wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["with_values"]

_TOKEN = re.compile(r'[\s\ufeff]*("(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+)')

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a value stands."""

    start: int
    end: int


def with_values(text: str, inside: Path, values: Mapping[str, float]) -> str:
    """Set members of an object in a JSON text.

    Parameters
    ----------
    text : str
        A valid JSON object.
    inside : tuple of str
        Keys that lead to the object; those that are not there are made.
    values : mapping
        Numbers by key. One that is there is replaced, whatever it was; others are put in front, in
        the way that the first one is written.
    """
    for key, value in reversed(list(values.items())):
        text = _with(text, (*inside, key), _number(value))
    return text


def _number(value: float) -> str:
    return json.dumps(int(value) if value == int(value) else value)


def _with(text: str, path: Path, value: str) -> str:
    found = dict(_spans(text))
    if path in found:
        span = found[path]
        return text[: span.start] + value + text[span.end :]
    parent = found.get(path[:-1])
    if parent is None:
        return _with(text, path[:-1], f"{{{json.dumps(path[-1])}: {value}}}")
    if text[parent.start] != "{":  # null, or something that nobody can mean
        member = f"{{{json.dumps(path[-1])}: {value}}}"
        return text[: parent.start] + member + text[parent.end :]
    after = text[parent.start + 1 : parent.end]
    space = after[: len(after) - len(after.lstrip())]
    empty = after.strip() == "}"
    member = f"{json.dumps(path[-1])}: {value}"
    front = "" if empty else space
    rest = after.lstrip() if empty else f",{space or ' '}{after.lstrip()}"
    return f"{text[: parent.start + 1]}{front}{member}{rest}{text[parent.end :]}"


def _spans(text: str) -> Iterator[tuple[Path, _Span]]:
    """Walk over the members of all objects that are not in arrays, the outermost object first.

    Of a key that stands twice the last one counts, as it does for parsers.
    """
    stack: list[tuple[Path | None, bool, int]] = []  # where, whether an object, its start
    key: str | None = None
    at = 0
    while match := _TOKEN.match(text, at):
        word, start, at = match[1], match.start(1), match.end()
        if word in ("{", "["):
            stack.append((_place(stack, key), word == "{", start))
            key = None
        elif word in ("}", "]"):
            path, _, begun = stack.pop()
            if path is not None:
                yield path, _Span(begun, at)
        elif word == ",":
            key = None
        elif word != ":":
            if stack and stack[-1][1] and key is None:
                key = json.loads(word)
            elif (path := _place(stack, key)) is not None:
                yield path, _Span(start, at)


def _place(stack: list[tuple[Path | None, bool, int]], key: str | None) -> Path | None:
    """Name the value that begins here; None if it is, or lies, in an array."""
    if not stack:
        return ()
    path = stack[-1][0]
    return None if path is None or key is None else (*path, key)
