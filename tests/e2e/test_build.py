"""`lading build`, as people use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.images.build import NAME, ensure_probe
from tests.support import engines
from tests.support.command_line import Cli

EPOCH = "1700000000"
MIB = 1 << 20


@pytest.fixture(params=["docker", "podman"])
def host(request: pytest.FixtureRequest) -> str:
    address: str = request.getfixturevalue(f"{request.param}_host")
    ensure_probe(address)
    return address


@pytest.fixture
def cli(host: str, tmp_path: Path) -> Cli:
    return Cli(host, tmp_path / "state")


@pytest.fixture
def tag(host: str, test_id: str) -> Iterator[str]:
    name = f"lading-test/built-{test_id}:1"
    yield name
    engines.call(host, "DELETE", f"/images/{name}?force=1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A task of contract 1, whose program is the probe."""
    path = tmp_path / "Aufgabe \N{SNOWMAN}"
    (path / "src").mkdir(parents=True)
    for name, content in {
        "Dockerfile": f"ARG BASE={NAME}\nFROM $BASE\nCOPY src /src\nEXPOSE 8080\n",
        "src/app": "program",
        "name.txt": "my task\n",
        "description.txt": "Says what it is told.\n\nTwice.",
        "example_input.bin": '{"a": 1}',
        "example_output.bin": "1",
        "config.json": '{"resource": {"cpu": 0.5,  "mem": 64}}',
    }.items():
        (path / name).write_text(content)
    return path


def test_what_the_image_says_of_itself(cli: Cli, host: str, folder: Path, tag: str) -> None:
    made = cli.json("build", str(folder), "--tag", tag, "--label", "more=yes", "--quiet")
    labels = made["labels"]
    assert labels["lading.task"] == labels["org.opencontainers.image.title"] == "my task"
    assert labels["lading.contract"] == "meca"
    assert json.loads(labels["lading.config"]) == {"resource": {"cpu": 0.5, "mem": 64}}
    assert labels["org.opencontainers.image.description"] == "Says what it is told.\n\nTwice."
    assert "org.opencontainers.image.created" not in labels
    assert labels["more"] == "yes"
    _, found = engines.call(host, "GET", f"/images/{tag}/json")
    assert found["Id"].removeprefix("sha256:") == made["image"].removeprefix("sha256:")
    assert found["Config"]["Labels"]["lading.task"] == "my task"


def test_the_tag_and_the_id_go_to_stdout_and_steps_to_stderr(
    cli: Cli, host: str, folder: Path, tag: str
) -> None:
    done = cli("build", str(folder), "--tag", tag)
    assert done.returncode == 0
    name, image = done.stdout.decode().split()
    assert name == tag
    assert image.startswith("sha256:")
    assert b"FROM" in done.stderr
    assert b"COPY src /src" in done.stderr
    again = cli("build", str(folder), "--tag", tag, "-q")
    if engines.kind(host) == "docker":  # Podman 4.3 does not always find what it has
        assert again.stdout == done.stdout, "the same folder is the same image"
    assert again.stderr == b""


def test_times_in_the_image(cli: Cli, host: str, folder: Path, tag: str) -> None:
    dated = Cli(host, cli.state, more={"SOURCE_DATE_EPOCH": EPOCH})
    made = dated.json("build", str(folder), "--tag", tag, "-q")
    assert made["labels"]["org.opencontainers.image.created"] == "2023-11-14T22:13:20Z"
    os.utime(folder / "src/app")
    again = dated.json("build", str(folder), "--tag", tag, "-q")["image"]
    if engines.kind(host) == "docker":  # Podman 4.3 does not always find what it has
        assert again == made["image"]
    if engines.kind(host) == "podman":  # and BuildKit since 0.11
        _, found = engines.call(host, "GET", f"/images/{tag}/json")
        assert found["Created"].startswith("2023-11-14T22:13:20")
    for wrong in ("yesterday", "-1", "1.5", "9" * 30):
        done = Cli(host, cli.state, more={"SOURCE_DATE_EPOCH": wrong})("build", str(folder))
        assert done.returncode == 2
        assert b"SOURCE_DATE_EPOCH" in done.stderr


def test_arguments_stages_and_platforms(cli: Cli, folder: Path, tag: str) -> None:
    (folder / "Dockerfile").write_text(
        f"ARG BASE=none\nFROM {NAME} AS one\nLABEL at=one\nFROM $BASE\nARG WORD\nLABEL at=$WORD\n"
    )
    arguments = ["build", str(folder), "--tag", tag, "--quiet", "--build-arg", f"BASE={NAME}"]
    made = cli.json(*arguments, "--build-arg", "WORD=two", "--platform", "linux/amd64")
    assert (made["labels"]["at"], made["architecture"]) == ("two", "amd64")
    assert cli.json(*arguments, "--target", "one")["labels"]["at"] == "one"


