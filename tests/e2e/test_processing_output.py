"""What a run of a processing-container shows: to people, to programs, and afterwards."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
from fcntl import ioctl
from pathlib import Path

from tests.e2e.conftest import both_engines
from tests.support.command_line import Cli, documented
from tests.support.processing import Images, Tasks, running

pytestmark = both_engines
MIB = 1 << 20
ESCAPE = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")


def on_a_terminal(
    lading: Cli, *arguments: str, columns: int = 80, **more: str
) -> tuple[int, bytes]:
    """Run it with a terminal as stdout and stderr; all that came there."""
    mine, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {key: value for key, value in lading.env.items() if key != "NO_COLOR"}
    process = subprocess.Popen(
        lading.command(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**env, "TERM": "xterm", **more},
    )
    os.close(theirs)
    shown = b""
    try:
        while select.select([mine], [], [], 60)[0]:
            try:
                piece = os.read(mine, 65536)
            except OSError:  # nobody has the other end any more
                break
            if not piece:
                break
            shown += piece
    finally:
        os.close(mine)
    return process.wait(30), shown


def screen(shown: bytes) -> list[str]:
    """What stands on the screen in the end, as far as one line that is written over tells."""
    lines = []
    for row in shown.replace(b"\r\n", b"\n").split(b"\n"):
        last = row.rpartition(b"\r\x1b[K")[2]
        lines.append(ESCAPE.sub(b"", last).decode())
    return lines


# Bytes.


def test_output_is_passed_on_byte_for_byte(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    content = os.urandom(MIB) + b"\r\n\x1b[31m\x00 no end"
    (tmp_path / "blob").write_bytes(content)
    at = {"inputs": {"x": tmp_path}}
    done = lading("run", "-q", "--watch", tasks("cat", "/in/x/blob", **at))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == content
    (run,) = lading.recorded()
    assert lading("logs", run["run"]).stdout == content, "and kept so"
    done = lading("run", "-q", "--watch", tasks("err", "to", "stderr"))
    assert (done.stdout, done.stderr) == (b"", b"to stderr\n")
    done = lading("run", "--watch", tasks("echo", "to", "stdout"))
    assert done.stdout == b"to stdout\n"


def test_without_watch_a_failure_shows_the_last_lines(lading: Cli, tasks: Tasks) -> None:
    done = lading("run", tasks("cat", "/absent/file"))
    assert (done.returncode, done.stdout) == (70, b"")
    assert b"last lines of its log:\n  probe: /absent/file: No such file" in done.stderr
    done = lading("run", "--watch", tasks("cat", "/absent/file"))
    assert done.stderr.count(b"No such file") == 1, "who watched has seen it"
    done = lading("run", tasks("echo", "said"))
    assert b"said" not in done.stdout + done.stderr
    done = lading("run", "-q", tasks("echo", "said"))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_who_stops_reading_stops_nothing(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    task = tasks("lines", "20", "50", outputs={"x": tmp_path / "out"})
    with lading.started("run", "-q", "--watch", task) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"line 1\n"
        process.stdout.close()  # as `head -1` does
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    (run,) = lading.recorded()
    assert run["state"] == "succeeded"
    assert lading("logs", run["run"]).stdout.splitlines()[-1] == b"line 20"


# For people, and for programs.


def test_a_program_reads_plain_lines(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    task = tasks("write", "/out/x/a", "four", outputs={"x": tmp_path / "out"})
    done = lading("run", task, "--memory", "64Mi")
    assert b"\x1b" not in done.stderr
    assert b"\r" not in done.stderr
    starting, run, summary = done.stderr.decode().splitlines()
    assert (starting, run) == ("told: starting", "told: running")
    (known,) = lading.recorded()
    assert re.fullmatch(
        r"exit code 0 after [\d.]+ m?s, memory [\d.]+ .iB of 64 MiB, CPU [\d.]+ m?s, "
        rf"x: 1 file, 4 B in {re.escape(str(tmp_path))}/out, run {known['run']}",
        summary,
    )


def test_what_lay_in_an_output_before_is_told_apart(
    lading: Cli, tasks: Tasks, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_bytes(b"from last week")
    task = tasks("write", "/out/x/a", "four", outputs={"x": tmp_path / "out"})
    done = lading("run", task)
    assert b"x: 2 files (1 was there before), 18 B in " in done.stderr
    known = json.loads(lading("run", "-q", "--json", task).stdout)
    (channel,) = known["channels"]
    assert (channel["files"], channel["files_before"]) == (2, 2)


def test_a_person_sees_a_line_that_moves(lading: Cli, tasks: Tasks) -> None:
    code, shown = on_a_terminal(lading, "run", tasks("spin", "1.5"), "--memory", "64Mi")
    assert code == 0
    moving = [ESCAPE.sub(b"", part).decode() for part in shown.split(b"\r\x1b[K")]
    assert any(
        re.match(
            r"told: running for [\d.]+ (ms|s), memory [\d.]+ .iB of 64 MiB, \d\.\d cores", part
        )
        for part in moving
    ), moving
    rows = [row for row in screen(shown) if row]
    assert len(rows) == 1, "only the summary stays"
    assert rows[0].startswith("exit code 0 after 1.5 s, memory ")
    assert ESCAPE.findall(shown)[-1] == b"\x1b[0m"


def test_a_narrow_terminal_and_one_without_colour(lading: Cli, tasks: Tasks) -> None:
    code, shown = on_a_terminal(lading, "run", tasks("sleep", "0.7"), columns=20, NO_COLOR="1")
    assert code == 0
    assert set(ESCAPE.findall(shown)) == {b"\x1b[K"}, "the line moves, and has no colour"
    parts = shown.rpartition(b"\r\x1b[K")[0].split(b"\r\x1b[K")
    assert max(map(len, parts)) < 20
    code, shown = on_a_terminal(lading, "run", tasks("sleep", "0.7"), TERM="dumb")
    assert code == 0
    assert b"\x1b" not in shown
    code, shown = on_a_terminal(lading, "run", "-q", tasks("sleep", "0.7"))
    assert (code, shown) == (0, b"")


def test_what_a_container_prints_stays_on_the_screen(lading: Cli, tasks: Tasks) -> None:
    code, shown = on_a_terminal(lading, "run", "--watch", tasks("lines", "3", "700"))
    assert code == 0
    rows = [row for row in screen(shown) if row]
    assert rows[:3] == ["line 1", "line 2", "line 3"]
    assert len(rows) == 4
    assert b"running for" in shown


def test_a_line_that_a_container_did_not_end_stays(
    lading: Cli, tasks: Tasks, tmp_path: Path
) -> None:
    (tmp_path / "part").write_text("half a line")
    code, shown = on_a_terminal(
        lading, "run", "--watch", tasks("cat", "/in/x/part", inputs={"x": tmp_path})
    )
    assert code == 0
    rows = [row for row in screen(shown) if row]
    assert rows[0] == "half a line"
    assert rows[1].startswith("exit code 0")


def test_a_person_who_interrupts_is_told(lading: Cli, tasks: Tasks) -> None:
    mine, theirs = pty.openpty()
    with subprocess.Popen(
        lading.command("run", tasks("sleep", "60")),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**lading.env, "TERM": "xterm"},
        start_new_session=True,
        preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    ) as process:
        os.close(theirs)
        shown = b""
        while b"running for" not in shown:
            shown += os.read(mine, 4096)
        os.write(mine, b"\x03")  # Ctrl-C
        with_end = b""
        while True:
            try:
                piece = os.read(mine, 4096)
            except OSError:
                break
            with_end += piece
        assert process.wait(30) == 130
    os.close(mine)
    assert b"told: stopping, for which it has 10.0 s" in with_end
    assert b"Traceback" not in with_end
    assert with_end.endswith(b"\r\x1b[K")


def test_json_for_programs(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_text("12345")
    at = {"inputs": {"x": "in"}, "outputs": {"y": "out"}}
    cli = Cli(lading.engine, lading.state, folder=tmp_path)
    known = cli.json("run", tasks("write", "/out/y/b", "12", **at), "--cpu", "0.5")
    assert set(known) == documented("run", of="a processing-container")
    assert (known["task"], known["template"], known["exit_code"]) == ("told", "probe", 0)
    assert (known["cpus"], known["memory_limit"], known["error"]) == (0.5, None, "")
    assert known["channels"] == [
        {
            "name": "x", "direction": "input", "path": f"{tmp_path}/in", "mounted_path": "/in/x",
            "bytes": 5, "files": 1,
        },
        {
            "name": "y", "direction": "output", "path": f"{tmp_path}/out", "mounted_path": "/out/y",
            "bytes": 2, "files": 1, "files_before": 0,
        },
    ]  # fmt: skip
    assert known["memory_peak"] > 0
    assert known["cpu_seconds"] > 0
    done = cli("run", "--json", "--watch", tasks("echo", "words"))
    assert json.loads(done.stdout)["exit_code"] == 0, "stdout is JSON and nothing else"
    assert b"words\n" in done.stderr
    done = cli("run", "--json", tasks("exit", "4"))
    assert done.returncode == 4
    failing = json.loads(done.stdout)
    assert set(failing) == set(known)
    assert failing["error"].startswith("told ended with exit code 4")


# Afterwards.


def test_what_a_record_tells(lading: Cli, tasks: Tasks, images: Images, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_bytes(b"x" * MIB)
    rule = {"scale_factor": 40, "mode": "sum"}
    image = images.container(
        {
            "identifier": "count",
            "inputs": [{"name": "x", "mounted_path": "/in", "scale_rule": rule}],
            "outputs": [{"name": "y", "mounted_path": "/out"}],
            "env": [{"name": "SECRET", "value": "hush"}],
            "command": ["/probe", "write", "/out/a b", "12"],
            "resources": {"limits": {"memory": "32Mi", "cpu": 1}, "requests": {"memory": "16Mi"}},
        }
    )
    done = lading(
        "run", image, "--template", "count", "-i", f"x={tmp_path}/in", "-o", f"y={tmp_path}/out"
    )
    assert done.returncode == 0, done.stderr
    (run,) = lading.recorded()
    known = lading.json("inspect", run["run"])
    assert known["created"] <= known["started"] <= known["finished"]
    shown = {
        name: known[name]
        for name in ("task", "template", "contract", "state", "exit_code", "cpus", "image",
                     "image_id", "image_digest", "declared_memory", "memory_limit",
                     "memory_request", "input_bytes", "output_bytes", "env")
    }  # fmt: skip
    assert shown == {
        "task": "count", "template": "count", "contract": "processing", "state": "succeeded",
        "exit_code": 0, "cpus": 1.0, "image": image, "image_id": images.id(),
        "image_digest": known["image_digest"], "declared_memory": 32 * MIB,
        "memory_limit": 44 * MIB, "memory_request": 16 * MIB, "input_bytes": MIB,
        "output_bytes": 2, "env": ["SECRET"],
    }  # fmt: skip
    assert "sha256:" in known["image_digest"]
    general = documented("ps") | documented("inspect") | {"owner"}
    assert set(known) - general <= documented("inspect", of="a processing-container")
    assert not set(known) & {"container_state", "labels", "networks"}, "it is gone"
    assert "hush" not in json.dumps(known), "values of variables may be secrets"
    assert known["memory_peak"] > 0
    text = lading("inspect", run["run"]).stdout.decode()
    assert re.search(r"^memory_limit +44 MiB$", text, re.MULTILINE)
    assert re.search(r"^command +/probe write '/out/a b' 12$", text, re.MULTILINE)
    assert f"1 file, 1 MiB in {tmp_path}/in, at /in\n" in text
    assert f"1 file, 2 B in {tmp_path}/out, at /out\n" in text
    assert re.search(r"^scale_rules +1 MiB in x take 40 MiB \(limit\)$", text, re.MULTILINE)


def test_a_record_while_it_runs(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    with running(lading, tasks("sleep", "60", outputs={"x": tmp_path / "out"})) as (process, _):
        known = lading.json("inspect", lading.running()["run"])
        assert (known["state"], known["template"]) == ("running", "probe")
        assert known["memory"] > 0
        assert [item["name"] for item in known["channels"]] == ["x"]
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_help_can_be_read(lading: Cli) -> None:
    done = Cli(lading.engine, lading.state, more={"COLUMNS": "100"})("run", "--help")
    text = done.stdout.decode()
    for flag in ("--template", "--set", "--input", "--output", "--watch", "--memory", "--json"):
        assert text.count(f" {flag}") >= 1, flag
    assert max(map(len, text.splitlines())) <= 100
