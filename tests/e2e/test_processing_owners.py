"""Whose the files of a processing-container are, and who may write them."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.conftest import both_engines
from tests.images.build import ensure_probe
from tests.support import ordinary
from tests.support.command_line import Cli, Done
from tests.support.processing import Images, Tasks, running

ME = (os.geteuid(), os.getegid())

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to have files of others")
needs_user = pytest.mark.skipif(
    not ordinary.interpreter(), reason="needs root, setpriv, and a Python that everybody may run"
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


# Images whose user is not root.


@both_engines
@pytest.mark.parametrize("user", ["1234:1234", "nobody"])
def test_an_image_of_another_user_writes_to_what_we_made(
    lading: Cli, tasks: Tasks, images: Images, tmp_path: Path, user: str
) -> None:
    tasks.image = images("user:1", None, f"USER {user}")
    assert lading("run", "-q", "--watch", tasks("id")).stdout.split(b":")[0] in (b"1234", b"65534")
    out = tmp_path / "new/out"
    task = tasks("write", "/out/x/a", "written", outputs={"x": out})
    done = Cli(
        lading.engine,
        lading.state,
        program=("sh", "-c", 'umask 027; exec "$0" "$@"', *lading.program),
    )("run", task)
    assert done.returncode == 0, done.stderr
    assert b"warning" not in done.stderr
    assert (out / "a").read_text() == "written"
    assert owner(out / "a") == owner(out) == ME
    assert (mode(out), mode(out.parent)) == (0o750, 0o750), "open while it ran, and no longer"


@both_engines
def test_what_we_made_is_closed_again_whatever_happens(
    lading: Cli, tasks: Tasks, images: Images, tmp_path: Path
) -> None:
    tasks.image = images("user:1", None, "USER 1234")
    out = tmp_path / "out"
    with running(lading, tasks("sleep", "60", outputs={"x": out})) as (process, _):
        assert mode(out) == 0o777
        process.terminate()
        assert process.wait(30) == 143
    assert mode(out) == 0o755
    done = lading("run", tasks(template={"command": ["/absent"]}, outputs={"x": tmp_path / "no"}))
    assert done.returncode == 69
    assert not (tmp_path / "no").exists()


@both_engines
@needs_root
def test_what_others_can_not_use_is_told(
    lading: Cli, tasks: Tasks, images: Images, tmp_path: Path
) -> None:
    tasks.image = images("user:1", None, "USER 1234")
    out, given = tmp_path / "out", tmp_path / "in"
    out.mkdir(mode=0o755)
    given.mkdir(mode=0o700)
    at = {"inputs": {"g": given}, "outputs": {"x": out}}
    done = lading("run", tasks("write", "/out/x/a", "1", **at))
    assert done.returncode == 70
    text = done.stderr.decode()
    assert f"warning: output channel 'x': {out} can't be written to by user '1234'" in text
    assert f"`chmod o+rwx {out}` lets them" in text
    assert f"warning: input channel 'g': {given} can't be read by user '1234'" in text
    known = lading.json("inspect", lading.recorded()[0]["run"])
    assert len(known["notes"]) == 2
    assert mode(out) == 0o755, "what was there is its owner's affair"
    out.chmod(0o777)
    given.chmod(0o755)
    done = lading("run", tasks("write", "/out/x/a", "1", **at))
    assert (done.returncode, b"warning" in done.stderr) == (0, False), done.stderr
    out.chmod(0o700)
    os.chown(out, 1234, 1234)
    (out / "a").unlink()
    done = lading("run", tasks("write", "/out/x/a", "1", **at))
    assert (done.returncode, b"warning" in done.stderr) == (0, False), done.stderr
    assert owner(out) == (1234, 1234)


@both_engines
@needs_root
def test_a_user_with_a_name_is_doubted_only_if_it_fails(
    lading: Cli, tasks: Tasks, images: Images, tmp_path: Path
) -> None:
    tasks.image = images("user:1", None, "USER nobody")
    out = tmp_path / "out"
    out.mkdir(mode=0o700)
    done = lading("run", tasks("exit", "0", outputs={"x": out}))
    assert b"warning" not in done.stderr
    done = lading("run", tasks("write", "/out/x/a", "1", outputs={"x": out}))
    assert done.returncode == 70
    assert b"maybe can't be written to by user 'nobody'" in done.stderr


# A user of this machine who is not root.


@dataclass
class Person:
    """Somebody who runs `lading`."""

    lading: Cli
    tasks: Tasks
    home: Path

    async def __call__(self, *arguments: str) -> Done:
        return await asyncio.to_thread(self.lading, *arguments)


@pytest.fixture
def home() -> Iterator[Path]:
    with ordinary.home() as folder:
        yield folder


@pytest.fixture
async def person(engine_host: str, home: Path) -> AsyncIterator[Person]:
    """A user of root's engine, as members of the group docker are."""
    async with ordinary.let_in(engine_host, home) as address:
        cli = Cli(
            address,
            home / "state",
            folder=home,
            more={"HOME": str(home), "TMPDIR": str(home)},
            program=tuple(ordinary.interpreter()),
        )
        yield Person(cli, Tasks(home, ensure_probe(engine_host)), home)
        assert await asyncio.to_thread(cli.left) == set()


