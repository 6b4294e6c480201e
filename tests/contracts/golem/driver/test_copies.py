"""Work directories that are copies: what comes back, and that nobody writes elsewhere by it."""

from __future__ import annotations

import asyncio
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from lading.contracts.golem.driver.copies import Mirror, bring
from lading.engine import Container


class There:
    """Stands for a container whose work directory is a folder of the test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.archive: bytes | None = None

    async def put(self, path: str, archive: bytes) -> None:
        assert path == "/golem/work"
        await asyncio.to_thread(self._put, archive)

    async def get(self, path: str) -> bytes:
        return await asyncio.to_thread(self._get, path)

    def _put(self, archive: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(self.root, filter="tar")

    def _get(self, path: str) -> bytes:
        if self.archive is not None:
            return self.archive
        wanted = self.root / path.removeprefix("/golem/work").strip("/")
        if not wanted.is_symlink() and not wanted.exists():
            raise FileNotFoundError(path)
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            tar.add(wanted, Path(path).name)
        return stream.getvalue()


@pytest.fixture
def there(tmp_path: Path) -> There:
    return There(tmp_path / "there")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    made = tmp_path / "home/work"
    made.mkdir(parents=True)
    return made


def as_container(there: There) -> Container:
    return cast("Container", there)


def written(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def tar_of(*members: tuple[str, Any]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members:
            item = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                item.size = len(content)
            else:
                item.type, item.linkname = content
            tar.addfile(item, io.BytesIO(content if isinstance(content, bytes) else b""))
    return stream.getvalue()


async def test_what_we_wrote_goes_there_and_what_changed_comes_back(
    there: There, work: Path
) -> None:
    mirror = Mirror(work)
    await mirror.begin()
    (work / "t/task_inputs").mkdir(parents=True)
    (work / "t/task_inputs/a").write_text("resource")
    await mirror.push(as_container(there), "t")
    assert written(there.root) == {"t/task_inputs/a": "resource"}
    (there.root / "t/task.db").write_text("1")
    (there.root / "t/outputs").mkdir()
    (there.root / "t/outputs/picture").write_text("drawn")
    await mirror.pull(as_container(there))
    ours = {"t/task_inputs/a": "resource", "t/task.db": "1", "t/outputs/picture": "drawn"}
    assert written(work) == ours
    (there.root / "t/task.db").write_text("2")
    shutil.rmtree(there.root / "t/outputs")
    (work / "t/ours").write_text("just come")  # a node's result, of which they know nothing yet
    await mirror.pull(as_container(there))
    assert written(work) == {"t/task_inputs/a": "resource", "t/task.db": "2", "t/ours": "just come"}
    assert not (work / "t/outputs").exists()
    assert [path.name for path in work.parent.iterdir()] == ["work"]


async def test_what_is_the_same_is_left_alone(there: There, work: Path) -> None:
    mirror = Mirror(work)
    (work / "t").mkdir()
    (work / "t/large").write_text("x" * 1000)
    await mirror.begin()
    await mirror.push(as_container(there), "t")
    before = (work / "t/large").stat()
    await mirror.pull(as_container(there))
    after = (work / "t/large").stat()
    assert (before.st_ino, before.st_ctime_ns) == (after.st_ino, after.st_ctime_ns)


@pytest.mark.parametrize("moved", [0, 1, 2])
async def test_all_that_came_with_one_answer_is_moved_though_we_are_killed(
    there: There, work: Path, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(work)
    (there.root / "t").mkdir()
    (there.root / "t/one").write_text("1")
    (there.root / "t/two").write_text("2")
    rename: Callable[[Path, Any], Path] = Path.rename
    left = moved + 1  # the list's own

    class Killed(BaseException):
        pass

    def fail(path: Path, target: Any) -> Path:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", fail)
        if moved < 2:
            with pytest.raises(Killed):
                await mirror.pull(as_container(there))
            assert len(written(work)) == moved
        else:
            await mirror.pull(as_container(there))
    await Mirror(work).begin()
    assert written(work) == {"t/one": "1", "t/two": "2"}
    assert not (work.parent / "incoming").exists()


async def test_half_of_an_answer_is_forgotten(there: There, work: Path) -> None:
    (work.parent / "incoming").mkdir()
    (work.parent / "incoming/0").write_text("half")
    (work / "kept").write_text("as it was")
    await Mirror(work).begin()
    assert written(work.parent) == {"work/kept": "as it was"}


async def test_a_try_that_died_is_noticed(there: There, work: Path) -> None:
    mirror = Mirror(work)
    (there.root / "t").mkdir()
    (there.root / "t/task.db").write_text("half")
    await mirror.pull(as_container(there))
    assert not await mirror.has_more("t")
    shutil.rmtree(work / "t")
    assert await mirror.has_more("t")
    assert not await mirror.has_more("other")


async def test_nothing_is_written_elsewhere(there: There, work: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    there.archive = tar_of(
        ("work/../../outside/a", b"up"),
        (f"{outside}/b", b"absolute"),
        ("work/link", (tarfile.SYMTYPE, str(outside))),
        ("work/link/c", b"through a link"),
        ("work/d", b"fine"),
    )
    await Mirror(work).pull(as_container(there))
    assert list(outside.iterdir()) == []
    assert written(work) == {"link/c": "through a link", "d": "fine"}


async def test_a_result_is_brought_with_its_directory(there: There, tmp_path: Path) -> None:
    node = tmp_path / "node"
    (node / "subtask_inputs").mkdir(parents=True)
    (there.root / "abc").mkdir()
    (there.root / "abc/work").write_text("picture")
    (there.root / "abc/other").write_text("not asked for")
    await bring(as_container(there), Path("abc/work"), node)
    assert written(node) == {"abc/work": "picture"}


async def test_a_result_behind_a_link_is_brought_with_all(there: There, tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.mkdir()
    (there.root / "abc").mkdir()
    (there.root / "abc/real").write_text("picture")
    (there.root / "abc/link").symlink_to("real")
    (there.root / "subtask_inputs").mkdir()
    (there.root / "subtask_inputs/big").write_text("x")
    await bring(as_container(there), Path("abc/link"), node)
    assert written(node) == {"abc/real": "picture"}
    assert (node / "abc/link").is_symlink()


@pytest.mark.parametrize("named", ["/etc/passwd", "../secret", "missing"])
async def test_what_names_no_result_brings_nothing(
    there: There, tmp_path: Path, named: str
) -> None:
    node = tmp_path / "node"
    node.mkdir()
    (there.root.parent / "secret").write_text("x")
    await bring(as_container(there), Path(named), node)
    assert written(node) == {}
