"""Logs that are cut, and go on where they were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lading.engine.kubernetes.logs import LogReader

T1, T2, T3 = (b"2026-11-26T19:41:38.%s" % part for part in (b"1Z", b"12Z", b"123Z"))


def _read(reader: LogReader, *pieces: bytes, cut: bool = False) -> bytes:
    text = b"".join(text for piece in pieces for text in reader.feed(piece))
    return text if cut else text + reader.rest()


def test_times_are_taken_off() -> None:
    reader = LogReader()
    assert reader.again() is None
    log = T1 + b" one\n" + T2 + b" two\n" + T2 + b" \n" + T3 + b" "
    assert _read(reader, log) == b"one\ntwo\n\n"


def test_what_a_node_says_in_place_of_a_log() -> None:
    words = b"unable to retrieve container logs for docker://0123"
    assert _read(LogReader(), words) == b""
    assert _read(LogReader(), T1 + b" one\n" + words + b"\n") == b"one\n"


@given(st.integers(1, 40))
def test_however_it_comes_in_pieces(size: int) -> None:
    log = T1 + b" one\n" + T1 + b" two\n" + T2 + b" three"
    pieces = [log[at : at + size] for at in range(0, len(log), size)]
    assert _read(LogReader(), *pieces) == b"one\ntwo\nthree"


@given(st.integers(0, 200))
def test_wherever_it_is_cut(at: int) -> None:
    lines = [(T1, b"one"), (T1, b"two"), (T2, b"three"), (T2, b"four"), (T3, b"five")]
    log = b"".join(time + b" " + text + b"\n" for time, text in lines)
    reader = LogReader()
    text = _read(reader, log[:at], cut=True)
    since = reader.again()
    assert since in (None, "2026-11-26T19:41:38Z")
    text += _read(reader, log)
    assert text == b"one\ntwo\nthree\nfour\nfive\n"


def test_since_when_in_the_nodes_own_zone() -> None:
    reader = LogReader()
    assert _read(reader, b"2026-11-26T21:41:38.5+02:00 one\n", cut=True) == b"one\n"
    assert reader.again() == "2026-11-26T21:41:38+02:00"
    again = b"2026-11-26T21:41:38.5+02:00 one\n2026-11-26T19:41:38.51Z two\n"
    assert _read(reader, again) == b"two\n"


def test_a_time_in_the_middle_of_a_long_line() -> None:
    part = b"x" * 16384
    log = T1 + b" " + part + T1 + b" " + part + T1 + b" end\n" + T2 + b" two\n"
    assert _read(LogReader(), log) == part * 2 + b"end\ntwo\n"
    same = T1 + b" " + part * 2 + b"end\n" + T2 + b" two\n"
    assert _read(LogReader(), same) == part * 2 + b"end\ntwo\n"
    reader = LogReader()
    assert _read(reader, log[:20000]) + ((reader.again() and _read(reader, log)) or b"") == (
        part * 2 + b"end\ntwo\n"
    )
