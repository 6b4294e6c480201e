"""`lading run --monitor` and `lading profile`: what containers need is found, on real engines."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import both_engines
from tests.support.command_line import Cli, failed, lines_until

from lading.units import MIB

pytestmark = both_engines

FACTOR, BASE = 3, 20 * MIB
STARTED = 4.0
"""MiB that a container and its program have besides what they allocate."""


@pytest.fixture
def cli(lading: Cli, tmp_path: Path) -> Cli:
    """The command line, in a folder of its own."""
    return dataclasses.replace(lading, folder=tmp_path)


@pytest.fixture
def task(probe: str, tmp_path: Path) -> Path:
    """Needs 20 MiB and 3 bytes for each byte of its input."""
    return written(tmp_path, probe, "hog-as", "/in", str(FACTOR), str(BASE))


def written(
    folder: Path, image: str, *command: str, memory: str = "128Mi", rule: Any = None
) -> Path:
    rule = rule or {"scale_factor": 2, "type": "limit", "mode": "sum"}
    template = {
        "identifier": "main",
        "description": "Needs memory.",
        "env": [],
        "inputs": [{"name": "scans", "mounted_path": "/in", "scale_rule": rule}],
        "outputs": [{"name": "masks", "mounted_path": "/out"}],
        "command": ["/probe", *command],
        "resources": {"limits": {"memory": memory}},
    }
    volumes = {
        side: [{"name": name, "volume_source": {"host_path": str(folder / name)}}]
        for side, name in (("inputs", "scans"), ("outputs", "masks"))
    }
    path = folder / "task.json"
    path.write_text(
        json.dumps({"name": "needy", "image": image, "taskTemplate": template, **volumes})
    )
    return path


def fill(folder: Path, mebibytes: int) -> str:
    """Make an input of two files, one of them in an item."""
    for name, part in (("all", 0.75), ("item/part", 0.25)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(int(mebibytes * part * MIB))
    return folder.name


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    return [fill(tmp_path / f"with-{size}", size) for size in (4, 8, 16, 48)]


def with_suggestions(task: Path, suggestions: list[dict[str, Any]]) -> None:
    """Paste them into the file."""
    value = json.loads(task.read_text())
    template = value["taskTemplate"]
    for one in suggestions:
        place = template["inputs"][0] if one["field"] == "scale_rule" else template
        assert one["channel"] == ("scans" if one["field"] == "scale_rule" else "")
        place[one["field"]] = one["value"]
    task.write_text(json.dumps(value))


def test_a_run_is_measured_and_what_is_suggested_fits(cli: Cli, task: Path, tmp_path: Path) -> None:
    fill(tmp_path / "scans", 16)
    told = cli.json("run", "task.json", "--monitor")
    it = told["measurement"]
    needed = BASE + FACTOR * 16 * MIB
    assert needed <= it["memory_peak"] <= needed + STARTED * MIB
    assert it["declared_limit"] == it["limit"] == 128 * MIB
    assert it["headroom"] == it["limit"] - it["memory_peak"]
    assert it["cpu_seconds"] > 0
    assert it["inputs"] == [
        {
            "channel": "scans",
            "bytes": 16 * MIB,
            "files": 2,
            "largest_file": 12 * MIB,
            "largest_item": 4 * MIB,
        }
    ]
    (rule,) = it["rules"]
    assert (rule["size"], rule["requirement"], rule["covers"]) == (16 * MIB, 32 * MIB, False)
    assert rule["spare"] == rule["with_margin"] - it["memory_peak"]
    assert [one["field"] for one in it["suggestions"]] == ["scale_rule", "resources"]
    assert 4.25 < it["suggestions"][0]["value"]["scale_factor"] < 4.6
    # It stays in the record.
    assert cli.json("inspect", told["run"])["measurement"] == it
    shown = cli("inspect", told["run"]).stdout.decode()
    assert '"scale_rule": {"scale_factor": 4.' in shown

    with_suggestions(task, it["suggestions"])
    again = cli("run", "task.json", "--monitor")
    assert again.returncode == 0
    text = again.stdout.decode()
    assert "never used" in text
    assert "more than the peak" in text
    for one in it["suggestions"]:  # each is enough
        with_suggestions(written(tmp_path, told["image"], *told_command(task), memory="8Mi"), [one])
        assert cli("run", "task.json").returncode == 0


def told_command(task: Path) -> list[str]:
    return list(json.loads(task.read_text())["taskTemplate"]["command"][1:])


def test_who_is_killed_is_told_that_the_need_is_not_known(
    cli: Cli, task: Path, tmp_path: Path
) -> None:
    fill(tmp_path / "scans", 16)
    done = cli("run", "task.json", "--monitor", "--memory", "20Mi")
    assert done.returncode == 137
    text = done.stdout.decode()
    assert "killed, it needs more" in text
    assert "too little, it was killed with as much" in text
    assert '"resources": {"limits": {"memory": "71Mi"}}' in text  # twice 1.1 x 2 x 16 MiB
    assert "what it would need is not known" in text


def test_the_rule_behind_the_peaks_is_found(
    cli: Cli, task: Path, inputs: list[str], tmp_path: Path
) -> None:
    found = cli.json("profile", "task.json", "--inputs", *inputs, "--plot", "plot.png")
    assert list(found) == [
        "task", "template", "image", "channel", "limited", "points", "fit", "fits", "suggestions",
        "notes",
    ]  # fmt: skip
    assert [list(point) for point in found["points"]] == 4 * [[
        "directory", "sizes", "memory_peaks", "memory_median", "memory_peak", "seconds",
        "cpu_seconds", "limit_now", "limit_suggested",
    ]]  # fmt: skip
    fit = found["fit"]
    assert (fit["mode"], fit["power"], fit["explains"]) == ("sum", 1, True)
    assert fit["factor"] == pytest.approx(FACTOR, rel=0.02)
    assert fit["base"] == pytest.approx(BASE, abs=STARTED * MIB)
    assert fit["r_squared"] > 0.999
    assert found["limited"] is False
    assert found["notes"] == []
    for point in found["points"]:
        assert point["memory_peak"] <= point["limit_suggested"] <= 2.5 * point["memory_peak"]
    # 48 MiB with the rule as it is; nobody held it to that.
    assert found["points"][-1]["limit_now"] == 128 * MIB
    assert found["points"][-1]["memory_peak"] > 128 * MIB
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*inputs, "plot.png", "state", "task.json"]
    )

    with_suggestions(task, found["suggestions"])
    for name in inputs:
        it = cli.json("run", "task.json", "--input", f"scans={name}", "--monitor")["measurement"]
        assert not it["squeezed"]


def test_what_people_see(cli: Cli, task: Path, inputs: list[str]) -> None:
    done = cli("profile", "task.json", *inputs[:2], "--inputs", inputs[3], "--repeat", "2")
    text, told = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == 0, told
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["INPUT", "with-4", "with-8", "with-48"]
    assert "(too little)" in lines[3]
    assert sum(line.count("o") for line in lines if " |" in line) >= 3
    assert re.search(
        r"^fit +peak = (3|3\.0\d|2\.9\d)\*n \+ \d+(\.\d)? MiB, n is the sum of", text, re.M
    )
    assert '"scale_rule": {"scale_factor": ' in text
    assert '"resources": {"limits": {"memory": "' in text
    assert "3 sizes are few" in text
    assert "run 6 of 6, with-8: memory" in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "names no directory"),
        (("--inputs", "with-4"), "at least two different sizes are needed, and these are: 4 MiB"),
        (("--inputs", "with-4", "with-4"), "at least two different sizes"),
        (("--inputs", "with-4", "nothing"), "nothing does not exist"),
        (("--inputs", "with-4", "task.json"), "is not a directory"),
        (("--inputs", "with-4", "with-8", "--channel", "pets"), "it has: scans"),
        (("--inputs", "with-4", "with-8", "--repeat", "0"), "at least 1"),
        (("--inputs", "with-4", "with-8", "--plot", "plot.txt"), "has no suffix of .png"),
        (("--inputs", "with-4", "with-8", "--plot", "no/plot.png"), "can't be written"),
    ],
)
def test_what_can_not_be_profiled_runs_nothing(
    cli: Cli, task: Path, inputs: list[str], arguments: tuple[str, ...], says: str
) -> None:
    failed(cli("profile", "task.json", *arguments), 2, says)
    assert cli.recorded() == []


def test_the_first_run_that_fails_ends_it(
    cli: Cli, probe: str, inputs: list[str], tmp_path: Path
) -> None:
    written(tmp_path, probe, "cat", "/in/item/part")
    (tmp_path / inputs[1] / "item/part").unlink()
    failed(cli("profile", "task.json", "--inputs", *inputs), 70, f"with {inputs[1]}: ", "exit code")
    assert len(cli.recorded()) == 2


def test_a_limit_that_is_kept_may_kill(
    cli: Cli, task: Path, inputs: list[str], tmp_path: Path
) -> None:
    done = cli("profile", "task.json", "--inputs", *inputs, "--keep-limit")
    failed(done, 137, "with with-48: ", "leave --keep-limit out")


def test_interrupted_it_leaves_nothing(
    cli: Cli, probe: str, inputs: list[str], tmp_path: Path
) -> None:
    written(tmp_path, probe, "sleep", "60")
    with cli.started("profile", "task.json", "--inputs", *inputs) as process:
        lines_until(process.stderr, b"running")
        assert scratch() != []
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert scratch() == []
    (run,) = cli.recorded()
    assert run["state"] == "cancelled"


def scratch() -> list[Path]:
    return list(Path(os.environ["TMPDIR"]).glob("lading-profile-*"))


def test_inputs_that_no_cache_has_are_not_counted(cli: Cli, probe: str, tmp_path: Path) -> None:
    written(tmp_path, probe, "cat", "/in/all")
    names = []
    for size in (1, 12):
        folder = tmp_path / f"read-{size}"
        folder.mkdir()
        (folder / "all").write_bytes((b"x" * 1023 + b"\n") * 1024 * size)
        names.append(folder.name)
        forget(folder / "all")
    found = cli.json("profile", "task.json", "--inputs", *names)
    assert found["fit"]["power"] == 0
    assert found["points"][1]["memory_peak"] < 10 * MIB
    assert [one["field"] for one in found["suggestions"]] == ["resources"]
    assert any("does not grow" in note for note in found["notes"])


def forget(path: Path) -> None:
    """Take a file out of the kernel's cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
