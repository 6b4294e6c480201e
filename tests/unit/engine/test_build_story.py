"""What builders told, as recorded from real ones, and what we make of it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.engine.build_story import BuildStory
from lading.engine.buildkit_trace import Trace, VertexLog, VertexState, VertexStatus, read_trace
from lading.engine.docker_streams import stream_error

RECORDED = Path(__file__).parent / "recorded"
STEP = "RUN for i in $(seq 1 30); do echo line $i; done; echo bad thing >&2; exit 3"
LAST = [*(f"line {number}" for number in range(12, 31)), "bad thing"]


def values(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDED / name).read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("buildkit-20.10-failed.jsonl", f"[2/2] {STEP}"),
        ("classic-20.10-failed.jsonl", f"Step 2/2 : {STEP}"),
        ("podman-4.3-failed.jsonl", f"STEP 2/2: {STEP}"),
    ],
)
def test_a_failing_step_and_its_last_lines(name: str, step: str) -> None:
    story = BuildStory()
    told = [status.text for value in values(name) for status in story.feed(value)]
    [words] = [found for value in values(name) if (found := stream_error(value))]
    first, *last = story.failure(words).splitlines()
    assert first == f"step {step!r} failed: exit code 3; its last lines:"
    assert last == LAST
    assert any(text.endswith(STEP) for text in told)
    assert "line 1" in told


def test_what_nobody_wrote_is_no_step() -> None:
    story = BuildStory()
    steps = values("buildkit-20.10-failed.jsonl")
    told = [status.text for value in steps for status in story.feed(value)]
    assert not [text for text in told if "[internal]" in text or "copy /context" in text]
    assert story.bases == ["docker.io/library/lading-python-base:3.11"]


def vertex(name: str, *, error: str = "", cached: bool = False, digest: str = "") -> bytes:
    text = {1: digest or name, 3: name, 5: "\x08\x01", 7: error}
    body = b"".join(field(number, value.encode()) for number, value in text.items() if value)
    return field(1, body + (b"\x20\x01" if cached else b""))


def field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def traced(*messages: bytes) -> dict[str, Any]:
    return {"id": "moby.buildkit.trace", "aux": base64.b64encode(b"".join(messages)).decode()}


def written(name: str, data: bytes) -> bytes:
    return field(3, field(1, name.encode()) + b"\x18\x01" + field(4, data))


def test_lines_that_are_cut_anywhere() -> None:
    story = BuildStory()
    told = story.feed(traced(vertex("[1/1] RUN x"), written("[1/1] RUN x", b"one\ntw")))
    told += story.feed(
        traced(written("[1/1] RUN x", b"o\n  5 %\r 99 %\r100 %\n\x1b[91mred\x1b[0m"))
    )
    assert [status.text for status in told] == ["[1/1] RUN x", "one", "two", "100 %"]
    story.feed(traced(vertex("[1/1] RUN x", error="exit code: 9")))
    expected = "step '[1/1] RUN x' failed: exit code 9; its last lines:\none\ntwo\n100 %\nred"
    assert story.failure("whatever") == expected


def test_of_steps_that_fail_together_the_first_counts_and_the_cancelled_do_not() -> None:
    story = BuildStory()
    story.feed(traced(vertex("[a 1/1] RUN a", error="context canceled")))
    story.feed(traced(vertex("[b 1/1] RUN b", error="process did not complete: exit code: 4")))
    story.feed(traced(vertex("[c 1/1] RUN c", error="exit code: 5")))
    assert story.failure("x") == "step '[b 1/1] RUN b' failed: exit code 4"


def test_a_step_is_told_once_and_cached_ones_as_such() -> None:
    story = BuildStory()
    told = story.feed(traced(vertex("[1/2] FROM x"), vertex("[2/2] COPY . .", cached=True)))
    told += story.feed(traced(vertex("[1/2] FROM x")))
    assert [status.text for status in told] == ["[1/2] FROM x", "CACHED [2/2] COPY . ."]


def test_what_no_step_did() -> None:
    words = "failed to solve with frontend dockerfile.v0: dockerfile parse error line 2: COPYY"
    assert BuildStory().failure(words) == words


def test_a_trace_that_is_none_ends_no_build() -> None:
    story = BuildStory()
    for aux in ("no base64!", "", base64.b64encode(b"\xff\xff\xff").decode()):
        assert story.feed({"id": "moby.buildkit.trace", "aux": aux}) == []


# The messages.


def test_everything_that_is_read() -> None:
    status = field(1, b"sha256:1") + field(2, b"v") + b"\x20\x96\x01" + b"\x28\xac\x02"
    message = (
        vertex("[1/1] RUN x", error="no", cached=True, digest="v")
        + field(2, status + field(8, b""))
        + written("v", b"\xff\n")
        + field(9, b"of a later version")
        + b"\x49" + bytes(8) + b"\x55" + bytes(4)
    )  # fmt: skip
    assert read_trace(base64.b64encode(message).decode()) == Trace(
        (VertexState("v", "[1/1] RUN x", cached=True, started=True, completed=False, error="no"),),
        (VertexStatus("sha256:1", "v", 150, 300, completed=True),),
        (VertexLog("v", b"\xff\n"),),
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_a_trace_or_a_value_error(data: bytes) -> None:
    try:
        read_trace(base64.b64encode(data).decode())
    except ValueError:
        return
