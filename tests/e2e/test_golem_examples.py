"""The example applications, and the one that `lading golem new` writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.images.golem import ensure_golem_base, ensure_golem_image
from tests.support import engines
from tests.support.golem import Golem
from tests.support.printed import ROOT

EXAMPLES = ROOT / "examples/golem"
FRACTAL, LIFE = EXAMPLES / "fractal", EXAMPLES / "life"
PICTURE = {
    "width": 240,
    "height": 180,
    "tiles": 48,  # more than are computed before the last kill, on any machine
    "center": [-0.743, 0.131],
    "scale": 0.02,
    "iterations": 500,
}
KILLS = 5


def alone(golem: Golem, image: str, folder: Path) -> bytes:
    """The picture of one process, in the same image: a PNG file's bytes depend on zlib, too."""
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(PICTURE))
    host = golem.cli.engine
    spec = {
        "Image": image,
        "Entrypoint": ["python", "/app/fractal/render.py"],
        "Cmd": ["/out/params.json", "/out/picture.png"],
        "User": f"{os.getuid()}:{os.getgid()}",
        "HostConfig": {"Binds": [f"{folder}:/out"]},
    }
    status, made = engines.call(host, "POST", "/containers/create", spec)
    assert status == 201, made
    try:
        engines.call(host, "POST", f"/containers/{made['Id']}/start")
        _, ended = engines.call(host, "POST", f"/containers/{made['Id']}/wait")
        assert ended["StatusCode"] == 0
    finally:
        engines.call(host, "DELETE", f"/containers/{made['Id']}?force=1")
    return (folder / "picture.png").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_fractal_of_four_nodes_whose_providers_are_killed(golem: Golem, tmp_path: Path) -> None:
    image = ensure_golem_image(golem.cli.engine, FRACTAL)
    output, killed = tmp_path / "output", set[str]()
    command = [
        *("golem", "run", image, "--params", json.dumps(PICTURE), "--output", str(output)),
        *("--nodes", "4", "--max-subtasks", "48", "--retries", "10", "--rest", "0", "--json"),
    ]
    with golem.cli.started(*command) as process:
        while process.poll() is None and len(killed) < KILLS:
            running = {
                item["Id"] for item in golem.containers("provider") if item["State"] == "running"
            }
            for name in sorted(running - killed)[:1]:
                status, _ = engines.call(golem.cli.engine, "POST", f"/containers/{name}/kill")
                killed |= {name} if status == 204 else set()
            time.sleep(0.3)  # so that different ones are killed, in different moments
        stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    told = json.loads(stdout)
    assert len(killed) == KILLS
    assert told["subtasks"] == 48
    # One that was killed after its answer had done its work.
    assert 1 <= told["retries"] <= KILLS, stderr.decode()
    assert [path.name for path in output.iterdir()] == ["fractal.png"]
    assert (output / "fractal.png").read_bytes() == alone(golem, image, tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_world_whose_strips_wait_for_each_other(golem: Golem, tmp_path: Path) -> None:
    params = json.loads((LIFE / "params.json").read_text()) | {"generations": 40, "strips": 3}
    image, output = ensure_golem_image(golem.cli.engine, LIFE), tmp_path / "output"
    done = golem.cli(
        *("golem", "run", image, "--params", json.dumps(params)),
        *("--resources", str(LIFE / "resources"), "--output", str(output)),
        *("--nodes", "4", "--max-subtasks", "50", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["subtasks"] == 6
    program = (
        "import sys; from life.world import *; rows = centered(read(open(sys.argv[1]).read()), "
        "160, 120); print(write(evolve(rows, 160, 40), 160), end='')"
    )
    pattern = LIFE / "resources/acorn.cells"
    expected = subprocess.run(
        [sys.executable, "-c", program, pattern], cwd=LIFE, capture_output=True, check=True
    )
    assert (output / "world.cells").read_bytes() == expected.stdout


def own_tests(folder: Path) -> None:
    """Run an application's tests as its author does."""
    base = folder.with_name(f"{folder.name}-tests")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={base}"],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.parametrize("example", [FRACTAL, LIFE], ids=lambda folder: folder.name)
def test_an_example_passes_its_own_tests(example: Path, tmp_path: Path) -> None:
    # Away from this repository: no other configuration of pytest applies there.
    own_tests(shutil.copytree(example, tmp_path / example.name))


@pytest.mark.slow
def test_a_new_application_works_as_it_is_written(golem: Golem, tmp_path: Path) -> None:
    folder, image = tmp_path / "word-count", f"lading-test/word-count-{os.getpid()}:1"
    done = golem.cli("golem", "new", "word-count", "--output", str(folder))
    assert done.returncode == 0, done.stderr
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {str(Path(line).relative_to(folder)) for line in done.stdout.decode().split()} == written
    texts = [(folder / name).read_text("utf-8") for name in written]
    assert [text for text in texts if "my_app" in text or "my-app" in text] == []
    own_tests(folder)
    try:
        done = golem.cli(
            *("golem", "run", str(folder), "--tag", image),
            *("--build-arg", f"BASE={ensure_golem_base(golem.cli.engine)}"),
            *("--resources", str(folder / "resources"), "--output", str(tmp_path / "out")),
            *("--nodes", "2"),
        )
        assert done.returncode == 0, done.stderr
    finally:
        engines.call(golem.cli.engine, "DELETE", f"/images/{image}?force=1")
    counts = json.loads((tmp_path / "out/words.json").read_text())
    assert list(counts.items())[:2] == [("the", 4), ("dog", 2)]


def test_names_that_can_name_no_application(lading_program: str, tmp_path: Path) -> None:
    for name, says in (
        ("Word", "can't name an image"),
        ("9lives", "can't name an image"),
        ("json", "means something else in Python"),
        ("class", "means something else in Python"),
    ):
        done = subprocess.run(
            [lading_program, "golem", "new", name],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert says in done.stderr
    (tmp_path / "words").mkdir()
    (tmp_path / "words/mine.txt").write_text("mine")
    done = subprocess.run(
        [lading_program, "golem", "new", "words"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert [path.name for path in (tmp_path / "words").iterdir()] == ["mine.txt"]


@pytest.fixture
def lading_program() -> str:
    return str(Path(sys.executable).with_name("lading"))
