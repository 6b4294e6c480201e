"""Numbers set in a JSON text, and nothing else of it touched."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.folders.editing import with_values

INSIDE = ("resource",)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"resource": {"cpu": 1, "mem": 128}}', '{"resource": {"cpu": 0.5, "mem": 64}}'),
        (
            '{\n\t"resource" : {\n\t\t"mem":128,"x":[{"mem":1}, "}"],\n\t\t"cpu" : 1e0\n\t}\n}\n',
            '{\n\t"resource" : {\n\t\t"mem":64,"x":[{"mem":1}, "}"],\n\t\t"cpu" : 0.5\n\t}\n}\n',
        ),
        ('{"resource": {}}', '{"resource": {"cpu": 0.5, "mem": 64}}'),
        ('{"resource": null}', '{"resource": {"cpu": 0.5, "mem": 64}}'),
        ("{}", '{"resource": {"cpu": 0.5, "mem": 64}}'),
        (
            '{"resource": {\n    "use_gpu": false\n  }}',
            '{"resource": {\n    "cpu": 0.5,\n    "mem": 64,\n    "use_gpu": false\n  }}',
        ),
        (
            '{"mem": 1, "a\\"": {"cpu": 2}, "resource": {"cpu": "1", "mem": {"mem": 3}}}',
            '{"mem": 1, "a\\"": {"cpu": 2}, "resource": {"cpu": 0.5, "mem": 64}}',
        ),
        ('\ufeff{"resource":{"mem":1}}', '\ufeff{"resource":{"cpu": 0.5, "mem":64}}'),
        (
            '{"resource": {"mem": 1, "mem": 2, "cpu": 1}}',
            '{"resource": {"mem": 1, "mem": 64, "cpu": 0.5}}',
        ),
    ],
)
def test_the_rest_is_left_as_it_is(before: str, after: str) -> None:
    assert with_values(before, INSIDE, {"cpu": 0.5, "mem": 64}) == after


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    st.dictionaries(st.text(), VALUES, max_size=4),
    st.dictionaries(st.sampled_from(["cpu", "mem", "use_gpu", "é", "a"]), VALUES, max_size=4),
    st.sampled_from([None, 0, 2, "\t"]),
)
def test_what_was_said_besides_is_still_said(
    outer: dict[str, object], inner: dict[str, object], indent: int | str | None
) -> None:
    before = {**outer, "resource": inner}
    text = with_values(json.dumps(before, indent=indent), INSIDE, {"cpu": 0.5, "mem": 64})
    assert json.loads(text) == {**before, "resource": {**inner, "cpu": 0.5, "mem": 64}}
