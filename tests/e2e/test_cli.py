"""The command line as people and programs use it: a process, a real engine, nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.support import engines
from tests.support.command_line import Cli, documented, failed, lines_until


@pytest.fixture
def folder(tmp_path: Path, probe: str, engine_host: str) -> Iterator[Path]:
    """A task folder, whose image goes with the test."""
    made = tmp_path / "folder"
    (made / "src").mkdir(parents=True)
    (made / "src/notes.txt").write_text("nothing to build")
    (made / "Dockerfile").write_text(f"ARG BASE\nFROM {probe}\nCOPY src/ /src/\n")
    (made / "name.txt").write_text(f"cli-{tmp_path.name}\n")
    (made / "description.txt").write_text("Echoes.\n")
    (made / "example_input.bin").write_bytes(b"example \xff\n")
    (made / "example_output.bin").write_bytes(b"example \xff\n")
    (made / "config.json").write_text('{"resource": {"cpu": 0.5, "mem": 48}}')
    yield made
    from lading.contracts.meca.folder import default_tag, read_folder  # noqa: PLC0415

    with contextlib.suppress(Exception):
        tag = default_tag(read_folder(made))
        engines.call(engine_host, "DELETE", f"/images/{quote(tag, safe='')}?force=1")


# run: what comes out.


@pytest.mark.parametrize("engine_host", ["docker", "podman"], indirect=True)
def test_a_reply_is_bytes_and_people_are_told_elsewhere(lading: Cli, probe: str) -> None:
    done = lading("run", probe, "--input", "hello")
    assert (done.returncode, done.stdout) == (0, b"hello"), done.stderr
    assert b"meca-init-done" in done.stderr, "the task's own log"
    assert b"ready in " in done.stderr
    assert b" of 128 MiB" in done.stderr
    (run,) = lading.recorded()
    assert (run["state"], run["task"], run["container_id"]) == ("succeeded", probe, None)
    known = lading.json("inspect", run["run"][:14])
    assert (known["input_bytes"], known["output_bytes"]) == (5, 5)
    assert known["memory_peak"] > 0


@pytest.mark.parametrize(
    "body", [b"", b"\xff\x00\r\n", b"a\n", "žluťoučký".encode(), b"x" * 300_000]
)
def test_bytes_are_exact(lading: Cli, probe: str, tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "input"
    file.write_bytes(body)
    from_file = lading("run", "-q", probe, "--input", f"@{file}")
    assert (from_file.stdout, from_file.stderr) == (body, b"")
    from_stdin = lading("run", "-q", probe, "-i", "-", stdin=body)
    assert (from_stdin.stdout, from_stdin.stderr) == (body, b"")
    if b"\x00" not in body and len(body) < 100_000:
        assert lading("run", "-q", probe, "--input", body).stdout == body


def test_the_summary_for_programs(lading: Cli, probe: str) -> None:
    shown = lading.json("run", probe, "--input", "é", "--memory", "32Mi", "-q")
    assert shown["reply"] == "é"
    assert shown["memory_limit"] == 32 << 20
    assert shown["start_seconds"] > 0
    raw = lading.json("run", probe, "--input", os.fsdecode(b"\xff"), "-q")
    assert raw["reply_base64"] == "/w=="


def test_json_has_the_documented_fields(lading: Cli, probe: str) -> None:
    fields = documented("ps")
    assert set(lading.json("run", probe, "-i", "x", "-q")) == documented("run") - {"reply_base64"}
    asks = json.dumps({"say": "at work", "sleep_ms": 60_000})
    with lading.started("run", probe, "--input", asks) as process:
        lines_until(process.stderr, b"at work")
        rows = lading.json("ps", "--all", "--last", "5")
        assert {name for row in rows for name in row} == fields
        known = lading.json("inspect", lading.running()["run"])
        assert set(known) == fields | documented("inspect") | {"owner"}
        process.terminate()
        process.wait(30)
    report = lading.json("doctor")
    assert set(report) == {"works", "checks"}
    assert all(set(check) == documented("doctor") for check in report["checks"])


def test_a_folder_is_built_and_its_example_run(lading: Cli, folder: Path) -> None:
    done = lading("run", str(folder), "--build-arg", "BASE=none")
    assert done.stdout == b"example \xff\n", done.stderr
    assert b"build lading-task/cli-" in done.stderr
    assert b" of 48 MiB" in done.stderr, "config.json says the limits"
    shown = lading.json("run", str(folder), "--cpu", "250m", "--memory", "64Mi", "-q")
    assert shown["memory_limit"] == 64 << 20, "and flags override them"
    (first, _) = lading.recorded()
    assert first["cpus"] == 0.25


def test_a_folder_that_does_not_build(lading: Cli, folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY absent.txt /\n")
    done = lading("run", str(folder))
    assert done.returncode == 65
    assert done.stderr.splitlines()[-2].startswith(b"error: ") or b"error: image" in done.stderr
    assert b"absent.txt" in done.stderr


def test_without_network_nothing_is_reached(lading: Cli, probe: str) -> None:
    asks = json.dumps({"connect": "10.255.255.1:80"})
    done = lading("run", "-q", "--no-network", probe, "--input", asks)
    assert (done.returncode, done.stdout) == (0, b"closed"), done.stderr


def test_an_enclaves_calls(lading: Cli, probe: str, tmp_path: Path) -> None:
    if Path("/dev/sgx_enclave").exists():
        pytest.skip("this machine has a real enclave device")
    done = lading("run", "-q", "--sgx", probe, "--input", "SGXRAREQUEST")
    assert done.returncode != 0, "no such device here"
    assert b"error: " in done.stderr
    assert b"Traceback" not in done.stderr


# run: what goes wrong.


def test_failures_have_their_exit_codes(lading: Cli, probe: str) -> None:
    failed(
        lading("run", probe, "--input", '{"status": 500}'), 70, "replied 500", "\n  status 500\n"
    )
    failed(
        lading("run", probe, "--input", '{"hog": 100000000}', "--memory", "32Mi"),
        137,
        "limit 32 MiB",
        "fix: try --memory 64Mi",
    )
    failed(
        lading("run", probe, "--input", '{"sleep_ms": 60000}', "--timeout", "0.3"),
        124,
        "did not answer within 300 ms",
        "--timeout",
    )
    failed(lading("run", probe, "--input", '{"exit": 3}', "-q"), 70, "exit code 3", "exiting 3")
    states = [run["state"] for run in lading.recorded()]
    assert states == ["failed"] * 4


def test_an_absent_image(lading: Cli) -> None:
    done = lading("run", "lading-test/absent:1", "--input", "x", "--pull", "never")
    failed(done, 66, "lading-test/absent:1", "fix: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("IMAGE",), "--input: an image has no example input"),
        (("IMAGE", "--input", "@/absent"), "--input: /absent can't be read: No such file"),
        (("IMAGE", "--input", "x", "--memory", "128"), "fix: write it as 256Mi"),
        (("IMAGE", "--input", "x", "--memory", "2 bananas"), "unknown unit 'bananas'"),
        (("IMAGE", "--input", "x", "--cpu", "1e300"), "more than any machine has"),
        (("IMAGE", "--input", "x", "--cpu", "0"), "--cpu: must be at least 0.01"),
        (("IMAGE", "--input", "x", "--gpus", "-1"), "--gpus: must be at least 0"),
        (("IMAGE", "--input", "x", "--timeout", "0"), "--timeout: must be seconds"),
        (("IMAGE", "--input", "x", "--tag", "t"), "are for task folders"),
        (("./absent", "--input", "x"), "there is no such folder"),
        ((".", "--input", "x", "--build-arg", "x"), "has no Dockerfile"),
    ],
)
def test_wrong_usage_is_named(lading: Cli, arguments: tuple[str, ...], says: str) -> None:
    failed(lading("run", *arguments), 2, says)


def test_a_broken_configuration_is_named_by_line(lading: Cli, folder: Path) -> None:
    (folder / "config.json").write_text('{"resource":\n {"cpu": }}')
    failed(lading("run", str(folder)), 2, "config.json:2:", "is not JSON")


def test_no_engine(lading: Cli, probe: str, tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/absent.sock"
    failed(lading("run", probe, "--input", "x", "--engine", nowhere), 69, nowhere, "fix: ")


# Signals.


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing(lading: Cli, probe: str, number: int, code: int) -> None:
    asks = json.dumps({"say": "at work", "sleep_ms": 60_000})
    with lading.started("run", probe, "--input", asks) as process:
        lines_until(process.stderr, b"at work")
        process.send_signal(number)
        assert process.wait(30) == code
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    assert lading.left() == set()
    (run,) = lading.recorded()
    assert run["state"] == "cancelled"


def test_what_a_killed_process_left_is_lost_and_removed(lading: Cli, probe: str) -> None:
    asks = json.dumps({"say": "at work", "sleep_ms": 60_000})
    with lading.started("run", probe, "--input", asks) as process:
        lines_until(process.stderr, b"at work")
        alive = lading.running()
        assert alive["state"] == "running"
        process.kill()
        process.wait(30)
    (lost,) = [run for run in lading.json("ps") if run["run"] == alive["run"]]
    assert lost["state"] == "lost"
    report = lading.json("doctor")
    assert [alive["container"] in check["text"] for check in report["checks"]].count(True) == 1
    done = lading("rm", alive["run"])
    assert (done.returncode, done.stdout.decode().strip()) == (0, alive["run"])
    assert lading.left() == set()
    assert lading.json("inspect", alive["run"])["state"] == "lost"


def test_a_container_is_kept_until_somebody_has_seen_enough(lading: Cli, probe: str) -> None:
    with lading.started("run", "--keep", probe, "--input", "hello") as process:
        lines_until(process.stderr, b"Ctrl-C removes it")
        assert len(lading.left()) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b"hello"
    assert lading.left() == set()


def test_a_container_that_failed_is_kept_too(lading: Cli, probe: str) -> None:
    with lading.started("run", "--keep", probe, "--input", '{"status": 503}') as process:
        assert b"replied 503" in b"".join(lines_until(process.stderr, b"Ctrl-C removes it"))
        assert lading.running()["state"] == "running"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 70


# What runs.


def test_a_run_is_listed_followed_and_stopped(lading: Cli, probe: str) -> None:
    asks = json.dumps({"say": "at work", "sleep_ms": 60_000})
    with lading.started("run", probe, "--input", asks, "--memory", "32Mi") as process:
        lines_until(process.stderr, b"at work")
        run = lading.running()
        assert (run["state"], run["task"], run["memory_limit"]) == ("running", probe, 32 << 20)
        assert run["memory"] > 0
        assert run["cpu_seconds"] > 0
        shown = lading("ps").stdout.decode()
        assert shown.splitlines()[0].split()[:3] == ["RUN", "TASK", "STATE"]
        assert run["run"] in shown
        assert lading("logs", run["run"], "--tail", "1").stdout == b"at work\n"
        refused = lading("rm", run["run"])
        failed(refused, 2, "a live process watches it")
        with lading.started("logs", "-f", run["container"]) as follower:
            assert lines_until(follower.stdout, b"at work") == [b"meca-init-done\n", b"at work\n"]
            stopped = lading("stop", run["run"], "--grace", "1")
            assert stopped.stdout.decode().strip() == run["run"], stopped.stderr
            assert follower.wait(30) == 0
        assert process.wait(30) == 70
        assert process.stderr is not None
        assert b"error: " in process.stderr.read()
    ended = lading.json("inspect", run["run"])
    assert (ended["state"], ended["container_id"]) == ("cancelled", None)
    gone = lading("logs", run["run"])
    failed(gone, 66, "has no container any more")


def test_names_that_nothing_has(lading: Cli) -> None:
    failed(lading("inspect", "zzzz"), 66, "no run 'zzzz'", "lading ps --all")
    for command in ("inspect", "logs", "stop", "rm"):  # "" would be the beginning of any id
        failed(lading(command, ""), 2, "the name is empty")
    failed(lading("ps", "--since", "0001-01-01"), 2, "is no time")
    failed(lading("logs", "zzzz"), 66)
    failed(lading("stop", "zzzz", "yyyy"), 66, "'zzzz'", "'yyyy'")
    failed(lading("rm"), 2, "name at least one")
    failed(lading("ps", "--since", "yesterday"), 2, "--since")


def test_the_beginning_of_an_id_must_tell_runs_apart(lading: Cli, probe: str) -> None:
    for _ in range(2):
        assert lading("run", "-q", probe, "--input", "x").returncode == 0
    first, second = lading.recorded("--since", "10m")
    same = [one == other for one, other in zip(first["run"], second["run"], strict=True)]
    shared = first["run"][: same.index(False)]
    failed(lading("inspect", shared), 66, "more than one run", "write more")
    assert lading.recorded("-n", "1") == [first]


# doctor.


def test_doctor_says_what_works(lading: Cli) -> None:
    report = lading.json("doctor")
    assert report["works"] is True
    found = {check["name"]: check for check in report["checks"]}
    assert {"engine", "limits", "runtimes", "records", "port", "clock", "SGX", "GPUs"} <= set(found)
    assert lading.engine in found["engine"]["text"]
    done = lading("doctor")
    assert done.returncode == 0
    assert done.stdout.startswith(b"ok    engine:")


def test_doctor_without_an_engine(lading: Cli, tmp_path: Path) -> None:
    done = lading("doctor", "--engine", f"unix://{tmp_path}/absent.sock")
    assert done.returncode == 1
    assert done.stdout.startswith(b"fail  engine:")
    assert b"->" in done.stdout.splitlines()[1]


# serve.


def test_serve_refuses_what_it_cannot_use(lading: Cli, tmp_path: Path) -> None:
    config = tmp_path / "executor.yaml"
    config.write_text("cpu: many\n")
    failed(lading("serve", "--config", str(config)), 2, f"{config}: cpu")
    failed(lading("serve", "--config", str(tmp_path / "absent")), 2, "can't be read")
    failed(lading("serve", "--listen", "0.0.0.0:0"), 2, "there is no token", "LADING_TOKEN")
