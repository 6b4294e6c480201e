"""Replies against examples: what passes, in which way, and what people get to see if not."""

from __future__ import annotations

import json
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.folders.comparing import Likeness, compare, input_doubts


def png(width: int, height: int, colour: int = 0) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + bytes([colour, n % 256, 7]) * width for n in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


JSON_STRING = json.dumps(json.dumps({"a": [1, 2]})).encode()


@pytest.mark.parametrize(
    ("expected", "actual", "likeness"),
    [
        (b"", b"", "exact"),
        (b"\xff\x00", b"\xff\x00", "exact"),
        (b"hello\n", b"hello", "space"),
        (b"hello", b"hello \r\n\n", "space"),
        (b"  hello", b"hello", "none"),
        (b'{"a": 1, "b": [1, 2]}', b'{"b":[1,2],"a":1}\n', "json"),
        (b"[1, 2.0, 1e2]", b"[1.0, 2, 100]", "json"),
        (JSON_STRING, b'{"a": [1, 2]}', "json"),
        (b"\n" + JSON_STRING + b"\n", b'{"a":[1,2]}', "json"),
        (JSON_STRING, b'{"a": [1, 3]}', "none"),
        (b'{"a": [1, 2]}', JSON_STRING, "none"),  # of the reply's, it is the task's mistake
        (b'"hello"', b"hello", "none"),
        (b"1", b"true", "none"),
        (b"[0]", b"[false]", "none"),
        (b'"1"', b"1", "none"),
        (b"null", b"0", "none"),
        (b"NaN", b"nan", "none"),
        (b'{"a": 1}', b'{"a": 1, "b": null}', "none"),
        (b"[1, 2]", b"[2, 1]", "none"),
        (png(8, 4), png(8, 4, 200), "type"),
        (png(8, 4), png(4, 8), "none"),
        (png(8, 4), b"an error", "none"),
        (b"\xff\xfe\xfd", b"\xfd\xfe\xff", "type"),
        (b"\xff\xfe\xfd", b"\xfd\xfe\xff\xff", "none"),
        (b"\x1f\x8b\x08\xff", b"\xff\x8b\x08\xff", "none"),
        (b"text", b"te\xff\xfe", "none"),
        (b"a\x00b", b"a\x00c", "type"),
    ],
)
def test_in_which_way_a_reply_is_what_was_expected(
    expected: bytes, actual: bytes, likeness: str
) -> None:
    found = compare(expected, actual)
    assert found.likeness == likeness, found
    assert found.same is (likeness != "none")
    assert bool(found.words)
    if likeness not in ("exact", "none"):
        strict = compare(expected, actual, exact=True)
        assert strict.likeness is Likeness.NONE, "--exact"
        assert strict.words


def test_where_json_differs_first() -> None:
    def words(expected: object, actual: object) -> str:
        return compare(json.dumps(expected).encode(), json.dumps(actual).encode()).words

    assert words({"a": [{"b": 1}]}, {"a": [{"b": 2}]}) == "at a[0].b: 2 instead of 1"
    assert words([1, 2], [1]) == "at [1]: 2 is missing"
    assert words({"a": 1}, {"a": 1, "b c": "x"}) == 'at ["b c"]: "x" is not in the example'
    assert words({"a": {}}, {"a": []}) == "at a: an array of 0 instead of an object of 0"
    assert words("one", "two") == '"two" instead of "one"'
    long = words(["x" * 500], ["y" * 500])
    assert len(long) < 200


def test_a_difference_of_json_is_one_of_lines() -> None:
    diff = compare(b'{"b":1,"a":[1,2,3]}', b'{"a":[1,9,3],"b":1}').diff
    assert diff.splitlines() == [
        "--- example_output.bin",
        "+++ the reply",
        "@@ -1,7 +1,7 @@",
        " {",
        '   "a": [',
        "     1,",
        "-    2,",
        "+    9,",
        "     3",
        "   ],",
        '   "b": 1',
    ]


