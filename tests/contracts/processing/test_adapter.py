"""The adapter that legacy programs run behind, on every shell that this machine has."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ADAPTER = Path(__file__).parents[3] / "src/lading/contracts/processing/legacy/adapter.sh"
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
NEW_LINE = "new\nline"

COUNTS = """\
for item in "$BATCHES_INPUT_DIR"/*; do
    [ -d "$item/$OPERATOR_IN_DIR" ] || continue
    [ -n "$(ls "$item/$OPERATOR_IN_DIR")" ] || continue
    mkdir "$item/$OPERATOR_OUT_DIR" 2>/dev/null
    cat "$item/$OPERATOR_IN_DIR"/*.txt >"$item/$OPERATOR_OUT_DIR/all"
done
"""


class Case:
    """Channels, and a program of a few lines."""

    def __init__(self, shell: list[str], folder: Path) -> None:
        self.shell = shell
        self.path = os.environ["PATH"]
        if shell[0] == "busybox":  # as in Alpine: all else is BusyBox, too
            busybox = shutil.which("busybox")
            assert busybox is not None
            self.path = str(folder / "bin")
            (folder / "bin").mkdir()
            subprocess.run([busybox, "--install", "-s", self.path], check=True)
            self.shell = [busybox, "sh"]
        self.inputs, self.outputs = folder / "in put", folder / "out put"
        self.workflow = folder / "work flow"
        self.program = folder / "program"
        self.inputs.mkdir()
        self.outputs.mkdir()
        # Mounted paths have no spaces, as they are ours to choose; what is below them may.
        self.links = folder / "i", folder / "o"
        self.links[0].symlink_to(self.inputs)
        self.links[1].symlink_to(self.outputs)

    def item(self, name: str, **files: str) -> None:
        (self.inputs / name).mkdir()
        for file, text in files.items():
            (self.inputs / name / f"{file}.txt").write_text(text)

    def start(self, script: str, **env: str) -> subprocess.Popen[str]:
        self.program.write_text(f"#!/bin/sh\n{script}")
        self.program.chmod(0o755)
        known = {
            "PATH": self.path,
            "WORKFLOW_DIR": str(self.workflow),
            "LEGACY_INPUTS": f"OPERATOR_IN_DIR={self.links[0]}",
            "LEGACY_OUTPUTS": f"OPERATOR_OUT_DIR={self.links[1]}",
        }
        return subprocess.Popen(
            [*self.shell, str(ADAPTER), str(self.program)],
            env=known | env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, **env: str) -> tuple[int, str, str]:
        with self.start(script, **env) as process:
            out, err = process.communicate("from outside\n", timeout=60)
        return process.returncode, out, err

    def results(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.outputs)): path.read_text()
            for path in sorted(self.outputs.rglob("*"))
            if path.is_file()
        }


@pytest.fixture(params=SHELLS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    if shutil.which(SHELLS[request.param][0]) is None:
        pytest.skip(f"{request.param} is not installed")
    return Case(SHELLS[request.param], tmp_path)


@pytest.mark.parametrize("inputs", ["copy", "link-files", "link-folders"])
@pytest.mark.parametrize("outputs", ["copy", "link"])
def test_items_of_any_name_go_in_and_come_out(case: Case, inputs: str, outputs: str) -> None:
    case.item("a b", one="1", two="2")
    case.item(NEW_LINE, one="3")
    case.item("-rf *", one="4")
    case.item("empty")
    case.item(".hidden", one="5")
    code, _, err = case.run(COUNTS, LEGACY_INPUT_AS=inputs, LEGACY_OUTPUT_AS=outputs)
    assert (code, case.results()) == (
        0,
        {"-rf */all": "4", "a b/all": "12", f"{NEW_LINE}/all": "3"},
    ), err
    assert not (case.outputs / "empty").exists()
    assert "1 of 4 items have no output" in err or outputs == "link"


CHANGES = """\
find "$BATCHES_INPUT_DIR/a/$OPERATOR_IN_DIR" -type f -exec sh -c 'echo x >>"$1"' sh {} \\;
"""


def test_by_default_inputs_may_be_changed_and_found(case: Case) -> None:
    case.item("a", one="1")
    script = CHANGES + 'd="$BATCHES_INPUT_DIR/a/"; mv "$d$OPERATOR_IN_DIR" "$d$OPERATOR_OUT_DIR"\n'
    assert case.run(script)[0] == 0
    assert case.results() == {"a/one.txt": "1x\n"}
    assert (case.inputs / "a/one.txt").read_text() == "1"


@pytest.mark.parametrize(
    ("inputs", "script", "found"),
    [
        ("link-files", "find $B/a/input -type f", ""),
        ("link-files", "find $B/a/input -name '*.txt'", "one.txt"),
        ("link-folders", "find $B/a/input -name '*.txt'", ""),
        ("link-folders", "find $B/a/input/ -type f", "one.txt"),
    ],
)
def test_what_links_hide_is_what_the_adapter_says(
    case: Case, inputs: str, script: str, found: str
) -> None:
    case.item("a", one="1")
    script = 'cd "$BATCHES_INPUT_DIR"; B=.;' + script
    code, out, _ = case.run(script, LEGACY_INPUT_AS=inputs)
    assert (code, out.strip().rpartition("/")[2]) == (0, found)


def test_links_among_inputs_are_followed(case: Case) -> None:
    case.item("a", one="1")
    case.item("b")
    (case.inputs / "b/other.txt").symlink_to("../a/one.txt")
    assert case.run(COUNTS)[0] == 0
    assert case.results()["b/all"] == "1"