USER = (ordinary.UID, ordinary.UID)


@needs_user
@both_engines
async def test_outputs_of_a_root_container_are_the_callers(person: Person) -> None:
    out = person.home / "made/by lading"
    task = person.tasks("write", "/out/x/a", "written", outputs={"x": out})
    done = await person("run", task)
    assert done.returncode == 0, done.stderr
    assert b"warning" not in done.stderr
    assert (out / "a").read_text() == "written"
    assert {owner(path) for path in (out.parent, out, out / "a")} == {USER}
    done = await person("run", person.tasks("exit", "3", outputs={"x": person.home / "two"}))
    assert done.returncode == 3
    assert owner(person.home / "two") == USER


@needs_user
@both_engines
async def test_outputs_of_another_users_container_are_the_callers(
    person: Person, images: Images
) -> None:
    person.tasks.image = images("user:1", None, "USER 4242:4242")
    out = person.home / "out"
    done = await person("run", person.tasks("write", "/out/x/a", "1", outputs={"x": out}))
    assert done.returncode == 0, done.stderr
    assert b"warning" not in done.stderr
    assert (owner(out), owner(out / "a"), mode(out)) == (USER, USER, 0o755)


@pytest.mark.skipif(
    bool(ordinary.lacks_for_rootless()), reason=f"needs {ordinary.lacks_for_rootless()}"
)
@needs_user
@pytest.mark.parametrize("user", ["0:0", "1000:1000"])
def test_outputs_on_an_engine_of_ones_own(home: Path, test_id: str, user: str) -> None:
    with ordinary.rootless_podman(home) as host:
        images = Images(host, test_id)
        tasks = Tasks(home, images("user:1", None, f"USER {user}"))
        (home / "tmp").mkdir()
        os.chown(home / "tmp", *USER)
        lading = Cli(
            host,
            home / "tmp/state",
            folder=home,
            more={"HOME": str(home), "TMPDIR": str(home / "tmp")},
            program=tuple(ordinary.interpreter()),
        )
        out = home / "tmp/out"
        done = lading("run", "--no-network", tasks("write", "/out/x/a", "1", outputs={"x": out}))
        assert done.returncode == 0, done.stderr
        assert b"warning" not in done.stderr
        assert (owner(out)[0], owner(out / "a")[0], mode(out)) == (USER[0], USER[0], 0o755)
        out = home / "tmp/there"
        out.mkdir()
        os.chown(out, *USER)
        done = lading("run", "--no-network", tasks("write", "/out/x/a", "1", outputs={"x": out}))
        if user == "0:0":
            assert done.returncode == 0, done.stderr
            assert owner(out / "a") == USER
        else:
            assert done.returncode == 70
            assert f"`chmod o+rwx {out}` lets them".encode() in done.stderr
        assert lading.left() == set()


@needs_user
@both_engines
async def test_directories_that_the_caller_may_not_use(person: Person) -> None:
    theirs = person.home / "roots"
    theirs.mkdir(mode=0o700)
    done = await person("run", person.tasks("exit", "0", inputs={"x": theirs}))
    assert done.returncode == 2
    assert f"the directory {theirs} can't be read by you".encode() in done.stderr
    done = await person("run", person.tasks("exit", "0", inputs={"x": theirs / "in"}))
    assert done.returncode == 2, done.stderr
    assert b"Permission denied" in done.stderr
    done = await person("run", person.tasks("exit", "0", outputs={"x": theirs / "out"}))
    assert done.returncode == 2, done.stderr
    assert b"Permission denied" in done.stderr
    theirs.chmod(0o755)
    done = await person("run", person.tasks("exit", "0", outputs={"x": theirs / "out"}))
    assert done.returncode == 2
    assert f"{theirs}/out can't be made: Permission denied".encode() in done.stderr
    assert list(theirs.iterdir()) == []


@needs_user
@both_engines
async def test_an_output_that_is_not_the_callers_is_told(person: Person) -> None:
    theirs = person.home / "roots"
    theirs.mkdir(mode=0o755)
    done = await person("run", person.tasks("write", "/out/x/a", "1", outputs={"x": theirs}))
    assert done.returncode == 0, done.stderr
    assert f"warning: what the container wrote to {theirs} stays its user's".encode() in done.stderr
    assert b"Permission denied" in done.stderr
    assert owner(theirs / "a") == (0, 0)
