"""The JSON Schemas: the same letter as the models', for editors and for `lading validate`."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.contracts.processing.documents import CONTAINER, TASK, changed, checked
from tests.contracts.processing.test_files import FIELDS, LIKE_OURS, VALUES

from lading.contracts.processing.reading.files import KINDS
from lading.contracts.processing.reading.letter import allows
from lading.contracts.processing.reading.schemas import FILES, generate, schema, schema_text
from lading.errors import InputError

ROOT = Path(__file__).parents[3]
REAL = {kind: jsonschema_rs.Draft202012Validator(schema(kind)) for kind in KINDS}
LETTERS: dict[str, dict[str, Any]] = {
    "pc": CONTAINER,
    "task": changed(
        changed(TASK, "taskTemplate", CONTAINER["templates"][0]),
        "config",
        {"type": "k8s", "namespace": "x", "annotations": {"a": "b"}, "env_vars": [{"name": "x"}]},
    ),
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inside in items:
        yield (*path, key)
        if isinstance(inside, dict | list):
            yield from places(inside, (*path, key))


@st.composite
def nearly(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """A document in which up to three things were changed, left out or added."""
    made = copy.deepcopy(document)
    for _ in range(draw(st.integers(0, 3))):
        *before, last = draw(st.sampled_from(sorted(places(made), key=repr)))
        inside: Any = made
        for step in before:
            inside = inside[step]
        match draw(st.sampled_from(["change", "leave out", "add", "repeat"])):
            case "change":
                inside[last] = draw(VALUES | LIKE_OURS)
            case "leave out":
                del inside[last]
            case "add" if isinstance(inside, dict):
                inside[draw(FIELDS)] = draw(VALUES | LIKE_OURS)
            case "repeat" if isinstance(inside, list):
                inside.append(copy.deepcopy(inside[last]))
        if not made:
            break
    return made


def test_the_files_are_what_the_models_say() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/schemas", "--check"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    for kind, name in FILES.items():
        assert (ROOT / "docs/assets/schemas" / name).read_text("utf-8") == schema_text(kind)
        assert generate(kind) == schema_text(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_schema_that_says_what_everything_is(kind: str) -> None:
    content = schema(kind)
    jsonschema_rs.meta.validate(content)
    assert content["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert content["$id"].endswith(FILES[kind])
    for name, one in {"": content, **content["$defs"]}.items():
        assert one["title"], name
        assert one["description"], name
        for key, field in one.get("properties", {}).items():
            assert field["description"], f"{name}.{key}"
            assert key == "$schema" or field["title"], f"{name}.{key}"


@pytest.mark.parametrize("kind", KINDS)
def test_its_examples_are_to_the_letter(kind: str) -> None:
    for example in schema(kind)["examples"]:
        assert REAL[kind].is_valid(example)
        report = checked(example, kind=kind, environment={"HOME": "/home/a"})
        assert report.findings == []


def test_there_are_two_kinds() -> None:
    with pytest.raises(InputError, match="'x' is no kind of file"):
        schema_text("x")


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_the_quick_way_finds_what_the_models_find(kind: str, data: st.DataObject) -> None:
    document = data.draw(nearly(LETTERS[kind]))
    text = json.dumps(document).replace("Infinity", "1e999")
    slow = checked(text, kind=kind)
    quick = checked(text, kind=kind, with_model=False)
    assert quick.findings == slow.findings
    assert quick.kind == slow.kind


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_what_has_no_deviation_is_what_the_schema_allows(kind: str, data: st.DataObject) -> None:
    text = json.dumps(data.draw(nearly(LETTERS[kind]))).replace("Infinity", "1e999")
    told = checked(text, kind=kind).findings
    assume(not any(one.message.startswith("no valid JSON") for one in told))
    doubtful = ("is twice", "is not one of", "mounted there", "no effect", "stands beside",
                "negative", "is empty: nothing", "neither 'docker'")  # fmt: skip
    findings = [
        one
        for one in told
        if not any(word in one.message for word in doubtful) or one.severity == "error"
    ]
    document = json.loads(text)
    assert allows(schema(kind), document) == (not findings), [one.text for one in findings]


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_our_few_rules_mean_what_json_schema_means(kind: str, data: st.DataObject) -> None:
    document = data.draw(nearly(LETTERS[kind]) | LIKE_OURS)
    if allows(schema(kind), document):
        assert REAL[kind].is_valid(document), "a yes can be relied on"


def test_what_is_not_known_of_json_schema_is_not_allowed() -> None:
    assert allows({"type": "integer", "title": "x"}, 3)
    assert not allows({"type": "integer", "multipleOf": 3}, 3)
    assert not allows({"type": "object", "patternProperties": {}}, {})
    assert not allows({"format": "uuid"}, "6b3c4c3e-9d0a-4c5f-8f86-64c6b8f0b1de")
    assert not allows({"type": "integer"}, True)
    assert not allows({"const": 1}, 1.0)
    assert not allows({"pattern": "^a$"}, "a\n")
    assert not allows({"type": "string"}, "\ud800")
