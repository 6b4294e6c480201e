"""Chains without containers: who waits for whom, what runs at once, whose files are cleared."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.contracts.processing.chains.graph import Graph, Link, run_graph, step_names
from lading.contracts.processing.chains.scratch import Scratch
from lading.contracts.processing.trees import manifest
from lading.errors import InputError
from lading.run.records import Kind, Records, Run, RunState, new_id, records_path


def links(*texts: str) -> list[Link]:
    return [Link.parse(text) for text in texts]


def graph_of(count: int, edges: Sequence[tuple[int, int]]) -> Graph:
    """Steps s0, s1, ...; an edge (a, b) lets b wait for a."""
    names = [f"s{number}" for number in range(count)]
    return Graph({name: frozenset(f"s{a}" for a, b in edges if f"s{b}" == name) for name in names})


# What the command line says.


def test_a_map_is_read() -> None:
    assert Link.parse("a:downloads=b:inputs") == Link("a", "downloads", "b", "inputs")
    assert str(Link.parse("a:x=b:y")) == "a:x=b:y"
    assert Link.parse("a:x:1=b:y:2") == Link("a", "x:1", "b", "y:2"), "channels may have colons"


@pytest.mark.parametrize(
    "text", ["", "a", "a:x", "a=b", "a:x=b", "a=b:y", ":x=b:y", "a:=b:y", "a:x=:y", "a:x=b:", "=:"]
)
def test_what_is_no_map(text: str) -> None:
    with pytest.raises(InputError, match="is not UPSTREAM:OUTPUT=STEP:INPUT"):
        Link.parse(text)


def test_a_step_is_named_as_its_file() -> None:
    assert step_names(["a.json", "dir/b.c.json"]) == {
        "a": Path("a.json"),
        "b.c": Path("dir/b.c.json"),
    }
    with pytest.raises(InputError, match=r"dir/a\.json: is the step 'a', and so is a\.json"):
        step_names(["a.json", "dir/a.json"])
    for bad in ("..json", "a:b.json", "a=b.json"):
        with pytest.raises(InputError, match="is no name for a step"):
            step_names([bad])


def test_errors_name_what_there_is() -> None:
    with pytest.raises(InputError, match="there is no step 'z'") as caught:
        Graph.of(["a", "b"], links("a:x=z:y"))
    assert caught.value.fix == "there are: a, b"
    with pytest.raises(InputError, match="'y' of b is mapped already, by --map a:x=b:y"):
        Graph.of(["a", "b", "c"], links("a:x=b:y", "c:x=b:y"))


def test_one_output_feeds_many() -> None:
    graph = Graph.of(["a", "b", "c"], links("a:x=b:y", "a:x=b:z", "a:x=c:y"))
    assert graph.predecessors == {"a": set(), "b": {"a"}, "c": {"a"}}


@pytest.mark.parametrize(
    ("maps", "circle"),
    [
        (["a:x=a:y"], "a -> a"),
        (["a:x=b:y", "b:x=a:y"], "a -> b -> a"),
        (["d:x=a:y", "a:x=b:y", "b:x=c:y", "c:x=a:z"], "a -> b -> c -> a"),
    ],
)
def test_a_circle_is_named(maps: list[str], circle: str) -> None:
    with pytest.raises(InputError) as caught:
        Graph.of(["a", "b", "c", "d"], links(*maps))
    assert caught.value.reason == f"the maps go in a circle: {circle}"


# The order of things, whatever the graph.

pairs = st.tuples(st.integers(0, 8), st.integers(0, 8))
acyclic = st.lists(pairs.filter(lambda pair: pair[0] < pair[1]), max_size=20)


@given(acyclic)
def test_an_order_keeps_to_the_maps(edges: list[tuple[int, int]]) -> None:
    graph = graph_of(9, edges)
    order = graph.order()
    assert sorted(order) == sorted(graph.predecessors)
    assert all(order.index(f"s{a}") < order.index(f"s{b}") for a, b in edges)
    assert graph.circle() == []
    heights = graph.heights()
    assert all(heights[f"s{a}"] > heights[f"s{b}"] for a, b in edges)


@given(st.lists(pairs, max_size=20))
def test_a_circle_is_found_if_there_is_one(edges: list[tuple[int, int]]) -> None:
    graph = graph_of(9, edges)
    circle = graph.circle()
    assert bool(circle) == (len(graph.order()) < 9)
    if circle:
        assert circle[0] == circle[-1]
        known = {(f"s{a}", f"s{b}") for a, b in edges}
        assert all(pair in known for pair in itertools.pairwise(circle))


Room = Callable[[], None]


class Seen:
    """Steps that take a few turns of the loop, then tidy up, and what was seen of them."""

    def __init__(self, graph: Graph, failing: frozenset[str] = frozenset()) -> None:
        self.graph = graph
        self.failing = failing
        self.running: set[str] = set()
        self.done: list[str] = []
        self.failed: list[str] = []
        self.most = self.most_in_all = 0
        self.tidying: set[str] = set()
        self.begun_after_failure: list[str] = []

    async def __call__(self, step: str, make_room: Room) -> bool:
        assert self.graph.predecessors[step] <= set(self.done), "begun too early"
        if self.failed:
            self.begun_after_failure.append(step)
        self.running.add(step)
        self.most = max(self.most, len(self.running))
        self.most_in_all = max(self.most_in_all, len(self.running) + len(self.tidying))
        for _ in range(1 + int(step[1:]) % 3):
            await asyncio.sleep(0)
        self.running.remove(step)
        if step not in self.failing:
            self.tidying.add(step)
            make_room()
            make_room()
            for _ in range(int(step[1:]) % 4):
                await asyncio.sleep(0)
            self.tidying.remove(step)
        (self.failed if step in self.failing else self.done).append(step)
        return step not in self.failing


@given(acyclic, st.integers(1, 4), st.sets(st.integers(0, 8), max_size=2))
async def test_steps_run_as_soon_as_they_may(
    edges: list[tuple[int, int]], parallel: int, failing: set[int]
) -> None:
    graph = graph_of(9, edges)
    seen = Seen(graph, frozenset(f"s{number}" for number in failing))
    left = await run_graph(graph, seen, parallel=parallel)
    assert seen.most <= parallel
    assert seen.most_in_all <= (2 * parallel if parallel > 1 else 1)
    assert not seen.running
    assert seen.begun_after_failure == []
    assert sorted([*left, *seen.done, *seen.failed]) == sorted(graph.predecessors)
    if not failing:
        assert left == []
    assert all(graph.predecessors[step].isdisjoint(seen.failed) for step in seen.done)


async def test_nobody_waits_for_a_wave() -> None:
    """a -> c; b is slow: c begins although b, which it does not wait for, has not ended."""
    c_began = asyncio.Event()

    async def work(step: str, _make_room: Room) -> bool:
        if step == "b":
            await c_began.wait()
        elif step == "c":
            c_began.set()
        return True

    graph = Graph({"a": frozenset(), "b": frozenset(), "c": frozenset("a")})
    assert await run_graph(graph, work, parallel=2) == []


async def test_who_tidies_up_makes_room_but_holds_back_who_waits_for_it() -> None:
    """a -> c; x runs on: b begins while a tidies up, c not before that is done."""
    b_began, a_done = asyncio.Event(), False

    async def work(step: str, make_room: Room) -> bool:
        nonlocal a_done
        if step == "a":
            make_room()
            await b_began.wait()
            a_done = True
        elif step == "x":
            await b_began.wait()
        elif step == "b":
            b_began.set()
        else:
            assert a_done
        return True

    graph = Graph({"a": frozenset(), "x": frozenset(), "b": frozenset(), "c": frozenset("a")})
    assert await run_graph(graph, work, parallel=2) == []


async def test_the_longest_way_goes_first() -> None:
    begun: list[str] = []

    async def work(step: str, _make_room: Room) -> bool:
        begun.append(step)
        return True

    graph = Graph.of(["a", "b", "c", "d"], links("c:x=d:y", "b:x=c:y"))
    await run_graph(graph, work, parallel=1)
    assert begun == ["b", "c", "a", "d"]


async def test_after_a_failure_those_that_run_are_finished() -> None:
    began, failed = asyncio.Event(), asyncio.Event()
    finished = []

    async def work(step: str, _make_room: Room) -> bool:
        if step == "a":
            await began.wait()
            failed.set()
            return False
        began.set()
        await failed.wait()
        await asyncio.sleep(0)
        finished.append(step)
        return True

    graph = Graph({step: frozenset() for step in "abc"})
    assert await run_graph(graph, work, parallel=2) == ["c"]
    assert finished == ["b"]


async def test_a_surprise_cancels_the_others() -> None:
    began = asyncio.Event()
    cancelled = []

    async def work(step: str, _make_room: Room) -> bool:
        if step == "a":
            await began.wait()
            raise ZeroDivisionError
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(step)
            raise
        return True

    graph = Graph({step: frozenset() for step in "abc"})
    with pytest.raises(ExceptionGroup):
        await run_graph(graph, work, parallel=2)
    assert cancelled == ["b"]


# Directories of our own.


def test_directories_are_made_cleared_and_given_back(tmp_path: Path) -> None:
    work = tmp_path / "work"
    with Scratch(work) as scratch:
        path = scratch.path("a", "out")
        assert path == work / "a" / "out"
        scratch.claim("a")
        path.mkdir()
        (path / "result").write_text("x")
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere/kept").write_text("x")
        (path / "link").symlink_to(tmp_path / "elsewhere")
    assert (path / "result").exists(), "results stay"
    with Scratch(work) as scratch:
        scratch.claim("a")
        scratch.clear("a", [path])
        assert not path.exists()
        assert (tmp_path / "elsewhere/kept").exists(), "what a link leads to is not ours"
        scratch.clear("a", [path])
        path.symlink_to(tmp_path / "elsewhere")
        scratch.clear("a", [path])
        assert not path.is_symlink()
        assert (tmp_path / "elsewhere/kept").exists()
    assert list(work.iterdir()) == []


def test_what_is_empty_is_taken_away(tmp_path: Path) -> None:
    work = tmp_path / "deep" / "work"
    with Scratch(work) as scratch:
        scratch.claim("a")
        scratch.claim("a")
        assert (work / "a").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_somebodys_directory_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "work" / "a"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("x")
    with Scratch(tmp_path / "work") as scratch, pytest.raises(InputError, match="no chain of ours"):
        scratch.claim("a")
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    file = tmp_path / "file"
    file.touch()
    with Scratch(file) as scratch, pytest.raises(InputError, match="can't be used"):
        scratch.claim("a")


def test_two_chains_do_not_share_a_step(tmp_path: Path) -> None:
    with Scratch(tmp_path) as one, Scratch(tmp_path) as two:
        one.claim("a")
        with pytest.raises(InputError, match="another chain that runs now"):
            two.claim("a")
        two.claim("b")
    with Scratch(tmp_path) as two:
        two.claim("a")


@pytest.mark.parametrize("channel", ["..", ".", "a/b", "/etc", "a\0b", ".lading-step"])
def test_a_channel_leads_nowhere_else(tmp_path: Path, channel: str) -> None:
    with Scratch(tmp_path) as scratch, pytest.raises(InputError, match="no directory can have"):
        scratch.path("a", channel)


# What was done before.


def test_a_manifest_tells_what_changed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    (data / "a").write_text("one")
    (data / "sub" / os.fsdecode(b"\xff")).write_text("two")
    before = manifest(data)
    assert before == manifest(data)
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    assert manifest(copy) == before, "a copy with its times is the same"
    seen = {before}
    changes: list[Callable[[], object]] = [
        lambda: (data / "a").write_text("three"),
        lambda: os.utime(data / "a", ns=(1, 1)),
        lambda: (data / "a").rename(data / "b"),
        (data / "sub/new").touch,
        (data / "b").unlink,
    ]
    for change in changes:
        change()
        now = manifest(data)
        assert now not in seen
        seen.add(now)
    (data / "empty").mkdir()
    assert manifest(data) in seen, "an empty directory is missed, and said to be"


def test_the_latest_success_is_found_by_its_fingerprint(tmp_path: Path) -> None:
    with contextlib.closing(Records(records_path(tmp_path))) as records:

        def add(mark: str, *, name: str = "a", state: RunState = RunState.SUCCEEDED) -> str:
            detail = json.dumps({"env": ["abc"], "fingerprint": mark})
            run = Run(
                id=new_id(), kind=Kind.CONTAINER, contract="processing", owner="o", name=name,
                image="i", detail=detail,
            )  # fmt: skip
            records.begin(run)
            if state is not RunState.RUNNING:
                records.finish(run.id, state)
            return run.id

        add("abc")
        latest = add("abc")
        add("abc", state=RunState.FAILED)
        add("abc", state=RunState.RUNNING)
        add("abd")
        other = add("abc", name="b")
        found = records.find(contract="processing", name="a", fingerprint="abc")
        assert found is not None
        assert found.id == latest
        found = records.find(contract="processing", name="b", fingerprint="abc")
        assert found is not None
        assert found.id == other
        for name, mark in (("a", "ab"), ("c", "abc"), ("a", "env")):
            assert records.find(contract="processing", name=name, fingerprint=mark) is None
        assert records.find(contract="meca", name="a", fingerprint="abc") is None
