from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.engine import LogChunk, PullStatus
from lading.engine.docker_streams import (
    FrameSplitter,
    json_values,
    pull_status,
    stream_error,
)


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


FRAMES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=30)), max_size=8)


@given(FRAMES, st.lists(st.integers(1, 12), min_size=1, max_size=200))
def test_frames_cut_anywhere(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    wire = b"".join(frame(*one) for one in frames)
    splitter, found = FrameSplitter(), {"stdout": b"", "stderr": b""}
    turn = 0
    while wire:
        size = cuts[turn % len(cuts)]
        turn += 1
        for chunk in splitter.feed(wire[:size]):
            assert chunk.data
            found[chunk.stream] += chunk.data
        wire = wire[size:]
    assert found["stdout"] == b"".join(data for stream, data in frames if stream == 1)
    assert found["stderr"] == b"".join(data for stream, data in frames if stream == 2)


def test_a_frame_that_is_not_whole_is_not_held_back() -> None:
    splitter = FrameSplitter()
    whole = frame(2, b"hello world")
    assert list(splitter.feed(whole[:13])) == [LogChunk("stderr", b"hello")]
    assert list(splitter.feed(whole[13:])) == [LogChunk("stderr", b" world")]


def test_what_is_no_frame() -> None:
    with pytest.raises(ValueError, match="not a log frame"):
        list(FrameSplitter().feed(b"plain text"))


async def _pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_json_cut_anywhere(size: int) -> None:
    data = b'{"a": "\xc3\xa4"}\r\n\n{"b": [1]}\n{"c": 3}'
    found = [value async for value in json_values(_pieces(data, size))]
    assert found == [{"a": "ä"}, {"b": [1]}, {"c": 3}]


def test_progress() -> None:
    layer = {
        "status": "Downloading",
        "id": "4f4fb7",
        "progressDetail": {"current": 5, "total": 9},
    }
    assert pull_status(layer) == PullStatus("Downloading", "4f4fb7", 5, 9)
    assert pull_status({"status": "Pulling from x", "progressDetail": {}}) == PullStatus(
        "Pulling from x"
    )
    assert pull_status({"aux": {"ID": "sha256:0"}}) is None


def test_errors_in_a_stream() -> None:
    assert stream_error({"errorDetail": {"message": "why"}, "error": "short"}) == "why"
    assert stream_error({"error": "short"}) == "short"
    assert stream_error({"status": "fine"}) == ""
