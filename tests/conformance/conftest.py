"""The same tests on every engine: the fake, Docker, Podman and a cluster."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Protocol

import pytest
from tests.conformance.differences import OF_CLUSTERS, Unlike
from tests.images.build import ensure_probe
from tests.support import engines
from tests.support.cluster import TOOLS
from tests.support.fake_probe import NAME, probe_image
from tests.support.leaks import Footprint

from lading.engine import Container, ContainerSpec, Engine
from lading.errors import BuildFailed, ImagePullFailed
from lading.testing import FakeEngine, FakeImage, FakeRegistry

ABSENT = "localhost:1/lading-test/absent:1"
"""Of a registry that does not answer."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes an engine that keeps images: `test_clusters.py` has the refusals."""
    makes = {"tag", "keeps_images"}
    left = [
        item
        for item in items
        if makes & set(getattr(item, "fixturenames", ()))
        and getattr(item, "callspec", None) is not None
        and item.callspec.params.get("engine_kind") == "kubernetes"  # type: ignore[attr-defined]
    ]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


@pytest.fixture
def keeps_images() -> None:
    """Of a test that saves, loads, builds or pushes images: clusters don't."""


class OpenClient(Protocol):
    """Opens a further client of the engine, with these options."""

    async def __call__(self, **options: object) -> Engine: ...


class Make(Protocol):
    """Makes a container that is removed after the test."""

    async def __call__(self, *args: str, start: bool = True, **spec: object) -> Container: ...


@pytest.fixture(params=["fake", "docker", "podman", "kubernetes"])
def engine_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def unlike(engine_kind: str) -> Unlike:
    """Says whether the engine is a cluster, which does this otherwise."""

    def is_unlike(what: str) -> bool:
        assert what in OF_CLUSTERS
        return engine_kind == "kubernetes"

    return is_unlike


@pytest.fixture
async def open_client(
    engine_kind: str, request: pytest.FixtureRequest
) -> AsyncIterator[OpenClient]:
    """Opens further clients of the engine; the test closes them."""
    if engine_kind == "fake":
        machine = FakeEngine(
            [probe_image()],
            registry=FakeRegistry({ABSENT: ImagePullFailed(ABSENT, "connection refused")}),
            builder=_build,
            gpu_driver=False,
        )

        async def another(**_: object) -> Engine:
            return machine.another()

        yield another
        return
    host = request.getfixturevalue(f"{engine_kind}_host")
    if engine_kind != "kubernetes":
        ensure_probe(host)
    from lading.engine.discovery import open_engine  # noqa: PLC0415 - the fake needs no driver
    from lading.settings import engine_options  # noqa: PLC0415

    async def open_one(**options: object) -> Engine:
        return await open_engine(
            engine_options({"engine": host, "cluster_patience": 15, **options})
        )

    yield open_one


@pytest.fixture
async def engine(open_client: OpenClient) -> AsyncIterator[Engine]:
    async with await open_client() as client:
        yield client


@pytest.fixture
def image(engine_kind: str) -> str:
    """The probe; on a cluster with tools beside it, which these need where engines do without."""
    return TOOLS if engine_kind == "kubernetes" else NAME


@pytest.fixture
async def make(engine: Engine, image: str, test_labels: dict[str, str]) -> AsyncIterator[Make]:
    made: list[Container] = []

    async def make_one(*args: str, start: bool = True, **spec: object) -> Container:
        labels = spec.pop("labels", {})
        assert isinstance(labels, Mapping)
        values: dict[str, object] = {"image": image, "args": args or None, **spec}
        values["labels"] = {**test_labels, **labels}
        container = await engine.create(ContainerSpec(**values))  # type: ignore[arg-type]
        made.append(container)
        if start:
            await container.start()
        return container

    yield make_one
    for container in made:
        await container.remove()


@pytest.fixture
def tag(engine_kind: str, test_id: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for an image that is removed after the test."""
    name = f"lading-test/built-{test_id}:1"
    yield name
    if engine_kind != "fake":
        host = request.getfixturevalue(f"{engine_kind}_host")
        engines.call(host, "DELETE", f"/images/{name}?force=1")


@pytest.fixture
def network_name(test_id: str, footprint: Footprint) -> str:
    """A name for a network that only this test uses."""
    return f"lading-{test_id}"


def context(files: Mapping[str, str]) -> bytes:
    """A tar archive of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content.encode())
            tar.addfile(entry, io.BytesIO(content.encode()))
    return buffer.getvalue()


class Pieces:
    """An archive in small pieces, that may be read again and again."""

    def __init__(self, data: bytes, *, size: int = 100, fails: Exception | None = None) -> None:
        self.data, self.size, self.fails = data, size, fails
        self.times = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.times += 1
        for at in range(0, len(self.data), self.size):
            yield self.data[at : at + self.size]
        if self.fails is not None:
            raise self.fails


def _build(files: Mapping[str, bytes], args: Mapping[str, str]) -> FakeImage:
    """Understands what the Dockerfiles of these tests say."""
    command: tuple[str, ...] = ("serve",)
    directory = ""
    labels = {}
    for line in files["Dockerfile"].decode().splitlines():
        word, _, rest = line.partition(" ")
        for name, value in args.items():
            rest = rest.replace(f"${{{name}}}", value)
        if word == "CMD":
            command = tuple(json.loads(rest))
        elif word == "WORKDIR":
            directory = rest
        elif word == "LABEL":
            name, _, value = rest.partition("=")
            labels[name] = value
        elif word == "COPY" and rest.split()[0] not in files:
            raise BuildFailed("built", f"{line}: no such file")
    probe = probe_image()
    return FakeImage(
        probe.ref,
        probe.program,
        entrypoint=probe.entrypoint,
        command=command,
        env=probe.env,
        labels=labels,
        files=probe.files,
        directory=directory,
    )
