"""What applications name: results and resources that are not what they should be."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.golem_fakes import Stage

from lading.contracts.golem.driver.below import open_below
from lading.contracts.golem.driver.events import NodeRested, ResultTaken, SubtaskFailed
from lading.contracts.golem.driver.files import Provided, provide, take_result
from lading.contracts.golem.driver.nodes import Node, Work
from lading.contracts.golem.driver.offloop import Stop, in_thread
from lading.contracts.golem.driver.options import DriverOptions
from lading.errors import AppError, CapacityError, GolemTaskFailed, InputError

# Results.


def nothing(_: Path) -> None:
    """Make nothing."""


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path may have 108 bytes
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)


def pipe_inside(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "x")


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "absolute": ("/etc/hostname", nothing, "is not relative to the work directory"),
    "absolute-in-container": ("/golem/work/r", Path.touch, "is not relative to the work directory"),
    "outside": ("../../../golem.db", nothing, "leads out of the work directory"),
    "above": ("..", nothing, "leads out of the work directory"),
    "back": ("x/../../lock", lambda p: p.mkdir(), "leads out of the work directory"),
    "missing": ("r", nothing, "is not there"),
    "missing-directory": ("x/r", nothing, "is not there"),
    "below-a-file": ("r/s", Path.touch, "a part of its path is no directory"),
    "directory": ("r", lambda p: p.mkdir(), "is a directory, not a regular file"),
    "itself": (".", nothing, "is a directory, not a regular file"),
    "link-outside": ("r", lambda p: p.symlink_to("/etc/hostname"), "leads out of the work"),
    "link-above": ("r", lambda p: p.symlink_to("../../lock"), "leads out of the work"),
    "link-directory": ("r/hostname", lambda p: p.symlink_to("/etc"), "leads out of the work"),
    "link-nowhere": ("r", lambda p: p.symlink_to("nowhere"), "is not there"),
    "link-circle": ("r", lambda p: p.symlink_to("r"), "goes through links in a circle"),
    "pipe": ("r", os.mkfifo, "is a pipe, not a regular file"),
    "socket": ("r", bind, "is a socket, not a regular file"),
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_result_that_cannot_be_taken_is_a_failure(play: Stage, kind: str) -> None:
    path, make, reason = BAD[kind]

    def behave(node: Node, work: Work, attempt: int) -> object:
        async def wrong() -> Path:
            await asyncio.to_thread(make, node.directory.joinpath(*Path(path).parts[:1]))
            return Path(path)

        return wrong if work.params["piece"] == 1 and attempt == 1 else None

    play.providers.behave = behave
    play.params["pieces"] = 3
    outcome = await play.run()
    assert play.outputs() == play.wanted()
    assert outcome.failed == 1
    (failure,) = play.told(SubtaskFailed)
    assert reason in failure.reason
    assert path in failure.reason
    assert play.app.count("AbortSubtask") == 1


@pytest.mark.parametrize("target", ["real", "/golem/work/real", "sub/../real", "sub/up/real"])
def test_a_link_inside_the_work_directory_is_followed(tmp_path: Path, target: str) -> None:
    node = tmp_path / "node"
    (node / "sub").mkdir(parents=True)
    (node / "sub" / "up").symlink_to("/golem/work")
    (node / "real").write_text("content")
    (node / "r").symlink_to(target)
    candidate, _ = take_result(
        Stop(), node=node, path=Path("r"), number=1, home=tmp_path, place="out/s", waits=False
    )
    assert candidate.name == "r", "the name is unchanged"
    copy = tmp_path / "out" / "s" / "r"
    assert copy.read_text() == "content"
    assert not copy.is_symlink()


async def test_an_empty_result_is_for_verify_to_judge(play: Stage) -> None:
    play.providers.behave = lambda node, work, attempt: "" if attempt == 1 else None
    play.params["pieces"] = 2
    await play.run(rest=0.0)
    assert [e.size for e in play.told(ResultTaken) if not e.size] == [0, 0]
    assert play.told(SubtaskFailed)[0].reason == "Verify says FAILURE: got ''"
    assert play.outputs() == play.wanted()


def test_a_result_is_a_copy(tmp_path: Path) -> None:
    """A provider could write to another name of the same file, later."""
    node = tmp_path / "node"
    node.mkdir()
    (node / "r").write_bytes(b"x" * 100_000)
    (node / "r").chmod(0o4711)
    take_result(Stop(), node=node, path=Path("r"), number=1, home=tmp_path, place="o", waits=False)
    copy = tmp_path / "o" / "r"
    assert copy.read_bytes() == b"x" * 100_000
    assert copy.stat().st_nlink == 1
    assert copy.stat().st_mode & 0o7777 == 0o711, "but no set-user-id"


async def test_what_a_subtask_leaves_at_a_node_is_removed_and_the_rest_is_kept(
    play: Stage,
) -> None:
    seen: list[set[str]] = []

    def behave(node: Node, work: Work, attempt: int) -> object:
        async def look() -> None:
            (await asyncio.to_thread((node.directory / "cache").touch))
            seen.append({p.name for p in await asyncio.to_thread(list, node.directory.iterdir())})

        return look

    play.providers.behave = behave
    await play.run(nodes=1, max_subtasks=6)
    assert seen == [{"cache", "subtask_inputs"}] * 6


# Resources.


def with_inputs(play: Stage, *names: str) -> None:
    def look(directory: Path) -> None:
        for name in names:
            path = directory / "subtask_inputs" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"content of {name}")

    play.app.looks = look


async def test_resources_are_copied_to_the_node(play: Stage) -> None:
    with_inputs(play, "common", "own-0", "own-1", "deep/own-2")
    names = {0: "own-0", 1: "own-1", 2: "deep/own-2"}
    play.app.resources = lambda piece: ["common", names[piece]]
    play.params["pieces"] = 3
    seen: dict[int, dict[str, str]] = {}

    def behave(node: Node, work: Work, attempt: int) -> object:
        def read() -> dict[str, str]:
            inputs = node.directory / "subtask_inputs"
            files = [path for path in inputs.rglob("*") if path.is_file()]
            return {str(path.relative_to(inputs)): path.read_text() for path in files}

        async def look() -> None:
            seen[work.params["piece"]] = await asyncio.to_thread(read)

        return look

    play.providers.behave = behave
    await play.run(nodes=1)
    for piece, name in names.items():
        assert seen[piece] == {"common": "content of common", name: f"content of {name}"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "the resource 'missing' is not there"),
        ("sub", "the resource 'sub' is a directory, not a regular file"),
        ("../task_inputs/x", "is not the name of a file in subtask_inputs"),
        ("/etc/hostname", "is not the name of a file in subtask_inputs"),
        ("", "is not the name of a file in subtask_inputs"),
        ("link", "the resource 'link' leads out of the work directory"),
    ],
)
async def test_a_bad_resource_is_named_and_the_subtask_aborted(
    play: Stage, name: str, reason: str
) -> None:
    def look(directory: Path) -> None:
        (directory / "subtask_inputs" / "sub").mkdir()
        (directory / "subtask_inputs" / "link").symlink_to("/etc/hostname")

    play.app.looks = look
    play.app.resources = lambda piece: [name] if piece == 1 else []
    with pytest.raises(GolemTaskFailed, match="the same piece of work failed 2 times") as caught:
        await play.run(retries=1)
    assert f"NextSubtask: {reason}" in str(caught.value) or reason in str(caught.value)
    assert play.app.count("AbortSubtask") == 2
    assert play.providers.computed[1] == 0, "no container is started for it"
    assert play.told(NodeRested) == [], "no node is to blame"


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Of a requestor, next to a node."""
    (tmp_path / "node").mkdir()
    folder = tmp_path / "work" / "t" / "subtask_inputs"
    folder.mkdir(parents=True)
    (folder / "a").write_text("one")
    return folder


