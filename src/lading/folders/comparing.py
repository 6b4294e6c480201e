"""Whether a task replied what its example says, and what differs, for people to read.

In this order: the same bytes; the same but for white space at the end, which shipped examples
carry; the same JSON (order of keys, white space and the spelling of numbers don't matter), also
where the example is a JSON string that holds it; and where the example is no text, the same type
and size, as pictures and ciphertexts are seldom the same twice.
"""

from __future__ import annotations

import contextlib
import difflib
import enum
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from lading.folders.media import media_of

__all__ = ["Comparison", "Likeness", "compare", "input_doubts", "unified"]

_CONTEXT = 3
_MOST_LINES = 60
"""Lines of a difference that are shown."""
_WINDOW = 500
"""Lines from the first that differs which are compared: what comes after is not shown anyway."""
_LONG = 160
"""Characters of a line that are shown, around its first difference."""
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\xa0\u200b-\u200f\u2028-\u202e\ufeff]| +$")


class Likeness(enum.StrEnum):
    """In which way a reply is what was expected."""

    EXACT = "exact"
    SPACE = "space"
    JSON = "json"
    TYPE = "type"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found.

    Parameters
    ----------
    likeness : Likeness
    words : str
        How they are alike, or what differs first, as part of a sentence.
    diff : str
        Lines as of ``diff -u`` where both are text, bounded in length; empty if they are alike.
    """

    likeness: Likeness
    words: str
    diff: str = ""

    @property
    def same(self) -> bool:
        """Whether the reply passes."""
        return self.likeness is not Likeness.NONE


def compare(
    expected: bytes,
    actual: bytes,
    *,
    exact: bool = False,
    names: tuple[str, str] = ("example_output.bin", "the reply"),
) -> Comparison:
    """Compare what came with what was expected.

    Parameters
    ----------
    expected, actual : bytes
    exact : bool
        Whether only the same bytes will do.
    names : tuple of str
        What a difference calls them.
    """
    if expected == actual:
        return Comparison(Likeness.EXACT, "the same bytes")
    wanted, came = media_of(expected), media_of(actual)
    if wanted.is_text and came.is_text:
        return _texts(expected.decode("utf-8"), actual.decode("utf-8"), exact, names)
    if wanted.type == came.type and not exact:
        if wanted.dimensions is not None and wanted.dimensions == came.dimensions:
            pixels = "{}x{}".format(*wanted.dimensions)
            words = f"{wanted.type} of {pixels} pixels as well, other bytes"
            return Comparison(Likeness.TYPE, words)
        if wanted.dimensions == came.dimensions and wanted.size == came.size:
            words = f"{wanted.type} of {wanted.size} bytes as well, others"
            return Comparison(Likeness.TYPE, words)
    words = f"{came} instead of {wanted}"
    if str(wanted) == str(came):
        words = f"other bytes from byte {_shared(expected, actual)} on"
    return Comparison(Likeness.NONE, words, f"-{wanted}\n+{came}")


def _texts(expected: str, actual: str, exact: bool, names: tuple[str, str]) -> Comparison:
    wanted, came = _parsed(expected), _parsed(actual)
    both = wanted is not _NO_JSON and came is not _NO_JSON
    if not exact:
        if expected.rstrip() == actual.rstrip():
            return Comparison(Likeness.SPACE, "the same but for white space at the end")
        if both and _first_difference(wanted, came) is None:
            return Comparison(Likeness.JSON, "the same JSON")
        held = _parsed(wanted) if isinstance(wanted, str) else _NO_JSON
        if both and isinstance(held, dict | list) and _first_difference(held, came) is None:
            return Comparison(Likeness.JSON, "the JSON that the example holds in a JSON string")
    if both and (where := _first_difference(wanted, came)) is not None:
        with contextlib.suppress(RecursionError):  # texts that are nested deep stay as they are
            # Not of the texts as they are, which often have one line each.
            return Comparison(Likeness.NONE, where, unified(_pretty(wanted), _pretty(came), names))
    words = _telling(expected, wanted, actual, came)
    return Comparison(Likeness.NONE, words, unified(expected, actual, names))


def _telling(expected: str, wanted: Any, actual: str, came: Any) -> str:
    """Say what differs where that is not two JSON values."""
    if not expected.strip():
        return "the example is empty, the reply is not"
    if not actual.strip():
        return "the reply is empty"
    if isinstance(wanted, str) and wanted.strip() == actual.strip():
        return "the example is a JSON string, and the reply is its text without quotes"
    if isinstance(came, str) and came.strip() == expected.strip():
        return "the reply is a JSON string, and the example is its text without quotes"
    if wanted is not _NO_JSON and came is _NO_JSON:
        return "the example is JSON, and the reply is none"
    pairs = itertools.zip_longest(expected.splitlines(), actual.splitlines())
    number = next((n for n, (old, new) in enumerate(pairs, 1) if old != new), None)
    return "only the ends of lines differ" if number is None else f"line {number} differs"


# JSON.

_NO_JSON = object()


def _parsed(text: str) -> Any:
    """Parse JSON; `_NO_JSON` if it is none."""
    try:
        return json.loads(text.strip(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _NO_JSON


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def _first_difference(wanted: Any, came: Any) -> str | None:
    """Say where two values differ first; None if they don't.

    Python takes True for 1; JSON does not.
    """
    # Not recursive: what the parser takes may be nested as deep as the stack allows.
    todo = [("", wanted, came)]
    while todo:
        path, old, new = todo.pop()
        if isinstance(old, dict) and isinstance(new, dict):
            todo += [
                (_key(path, key), old.get(key, _NO_JSON), new.get(key, _NO_JSON))
                for key in sorted(old.keys() | new.keys(), reverse=True)
            ]
        elif isinstance(old, list) and isinstance(new, list):
            pairs = list(itertools.zip_longest(old, new, fillvalue=_NO_JSON))
            todo += [(f"{path}[{at}]", *pairs[at]) for at in reversed(range(len(pairs)))]
        elif isinstance(old, bool) or isinstance(new, bool):
            if old is not new:
                return _place(path, old, new)
        elif old != new:
            return _place(path, old, new)
    return None


def _key(path: str, key: str) -> str:
    return f"{path}.{key}" if key.isidentifier() else f"{path}[{json.dumps(key)}]"


def _place(path: str, old: Any, new: Any) -> str:
    at = f"at {path.removeprefix('.')}: " if path else ""
    if new is _NO_JSON:
        return f"{at}{_short(old)} is missing"
    if old is _NO_JSON:
        return f"{at}{_short(new)} is not in the example"
    return f"{at}{_short(new)} instead of {_short(old)}"


def _short(value: Any) -> str:
    if isinstance(value, dict | list):
        kind = "object" if isinstance(value, dict) else "array"
        return f"an {kind} of {len(value)}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


# Differences of texts.


def unified(expected: str, actual: str, names: tuple[str, str]) -> str:
    """Write what differs between two texts as ``diff -u`` does, for people.

    What can't be seen is escaped, long lines are cut around their first difference, and of a long
    list the beginning is shown.
    """
    old, new = expected.splitlines(), actual.splitlines()
    first = max(_shared(old, new) - _CONTEXT, 0)
    cut = old[first : first + _WINDOW], new[first : first + _WINDOW]
    matcher = difflib.SequenceMatcher(None, *cut, autojunk=False)
    lines = [f"--- {names[0]}", f"+++ {names[1]}"]
    for group in matcher.get_grouped_opcodes(_CONTEXT):
        lines.append(
            f"@@ -{first + group[0][1] + 1},{group[-1][2] - group[0][1]} "
            f"+{first + group[0][3] + 1},{group[-1][4] - group[0][3]} @@"
        )
        lines += _group(group, *cut)
    left = len(lines) - _MOST_LINES
    more = left > 0 or len(old) > first + _WINDOW or len(new) > first + _WINDOW
    return "\n".join([*lines[:_MOST_LINES], *(["... and more"] if more else [])])


def _group(
    group: Sequence[tuple[str, int, int, int, int]], old: list[str], new: list[str]
) -> Iterator[str]:
    for tag, i1, i2, j1, j2 in group:
        if tag == "equal":
            yield from (f" {_shown(line)}" for line in old[i1:i2])
            continue
        pairs = list(itertools.zip_longest(old[i1:i2], new[j1:j2]))
        columns = [_shared(a or "", b or "") for a, b in pairs]
        yield from (
            f"-{_shown(a, at)}" for (a, _), at in zip(pairs, columns, strict=True) if a is not None
        )
        yield from (
            f"+{_shown(b, at)}" for (_, b), at in zip(pairs, columns, strict=True) if b is not None
        )


def _shared(old: Sequence[Any], new: Sequence[Any]) -> int:
    """Count what both begin with."""
    equal, differs = 0, min(len(old), len(new))
    if old[:differs] == new[:differs]:
        return differs
    while differs - equal > 1:  # by halves, as slices are compared much faster than their parts
        middle = (equal + differs) // 2
        if old[equal:middle] == new[equal:middle]:
            equal = middle
        else:
            differs = middle
    return equal


def _shown(line: str, at: int = 0) -> str:
    begin, end = 0, len(line)
    if len(line) > _LONG:
        begin = max(0, min(at - _LONG // 4, len(line) - _LONG))
        end = begin + _LONG
    text = _INVISIBLE.sub(lambda m: "".join(map(_escaped, m[0])), line[begin:end])
    return f"{'...' if begin else ''}{text}{'...' if end < len(line) else ''}"


def _escaped(char: str) -> str:
    return "\\x20" if char == " " else ascii(char)[1:-1]


# Inputs.


def input_doubts(body: bytes) -> str:
    """Say what is doubtful in an example input, as the contract wants JSON; empty if nothing."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"is no JSON: byte {error.start} is not UTF-8"
    try:
        value = json.loads(text.strip(), parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return f"is no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError) as error:
        return f"is no JSON: {error}"
    if isinstance(value, str) and isinstance(_parsed(value), dict | list):
        return "is a JSON string that holds JSON, so the task gets a string"
    return ""
