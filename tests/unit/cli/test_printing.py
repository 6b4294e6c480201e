"""What is printed where, and what strangers' texts can't do to a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from lading.cli import failures, printing
from lading.errors import ExitedEarly, ImageNotFound, InputError, TaskFailed
from lading.units import MIB


def test_results_are_bytes_as_they_are(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    printing.result(b"\xff\x00\r\n\x1b[31m")
    printing.result(b"")
    assert capfdbinary.readouterr() == (b"\xff\x00\r\n\x1b[31m", b"")


def test_a_table(capfd: pytest.CaptureFixture[str]) -> None:
    printing.table(("A", "LONG"), [("one", "x"), ("\x1b[1mtwo\nthree ", "")])
    assert capfd.readouterr().out.splitlines() == [
        f"{'A':14}  LONG",
        f"{'one':14}  x",
        "\ufffd[1mtwo three",
    ]


def test_json_changes_no_character_and_moves_no_cursor(capfd: pytest.CaptureFixture[str]) -> None:
    text = "".join(map(chr, range(0x2030)))
    printing.json({text: text})
    shown = capfd.readouterr().out
    assert json.loads(shown) == {text: text}
    assert all(char.isprintable() or char in "\n\u2028\u2029" or ord(char) > 0x9F for char in shown)


def test_strangers_move_no_cursor(capfd: pytest.CaptureFixture[str]) -> None:
    printing.error("a\x1b[2Jb\rc\x07")
    printing.fix("d\u009be")
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err == "error: a\ufffd[2Jb\ufffdc\ufffd\nfix: d\ufffde\n"


def test_pairs_leave_out_what_is_not_known(capfd: pytest.CaptureFixture[str]) -> None:
    printing.pairs({"name": "x", "none": None, "empty": "", "zero": 0, "labels": {"a": "b"}})
    assert capfd.readouterr().out == 'name    x\nzero    0\nlabels  {"a": "b"}\n'


CODE = """
from lading.cli import printing
if {quiet}: printing.be_quiet()
with printing.Live("build x") as live:
    live("step 1")
    live("step 1")
    live.part("layer", 0.5)
    live("step 2", 0.5)
printing.note("done")
printing.warn("look out")
"""


def test_a_program_reads_plain_lines() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(quiet=False)], capture_output=True, check=True
    )
    assert done.stderr == (b"build x: step 1\nbuild x: step 2\ndone\nwarning: look out\n")
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(quiet=True)], capture_output=True, check=True
    )
    assert done.stderr == b"warning: look out\n"


@pytest.mark.parametrize("colour", [True, False])
def test_a_person_sees_a_line_that_moves(colour: bool) -> None:
    ours, theirs = pty.openpty()
    try:
        env = {**os.environ, "TERM": "xterm", "NO_COLOR": "" if colour else "1"}
        subprocess.run(
            [sys.executable, "-c", CODE.format(quiet=False)], stderr=theirs, check=True, env=env
        )
        shown = os.read(ours, 65_536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "\r\x1b[K" in shown
    assert " 50 % layer" in shown
    assert "\x1b[K" in shown.rpartition("done")[0][-12:], "the line is taken away"
    assert ("\x1b[33mwarning:" in shown) is colour


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "lading", "version"],
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


# Errors.


def test_an_error_says_what_and_what_to_do(capfd: pytest.CaptureFixture[str]) -> None:
    code = failures.report(ImageNotFound("x:1", "not here", fix="build it"))
    assert code == 66
    assert capfd.readouterr() == ("", "error: image 'x:1': not here\nfix: build it\n")


def test_the_tasks_reply_and_log_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    failures.report(
        TaskFailed("task x replied 500", status=500, body=b"bad\nline\xff" + b"x" * MIB)
    )
    shown = capfd.readouterr().err
    assert shown.startswith("error: task x replied 500\n  bad\n  line\ufffdxxx")
    assert f"... and {MIB + 9 - 2000} bytes more" in shown
    assert len(shown) < 3000
    failures.report(ExitedEarly("task x ended", code=3, logs="a\nb"))
    assert capfd.readouterr().err == "error: task x ended\nlast lines of its log:\n  a\n  b\n"


def test_of_several_errors_the_one_that_helps_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    inner = ExceptionGroup("", [ValueError("who knows"), InputError("--cpu", "is negative")])
    assert failures.report(ExceptionGroup("", [KeyError("x"), inner])) == 2
    assert capfd.readouterr().err == "error: --cpu: is negative\n"


def test_a_surprise_is_a_bug_and_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert failures.report(KeyError("x")) == 70
    assert "LADING_DEBUG=1" in capfd.readouterr().err


def test_debugging_shows_the_traceback() -> None:
    code = (
        "from lading.cli.failures import guarded\n"
        "def broken(): raise KeyError('x')\n"
        "guarded(broken)()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        env={**os.environ, "LADING_DEBUG": "1"},
    )
    assert b"KeyError: 'x'" in done.stderr
    assert b"Traceback" in done.stderr
