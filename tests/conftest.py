"""What every test stands on: coroutine tests, real engines, and nothing left behind.

Coroutine tests and async fixtures are run by anyio's pytest plugin (a dependency of Starlette)
in its automatic mode, on asyncio only: it is kept well, needs no marks, runs async fixtures and
Hypothesis' tests, and fails a test whose callbacks raised. An async fixture lives in the loop of
its test, so it has function scope.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from tests.support import cluster, engines
from tests.support.leaks import Footprint, Snapshot

_missing = pytest.StashKey[dict[str, str]]()
_hosts = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        choices=["all", "one", "others", "clusters"],
        default="all",
        help="run what needs a real engine on all there are, on the first one, on the others, or "
        "what needs a cluster or Airflow",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Who is started in the background, or by nohup, ignores these, and so would all that is
    # started from here: tests send them.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)
    config.stash[_missing] = {}
    config.stash[_hosts] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> None:
    """Watch the tasks of every coroutine test."""
    inner = getattr(getattr(obj, "hypothesis", None), "inner_test", obj)
    if name.startswith("test") and inspect.iscoroutinefunction(inner):
        pytest.mark.usefixtures("no_task_left_behind")(obj)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Cancel a coroutine test that takes too long, so that its fixtures can still clean up.

    pytest-timeout would break off the event loop, and their clean-up would wait for it for ever.
    """
    test = pyfuncitem.obj
    if inspect.iscoroutinefunction(test):
        marker = pyfuncitem.get_closest_marker("timeout")
        option = pyfuncitem.config.getoption("timeout", None)
        limit = marker.args[0] if marker else option or pyfuncitem.config.getini("timeout")

        @functools.wraps(test)
        async def limited(**arguments: object) -> None:
            async with asyncio.timeout(0.8 * float(limit) if limit else None):
                await test(**arguments)

        pyfuncitem.obj = limited
    return (yield)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what runs on the engines that `--engines` leaves to another run."""
    wanted = config.getoption("--engines")
    if wanted == "all":
        return
    first, second = ("docker", "podman") if engines.find("docker") else ("podman", "docker")
    parts: dict[str, list[pytest.Item]] = {"one": [], "others": [], "clusters": []}
    for item in items:
        bound = _engines_of(item)
        part = "clusters" if bound & _LARGE else "others" if second in bound else "one"
        parts[part].append(item)
    items[:] = parts.pop(wanted)
    left = {part: len(found) for part, found in parts.items() if found}
    config.hook.pytest_deselected(items=[item for found in parts.values() for item in found])
    if wanted == "one":
        if count := left.get("others"):
            text = f"{count} tests that run on {first} as well; `pytest --engines others` runs them"
            config.stash[_missing][second] = text
        if count := left.get("clusters"):
            text = f"{count} tests of clusters and Airflow; `pytest --engines clusters` runs them"
            config.stash[_missing]["kubernetes"] = text


_LARGE = {"kubernetes", "airflow"}
"""What takes minutes to set up, and has a part of the tests to itself."""


def _engines_of(item: pytest.Item) -> set[str]:
    """Which real engines a test is bound to; empty: to whichever there is, or to none."""
    call = getattr(item, "callspec", None)
    values = {value for value in call.params.values() if isinstance(value, str)} if call else set()
    fixtures = set(getattr(item, "fixturenames", ()))
    return {
        name
        for name in ("docker", "podman", *_LARGE)
        if name in values or f"{name}_host" in fixtures or item.get_closest_marker(name)
    }


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if missing := config.stash[_missing]:
        terminalreporter.section("not run on this machine")
        for name, reason in sorted(missing.items()):
            terminalreporter.write_line(f"not run on this machine: {name}: {reason}")


@pytest.fixture
def anyio_backend() -> str:
    """Only asyncio; a loop of its own for each test."""
    return "asyncio"


# Engines.


def _use(config: pytest.Config, name: str, host: str | None) -> str:
    if host is None:
        reason = f"no engine answers; {engines.INSTALL[name]}"
        config.stash[_missing][name] = reason
        pytest.skip(f"{name}: {reason}")
    config.stash[_hosts][name] = host
    return host


@pytest.fixture(scope="session")
def docker_host(pytestconfig: pytest.Config) -> str:
    """Address of a running Docker; skips where there is none."""
    return _use(pytestconfig, "docker", engines.find("docker"))


@pytest.fixture(scope="session")
def podman_host(pytestconfig: pytest.Config) -> Iterator[str]:
    """Address of a running Podman, or of one that runs for this session; skips without Podman."""
    if found := engines.find("podman"):
        yield _use(pytestconfig, "podman", found)
        return
    with engines.podman_service() as host:
        yield _use(pytestconfig, "podman", host)


@pytest.fixture(scope="session")
def kubernetes_host(pytestconfig: pytest.Config) -> Iterator[str]:
    """Address of a namespace of a real cluster, for this session; skips where there is none.

    This process and its children get the cluster's kubeconfig by `KUBECONFIG`.
    """
    found = cluster.find()
    if found is None:
        reason = f"no cluster answers; {cluster.INSTALL}"
        pytestconfig.stash[_missing]["kubernetes"] = reason
        pytest.skip(f"kubernetes: {reason}")
    with cluster.namespace() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(found))
        if docker := engines.find("docker"):
            cluster.ensure_tools(docker)
        yield _use(pytestconfig, "kubernetes", f"kubernetes:///{name}")


@pytest.fixture
def engine_host(request: pytest.FixtureRequest) -> str:
    """Address of a real engine: Docker, or Podman where there is no Docker.

    `parametrize("engine_host", ["docker", "podman"], indirect=True)` runs a test on each.
    """
    wanted = getattr(request, "param", None)
    if wanted is None:
        wanted = "docker" if engines.find("docker") else "podman"
    host: str = request.getfixturevalue(f"{wanted}_host")
    return host


@pytest.fixture
def test_id() -> str:
    """A word that no other test has: for owners, names and labels."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def test_labels(test_id: str) -> dict[str, str]:
    """What every container and network that a test makes must carry."""
    return {"lading.test": test_id}


