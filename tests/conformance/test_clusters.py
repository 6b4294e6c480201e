"""What a cluster refuses, with what can be done instead; and what only a cluster has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.conformance.conftest import ABSENT, Make, OpenClient, context
from tests.support import cluster
from tests.support.containers import output, ready

from lading.engine import (
    ContainerSpec,
    Device,
    Engine,
    Limits,
    Mount,
    Placement,
    RegistryLogin,
    State,
    Volume,
)
from lading.errors import (
    ContainerNotFound,
    EngineError,
    ImagePullFailed,
    NotSupported,
    Unschedulable,
)

pytestmark = pytest.mark.parametrize("engine_kind", ["kubernetes"])


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


async def _save(engine: Engine) -> None:
    async with engine.save(cluster.TOOLS):
        pass


@pytest.mark.parametrize(
    ("verb", "what"),
    [
        (lambda engine: engine.build(context({"Dockerfile": "FROM x"}), "x:1"), "build images"),
        (lambda engine: engine.push(cluster.TOOLS), "push images"),
        (lambda engine: engine.tag(cluster.TOOLS, "x:1"), "give images names"),
        (_save, "save images"),
        (lambda engine: engine.load(_nothing()), "load images"),
        (lambda engine: engine.remove_image(cluster.TOOLS), "remove images"),
    ],
)
async def test_it_keeps_no_images(
    engine: Engine, verb: Callable[[Engine], Awaitable[object]], what: str
) -> None:
    with pytest.raises(NotSupported, match=f"a cluster can't {what}.* push it with Docker"):
        await verb(engine)


@pytest.mark.parametrize(
    ("changes", "way_out"),
    [
        ({"devices": (Device("/dev/fuse", "/dev/fuse"),)}, "install its vendor's device plugin"),
        ({"group": "/lading/1"}, "leave the group out"),
        ({"user": "nobody"}, r"give uid\[:gid\]"),
    ],
)
async def test_what_it_can_not_do(make: Make, changes: dict[str, object], way_out: str) -> None:
    with pytest.raises(NotSupported, match=way_out):
        await make("exit", "0", start=False, **changes)


async def test_an_image_that_nobody_has(
    open_client: OpenClient, test_labels: dict[str, str]
) -> None:
    """It is for the nodes to find out, who say so in the registry's words."""
    reasons: list[str] = []
    async with await open_client(cluster_patience=2) as impatient:
        container = await impatient.create(ContainerSpec(ABSENT, labels=test_labels))
        try:
            with pytest.raises(ImagePullFailed, match="localhost:1"):
                await container.start(reasons.append)
        finally:
            await container.remove()
    assert any("localhost:1" in reason for reason in reasons)
    assert reasons[-1] == ""


async def test_why_it_waits_for_a_node(
    open_client: OpenClient, image: str, test_labels: dict[str, str]
) -> None:
    spec = ContainerSpec(image, labels=test_labels, requests=Limits(memory=1 << 50))
    reasons: list[str] = []
    async with await open_client(cluster_patience=1) as impatient:
        container = await impatient.create(spec)
        try:
            with pytest.raises(Unschedulable, match="Insufficient memory"):
                await container.start(reasons.append)
            assert (await container.inspect()).state is State.CREATED
        finally:
            await container.remove()
    assert [bool(reason) for reason in reasons] == [True, False]
    assert "nodes are available" in reasons[0]


async def test_volumes_of_its_own(make: Make, image: str, tmp_path: Path) -> None:
    """A directory of the node: with Docker's own kubelet, of this machine."""
    here = {"hostPath": {"path": str(tmp_path), "type": "Directory"}}
    (tmp_path / "in").mkdir()
    (tmp_path / "in/note").write_text("from the node")
    volumes = (
        Volume(here, "/note", sub_path="in/note"),
        Volume(here, "/out", read_only=False),
        Volume({"emptyDir": {}}, "/scratch", read_only=False),
    )
    reader = await make("cat", "/note", volumes=volumes)
    assert (await reader.wait()).code == 0
    if not (await output(reader))[0]:
        pytest.skip("the cluster's nodes are other machines")
    assert (await output(reader))[0] == b"from the node"
    for path, code in (("/out/new", 0), ("/scratch/new", 0), ("/note", 70)):
        writer = await make("write", path, "x", volumes=volumes)
        assert (await writer.wait()).code == code
    assert (tmp_path / "new").read_text() == "x"


async def test_a_volume_that_is_not_there(
    open_client: OpenClient, image: str, test_labels: dict[str, str]
) -> None:
    missing = Volume({"secret": {"secretName": "nobody-made-it"}}, "/secret")
    reasons: list[str] = []
    async with await open_client(cluster_patience=1) as impatient:
        spec = ContainerSpec(image, labels=test_labels, volumes=(missing,))
        container = await impatient.create(spec)
        try:
            async with asyncio.timeout(60):
                with pytest.raises(EngineError, match=r"FailedMount.*nobody-made-it"):
                    await container.start(reasons.append)
        except TimeoutError:
            pytest.skip("this cluster's nodes tell their events minutes late")
        finally:
            await container.remove()
    assert any("nobody-made-it" in reason for reason in reasons)


