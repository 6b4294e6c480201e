"""Legacy containers of our own, migrated, built and run on real engines."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.e2e.conftest import archive, both_engines
from tests.support.command_line import Cli, failed
from tests.support.engines import call
from tests.support.printed import ROOT

from lading.contracts.processing.reading.files import check
from lading.engine import ContainerSpec, Engine, Mount

pytestmark = both_engines

EXAMPLE = ROOT / "examples/legacy"
Old = Callable[..., Awaitable[str]]
NEW_LINE = "c\nd"


@pytest.fixture
def cli(lading: Cli, tmp_path: Path) -> Cli:
    """The command line, in a folder of its own."""
    return dataclasses.replace(lading, folder=tmp_path)


@pytest.fixture
async def old(engine: Engine, engine_host: str, test_id: str) -> AsyncIterator[Old]:
    """Builds the example, and images of it with other entrypoints; all are removed in the end."""
    example = f"lading-test/legacy-{test_id}:1"
    made = [example, f"legacy-{test_id}:migrated"]
    base = await asyncio.to_thread(
        subprocess.run,
        [str(ROOT / "scripts/base-image")],
        env={**os.environ, "DOCKER_HOST": engine_host},
        stdout=subprocess.PIPE,
        check=True,
    )
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(EXAMPLE, ".")
    await engine.build(stream.getvalue(), example, args={"BASE": base.stdout.decode().strip()})

    async def build(*lines: str) -> str:
        if not lines:
            return example
        number = len(made)
        tag = f"lading-test/legacy-{test_id}:{number}"
        await engine.build(archive("\n".join([f"FROM {example}", *lines, ""])), tag)
        made.append(tag)
        return tag

    try:
        yield build
    finally:
        for tag in reversed(made):
            call(engine_host, "DELETE", f"/images/{quote(tag, safe='')}?force=true")


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    """An input channel and an output channel."""
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    texts = {"a b/x.txt": "one two bananas", "a b/sub/y.txt": "three", f"{NEW_LINE}/z.txt": "a"}
    for name, text in texts.items():
        (inputs / name).parent.mkdir(parents=True, exist_ok=True)
        (inputs / name).write_text(text)
    (inputs / "empty").mkdir()
    return inputs, outputs


def results(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def with_env(folder: Path, **env: str) -> str:
    """Write what a user adds to the drafted task."""
    path = folder / "task.json"
    task = json.loads(path.read_text())
    known = {item["name"]: item["value"] for item in task["env"]} | env
    task["env"] = [{"name": name, "value": value} for name, value in known.items()]
    path.write_text(json.dumps(task))
    return str(path)


def spec(image: str, data: tuple[Path, Path], labels: dict[str, str], **env: str) -> ContainerSpec:
    inputs, outputs = data
    mounts = (Mount(str(inputs), "/inputs"), Mount(str(outputs), "/outputs", read_only=False))
    return ContainerSpec(image, env=env, mounts=mounts, labels=labels, sealed=True)


@pytest.mark.slow
async def test_a_python_program_runs_unchanged(
    old: Old, cli: Cli, data: tuple[Path, Path], tmp_path: Path
) -> None:
    inputs, outputs = data
    image = await old()
    found = cli.json(
        "migrate",
        image,
        "--in",
        str(inputs),
        "--out",
        str(outputs),
        "-o",
        "new",
        "--build",
    )
    assert found["scripts"] == ["/app/count.py", "/app/settings.py"]
    assert [(item["name"], item["value"], item["type"]) for item in found["variables"]] == [
        ("ENCODING", "utf-8", "string"),
        ("MIN_LENGTH", "1", "int"),
        ("ONLY", "", "string"),
    ]
    folder = tmp_path / "new"
    for name, kind in (("processing-container.json", "pc"), ("task.json", "task")):
        text = (folder / name).read_text()
        report = await asyncio.to_thread(check, text, source=name, environment={}, kind=kind)
        assert (report.errors, report.warnings) == ([], [])
    offered = cli("templates", found["image"])
    assert offered.returncode == 0, offered.stderr
    done = cli("run", str(folder / "task.json"))
    assert done.returncode == 0, done.stderr
    words = {"a b/words.txt": "4 words\n", f"{NEW_LINE}/words.txt": "1 words\n"}
    assert results(outputs) == words | {"total.txt": "5\n"}
    # As a user goes on: variables, and what was in the workflow's configuration.
    again = with_env(folder, MIN_LENGTH="4", ONLY="a b", LEGACY_CONF='{"unit": "long words"}')
    assert cli("run", again).returncode == 0
    assert results(outputs)["a b/words.txt"] == "2 long words\n"
    refused = cli("run", with_env(folder, LEGACY_INPUT_AS="hope"))
    failed(refused, 2, "'link-files'")


async def test_a_shells_program_of_a_shell_form_entrypoint(
    old: Old,
    cli: Cli,
    engine: Engine,
    data: tuple[Path, Path],
    test_labels: dict[str, str],
) -> None:
    inputs, outputs = data
    image = await old("USER 1234", "ENV CODE=3", "ENTRYPOINT ./find.sh")
    outputs.mkdir()
    outputs.chmod(0o777)
    found = cli.json("migrate", image, "--in", str(inputs), "--out", str(outputs), "--build")
    assert found["scripts"] == ["the image's command", "/app/find.sh"]
    names = {item["name"]: item["value"] for item in found["variables"]}
    assert names == {"CODE": "3", "HANG": "", "PATTERN": "*.txt"}
    assert "runs as user `1234`" in "".join(found["checks"])
    done = cli("run", str(Path(found["folder"]) / "task.json"))
    assert done.returncode == 3, done.stderr
    found_there = results(outputs)
    assert len(found_there.pop("a b/all")) == len("one two bananas" + "three")  # in any order
    assert found_there == {"empty/all": "", f"{NEW_LINE}/all": "A"}
    assert (inputs / NEW_LINE / "z.txt").read_text() == "a"
    assert outputs.joinpath("a b/all").stat().st_uid == os.getuid()
    # What that user can't write to is told before anything is run.
    outputs.chmod(0o755)
    before = results(outputs)
    container = await engine.create(spec(found["image"], data, test_labels))
    try:
        await container.start()
        assert (await container.wait()).code == 74
        told = b"".join([chunk.data async for chunk in container.logs()])
        assert b"can't be written by the image's user" in told
    finally:
        await container.remove()
    assert results(outputs) == before


async def test_a_program_that_is_stopped_has_its_say(
    old: Old,
    cli: Cli,
    engine: Engine,
    data: tuple[Path, Path],
    test_labels: dict[str, str],
) -> None:
    _, outputs = data
    outputs.mkdir()
    image = await old('ENTRYPOINT ["/app/find.sh"]')
    found = cli.json("migrate", image, "--build")
    container = await engine.create(spec(found["image"], data, test_labels, HANG="1"))
    try:
        await container.start()
        async for chunk in container.logs(follow=True):
            if b"hanging" in chunk.data:
                break
        await container.stop(grace=60)
        end = await container.wait()
        assert end.code == 9
    finally:
        await container.remove()
    assert results(outputs)[f"{NEW_LINE}/all"] == "A"


async def test_what_is_refused(old: Old, cli: Cli, probe: str, tmp_path: Path) -> None:
    failed(cli("migrate", probe, "-o", "new"), 66, "holds no /bin/sh")
    image = await old()
    assert cli("migrate", image, "-o", "new", "--build").returncode == 0
    failed(cli("migrate", image, "-o", "new"), 2, "holds something already")
    name = json.loads((tmp_path / "new/task.json").read_text())["image"]
    failed(cli("migrate", name, "-o", "other"), 2, "processing-container already")
    for arguments in (("--in", "nowhere"), ("--name", "A B"), ("--out", "new/task.json")):
        failed(cli("migrate", image, "-o", "other", *arguments), 2, arguments[0])
    assert not (tmp_path / "other").exists()