# Nothing left behind.


@pytest.fixture(scope="session")
def _temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Temporary files of this process and its children go to a folder that can be watched.

    A short path: a Unix socket's may have 108 bytes.
    """
    tmp_path_factory.getbasetemp()  # stays where users look for it
    probe_cache = Path(tempfile.gettempdir(), f"lading-test-probe-{os.getuid()}")
    probe_cache.mkdir(mode=0o700, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="lading-t-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(folder, probe_cache.name).symlink_to(probe_cache)  # compiled once, not per session
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture(autouse=True)
def footprint(
    request: pytest.FixtureRequest, test_id: str, _temporary_folder: Path
) -> Iterator[Footprint]:
    """Fail a test that leaves containers, networks, files, sockets, threads or processes.

    On an engine, a test's own are: labelled `lading.test=<test_id>` or `lading.owner=<test_id>`,
    or named `lading-<test_id>...`; a test tells of others by `footprint.watch_label` and
    `footprint.watch_name`.
    """
    mine = Footprint(test_id)
    before = Snapshot.take(_temporary_folder)
    yield mine
    problems = Snapshot.take(_temporary_folder).grown_since(before)
    # Only the engines that the test had, also by way of other fixtures.
    for name, host in request.config.stash[_hosts].items():
        if f"{name}_host" in request.fixturenames:
            problems += mine.remove_leftovers(host)
    if problems:
        pytest.fail("left behind:\n" + "\n".join(f"  - {line}" for line in problems), pytrace=False)


def _is_runner(task: asyncio.Task[object]) -> bool:
    """Whether it is the task in which anyio's plugin runs tests and fixtures."""
    return getattr(task.get_coro(), "__qualname__", "").startswith("TestRunner.")


@pytest.fixture
async def no_task_left_behind() -> AsyncIterator[None]:
    """Fail a test whose fixtures have all ended while a task of it still runs."""
    before = asyncio.all_tasks()
    yield
    left = {task for task in asyncio.all_tasks() - before if not _is_runner(task)}
    if left:
        # A cancelled task that nobody awaited needs one turn of the loop to end.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait(left, timeout=1.0)
        left = {task for task in left if not task.done()}
    if left:
        lines = "\n".join(f"  - {task!r}" for task in left)
        pytest.fail(f"tasks left behind:\n{lines}", pytrace=False)


@pytest.fixture(scope="session")
def grpc_stays() -> Iterator[None]:
    """Keep what all channels of gRPC share until the session ends, for tests that have some.

    With the last of them it would end some time later, and its thread would be waited for wherever
    that one is let go, be it by the garbage collector in a running loop.
    """
    import grpc.aio  # noqa: PLC0415  # most tests do without

    async def in_a_loop() -> None:
        grpc.aio.init_grpc_aio()

    asyncio.run(in_a_loop())
    with grpc.insecure_channel("unix:/none"):
        yield
    grpc.aio.shutdown_grpc_aio()


# The loop is never blocked.


def _in_memory_or(other: Callable[..., bool]) -> Callable[..., bool]:
    """Let files be read that no disk holds: what the kernel tells of itself."""

    def may_block(file: object, *args: object, **kwargs: object) -> bool:
        name = os.fspath(file) if isinstance(file, os.PathLike) else getattr(file, "name", file)
        return str(name).startswith(("/proc/", "/sys/")) or other(file, *args, **kwargs)

    return may_block


_MAY_BLOCK = {
    # Whether an application works on the loop or in a thread is its own business.
    "lading/contracts/golem/subtasks/connections.py": {"_inode"},
    "lading/contracts/golem/original/handling.py": {"_answer"},
    "tests/unit/testing/test_golem.py": {"create_task", "next_subtask", "verify", "compute"},
    # Test helpers that are no coroutines, as in the original.
    "lading/contracts/golem/original/simulation.py": {"__init__", "init_provider"},
    # Opened once, before anything is driven.
    "lading/contracts/golem/driver/journal.py": {"__init__"},
}


@pytest.fixture(scope="session", autouse=True)
def _no_blocking_calls() -> Iterator[None]:
    """Fail a test in which code of ours blocks the event loop.

    `sqlite3` is left out: whether a record is written on the loop or in a thread is decided by
    measurement in `lading.run.records`, not here. Imports are left out: they happen once.
    """
    guard = BlockBuster(["lading"])
    guard.functions = {
        name: function
        for name, function in guard.functions.items()
        if not name.startswith("sqlite3.")
    }
    for name, function in guard.functions.items():
        if name.startswith(("io.", "os.stat", "os.readlink", "os.listdir")):
            function.can_block_predicate = _in_memory_or(function.can_block_predicate)
        function.can_block_in("<frozen importlib._bootstrap>", "_find_and_load")
        for file, functions in _MAY_BLOCK.items():
            function.can_block_in(file, functions)
    guard.activate()
    yield
    guard.deactivate()
