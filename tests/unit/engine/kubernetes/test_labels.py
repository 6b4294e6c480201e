"""Labels and names as a cluster takes them."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from lading.engine.kubernetes.labels import (
    CLIENT_LABEL,
    LABELS_ANNOTATION,
    labels_of,
    metadata,
    object_name,
    selector,
)

_TAKEN = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=80)


def _object(labels: dict[str, str]) -> dict[str, dict[str, dict[str, str]]]:
    written, noted = metadata(labels)
    return {"metadata": {"labels": {**written, CLIENT_LABEL: "abc"}, "annotations": noted}}


def test_what_fits_stays_as_it_is() -> None:
    labels = {"lading.run": "0a1b", "example.org/team": "blue", "empty": ""}
    assert metadata(labels) == (labels, {})
    assert labels_of(_object(labels)) == labels
    assert selector(labels) == "lading.run=0a1b,example.org/team=blue,empty"


def test_what_does_not_fit_is_hashed_and_kept() -> None:
    labels = {"lading.lock": "/var/lib/x y/1.lock", "a key": "ä", "lading.run": "1"}
    written, noted = metadata(labels)
    assert written["lading.run"] == "1"
    assert written["lading.lock"].startswith("h-")
    assert noted.keys() == {LABELS_ANNOTATION}
    assert labels_of(_object(labels)) == labels
    assert (
        selector({"lading.lock": labels["lading.lock"]}) == f"lading.lock={written['lading.lock']}"
    )
    assert selector({"a key": ""}) in written


@given(st.dictionaries(_TEXT, _TEXT, max_size=5))
def test_any_labels_come_back(labels: dict[str, str]) -> None:
    written, _ = metadata(labels)
    for key, value in written.items():
        assert _TAKEN.fullmatch(value)
        assert key
        assert _TAKEN.fullmatch(key.rpartition("/")[2])
    if len(written) == len(labels):
        assert labels_of(_object(labels)) == labels


def test_a_label_that_somebody_changed_counts() -> None:
    found = _object({"note": "some words", "run": "1"})
    found["metadata"]["labels"]["note"] = "other"
    assert labels_of(found) == {"run": "1"}
    found["metadata"]["annotations"][LABELS_ANNOTATION] = "no JSON"
    assert labels_of(found) == {"note": "other", "run": "1"}


@given(_TEXT)
def test_any_name_becomes_one_that_a_pod_can_have(text: str) -> None:
    name = object_name(text)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name)
    assert object_name(name) == name


def test_names() -> None:
    assert object_name("mecanywhere_img_tag_1a2b") == "mecanywhere-img-tag-1a2b"
    assert object_name("Me/Task:1.0") == "me-task-1-0"
    one, other = object_name("x" * 64 + "a"), object_name("x" * 64 + "b")
    assert one != other
    assert len(one) <= 63