async def test_a_placement(make: Make, test_labels: dict[str, str], kubernetes_host: str) -> None:
    placement = Placement(
        annotations={"example.org/note": "some words"},
        node_selector={"kubernetes.io/os": "linux"},
        tolerations=({"key": "gpu", "operator": "Exists"},),
        registry=RegistryLogin("registry.example", "me", "geheim"),
        more_env=({"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},),
        limits={"memory": "64Mi"},
        requests={"cpu": "3m"},
    )
    container = await make("env", "NODE", placement=placement, sealed=True)
    assert (await container.wait()).code == 0
    made = cluster.pod(kubernetes_host, container.name)
    assert (await output(container))[0].decode().strip() == made["spec"]["nodeName"]
    assert made["metadata"]["annotations"]["example.org/note"] == "some words"
    assert made["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert {"key": "gpu", "operator": "Exists"} in made["spec"]["tolerations"]
    assert made["spec"]["automountServiceAccountToken"] is False
    assert made["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    main = made["spec"]["containers"][0]
    assert main["resources"]["limits"] == {"memory": "64Mi"}
    assert main["resources"]["requests"]["cpu"] == "3m"
    [pull] = made["spec"]["imagePullSecrets"]
    where = f"/api/v1/namespaces/{cluster.namespace_of(kubernetes_host)}/secrets/{pull['name']}"
    status, secret = cluster.call("GET", where)
    assert status == 200
    [owner] = secret["metadata"]["ownerReferences"]
    assert owner["uid"] == made["metadata"]["uid"]
    assert "geheim" not in str(made)
    await container.remove()
    assert cluster.call("GET", where)[0] == 404


async def test_somebody_deletes_it(make: Make, kubernetes_host: str) -> None:
    container = await make()
    await ready(container)
    waiting = asyncio.create_task(container.wait())
    where = f"/api/v1/namespaces/{cluster.namespace_of(kubernetes_host)}/pods/{container.name}"
    status, _ = await asyncio.to_thread(cluster.call, "DELETE", where)
    assert status == 200
    with pytest.raises(ContainerNotFound, match="removed meanwhile"):
        await waiting


async def test_a_left_over_of_another_try_has_the_name(
    make: Make, open_client: OpenClient, image: str, test_id: str, test_labels: dict[str, str]
) -> None:
    name = f"lading-{test_id}"
    left = await make("sleep", "60", name=name)
    async with await open_client() as second:
        with pytest.raises(EngineError, match=f"{name}.*already exists"):
            await second.create(ContainerSpec(image, name=name, labels=test_labels))
        await (await second.container(name)).remove()
        again = await second.create(ContainerSpec(image, name=name, labels=test_labels))
        assert again.id != left.id
        with pytest.raises(ContainerNotFound):
            await second.container(left.id)
        await again.remove()


async def test_few_calls(open_client: OpenClient, image: str, test_labels: dict[str, str]) -> None:
    """Of a run: would it be taken, make it, its log, remove it; and one list, one watch for all."""
    many = 8
    async with await open_client() as client:
        calls = client._api.calls  # type: ignore[attr-defined]
        calls.clear()

        async def one(number: int) -> None:
            spec = ContainerSpec(image, args=("echo", str(number)), labels=test_labels)
            container = await client.create(spec)
            async with container.attached() as chunks:
                await container.start()
                text = b"".join([chunk.data async for chunk in chunks])
            assert text == b"%d\n" % number
            assert (await container.wait()).code == 0
            await container.remove()

        async with asyncio.TaskGroup() as group:
            for number in range(many):
                group.create_task(one(number))
        counted = dict(calls)
    assert counted.pop(("list", "events"), 0) <= 20  # of a slow cluster, for all pods together
    assert counted.pop(("list", "pods")) == 1
    assert counted.pop(("watch", "pods")) <= 2  # a server may end one at any time
    assert counted.pop(("create", "pods")) == 2 * many
    # A busy node ends a log before the news of the end is there: then it is asked for once more.
    assert many <= counted.pop(("get", "pods/log")) <= 2 * many
    assert counted == {("delete", "pods"): many}


async def test_a_mount_that_is_copied_and_comes_back(make: Make, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("here")
    mounts = (Mount(str(tmp_path), "/work", read_only=False),)
    container = await make("write", "/work/out", "there", mounts=mounts)
    assert (await container.wait()).code == 0
    assert (tmp_path / "out").read_text() == "there"
    assert (tmp_path / "in").read_text() == "here"


async def test_a_directory_of_the_node_by_a_knob(
    open_client: OpenClient, image: str, test_labels: dict[str, str], tmp_path: Path
) -> None:
    async with await open_client(cluster_files="node") as client:
        assert (await client.info()).shared == ("/",)
        mounts = (Mount(str(tmp_path), "/work", read_only=False),)
        spec = ContainerSpec(
            image, args=("write", "/work/out", "there"), labels=test_labels, mounts=mounts
        )
        container = await client.create(spec)
        try:
            await container.start()
            assert (await container.wait()).code == 0
        finally:
            await container.remove()
    if not (tmp_path / "out").exists():
        pytest.skip("the cluster's nodes are other machines")
    assert (tmp_path / "out").read_text() == "there"
