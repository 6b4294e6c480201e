"""JSON texts: what is refused, and where in the text every value stands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.contracts.processing.reading.positions import JsonError, locate, parse, spell

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
SPACES = st.text(" \t\n\r", max_size=3)


def written(value: Any, draw: Any) -> str:
    """Write a value as people might: with white space anywhere, and some escapes."""

    def space() -> str:
        return str(draw(SPACES))

    if isinstance(value, dict):
        inside = ",".join(
            f"{space()}{json.dumps(key, ensure_ascii=draw(st.booleans()))}{space()}:"
            f"{space()}{written(item, draw)}{space()}"
            for key, item in value.items()
        )
        return f"{{{inside or space()}}}"
    if isinstance(value, list):
        inside = ",".join(f"{space()}{written(item, draw)}{space()}" for item in value)
        return f"[{inside or space()}]"
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    found = [(path, value)]
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    return found + [one for key, item in items for one in paths(item, (*path, key))]


@given(ANY_JSON, st.data())
def test_every_value_is_found_where_it_stands(value: Any, data: st.DataObject) -> None:
    text = written(value, data.draw) + data.draw(SPACES)
    parsed, twice = parse(text)
    assert parsed == value
    assert twice == []
    lines = text.split("\n")
    for path, inside in paths(value):
        line, column = locate(text, path)
        at = sum(len(one) + 1 for one in lines[: line - 1]) + column - 1
        assert json.JSONDecoder().raw_decode(text, at)[0] == inside


def test_what_is_missing_is_where_it_should_be() -> None:
    text = '{\n "a": [ {"b": 1}, 2 ],\n "c": {}\n}'
    assert locate(text, ("a", 0, "nothing")) == (2, 9)
    assert locate(text, ("a", 9)) == (2, 7)
    assert locate(text, ("c", "d", "e")) == (3, 7)
    assert locate(text, ("a", "b")) == (2, 7)
    assert locate("[]", (0,)) == (1, 1)
    assert locate("  7", (0, "x")) == (1, 3)


def test_a_path_is_spelled_as_people_do() -> None:
    assert spell(("templates", 0, "env", 2, "value")) == "templates[0].env[2].value"
    assert spell((0, "a")) == "[0].a"
    assert spell(()) == ""


@pytest.mark.parametrize(
    ("text", "says", "line", "column"),
    [
        ('{"a": 1,\n}', "a comma before '}'", 2, 1),
        ("[1,\n 2,\n]", "a comma before ']'", 3, 1),
        ('{"a" 1}', "expecting ':' delimiter, found '1}'", 1, 6),
        ('{"a": 1', "the text ends in the middle", 1, 8),
        ('{"a": "b', "Unterminated|unterminated|ends in the middle", 1, 7),
        ("{'a': 1}", "a single quote: JSON has texts in double quotes", 1, 2),
        ('{\n// why\n"a": 1}', "a comment", 2, 1),
        ('{"a": 1} {', "extra data", 1, 10),
        ('{"a": "NaN", "b":\n NaN}', "NaN is no number", 2, 2),
        ('["Infinity\\"", -Infinity]', "-Infinity is no number", 1, 16),
        ("[" * 200_000, "nested too deeply", 1, 1),
        ('["' + "1" * 5000 + '",\n ' + "1" * 5000 + "]", "a number that is too long", 2, 2),
        ('{"a": "x\ny"}', "control character", 1, 9),
        ('{"a": "\\x"}', "escape", 1, 8),
        ('["\\ud83d\\ude00", "\\\\ud800",\n "a\\uD800"]', "half of a pair", 2, 4),
        ('["\\ude00"]', "half of a pair", 1, 3),
        ('{"a": tru}', "expecting value, found 'tru}'", 1, 7),
    ],
)
def test_no_json(text: str, says: str, line: int, column: int) -> None:
    with pytest.raises(JsonError, match=f"(?i){says}") as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == (line, column)


@given(st.text())
def test_any_text_is_json_or_is_refused_with_a_line(text: str) -> None:
    try:
        parse(text)
    except JsonError as error:
        assert 1 <= error.line <= text.count("\n") + 1
        assert 1 <= error.column <= len(text) + 1


def test_keys_that_are_there_twice_are_found() -> None:
    text = (
        '{"a": {"a": 1, "b": "{\\"a\\": "},\n "b": [{"a": 1}, {"a": 2, "a" : 3}],\n "\\u0061": 2}'
    )
    value, twice = parse(text)
    assert twice == [("a", 2, 27), ("a", 3, 2)]
    assert value["a"] == 2, "the last one counts"
