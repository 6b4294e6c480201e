"""Layouts and archives as engines of all kinds write them, and as strangers do."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lading.content.layout import is_layout, read_layout, write_layout
from lading.errors import ContentError, ContentRefused, InputError

LAYERS = [b"first layer" * 1000, b"", b"second layer"]
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def config(layers: list[bytes]) -> bytes:
    inner = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": {"Cmd": ["serve"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha(layer)}" for layer in layers]},
    }
    return json.dumps(inner).encode()


def tar(files: dict[str, bytes | str]) -> bytes:
    """An archive; a text is where a symbolic link leads."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def docker_archive(layers: list[bytes] = LAYERS, **changed: Any) -> bytes:
    """As Docker 20.10 writes it, with a layer that is a link to another."""
    text = config(layers)
    files: dict[str, bytes | str] = {}
    names = []
    for number, layer in enumerate(layers):
        name = f"{number}{sha(layer)[1:]}/layer.tar"
        files[name.replace("layer.tar", "VERSION")] = b"1.0"
        files[name] = layer
        names.append(name)
    if len(layers) > 1:
        files["extra/layer.tar"] = f"../{names[0]}"
        names[0] = "extra/layer.tar"
    files[f"{sha(text)}.json"] = text
    files["manifest.json"] = json.dumps(
        [{"Config": f"{sha(text)}.json", "RepoTags": ["me/task:1"], "Layers": names, **changed}]
    ).encode()
    files["repositories"] = b"{}"
    return tar(files)


async def poured(archive: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(archive), size):
        yield archive[at : at + size]


async def read(folder: Path) -> dict[str, bytes]:
    data = b"".join([piece async for piece in read_layout(folder)])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            member.name: archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
        }


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "into"
    folder.mkdir()
    yield folder / "layout"
    assert {path.name for path in folder.iterdir()} <= {"layout"}


async def test_an_archive_becomes_a_layout_and_an_archive_again(target: Path) -> None:
    digest = await write_layout(poured(docker_archive()), target)
    files = await read(target)
    assert list(files)[-1] == "manifest.json"
    (listed,) = json.loads(files["manifest.json"])
    assert listed["RepoTags"] is None
    assert files[listed["Config"]] == config(LAYERS)
    assert [files[name] for name in listed["Layers"]] == LAYERS
    assert (target / "blobs/sha256" / digest.removeprefix("sha256:")).is_file()
    found = {path.name for path in (target / "blobs/sha256").iterdir()}
    assert found == {digest.removeprefix("sha256:"), sha(config(LAYERS)), *map(sha, LAYERS)}


async def test_how_it_was_cut_and_named_makes_no_difference(tmp_path: Path) -> None:
    digests = set()
    for number, size in enumerate((1, 511, 1 << 20)):
        archive = docker_archive([b"a", b"b"], RepoTags=[f"me/{number}:1"])
        digests.add(await write_layout(poured(archive, size), tmp_path / str(number)))
    assert len(digests) == 1


async def test_compressed_layers_stay_so(target: Path) -> None:
    """As Docker saves them when it keeps its images in containerd."""
    layers = [gzip.compress(layer) for layer in LAYERS[:1]]
    text = config(LAYERS[:1])
    files: dict[str, bytes | str] = {"blobs/sha256/c": text, "blobs/sha256/l": layers[0]}
    listed = [{"Config": "blobs/sha256/c", "RepoTags": None, "Layers": ["blobs/sha256/l"]}]
    archive = tar({"manifest.json": json.dumps(listed).encode(), **files})
    digest = await write_layout(poured(archive), target)
    path = target / "blobs/sha256" / digest.removeprefix("sha256:")
    kind = json.loads(path.read_bytes())["layers"][0]["mediaType"]
    assert kind == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert layers[0] in (await read(target)).values()


BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is broken|no manifest.json"),
    "no archive": (b"hello" * 1000, "is broken"),
    "cut off in a layer": (docker_archive()[:5000], "is broken"),
    "cut off after a layer": (docker_archive()[:14_336], "no manifest.json|is broken"),
    "without a list": (tar({"a": b"x"}), "no manifest.json"),
    "a list of nothing": (tar({"manifest.json": b"[]"}), "does not hold one image"),
    "of two images": (
        tar({"manifest.json": b'[{"Config": "a"}, {"Config": "b"}]'}),
        "does not hold one image",
    ),
    "a list that is none": (tar({"manifest.json": b"hello"}), "is broken"),
    "a layer that is missing": (docker_archive(Layers=["no/layer.tar"]), "lacks no/layer.tar"),
    "links in a circle": (
        tar({
            "manifest.json": b'[{"Config": "c", "Layers": ["a"]}]',
            "c": b"{}", "a": "b", "b": "a",
        }),
        "lacks",
    ),
    "a config that is none": (
        tar({"manifest.json": b'[{"Config": "c", "Layers": []}]', "c": b"[]"}),
        "configuration is none",
    ),
    "a link outside": (
        tar({"manifest.json": b'[{"Config": "c", "Layers": []}]', "c": "/etc/passwd"}),
        "lacks",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
async def test_an_archive_that_is_broken(case: str, target: Path) -> None:
    archive, why = BROKEN[case]
    with pytest.raises(ContentRefused, match=why):
        await write_layout(poured(archive), target)
    assert not target.exists()


async def test_whoever_gives_the_archive_fails(target: Path) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield docker_archive()[:10_000]
        raise ConnectionResetError("the engine is gone")

    with pytest.raises(ConnectionResetError, match="the engine is gone"):
        await write_layout(failing(), target)
    assert not target.exists()


async def test_a_caller_that_leaves(target: Path) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield docker_archive()[:10_000]
        begun.set()
        await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(write_layout(endless(), target))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not target.exists()


async def test_what_is_there_stays(target: Path) -> None:
    target.mkdir()
    with pytest.raises(InputError, match="is there already"):
        await write_layout(poured(docker_archive()), target)


async def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ContentError, match="can't be written: Not a directory"):
        await write_layout(poured(docker_archive([bytes(5 << 20)])), tmp_path / "file/layout")


