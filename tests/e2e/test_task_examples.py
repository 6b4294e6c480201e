"""The example task containers: their own tests, `lading check`, `lading test`, and an executor."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Start
from tests.support import engines
from tests.support.command_line import Cli
from tests.support.printed import ROOT

EXAMPLES = ROOT / "examples/meca"
LIGHT = ("python-template", "knn", "sgx-task")
HEAVY = "stablediffusion"
"""Needs PyTorch: its image stands on a base that has it, and its own tests run in there."""

_TESTS = """\
ARG IMAGE
FROM ${IMAGE}
USER 0:0
RUN pip install --quiet --no-cache-dir --root-user-action=ignore pytest
WORKDIR /example
COPY . .
RUN python -m pytest -q -p no:cacheprovider
"""


def names() -> list[str]:
    return sorted(folder.name for folder in EXAMPLES.iterdir() if folder.is_dir())


def test_all_of_them_are_tested() -> None:
    assert names() == sorted([*LIGHT, HEAVY])


@functools.cache
def base(host: str, *more: str) -> str:
    """A base image that needs no registry, where there is none."""
    done = subprocess.run(
        [ROOT / "scripts/base-image", *more],
        env={**os.environ, "DOCKER_HOST": host},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def build_arguments(host: str, name: str) -> tuple[str, str]:
    of = base(host, "--torch") if name == HEAVY else base(host)
    return "--build-arg", f"BASE={of}"


@pytest.fixture
def image(engine_host: str, test_id: str) -> Iterator[str]:
    """A name for what a test builds, removed at the end."""
    tag = f"lading-test/example-{test_id}:1"
    yield tag
    engines.call(engine_host, "DELETE", f"/images/{tag}?force=1")


def run(cli: Cli, *arguments: str) -> bytes:
    """Run a command that may build an image first."""
    done = subprocess.run(
        cli.command(*arguments),
        capture_output=True,
        timeout=240,
        check=False,
        env=cli.env,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")[-6000:]
    return done.stdout


def build(cli: Cli, name: str, image: str) -> None:
    folder = str(EXAMPLES / name)
    run(cli, "build", folder, "--tag", image, *build_arguments(cli.engine, name))


@pytest.mark.parametrize("name", names())
def test_nothing_is_found_wrong(name: str, lading: Cli) -> None:
    told = lading.json("check", "--strict", str(EXAMPLES / name))
    assert [item["what"] for item in told["findings"] if item["level"] != "hint"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_own_tests(name: str, tmp_path: Path) -> None:
    # Away from this repository: no other configuration of pytest applies there.
    folder = shutil.copytree(EXAMPLES / name, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(100)
@pytest.mark.parametrize("name", LIGHT)
def test_its_example(name: str, lading: Cli, image: str) -> None:
    command = ("test", str(EXAMPLES / name), "--tag", image, "--exact", "--concurrency", "3")
    told = json.loads(run(lading, *command, "--json", *build_arguments(lading.engine, name)))
    assert (told["passed"], told["likeness"]) == (True, "exact")
    assert len(told["calls"]) == 4
    assert told["memory_peak"] < 0.7 * told["memory_limit"]


@pytest.mark.slow
@pytest.mark.timeout(100)
@pytest.mark.parametrize("name", ["make-signals", "measure-signals"])
def test_the_example_of_a_processing_container(name: str, lading: Cli, image: str) -> None:
    folder = EXAMPLES.parent / "processing" / name
    command = ("test", str(folder), "--tag", image, "--json")
    told = json.loads(run(lading, *command, *build_arguments(lading.engine, name)))
    assert told["passed"]


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_stable_diffusion(
    start: Start, lading: Cli, image: str, tmp_path: Path, engine_host: str
) -> None:
    """One test, as its image is large: its example, its own tests in it, and an executor."""
    folder = EXAMPLES / HEAVY
    command = ("test", str(folder), "--tag", image, "--json")
    arguments = await asyncio.to_thread(build_arguments, engine_host, HEAVY)
    told = json.loads(await asyncio.to_thread(run, lading, *command, *arguments))
    assert told["passed"]
    assert told["likeness"] in ("exact", "type")  # another machine rounds otherwise
    assert {call["content_type"] for call in told["calls"]} == {"image/png"}
    assert told["memory_peak"] < 0.7 * told["memory_limit"]

    tests = tmp_path / "tests"
    await asyncio.to_thread(shutil.copytree, folder, tests, ignore=lambda *_: [".dockerignore"])
    (tests / "Dockerfile").write_text(_TESTS)
    tag = f"{image}-tests"
    try:
        arguments = ("--build-arg", f"IMAGE={image}")
        await asyncio.to_thread(run, lading, "build", str(tests), "--tag", tag, *arguments)
    finally:
        engines.call(engine_host, "DELETE", f"/images/{tag}?force=1")

    executor = await start()
    limits: dict[str, Any] = {"resource": {"cpu": 1, "mem": 1024}, "path": "/v1/execute"}
    wish = {"prompt": "a lighthouse", "width": 72, "height": 64, "num_inference_steps": 1}
    drawn = await executor.execute(image, wish, **limits)
    assert (drawn.status, drawn.headers["content-type"]) == (200, "image/png")
    assert struct.unpack(">II", drawn.body[16:24]) == (72, 64)
    refused = await executor.execute(image, {"width": 64}, **limits)
    assert refused.status == 502
    assert refused.json()["reply"]["body"] == '"prompt" is missing: what shall be drawn?'


@pytest.mark.slow
async def test_neighbours_of_an_executor(start: Start, lading: Cli, image: str) -> None:
    """Sealed, without a network, and under limits: the processes can be started all the same."""
    await asyncio.to_thread(build, lading, "knn", image)
    executor = await start()
    limits: dict[str, Any] = {"cpu": 1, "mem": 512}
    asked = {"dataset": [[at, at] for at in range(100)], "point": [50.2, 50.2], "k": 3}
    for processes in (1, 2, 8):
        found = await executor.execute(image, {**asked, "num_processes": processes}, **limits)
        assert (found.success, json.loads(found.msg)) == (True, [50, 51, 49])
    refused = await executor.execute(image, {**asked, "k": 101}, **limits)
    assert not refused.success
    assert refused.msg.endswith('"k" must be a whole number from 1 to 100, not 101.')
    again = await executor.execute(image, {**asked, "num_processes": 2}, **limits)
    assert again.headers["x-lading-container"] == found.headers["x-lading-container"]


@pytest.mark.slow
async def test_mock_enclave_of_an_executor(
    start: Start, lading: Cli, image: str, tmp_path: Path
) -> None:
    await asyncio.to_thread(build, lading, "sgx-task", image)
    aesm = tmp_path / "aesmd"
    aesm.mkdir()
    executor = await start("--sgx", "--sgx-device", "/dev/null", "--aesmd-path", str(aesm))
    url = f"http://{executor.host}:{executor.port}"

    async def client(text: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(EXAMPLES / "sgx-task/client.py"), url, image, text),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        stdout, stderr = await process.communicate()
        assert process.returncode == 0, stderr.decode()
        return stdout.decode()

    assert await client("sbip") == "hello sbip\n"
    # Two at once: neither's attestation breaks the other's.
    greeted = await asyncio.gather(client("größe"), client("x" * 1000))
    assert list(greeted) == ["hello größe\n", f"hello {'x' * 1000}\n"]
    refused = await executor.execute(image, '{"value": "00"}', use_sgx=True, cpu=1, mem=128)
    assert not refused.success
    assert "1 bytes are too few for an encrypted input" in refused.msg
