"""The reply's bytes are what callers of the original read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.contracts.meca import replies
from lading.errors import (
    GpuUnavailable,
    InvalidLimit,
    LadingError,
    NotAccepting,
    QueueFull,
    TaskFailed,
    TooLarge,
)


def test_success_is_indented_by_four() -> None:
    assert replies.outcome(success=True, message='{"a": "ü"}') == (
        '{\n    "success": true,\n    "msg": "{\\"a\\": \\"ü\\"}"\n}'.encode()
    )


def test_markup_is_escaped_as_go_does() -> None:
    assert b'"\\u003cb\\u003e \\u0026 \\u2028"' in replies.outcome(
        success=False, message="<b> & \u2028"
    )
    assert replies.indented({"a": "<"}) == b'{\n    "a": "\\u003c"\n}'


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.booleans())
def test_every_text_survives(message: str, success: bool) -> None:
    read = json.loads(replies.outcome(success=success, message=message))
    assert read == {"success": success, "msg": message}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (GpuUnavailable("3 wanted"), "not enough GPU available"),
        (InvalidLimit("resource.cpu", "negative"), "invalid resource limit"),
        (TooLarge("5 cores"), "resource limit exceeds the maximum"),
        (NotAccepting("paused"), "mecanywhere executor not started"),
        (QueueFull("100 wait", fix="try later"), "100 wait; try later"),
        (TaskFailed("task x replied 500", status=500, body=b"oh"), "task x replied 500: oh"),
    ],
)
def test_refusals_use_the_contracts_words(error: LadingError, text: str) -> None:
    assert replies.failure_text(error) == text