async def test_a_disk_that_is_full(small_disk: Path) -> None:
    archive = docker_archive([os.urandom(5 << 20)])
    with pytest.raises(ContentError, match="can't be written: No space left"):
        await write_layout(poured(archive, 1 << 16), small_disk / "layout")
    assert list(small_disk.iterdir()) == []


# Read.


@pytest.fixture
async def layout(tmp_path: Path) -> Path:
    await write_layout(poured(docker_archive()), tmp_path / "layout")
    return tmp_path / "layout"


def change(layout: Path, what: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest, and what points to it."""
    index = json.loads((layout / "index.json").read_bytes())
    entry = index["manifests"][0]
    blobs = layout / "blobs/sha256"
    manifest = json.loads((blobs / entry["digest"][7:]).read_bytes())
    what(manifest)
    text = json.dumps(manifest).encode()
    (blobs / sha(text)).write_bytes(text)
    entry.update(digest=f"sha256:{sha(text)}", size=len(text))
    (layout / "index.json").write_text(json.dumps(index))


async def refused(layout: Path, why: str) -> None:
    got = bytearray()

    async def all_of_it() -> None:
        async for piece in read_layout(layout):
            got.extend(piece)

    with pytest.raises(ContentRefused, match=why):
        await all_of_it()
    assert b"manifest.json" not in got  # without it, no engine loads anything


@pytest.mark.parametrize("which", range(4))
async def test_every_part_is_verified(which: int, layout: Path) -> None:
    path = sorted((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)[which]
    content = path.read_bytes()
    path.write_bytes(content + b"x")
    await refused(layout, "is not what its address says")
    if content:
        path.write_bytes(content[:-1] + bytes((content[-1] ^ 1,)))
        await refused(layout, "is not what its address says")
        path.write_bytes(content[:-1])
        await refused(layout, "is not what its address says")
    path.unlink()
    await refused(layout, "is missing")
    path.symlink_to("/etc/passwd")
    await refused(layout, "is missing")
    path.unlink()
    path.mkdir()
    await refused(layout, "is missing")


async def test_digests_that_lead_elsewhere(layout: Path) -> None:
    for digest in ("sha256:../../../etc/passwd", "sha512:00", "", None, 7, "sha256:" + "0" * 65):
        change(layout, lambda manifest, to=digest: manifest["config"].update(digest=to))  # type: ignore[misc]
        await refused(layout, "has no SHA-256 and size")
    change(layout, lambda manifest: manifest.update(config=None))
    await refused(layout, "has no SHA-256 and size")
    change(layout, lambda manifest: manifest.update(layers=None))
    await refused(layout, "no list of layers")
    change(layout, lambda manifest: manifest.update(layers=[{}] * 501))
    await refused(layout, "or too many")


async def test_kinds_of_layers(layout: Path) -> None:
    def of(kind: str) -> Callable[[dict[str, Any]], None]:
        return lambda manifest: manifest["layers"][0].update(mediaType=kind)

    change(layout, of("application/vnd.oci.image.layer.v1.tar+zstd"))
    await refused(layout, "can't load a layer of type")
    change(layout, of("application/vnd.docker.image.rootfs.diff.tar"))
    assert await read(layout)


async def test_a_configuration_of_other_layers(layout: Path) -> None:
    """What is listed is what is run: an engine goes by the one, people look at the other."""
    change(layout, lambda manifest: manifest["layers"].pop())
    await refused(layout, "configuration has other layers")
    change(layout, lambda manifest: manifest["layers"].append(manifest["layers"][0]))
    await refused(layout, "configuration has other layers")


async def test_images_for_several_machines(layout: Path) -> None:
    index = json.loads((layout / "index.json").read_bytes())
    ours = index["manifests"][0]
    other = {
        **ours,
        "digest": f"sha256:{'0' * 64}",
        "platform": {"os": "linux", "architecture": "s390x"},
    }
    unknown = {**other, "platform": {"os": "unknown", "architecture": "unknown"}}
    (layout / "index.json").write_text(json.dumps({"manifests": [unknown, other, ours]}))
    assert "manifest.json" in await read(layout)
    inner = (layout / "index.json").read_bytes()
    (layout / "blobs/sha256" / sha(inner)).write_bytes(inner)
    nested = {
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": f"sha256:{sha(inner)}",
        "size": len(inner),
    }
    (layout / "index.json").write_text(json.dumps({"manifests": [nested]}))
    assert "manifest.json" in await read(layout)
    (layout / "index.json").write_text(json.dumps({"manifests": [unknown, other]}))
    await refused(layout, "of 2 images none is for linux on")
    (layout / "index.json").write_text("[" * 100_000)
    await refused(layout, "no JSON object")
    (layout / "index.json").write_text("[]")
    await refused(layout, "no JSON object")


async def test_what_is_no_layout(layout: Path, tmp_path: Path) -> None:
    assert await asyncio.to_thread(is_layout, layout)
    (layout / "oci-layout").unlink()
    for folder in (layout, tmp_path, tmp_path / "nothing"):
        assert not await asyncio.to_thread(is_layout, folder)
        with pytest.raises(InputError, match="is no OCI image layout"):
            await read(folder)


async def test_a_reader_that_has_enough(layout: Path) -> None:
    reading = read_layout(layout)
    assert await anext(reading)
    await reading.aclose()  # type: ignore[attr-defined]
