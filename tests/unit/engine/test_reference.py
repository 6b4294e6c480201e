from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.engine.reference import is_image_id, parse
from lading.errors import ImageNameInvalid

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.11", "docker.io/library/python:3.11"),
        ("me/task", "docker.io/me/task:latest"),
        ("docker.io/python", "docker.io/library/python:latest"),
        ("index.docker.io/me/task:v1", "docker.io/me/task:v1"),
        ("localhost/task:1", "localhost/task:1"),
        ("localhost:5000/task", "localhost:5000/task:latest"),
        ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1"),
        ("[::1]:5000/task:1", "[::1]:5000/task:1"),
        ("ghcr.io/me/my_task__x-y.z:V_1.0-a", "ghcr.io/me/my_task__x-y.z:V_1.0-a"),
        (f"me/task@{DIGEST}", f"docker.io/me/task@{DIGEST}"),
        (f"me/task:1@{DIGEST}", f"docker.io/me/task@{DIGEST}"),
        ("abcdef0123:latest", "docker.io/library/abcdef0123:latest"),
    ],
)
def test_names_in_full(text: str, full: str) -> None:
    assert str(parse(text)) == full


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (" ", "empty"),
        ("Python", "upper-case"),
        ("me/Task:1", "upper-case"),
        ("me//task", "empty"),
        ("/task", "empty"),
        ("task:", "is no tag"),
        ("task:a b", "is no tag"),
        ("task:" + "x" * 129, "is no tag"),
        ("task@sha256:12", "is no digest"),
        ("task@", "is no digest"),
        ("my task", "no part of a name"),
        ("a--/b", "no part of a name"),
        ("a..b/c", "is no registry"),
        ("exa mple.com/a", "is no registry"),
        ("https://me/task", "is no registry"),
        ("a/" * 200 + "b", "more than 255"),
        ("0" * 64, "id, not a name"),
    ],
)
def test_what_is_none_says_why(text: str, why: str) -> None:
    with pytest.raises(ImageNameInvalid, match=why):
        parse(text)


def test_an_endless_name_is_not_quoted() -> None:
    with pytest.raises(ImageNameInvalid, match="1000000 characters") as caught:
        parse("a" * 1_000_000)
    assert len(str(caught.value)) < 200


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        full = str(parse(text))
    except ImageNameInvalid as error:
        assert error.image == text
    else:
        assert str(parse(full)) == full


def test_ids() -> None:
    assert is_image_id("sha256:" + "a" * 64)
    assert is_image_id("a" * 64)
    assert not is_image_id("a" * 12)


@pytest.mark.parametrize(
    ("text", "here"),
    [
        ("localhost/x", True),
        ("localhost:5000/x", True),
        ("127.0.0.1:5000/x", True),
        ("127.9.9.9/x", True),
        ("[::1]/x", True),
        ("[::1]:5000/x", True),
        ("x", False),
        ("127.0.0.1.example.org/x", False),
        ("10.0.0.1:5000/x", False),
        ("localhost.example.org/x", False),
    ],
)
def test_registries_of_the_engines_own_machine(text: str, here: bool) -> None:
    assert parse(text).is_loopback is here