def test_a_build_that_fails(cli: Cli, folder: Path, tag: str) -> None:
    (folder / "Dockerfile").write_text(
        f'FROM {NAME}\nRUN ["/probe", "echo", "of another step"]\nRUN ["/probe", "nonsense"]\n'
    )
    done = cli("build", str(folder), "--tag", tag, "--quiet")
    assert done.returncode == 65
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert '"nonsense"' in lines[0]
    assert "exit code 64" in lines[0]
    assert lines[1].startswith("probe VERB:")
    assert "of another step" not in done.stderr.decode()
    assert len(lines) < 12


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (lambda folder: (folder / "Dockerfile").unlink(), 2, "has no Dockerfile"),
        (lambda folder: (folder / "config.json").write_text("{"), 2, "config.json:1:2: is not"),
        (lambda folder: (folder / ".dockerignore").write_text("[a"), 2, ".dockerignore:1"),
    ],
)  # fmt: skip
def test_folders_that_are_none(
    cli: Cli, folder: Path, spoil: Callable[[Path], object], code: int, words: str
) -> None:
    spoil(folder)
    done = cli("build", str(folder), "--quiet")
    assert done.returncode == code, done.stderr
    assert words in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_no_folder_at_all(cli: Cli, tmp_path: Path) -> None:
    done = cli("build", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert b"there is no such folder" in done.stderr


def test_an_empty_config_means_the_defaults(cli: Cli, folder: Path, tag: str) -> None:
    (folder / "config.json").write_text("")
    made = cli.json("build", str(folder), "--tag", tag, "-q")
    assert "lading.config" not in made["labels"]


def test_no_tool_for_a_bill_of_materials(
    cli: Cli, host: str, folder: Path, tag: str, tmp_path: Path
) -> None:
    bill = tmp_path / "bill.json"
    bare = Cli(host, cli.state, more={"PATH": "/nowhere"})
    done = bare("build", str(folder), "--tag", tag, "--sbom", str(bill))
    assert done.returncode == 0
    assert b"no bill of materials: neither syft nor" in done.stderr
    assert list(tmp_path.glob("bill*")) == []


@pytest.mark.parametrize(
    ("does", "written"),
    [('cp "${1#docker-archive:}" "$out"', True), ("echo broken >&2; exit 3", False)],
)
def test_a_bill_of_materials(
    cli: Cli, host: str, folder: Path, tag: str, tmp_path: Path, does: str, written: bool
) -> None:
    """Syft itself is in no package registry: this stands for it, and shows what it would get."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "syft").write_text(f'#!/bin/sh\nfor w; do out="${{w#spdx-json=}}"; done\n{does}\n')
    (programs / "syft").chmod(0o755)
    bill = tmp_path / "bill.json"
    with_it = Cli(host, cli.state, more={"PATH": f"{programs}:{os.environ['PATH']}"})
    done = with_it("build", str(folder), "--tag", tag, "--sbom", str(bill))
    assert done.returncode == 0
    assert bill.exists() is written
    if written:
        assert b"manifest.json" in bill.read_bytes()
    else:
        assert b"syft failed, exit code 3" in done.stderr
        assert b"broken" in done.stderr
    assert [path.name for path in tmp_path.glob("bill*")] == ["bill.json"] * written


@pytest.mark.parametrize("host", ["docker"], indirect=True)
def test_memory_while_a_large_folder_is_sent(
    cli: Cli, folder: Path, tag: str, tmp_path: Path
) -> None:
    """160 MiB, not more, for the engine's sake: its builder keeps what it was sent."""
    with (folder / "src/model.bin").open("wb") as file:
        file.truncate(160 * MIB)
    (folder / "Dockerfile").write_text(f"FROM {NAME}\n")
    # From a small process: what begins as a copy of this large one counts as that large.
    most = "import resource as r, subprocess as s, sys; s.run(sys.argv[1:], check=True, stdout=2)\n"
    most += "print(r.getrusage(r.RUSAGE_CHILDREN).ru_maxrss)"
    command = cli.command("build", str(folder), "--tag", tag, "-q")
    done = subprocess.run(
        [sys.executable, "-c", most, *command], env=cli.env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100 << 10  # KiB