@pytest.mark.parametrize("where", ["b", "a/x.txt"])
def test_a_link_to_nothing_runs_nothing(case: Case, where: str) -> None:
    case.item("a", one="1")
    (case.inputs / where).symlink_to("/nowhere/at/all")
    code, out, err = case.run("echo ran")
    assert (code, out) == (74, "")
    assert where.partition("/")[0] in err


@pytest.mark.parametrize(
    ("loose", "with_item", "place"),
    [
        ("auto", False, "batch/item/input"),
        ("auto", True, "input"),
        ("item", True, "batch/item/input"),
        ("batch", False, "input"),
    ],
)
def test_files_of_no_item(case: Case, loose: str, with_item: bool, place: str) -> None:
    (case.inputs / "meta data.json").write_text("{}")
    if with_item:
        case.item("a", one="1")
    code, out, err = case.run('cd "$WORKFLOW_DIR"; find . -name "*.json"', LEGACY_LOOSE_FILES=loose)
    assert code == 0
    assert set(out.splitlines()) == {"./conf/conf.json", f"./{place}/meta data.json"}
    assert "files of no item" in err


@pytest.mark.parametrize("outputs", ["copy", "link"])
def test_results_of_the_batch_and_of_items_that_the_program_made(case: Case, outputs: str) -> None:
    case.item("a", one="1")
    script = """\
        mkdir -p "$WORKFLOW_DIR/$OPERATOR_OUT_DIR" "$BATCHES_INPUT_DIR/made/$OPERATOR_OUT_DIR"
        echo 1 >"$WORKFLOW_DIR/$OPERATOR_OUT_DIR/all"
        ln -s ../../a/input/one.txt "$BATCHES_INPUT_DIR/made/$OPERATOR_OUT_DIR/link"
    """
    assert case.run(script, LEGACY_OUTPUT_AS=outputs)[0] == 0
    assert case.results() == {"all": "1\n", "made/link": "1"}
    assert not (case.outputs / "made/link").is_symlink()


def test_results_are_handed_over_after_a_failure(case: Case) -> None:
    case.item("a", one="1")
    assert case.run(COUNTS + "exit 3\n")[0] == 3
    assert case.results() == {"a/all": "1"}
    assert case.run("kill -KILL $$")[0] == 137


def test_what_the_program_finds(case: Case) -> None:
    script = (
        'cat "$WORKFLOW_DIR/conf/conf.json" -; echo "$BATCH_NAME ${GONE-unset} ${KEPT-unset}"\n'
    )
    code, out, _ = case.run(
        script,
        LEGACY_CONF='{"a": "$b\\n"}',
        LEGACY_UNSET_IF_EMPTY="GONE KEPT",
        GONE="",
        KEPT="k",
    )
    assert (code, out) == (0, '{"a": "$b\\n"}\nfrom outside\nbatch unset k\n')


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 7), (signal.SIGINT, 7), (signal.SIGUSR1, 8)]
)
def test_signals_reach_the_program(case: Case, number: int, code: int) -> None:
    case.item("a", one="1")
    script = COUNTS + (
        "trap 'exit 7' TERM; trap 'exit 8' USR1; echo ready; while :; do sleep 0.01; done"
    )
    with case.start(script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == code
    assert case.results() == {"a/all": "1"}


def test_more_channels_than_one(case: Case, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    (masks / "a").mkdir(parents=True)
    (masks / "a/m.txt").write_text("m")
    case.item("a", one="1")
    script = 'cat "$BATCHES_INPUT_DIR/a/$OPERATOR_IN_DIR"/* "$BATCHES_INPUT_DIR/a/$MASK_IN_DIR"/*'
    code, out, _ = case.run(
        script,
        MASK_IN_DIR="mask",
        LEGACY_INPUTS=f"OPERATOR_IN_DIR={case.links[0]} MASK_IN_DIR={masks}",
    )
    assert (code, out) == (0, "1m")


@pytest.mark.parametrize(
    ("env", "code", "told"),
    [
        ({"LEGACY_INPUT_AS": "hope"}, 64, "copy link-files link-folders"),
        ({"LEGACY_INPUTS": "OPERATOR_IN_DIR=/none"}, 74, "no input channel is mounted at /none"),
        ({"LEGACY_OUTPUTS": "OPERATOR_OUT_DIR=/none"}, 74, "no output channel is mounted at /none"),
        ({"LEGACY_INPUTS": "a;b=/none"}, 64, "'a;b' is no name"),
        ({"WORKFLOW_DIR": "/proc/none"}, 74, "/proc/none can't be written"),
        ({"OPERATOR_OUT_DIR": "input", "LEGACY_OUTPUT_AS": "link"}, 64, "must name another"),
    ],
)
def test_what_can_not_work_runs_nothing(
    case: Case, env: dict[str, str], code: int, told: str
) -> None:
    case.item("a", one="1")
    found, out, err = case.run("echo ran", **env)
    assert (found, out) == (code, "")
    assert told in err


@pytest.mark.parametrize("name", ["take", "no-such-program", "/etc/passwd", "/tmp"])
def test_a_program_that_is_none_is_never_taken_for_a_skip(case: Case, name: str) -> None:
    env = {"PATH": case.path, "WORKFLOW_DIR": str(case.workflow)}
    env["LEGACY_INPUTS"] = f"OPERATOR_IN_DIR={case.links[0]}"
    env["LEGACY_OUTPUTS"] = f"OPERATOR_OUT_DIR={case.links[1]}"
    done = subprocess.run([*case.shell, str(ADAPTER), name], env=env, check=False)
    assert done.returncode == 127
