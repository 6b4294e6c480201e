"""What containers wrote belongs to who ran them: as root, as a user of root's engine, and as a
user of an engine of their own."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import archive
from tests.images.build import ensure_probe
from tests.support import engines, ordinary
from tests.support.printed import ROOT

from lading import EngineOptions, open_engine

Run = Callable[..., Coroutine[Any, Any, dict[str, Any]]]
SCRIPT = str(ROOT / "tests/support/handing_over.py")

pytestmark = pytest.mark.skipif(
    not Path("/usr/bin/python3").exists(), reason="containers are shown /usr/bin/python3"
)
needs_user = pytest.mark.skipif(
    not ordinary.interpreter(), reason="needs root, setpriv, and a Python that everybody may run"
)

EVERYTHING = r"""
import os, socket
os.umask(0)
os.chdir("/0")
open("file", "w").write("x")
os.makedirs("closed/inner", 0o700)
open("closed/inner/secret", "w").close()
os.chmod("closed/inner/secret", 0)
os.chmod("closed/inner", 0)
os.mkdir("full", 0o755); open("full/it", "w").close(); os.chmod("full", 0o500)
os.symlink("/etc/passwd", "passwd")
os.symlink("/0/closed", "loop")
os.link("file", "linked")
open("new\nline", "w").close()
open(b"\xff\xfe", "w").close()
os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("socket")
if os.getuid() == 0:
    os.setresgid(77, 77, 77); os.setresuid(0, 0, 0)
    open("of a group", "w").close()
    os.mkdir("of others"); os.chmod("of others", 0o777)
    os.setresuid(4321, 4321, 4321)
    os.mkdir("of others/4321", 0o700); open("of others/4321/deep", "w").close()
"""


def owners(folder: Path) -> dict[str, tuple[int, int]]:
    """Who owns what is in a folder, and itself; nothing is followed."""
    found = {".": folder.lstat()}
    for path in folder.rglob("*"):
        found[str(path.relative_to(folder))] = path.lstat()
    return {name: (info.st_uid, info.st_gid) for name, info in found.items()}


async def ask(start: list[str], order: dict[str, Any], temporary: Path) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *start,
        SCRIPT,
        json.dumps(order),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary), "HOME": str(temporary)},
        cwd="/",
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    told: dict[str, Any] = json.loads(output)
    assert told["code"] == 0, told["said"]
    return told


@pytest.fixture
def home() -> Iterator[Path]:
    with ordinary.home() as folder:
        yield folder


@pytest.fixture(params=["docker", "podman"])
def host(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{request.param}_host")
    return found


@pytest.fixture
async def as_user(host: str, home: Path, test_labels: dict[str, str]) -> AsyncIterator[Run]:
    """Runs code in a container, as an ordinary user who may use root's engine."""
    image = ensure_probe(host)
    async with ordinary.let_in(host, home) as address:

        async def run(code: str, *folders: Path, **more: object) -> dict[str, Any]:
            order = {
                "engine": address, "image": image, "labels": test_labels,
                "folders": [str(path) for path in folders], "code": code, **more,
            }  # fmt: skip
            return await ask(ordinary.interpreter(), order, home)

        yield run


def folder_of_theirs(home: Path, name: str = "out") -> Path:
    folder = home / name
    folder.mkdir(mode=0o755)
    os.chown(folder, ordinary.UID, ordinary.UID)
    return folder


@needs_user
@pytest.mark.parametrize("user", ["0:0", "1000:1000"])
async def test_a_user_of_roots_engine_owns_everything(as_user: Run, home: Path, user: str) -> None:
    out = folder_of_theirs(home)
    if user != "0:0":
        out.chmod(0o777)
    passwd = Path("/etc/passwd").stat()
    told = await as_user(EVERYTHING, out, user=user)
    assert told["warning"] == ""
    assert told["helped"]
    found = owners(out)
    assert set(found.values()) == {(ordinary.UID, ordinary.UID)}, found
    assert len(found) >= 14
    assert stat.S_IMODE((out / "full").stat().st_mode) == 0o700
    assert (out / "closed/inner").stat().st_mode & stat.S_IRWXU == stat.S_IRWXU
    now = Path("/etc/passwd").stat()
    assert (now.st_uid, now.st_mode, now.st_ctime_ns) == (
        passwd.st_uid, passwd.st_mode, passwd.st_ctime_ns,
    )  # fmt: skip
    assert told["given"] == len(found) - 1 - 1, "all but the folder, and a second link is no file"
    told = await as_user("pass", out, remove=True)
    assert list(out.iterdir()) == []