def bring(folder: Path, known: Provided, *names: str) -> int:
    top = folder.parents[2]
    return provide(
        Stop(), top / "work", task_id="t", names=names, node=top / "node", provided=known
    )


def test_a_resource_that_nobody_touched_is_not_copied_again(inputs: Path) -> None:
    known = Provided()
    copy = inputs.parents[2] / "node" / "subtask_inputs" / "a"
    assert bring(inputs, known, "a") == 3
    before = copy.stat()
    assert bring(inputs, known, "a") == 0
    assert copy.stat() == before
    assert copy.stat().st_ino != (inputs / "a").stat().st_ino, "no hard link"


@pytest.mark.parametrize("touch", ["original", "copy", "times", "replaced", "removed", "link"])
def test_a_resource_that_somebody_touched_is_copied_again(inputs: Path, touch: str) -> None:
    known = Provided()
    copy = inputs.parents[2] / "node" / "subtask_inputs" / "a"
    bring(inputs, known, "a")
    before = copy.stat()
    match touch:
        case "original":
            (inputs / "a").write_text("two")
        case "copy":
            copy.write_text("bad")
        case "times":
            copy.write_text("bad")
            os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "replaced":
            (inputs / "b").write_text("two")
            (inputs / "b").rename(inputs / "a")
        case "removed":
            copy.unlink()
        case "link":
            copy.unlink()
            copy.symlink_to("/etc/hostname")
    assert bring(inputs, known, "a") == 3
    assert not copy.is_symlink()
    assert copy.read_text() == (inputs / "a").read_text()


def test_nothing_is_written_through_a_link_that_a_provider_made(inputs: Path) -> None:
    top = inputs.parents[2]
    outside = top / "outside"
    outside.mkdir()
    (outside / "a").write_text("precious")
    (top / "node" / "subtask_inputs").symlink_to(outside)
    bring(inputs, Provided(), "a")
    assert (outside / "a").read_text() == "precious"
    assert [path.name for path in outside.iterdir()] == ["a"]
    assert (top / "node" / "subtask_inputs" / "a").read_text() == "one"


