"""The checks of tests/conftest.py see what they are for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HEAD = """
import asyncio, os, subprocess, tempfile, threading, time
from lading import units
from tests.images.build import ensure_probe
from tests.support import engines
"""

TASK = """
async def test():
    asyncio.get_running_loop().kept = asyncio.create_task(asyncio.sleep(99))
"""

DESCRIPTOR = """
def test():
    os.open("/etc/passwd", os.O_RDONLY)
"""

FILE = """
def test():
    os.close(tempfile.mkstemp()[0])
"""

THREAD = """
def test():
    threading.Thread(target=time.sleep, args=(3,)).start()
"""

PROCESS = """
def test():
    subprocess.Popen(["sleep", "3"]).returncode = 0
"""

BLOCKED = """
async def test():
    exec(compile("import time; time.sleep(0)", units.__file__, "exec"))
"""

CONTAINER = """
def test(engine_host, test_labels):
    content = {"Image": ensure_probe(engine_host), "Labels": test_labels}
    status, reply = engines.call(engine_host, "POST", "/containers/create", content)
    assert status == 201, reply
"""

NETWORK = """
def test(engine_host, test_id):
    content = {"Name": f"lading-{test_id}"}
    status, reply = engines.call(engine_host, "POST", "/networks/create", content)
    assert status == 201, reply
"""

HANGS = """
import pytest

@pytest.fixture
async def resource():
    yield
    await asyncio.sleep(0)
    print("cleaned up")

# A fifth of it is left for the set-up: less than a second would not do on a full machine.
@pytest.mark.timeout(5)
async def test(resource):
    await asyncio.Event().wait()
"""

NOTHING = """
async def test():
    await asyncio.create_task(asyncio.sleep(0))

def test_files(tmp_path):
    (tmp_path / "x").write_text("")
    with tempfile.TemporaryFile():
        pass
"""


def _run(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    """Run a test file of its own under the conftest.py of all tests."""
    file = folder / "test_inner.py"
    file.write_text(HEAD + body)
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "-c", "pyproject.toml"]
    folders = [f"--rootdir={ROOT}", f"--confcutdir={folder}", f"--basetemp={folder / 'inner'}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *folders, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (TASK, "tasks left behind"),
        (DESCRIPTOR, "file descriptor"),
        (FILE, "temporary file"),
        (THREAD, "thread"),
        (PROCESS, "process"),
        (BLOCKED, "Blocking call to time.sleep"),
    ],
    ids=["task", "descriptor", "file", "thread", "process", "blocked"],
)
def test_a_leak_fails_its_test(body: str, expected: str, tmp_path: Path) -> None:
    done = _run(tmp_path, body)
    assert done.returncode == 1, done.stdout + done.stderr
    assert expected in done.stdout


@pytest.mark.parametrize(
    ("body", "expected"),
    [(CONTAINER, "container "), (NETWORK, "network lading-")],
    ids=["container", "network"],
)
def test_a_leak_on_an_engine_fails_its_test(
    body: str, expected: str, tmp_path: Path, engine_host: str
) -> None:
    done = _run(tmp_path, body)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"left behind:\n  - {expected}" in done.stdout


def test_a_test_that_hangs_is_cancelled_and_cleaned_up_after(tmp_path: Path) -> None:
    done = _run(tmp_path, HANGS)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "TimeoutError" in done.stdout
    assert "cleaned up" in done.stdout


def test_what_leaves_nothing_passes(tmp_path: Path) -> None:
    done = _run(tmp_path, NOTHING)
    assert done.returncode == 0, done.stdout + done.stderr