@needs_user
async def test_a_user_shares_a_folder_with_others(as_user: Run, home: Path) -> None:
    shared = home / "shared"
    shared.mkdir()
    (shared / "roots.txt").write_text("before")
    for name, uid in (("alice", 5001), ("root", 0)):
        (shared / name / "inner").mkdir(parents=True)
        (shared / name / "inner/old.txt").write_text("before")
        for path in (shared / name, *(shared / name).rglob("*")):
            os.chown(path, uid, uid)
    (shared / "alice/inner").chmod(0o700)
    shared.chmod(0o1777)
    told = await as_user(
        "import os\n"
        "open('/0/mine', 'w').close()\n"
        "open('/0/alice/new', 'w').close()\n"  # root's, in her directory
        "open('/0/root/inner/new', 'w').close()\n"
        "os.chown('/0/alice/inner', 5001, 5001)\n",
        shared,
    )
    assert told["warning"] == ""
    mine = (ordinary.UID, ordinary.UID)
    assert owners(shared) == {
        ".": (0, 0), "roots.txt": (0, 0), "mine": mine,
        "alice": (5001, 5001), "alice/inner": (5001, 5001), "alice/inner/old.txt": (5001, 5001),
        "alice/new": mine,
        "root": (0, 0), "root/inner": (0, 0), "root/inner/old.txt": (0, 0), "root/inner/new": mine,
    }  # fmt: skip


@needs_user
async def test_nothing_is_started_where_nothing_is_needed(as_user: Run, home: Path) -> None:
    out, foreign = folder_of_theirs(home), home / "foreign"
    foreign.mkdir()
    (foreign / "theirs").write_text("before")
    (foreign / "private").mkdir(mode=0o700)
    os.chown(foreign / "private", 5001, 5001)
    foreign.chmod(0o777)
    code = "import os; os.umask(0o77); os.makedirs('/0/a/b'); os.chmod('/0/a', 0o500)"
    told = await as_user(code, out, foreign, user=f"{ordinary.UID}:{ordinary.UID}")
    assert (told["helped"], told["warning"], told["given"]) == (False, "", 1)
    assert stat.S_IMODE((out / "a").stat().st_mode) == 0o700, "it can be emptied now"


@needs_user
async def test_ten_thousand_files_and_a_tree_deeper_than_there_are_descriptors(
    as_user: Run, home: Path
) -> None:
    out = folder_of_theirs(home)
    told = await as_user(
        "import os\n"
        "for n in range(10_000): open(f'/0/{n}', 'w').close()\n"
        "os.chdir('/0')\n"
        "for n in range(2_000): os.mkdir('d'); os.chdir('d')\n"
        "open('end', 'w').close()\n",
        out,
    )
    assert told["warning"] == ""
    assert told["given"] == 12_001
    subprocess.run(["rm", "-r", f"{out}/d"], check=True)  # deeper than Python's recursion
    assert set(owners(out).values()) == {(ordinary.UID, ordinary.UID)}


@needs_user
async def test_what_an_image_says_does_not_matter_to_the_helper(
    as_user: Run, host: str, home: Path
) -> None:
    tag = "lading-test/handover-hostile:1"
    dockerfile = (
        f"FROM {ensure_probe(host)}\n"
        "WORKDIR /usr/src/app\n"  # below what the helper sees of the host
        "USER nobody\n"
        "ENV PYTHONHOME=/nowhere PYTHONPATH=/nowhere LD_LIBRARY_PATH=/nowhere PATH=/nowhere\n"
        'ENTRYPOINT ["/nothing"]\n'
    )
    async with await open_engine(EngineOptions(engine=host)) as engine:
        await engine.build(archive(dockerfile), tag)
    out = folder_of_theirs(home)
    told = await as_user("open('/0/file', 'w').close()", out, image=tag)
    assert told["warning"] == ""
    assert owners(out)["file"] == (ordinary.UID, ordinary.UID)