def test_what_was_needed_before_only_is_removed(inputs: Path) -> None:
    known = Provided()
    (inputs / "d").mkdir()
    (inputs / "d" / "b").write_text("b")
    (inputs / "d" / "c").write_text("c")
    bring(inputs, known, "a", "d/b", "d/c")
    bring(inputs, known, "d/c")
    there = inputs.parents[2] / "node" / "subtask_inputs"
    assert [str(p.relative_to(there)) for p in there.rglob("*") if p.is_file()] == ["d/c"]
    bring(inputs, known)
    assert list(there.iterdir()) == []


def test_a_disk_that_is_full_is_said_so(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(CapacityError, match=r"the disk of .* is full; make room there"):
        bring(inputs, Provided(), "a")


def test_copying_works_where_blocks_cannot_be_shared(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", unable)
    (inputs / "a").write_bytes(os.urandom(3_000_000))
    bring(inputs, Provided(), "a")
    copy = inputs.parents[2] / "node" / "subtask_inputs" / "a"
    assert copy.read_bytes() == (inputs / "a").read_bytes()


def test_opening_never_leaves_descriptors_behind(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path, make, _ in BAD.values():
        folder = tmp_path / os.urandom(4).hex()
        folder.mkdir()
        make(folder / Path(path).parts[0] if not path.startswith(("/", ".")) else folder / "q")
        with pytest.raises(AppError), open_below(folder, path or "x", call="Compute", what="it"):
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_work_in_a_thread_stops_when_nobody_waits_for_it() -> None:
    begun, ended = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def work(stop: Stop) -> None:
        loop.call_soon_threadsafe(begun.set)
        stop.wait(20)
        ended.append(True)
        stop.check()

    task = asyncio.create_task(in_thread(work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


# What users give.


async def refused(play: Stage, message: str, **options: object) -> None:
    with pytest.raises(InputError, match=message):
        await play.run(**options)
    assert play.app.calls == [], "nothing was started"
    assert play.journal.tasks() == [], "and nothing written"
    assert not play.home.exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nothing, "given is not there"),
        (lambda p: p.symlink_to("nowhere"), "given is not there"),
        (os.mkfifo, "given is neither a file nor a directory"),
        (pipe_inside, "x is neither a file nor a directory"),
        (lambda p: (p.mkdir(), (p / "x").symlink_to("no")), "x is a link that leads nowhere"),
        (lambda p: (p.mkdir(), (p / "x").symlink_to(p)), "leads back to a directory that it is in"),
    ],
)
async def test_resources_that_cannot_be_used_are_named(
    play: Stage, make: Callable[[Path], object], message: str
) -> None:
    make(play.folder / "given")
    play.resources = (play.folder / "given",)
    await refused(play, message)


async def test_two_resources_cannot_have_one_name(play: Stage) -> None:
    for name in ("one", "two"):
        (play.folder / name).mkdir()
        (play.folder / name / "x").touch()
    play.resources = (play.folder / "one", play.folder / "two" / "x")
    await refused(play, "two/x and .*one/x would have the same name, x")


async def test_links_in_resources_become_what_they_lead_to(play: Stage) -> None:
    given = play.folder / "given"
    (given / "real").mkdir(parents=True)
    (given / "real" / "f").write_text("f")
    (given / "again").symlink_to("real")
    play.resources = (given,)
    found: list[str] = []

    def look(directory: Path) -> None:
        inputs = directory / "task_inputs"
        assert not any(path.is_symlink() for path in inputs.rglob("*"))
        found.extend(sorted(str(p.relative_to(inputs)) for p in inputs.rglob("f")))

    play.app.looks = look
    await play.run()
    assert found == ["again/f", "real/f"]


async def test_parameters_that_json_cannot_say_are_refused(play: Stage) -> None:
    play.params = {"pieces": float("nan")}
    await refused(play, "--params: is nothing that JSON can say")


async def test_an_output_that_is_not_empty_is_refused(play: Stage) -> None:
    (play.folder / "output").mkdir()
    (play.folder / "output" / "x").touch()
    await refused(play, "output is not empty; name another directory, or empty it")


async def test_an_output_that_is_a_file_is_refused(play: Stage) -> None:
    (play.folder / "output").touch()
    await refused(play, "output is no directory")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": -1}, "--nodes: must be a number from 0 on, not -1"),
        ({"retries": -1}, "--retries: must be a number from 0 on"),
        ({"replicas": 0}, "--replicas: must be a number from 1 on"),
        ({"subtask_timeout": 0.0}, "--subtask-timeout: must be seconds, more than 0, not 0"),
        ({"task_timeout": float("nan")}, "--task-timeout: must be seconds"),
        ({"app_timeout": float("inf")}, "--app-timeout: must be seconds"),
        ({"nodes": 2, "replicas": 3}, "--replicas: 3 different nodes can't be found among 2"),
        ({"nodes": 3, "replicas": 2, "agree": 3}, "--agree: 3 of 2 replicas can't agree"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DriverOptions(**options)  # type: ignore[arg-type]