@pytest.mark.parametrize(
    ("expected", "actual", "words"),
    [
        (b'"hello"', b"hello", "the example is a JSON string, and the reply is its text"),
        (b"hello", b'"hello"', "the reply is a JSON string, and the example is its text"),
        (b'{"a": 1}', b"<html>", "the example is JSON, and the reply is none"),
        (b"a\nb\nc\n", b"a\nB\nc\n", "line 2 differs"),
        (b"a\nb", b"a\nb\nc", "line 3 differs"),
        (b"", b"x", "the example is empty"),
        (b"x", b"", "the reply is empty"),
        (b"a\r\nb", b"a\nb", "only the ends of lines differ"),
        (b"x", png(2, 3), "image/png (2x3 pixels, "),
        (png(2, 3), png(3, 2), "image/png (3x2 pixels, "),
    ],
)
def test_what_differs_is_said_in_words(expected: bytes, actual: bytes, words: str) -> None:
    assert words in compare(expected, actual).words


def test_what_cannot_be_seen_is_shown() -> None:
    diff = compare(b"a b\nend", "a\u00a0b \t\nend".encode()).diff
    assert "+a\\xa0b \\t" in diff
    assert "-x\\x20" in compare(b"x \nend", b"x\nend").diff


def test_a_difference_is_bounded_and_shows_the_place() -> None:
    lines = [f"line {n}" for n in range(200_000)]
    other = [*lines[:150_000], "another", *lines[150_001:]]
    diff = compare("\n".join(lines).encode(), "\n".join(other).encode()).diff
    assert "@@ -149998," in diff
    assert "-line 150000\n+another" in diff
    assert len(diff.splitlines()) < 20
    everything = compare("\n".join(lines).encode(), "\n".join(lines[::-1]).encode()).diff
    assert len(everything.splitlines()) == 61
    assert everything.endswith("... and more")
    one = "x" * 100_000 + "here" + "y" * 100_000
    cut = compare(one.encode(), one.replace("here", "HERE").encode()).diff
    assert "here" in cut
    assert "HERE" in cut
    assert len(cut) < 1000


def test_json_that_is_nested_deep_or_has_endless_numbers_is_text() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert compare(deep, deep + b"x").likeness is Likeness.NONE
    digits = b"1" * 10_000
    assert compare(digits, digits + b"2").likeness is Likeness.NONE
    nested = b"[" * 400 + b"1" + b"]" * 400
    found = compare(nested, nested.replace(b"1", b"2"))
    assert found.words.endswith("2 instead of 1")
    assert found.diff


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_is_like_itself_however_it_is_written(value: object) -> None:
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return
    try:
        one = json.dumps(value, allow_nan=False).encode()
    except ValueError:
        return  # an infinity inside
    other = json.dumps(value, indent=3, ensure_ascii=False, sort_keys=True)
    found = compare(one, other.encode("utf-8", "surrogatepass"))
    assert found.same or "\\ud" in one.decode(), found


@given(st.binary(), st.binary())
def test_any_two_bytes_can_be_compared(one: bytes, other: bytes) -> None:
    found = compare(one, other)
    assert compare(one, one).likeness is Likeness.EXACT
    assert found.same or found.words
    assert (found.likeness is Likeness.EXACT) is (one == other)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"a": 1}\n', ""),
        (b" [1] ", ""),
        (b'"text"', ""),
        (b"", "is no JSON: Expecting value at line 1, column 1"),
        (b"{\n 'a': 1}", "at line 2, column 2"),
        (b"\xff", "byte 0 is not UTF-8"),
        (b"NaN", "NaN is not JSON"),
        (JSON_STRING, "is a JSON string that holds JSON, so the task gets a string"),
    ],
)
def test_what_is_doubtful_in_an_input(body: bytes, says: str) -> None:
    assert says in input_doubts(body)
    assert bool(input_doubts(body)) is bool(says)