@needs_user
async def test_a_file_that_nobody_can_give_is_told_of(as_user: Run, home: Path) -> None:
    out = folder_of_theirs(home)
    # Made immutable while the container runs: what else root may not change is rare.
    made = asyncio.create_task(
        as_user(
            "import os, time\n"
            "open('/0/fixed', 'w').close(); open('/0/free', 'w').close()\n"
            "while not os.path.exists('/0/go on'): time.sleep(0.02)\n",
            out,
        )
    )
    while not (out / "free").exists():
        await asyncio.sleep(0.02)
    process = await asyncio.create_subprocess_exec("chattr", "+i", str(out / "fixed"))
    made_so = await process.wait() == 0
    (out / "go on").touch()
    if not made_so:
        await made
        pytest.skip("this file system has no immutable files")
    try:
        told = await made
    finally:
        await (await asyncio.create_subprocess_exec("chattr", "-i", str(out / "fixed"))).wait()
    assert told["left"] == 1
    assert told["warning"].startswith(
        f"1 file that the container wrote could not be given to you (such as '{out}/fixed': "
        "Operation not permitted); `sudo chown -R "
    )
    assert (out / "free").stat().st_uid == ordinary.UID


@needs_user
async def test_a_helper_that_can_not_be_made_loses_nothing(home: Path) -> None:
    out = folder_of_theirs(home)
    code = (
        "import asyncio, os, sys\n"
        "from lading.run.handover import Stamp, hand_over\n"
        "from lading.testing import FakeEngine\n"
        "async def main():\n"
        "    stamp = Stamp.of([sys.argv[1]])\n"
        "    print('stamped', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    async with FakeEngine([]) as engine:\n"
        "        print((await hand_over(engine, 'x:1', stamp, labels={})).warning)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        *ordinary.interpreter(), "-c", code, str(out), cwd="/",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(home)},
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"stamped\n"
    (out / "roots").touch()
    output, _ = await process.communicate(b"\n")
    text = output.decode()
    assert "1 file that the container wrote could not be given to you" in text
    assert "a helper container for it failed: image 'x:1'" in text
    assert f"`sudo chown -R {ordinary.UID}:{ordinary.UID} {out}` gives them to you" in text
    assert sorted(path.name for path in home.iterdir()) == ["out"], "no order is left"


@pytest.mark.skipif(
    bool(ordinary.lacks_for_rootless()), reason=f"needs {ordinary.lacks_for_rootless()}"
)
@needs_user
@pytest.mark.parametrize("user", ["0:0", "1000:1000"])
async def test_a_user_of_an_engine_of_their_own_owns_everything(
    home: Path, test_labels: dict[str, str], user: str
) -> None:
    out = folder_of_theirs(home)
    out.chmod(0o777)
    (home / "tmp").mkdir()
    os.chown(home / "tmp", ordinary.UID, ordinary.UID)
    with ordinary.rootless_podman(home) as host:
        order = {
            "engine": host, "image": ensure_probe(host), "labels": test_labels,
            "folders": [str(out)], "code": EVERYTHING, "user": user,
        }  # fmt: skip
        told = await ask(ordinary.interpreter(), order, home / "tmp")
        _, left = engines.call(host, "GET", "/containers/json?all=1")
    assert told["warning"] == ""
    assert told["helped"]
    assert left == []
    found = owners(out)
    # What was theirs at once keeps the group that it got, as it does when they chgrp it themselves.
    assert {uid for uid, _ in found.values()} == {ordinary.UID}, found
    assert len(found) >= 14


@pytest.mark.parametrize("engine_host", ["docker", "podman"], indirect=True)
async def test_who_runs_it_owns_everything_without_help_where_they_may(
    engine_host: str, test_labels: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o777)
    order = {
        "engine": engine_host, "image": ensure_probe(engine_host), "labels": test_labels,
        "folders": [str(out)], "code": EVERYTHING, "user": "1000:1000",
    }  # fmt: skip
    told = await ask([sys.executable], order, tmp_path)
    assert told["warning"] == ""
    assert told["helped"] is (os.geteuid() not in (0, 1000))
    assert set(owners(out).values()) == {(os.geteuid(), os.getegid())}
