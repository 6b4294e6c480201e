"""What is wrong with a task, and what goes wrong while it runs: said in full, and nothing left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import both_engines, every_engine
from tests.support import engines
from tests.support.command_line import Cli, failed, lines_until
from tests.support.processing import Images, Json, Tasks, running

MIB = 1 << 20


# What can't be run, and never begins.


@every_engine
def test_templates_that_an_image_does_not_have(
    lading: Cli, tasks: Tasks, images: Images, probe: str
) -> None:
    image = images.container({"identifier": "one"}, {"identifier": "another"})
    task = {"name": "t", "image": image, "taskTemplate": "two", "inputs": [], "outputs": []}
    says = ("offers has no template 'two'", "fix: it has: 'one', 'another'")
    failed(lading("run", tasks.write(task)), 2, *says)
    failed(lading("run", image, "--template", "two"), 2, *says)
    failed(
        lading("run", probe, "--template", "two"),
        66,
        f"{probe}",
        "holds no /processing-container.json",
        "COPY processing-container.json /",
    )
    failed(
        lading("run", tasks.write({**task, "image": "lading-test/absent:1"}), "--pull", "never"), 66
    )
    assert lading.recorded() == [], "what did not begin has no record"


@every_engine
def test_files_that_are_no_json(lading: Cli, tasks: Tasks, images: Images) -> None:
    path = tasks.write('{"name": "t",\n "image": }')
    failed(lading("run", path), 2, f"{path}:2:11: ", "no valid JSON")
    path = tasks.write('{"name": "t", "image": "{{ env.NOT_THERE }}"}')
    failed(lading("run", path), 2, f"{path}:1", "NOT_THERE")
    failed(lading("run", tasks.write("[]")), 2, "must be a JSON object")
    failed(lading("run", str(tasks.folder / "absent.json")), 2, "absent.json")
    image = images("broken:1", {"processing-container.json": b'{"name":\n  "x" "templates": []}'})
    done = lading("run", image, "--template", "x")
    failed(done, 2, f"{image}:/processing-container.json:2:7: ", "no valid JSON")
    image = images("no-text:1", {"processing-container.json": b'{"name": "\xff"}'})
    failed(lading("run", image, "--template", "x"), 2, "is no UTF-8")


@both_engines
def test_channels_that_can_not_be_mounted(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    one = {"mounted_path": "/in/x"}
    template = {"inputs": [{"name": "x", **one}], "outputs": [{"name": "y", **one}]}
    (tmp_path / "file").write_text("x")
    (tmp_path / "there").mkdir()

    def says(*words: str, template: Json | None = None, **channels: dict[str, object]) -> None:
        failed(lading("run", tasks("exit", "0", template=template, **channels)), 2, *words)

    says(
        "the input channel 'x' has no volume",
        "--input x=DIR",
        template=template,
        outputs={"y": tmp_path},
    )
    says(
        "the output channel 'y' has no volume",
        "--output y=DIR",
        template=template,
        inputs={"x": tmp_path},
    )
    says(
        "output channel 'y': is mounted at /in/x, where input channel 'x' is",
        template=template,
        inputs={"x": tmp_path},
        outputs={"y": tmp_path / "new"},
    )
    absent = tmp_path / "absent"
    says("input channel 'x': ", f"the directory {absent} does not exist", inputs={"x": absent})
    file = tmp_path / "file"
    says("input channel 'x': ", f"{file} is not a directory", inputs={"x": file})
    says("output channel 'y': ", f"{file} is not a directory", outputs={"y": file})
    says("output channel 'y': ", f"{file}/below", "Not a directory", outputs={"y": f"{file}/below"})
    dead = tmp_path / "dead"
    dead.symlink_to("nowhere")
    says("input channel 'x': ", f"the link {dead} leads nowhere", inputs={"x": dead})
    says("output channel 'y': ", f"the link {dead} leads nowhere", outputs={"y": dead})
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    says("input channel 'x': ", f"the link {loop} leads nowhere", inputs={"x": loop})
    says("output channel 'y': ", f"{loop} can't be made", outputs={"y": loop / "below"})
    volume = {"name": "x", "volume_source": {"persistentVolumeClaim": {"claimName": "c"}}}
    task = json.loads(Path(tasks("exit", "0", inputs={"x": "."})).read_text())
    done = lading("run", tasks.write({**task, "inputs": [volume]}))
    failed(done, 2, "input channel 'x': ", "persistentVolumeClaim, which only a cluster has")
    assert not (tmp_path / "new").exists()
    assert lading.recorded() == []


@both_engines
@pytest.mark.parametrize(
    ("template", "task", "flags", "says"),
    [
        (
            {"env": [{"name": "MODE", "value": "fast", "choices": ["fast", "slow"]}]},
            {},
            ("--set", "MODE=sluggish"),
            ("env MODE: 'sluggish' is not one of its choices", "choose one of 'fast', 'slow'"),
        ),
        (
            {"env": [{"name": "N", "value": "1", "type": "int"}]},
            {"env": [{"name": "N", "value": "many"}]},
            (),
            ("env N: 'many' is not of its type, int",),
        ),
        ({}, {}, ("--set", "N"), ("--set", "'N' is not NAME=VALUE")),
        ({}, {}, ("--set", "N=1", "--set", "N=2"), ("'N' is given twice",)),
        ({}, {}, ("--input", "nowhere"), ("--input: 'nowhere' is not CHANNEL=DIR",)),
        ({}, {}, ("--output", "x=/tmp"), ("has no output channel 'x'", "it has: none")),
        (
            {},
            {"resources": {"limits": {"memory": "2 bananas"}}},
            (),
            ("resources.limits.memory", "unknown unit 'bananas'"),
        ),
        (
            {"resources": {"requests": {"cpu": "some"}}},
            {},
            (),
            ("taskTemplate.resources.requests.cpu", "'some'"),
        ),
        ({}, {}, ("--memory", "2 bananas"), ("--memory", "unknown unit 'bananas'")),
        ({}, {}, ("--timeout", "0"), ("--timeout: must be seconds",)),
        ({}, {}, ("--keep",), ("--keep: is for task folders",)),
        ({}, {}, ("--template", "x"), ("--template: chooses one of an image",)),
        ({}, {}, ("--runtime", "nonesuch"), ("no OCI runtime 'nonesuch'",)),
        (
            {"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}},
            {},
            (),
            ("2 cores are more than the limit of 1",),
        ),
    ],
)
def test_values_that_can_not_be(
    lading: Cli,
    tasks: Tasks,
    template: Json,
    task: Json,
    flags: tuple[str, ...],
    says: tuple[str, ...],
) -> None:
    code = 69 if "--runtime" in flags else 2
    file = tasks("exit", "0", template=template, **task)
    failed(lading("run", file, *flags), code, *says)


@both_engines
def test_a_command_that_is_not_in_the_image(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    task = tasks(template={"command": ["/absent", "x"]}, outputs={"x": tmp_path / "made"})
    done = lading("run", task)
    assert done.returncode == 69, done.stderr
    assert b"error: " in done.stderr
    assert b"/absent" in done.stderr
    assert not (tmp_path / "made").exists(), "nothing was started"
    (run,) = lading.recorded()
    assert run["state"] == "failed"
    assert "/absent" in run["error"]


# What is in the channels.


@both_engines
def test_links_in_circles_and_what_is_no_file(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    given = tmp_path / "in"
    (given / "item").mkdir(parents=True)
    (given / "item/a").write_bytes(b"x" * MIB)
    (given / "item/around").symlink_to("..")
    (given / "self").symlink_to("self")
    (given / "one").symlink_to("two")
    (given / "two").symlink_to("one")
    (given / "outside").symlink_to("/etc")
    (given / "dangling").symlink_to("nothing")
    os.mkfifo(given / "item/fifo")
    here = Path.cwd()
    os.chdir(given)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    os.chdir(here)
    rule = {"scale_factor": 100, "mode": "sum"}
    template = {"inputs": [{"name": "x", "mounted_path": "/in/x", "scale_rule": rule}]}
    known = lading.json("run", "-q", tasks("exit", "0", template=template, inputs={"x": given}))
    assert known["channels"][0]["files"] == 1
    assert known["channels"][0]["bytes"] == MIB
    assert known["memory_limit"] == 110 * MIB


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk with room for a few bytes."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "lading-test", str(folder)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("needs root, to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@both_engines
def test_an_output_on_a_full_disk(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        with contextlib.suppress(OSError), (disk / "full").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        task = tasks("write", "/out/x/a", "there is no room", outputs={"x": disk})
        done = lading("run", "--watch", task)
        assert done.returncode == 70, done.stderr
        assert b"No space left on device" in done.stderr
        assert b"error: told ended with exit code 70" in done.stderr
        done = lading("run", tasks("exit", "0", outputs={"x": disk / "more/room"}))
        assert done.returncode == 0, "directories take none"
    run = lading.recorded()[-1]
    assert (run["state"], run["exit_code"]) == ("failed", 70)
    assert "exit code 70" in run["error"]


# What ends it.


@both_engines
def test_memory_that_ran_out(lading: Cli, tasks: Tasks) -> None:
    limits = {"limits": {"memory": "32Mi"}}
    done = lading("run", tasks("hog", "100000000", resources=limits))
    assert done.returncode == 137
    text = done.stderr.decode()
    assert "out of memory" in text
    assert "limit 32 MiB" in text
    assert "peak" in text
    assert "--memory 64Mi" in text
    assert "resources.limits.memory" in text
    (run,) = lading.recorded()
    assert (run["state"], run["exit_code"]) == ("failed", 137)
    known = lading.json("inspect", run["run"])
    assert known["out_of_memory"] is True
    assert known["memory_peak"] >= 30 * MIB
    done = lading("run", tasks("hog", "100000000", resources=limits), "--json", "-q")
    assert done.returncode == 137
    shown = json.loads(done.stdout)
    assert shown["out_of_memory"] is True
    assert "out of memory" in shown["error"]


@both_engines
def test_a_time_out(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    task = tasks("sleep", "60", outputs={"x": tmp_path / "out"})
    done = lading("run", task, "--timeout", "0.5")
    assert done.returncode == 124
    assert b"error: told was stopped: it did not end within 500 ms" in done.stderr
    assert b"--timeout" in done.stderr
    (run,) = lading.recorded()
    assert run["state"] == "failed"
    assert "did not end within 500 ms" in run["error"]


@both_engines
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_in_good_order(
    lading: Cli, tasks: Tasks, tmp_path: Path, number: int, code: int
) -> None:
    with running(lading, tasks("sleep", "60", outputs={"x": tmp_path / "out"})) as (process, _):
        process.send_signal(number)
        assert process.wait(30) == code
        text = process.stderr.read()
    assert b"told: stopping" in text
    assert b"Traceback" not in text
    assert lading.left() == set()
    (run,) = lading.recorded()
    assert (run["state"], run["error"]) == ("cancelled", "interrupted")
    assert run["exit_code"] == 143, "it was asked to end, and did"
    assert lading.json("inspect", run["run"])["channels"][0]["name"] == "x"


@both_engines
@pytest.mark.parametrize("last", [signal.SIGINT, signal.SIGTERM])
def test_a_second_and_a_third_signal(lading: Cli, tasks: Tasks, last: signal.Signals) -> None:
    with running(lading, tasks("ignore-term", "60")) as (process, _):
        process.send_signal(signal.SIGINT)
        lines_until(process.stderr, b"stopping")
        process.send_signal(signal.SIGINT)
        lines_until(process.stderr, b"cleaning up; once more leaves it behind")
        assert len(lading.left()) == 1
        process.send_signal(last)
        assert process.wait(30) == -last
    assert len(lading.left()) == 1, "as it was told"
    done = lading("run", tasks("exit", "0"))
    assert done.returncode == 0
    assert b"removed what a dead process left behind: lading-" in done.stderr
    assert lading.left() == set()
    _, lost = lading.recorded()
    assert lost["state"] == "lost"


@both_engines
def test_what_a_killed_process_left_is_swept_by_the_next_run(
    lading: Cli, tasks: Tasks, tmp_path: Path
) -> None:
    with running(lading, tasks("sleep", "60", outputs={"x": tmp_path / "out"})) as (process, _):
        run = lading.running()
        process.kill()
        process.wait(30)
    assert lading.json("inspect", run["run"])["state"] == "lost"
    assert lading("run", tasks("exit", "0")).returncode == 0
    assert lading.left() == set()
    known = lading.json("inspect", run["run"])
    assert (known["state"], known["error"]) == ("lost", "the process that ran it died")
    assert [item["name"] for item in known["channels"]] == ["x"]


@both_engines
def test_a_container_that_somebody_removed(lading: Cli, tasks: Tasks, tmp_path: Path) -> None:
    with running(lading, tasks("sleep", "60", outputs={"x": tmp_path / "out"})) as (process, found):
        engines.call(lading.engine, "DELETE", f"/containers/{found['Id']}?force=1")
        code = process.wait(30)
        text = process.stderr.read()
    # What is seen first: that it was killed, or that it is gone.
    assert code in (70, 137), text
    assert b"error: told" in text
    (run,) = lading.recorded()
    assert run["state"] in ("lost", "failed")
    assert run["error"]


@both_engines
def test_followed_after_it_is_gone(lading: Cli, tasks: Tasks) -> None:
    assert lading("run", "-q", tasks("echo", "to be read later")).returncode == 0
    assert lading("run", "-q", tasks("exit", "5")).returncode == 5
    failing, run = lading.recorded()
    for flags in ((), ("-f",), ("--tail", "1")):
        done = lading("logs", run["run"], *flags)
        assert (done.returncode, done.stdout) == (0, b"to be read later\n"), done.stderr
    assert lading("logs", "-f", failing["run"]).stdout == b""
    known = lading.json("inspect", failing["run"])
    assert (known["state"], known["exit_code"], known["container_id"]) == ("failed", 5, None)
