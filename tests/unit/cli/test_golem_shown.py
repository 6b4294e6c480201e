"""What a task shows while it is driven, to people and to programs."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from lading.cli.golem_shown import Shown
from lading.contracts.golem.driver import events

CODE = """
from lading.cli import printing
from lading.cli.golem_shown import Shown
from lading.contracts.golem.driver import events
shown = Shown()
shown(events.TaskBegan("t1", 2, False, 0))
shown(events.Progress(4, 0, 0, 0, 0, 0, 0.0, None))
shown(events.NodeChanged(1, events.NodeState.COMPUTING, "s1", 1))
shown(events.NodeChanged(2, events.NodeState.COMPUTING, "s2", 3))
shown.waits(2, "waits for 1 core")
shown(events.Progress(4, 1, 2, 1, 1, 1, 5.0, 15.0))
{more}
"""


def screen(text: str) -> list[str]:
    """What a terminal shows in the end: lines, cursor up, and a line's rest wiped out."""
    lines, row = [""], 0
    for piece in re.split(r"(\x1b\[[0-9]*[A-Za-z]|\r\n|\n|\r)", text):
        if piece in ("\n", "\r\n"):
            row += 1
            if row == len(lines):
                lines.append("")
        elif piece == "\x1b[1A":
            row -= 1
        elif piece == "\x1b[K":
            lines[row] = ""
        elif piece and not piece.startswith(("\r", "\x1b")):
            lines[row] += piece
    return lines


def on_a_terminal(more: str) -> list[str]:
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", CODE.format(more=more)],
            stderr=theirs,
            check=True,
            env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"},
        )
        return screen(os.read(ours, 65_536).decode())
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_person_sees_a_bar_and_a_line_for_each_node() -> None:
    lines = on_a_terminal("")
    assert lines[0] == "task t1: on 2 nodes"
    assert lines[1].startswith("[###.........] 15.0 s left, 1 of 4 done, 2 running, 1 verifying (1")
    assert len(lines[1]) < 80
    assert re.fullmatch(r"  node 1 +0 results  computing s1, for 0\S* \S+", lines[2])
    assert "node 2" in lines[3]
    assert "computing s2, try 3 (waits for 1 core)" in lines[3]


def test_what_is_told_stands_above_what_moves() -> None:
    lines = on_a_terminal('shown(events.NodeRested(1, 5.0, 3, "it died"))')
    assert lines[1].startswith("warning: node 1: left alone for 5.0 s after 3 failures")
    assert lines[2].startswith("[###")
    assert [line for line in lines if line.startswith("[")] == [lines[2]]


def test_a_program_reads_plain_lines(capfd: pytest.CaptureFixture[str]) -> None:
    shown = Shown()
    shown(events.TaskBegan("t1", 2, False, 0))
    for done in range(1, 4):
        shown(events.Progress(4, done, 1, 0, 0, 0, 1.0, None))
        shown(events.NodeChanged(1, events.NodeState.COMPUTING, f"s{done}", 1))
    shown.waits(1, "waits for 1 core")
    shown(events.SubtaskFailed(1, "s1", "it died", 1, 4))
    shown(events.Finishing())
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "task t1: on 2 nodes"
    assert lines[1] == "1 of 4 done, 1 running, 0 verifying"
    assert lines[2] == "node 1: waits for 1 core"
    assert lines[3].startswith("warning: node 1: subtask s1 failed")
    assert lines[4] == "3 of 4 done, 1 running, 0 verifying"
    assert len(lines) == 5
