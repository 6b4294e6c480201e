"""An executor on a real engine, and task images of every temper."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.images.build import ensure_probe
from tests.support import engines
from tests.support.by_cid import remove_images
from tests.support.command_line import Cli
from tests.support.executors import ExecutorProcess, executor_process
from tests.support.golem import Golem
from tests.support.processing import Images, Tasks
from tests.support.spaces import Space, space
from tests.support.staged_node import StagedNode

from lading import EngineOptions, open_engine
from lading.content.adding import add_path
from lading.engine import Engine

Variant = Callable[..., Awaitable[str]]
Start = Callable[..., Awaitable[ExecutorProcess]]


both_engines = pytest.mark.parametrize("engine_host", ["docker", "podman"], indirect=True)
every_engine = pytest.mark.parametrize(
    "engine_host", ["docker", "podman", "kubernetes"], indirect=True
)


def maker(engine_host: str) -> str:
    """Where images for an engine are made: a test cluster's nodes have those of Docker."""
    if not engine_host.startswith("kubernetes"):
        return engine_host
    found = engines.find("docker")
    assert found is not None, "the test cluster runs on Docker"
    return found


def archive(dockerfile: str) -> bytes:
    """A build context with nothing in it but a Dockerfile."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        item = tarfile.TarInfo("Dockerfile")
        item.size = len(dockerfile)
        tar.addfile(item, io.BytesIO(dockerfile.encode()))
    return stream.getvalue()


@pytest.fixture
async def engine(engine_host: str) -> AsyncIterator[Engine]:
    """The same engine that the executor uses, to look and to meddle."""
    async with await open_engine(EngineOptions(engine=engine_host)) as opened:
        yield opened


@pytest.fixture
def probe(engine_host: str) -> str:
    """The image of a task that does as its input says."""
    return ensure_probe(maker(engine_host))


@pytest.fixture
def lading(engine_host: str, tmp_path: Path) -> Iterator[Cli]:
    """The command line; what it left behind fails the test, and is removed."""
    cli = Cli(engine_host, tmp_path / "state")
    yield cli
    left = cli.left()
    if left:
        cli("rm", "--all")
    assert left == set()


@pytest.fixture
def golem(lading: Cli, tmp_path: Path) -> Golem:
    """Runs tasks of the probe of the Golem Task API."""
    return Golem(lading, tmp_path)


@pytest.fixture
async def variant(engine: Engine, probe: str) -> Variant:
    """Makes images of the probe with another command: `await variant("serve", "--no-mark")`."""

    async def make(*command: str) -> str:
        words = "-".join(word.strip("-") for word in command)
        tag = "lading-test/" + "".join(c if c.isalnum() else "-" for c in words.lower())[:60] + ":1"
        quoted = ", ".join(f'"{word}"' for word in command)
        await engine.build(archive(f"FROM {probe}\nCMD [{quoted}]\n"), tag)
        return tag

    return make


@pytest.fixture
async def start(engine_host: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts executors that are ended with the test: `await start("--queue", "10")`."""
    async with contextlib.AsyncExitStack() as stack:

        async def begin(*flags: str, state: Path = tmp_path, **kwargs: object) -> ExecutorProcess:
            return await stack.enter_async_context(
                executor_process(engine_host, state, *flags, **kwargs)  # type: ignore[arg-type]
            )

        yield begin


@pytest.fixture
def tasks(tmp_path: Path, probe: str) -> Tasks:
    """Writes task files: `tasks("exit", "3")`."""
    return Tasks(tmp_path, probe)


@pytest.fixture
def images(engine_host: str, test_id: str) -> Iterator[Images]:
    """Makes images that are removed at the end: `images("a:1", {"file": b"content"})`."""
    made = Images(maker(engine_host), test_id)
    yield made
    made.remove()


@pytest.fixture
async def node() -> AsyncIterator[StagedNode]:
    """A node that does as the test wants."""
    async with StagedNode().serving() as staged:
        yield staged


@pytest.fixture
def cid_folder(tmp_path: Path, probe: str, test_id: str, engine_host: str) -> Iterator[Path]:
    """A task folder that no other test has; the images of its CID go with the test."""
    made = tmp_path / "folder"
    (made / "src").mkdir(parents=True)
    (made / "src/notes.txt").write_text("nothing to build")
    (made / "Dockerfile").write_text(f"FROM {probe}\nCOPY src/ /src/\n")
    (made / "name.txt").write_text(f"by-cid-{test_id}\n")
    (made / "config.json").write_text('{"resource": {"cpu": 0.25, "mem": 40}}')
    yield made
    with contextlib.suppress(Exception):
        remove_images(engine_host, add_path(made).cid)


@pytest.fixture
def there(kubernetes_host: str, test_id: str) -> Iterator[Space]:  # finds it
    """A namespace of the cluster."""
    with space(test_id) as made:
        yield made


@pytest.fixture
def on_cluster(there: Space, tmp_path: Path) -> Iterator[Cli]:
    """The command line, on the cluster; what it left behind fails the test."""
    more = {"KUBECONFIG": str(there.kubectl.config)}
    made = Cli(there.engine, tmp_path / "state", more=more)
    yield made
    assert made.left() == set()
    assert there.secrets() == []
