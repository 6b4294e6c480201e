"""What a CID costs: against SHA-256 of the same bytes, and against an IPFS node."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cold import in_turn
from benchmarks.figures import Figure
from benchmarks.oneshot import ratio
from benchmarks.setting import Setting
from lading.content.adding import CHUNK, add_path

__all__ = ["cid_figures"]

_LARGE = 256 << 20
_FILES = 5_000
_TO_NODE = 32 << 20
_OPTIONS = "cid-version=1&raw-leaves=true&chunker=size-262144&only-hash=true&pin=false"


def cid_figures(setting: Setting, wanted: set[str]) -> Iterator[Figure]:
    """Measure what is wanted of a large file, of many files, and of what a node takes for it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "cid" in wanted:
            yield _large(setting, folder / "large")
        if "cidfiles" in wanted:
            yield _many(setting, folder / "many")
        if "cidnode" in wanted:
            yield _node(setting, folder / "sent")


def _large(setting: Setting, path: Path) -> Figure:
    _fill(path, _LARGE)
    rounds = setting.rounds(9, 3)
    setting.say(f"cid: {rounds} pairs")
    ours, plain = in_turn(rounds, lambda: _cid(path), lambda: _timed_hash([path]))
    return ratio("cid", {"the CID of 256 MiB": ours, "its SHA-256": plain})


def _many(setting: Setting, folder: Path) -> Figure:
    for number in range(_FILES):
        path = folder / str(number // 100) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    rounds = setting.rounds(9, 3)
    setting.say(f"cidfiles: {rounds} pairs")
    ours, plain = in_turn(rounds, lambda: _cid(folder), lambda: _timed_hash(paths))
    return ratio("cidfiles", {"the CID of 5,000 files": ours, "each one's SHA-256": plain})


def _node(setting: Setting, path: Path) -> Figure:
    api = os.environ.get("LADING_TEST_IPFS", "")
    if not api:
        return Figure("cidnode", None, "LADING_TEST_IPFS names no IPFS node")
    _fill(path, _TO_NODE)
    rounds = setting.rounds(9, 3)
    setting.say(f"cidnode: {rounds} pairs")
    ours, theirs = in_turn(rounds, lambda: _cid(path), lambda: _asked(api, path))
    return ratio("cidnode", {"the CID of 32 MiB": ours, "add --only-hash of a node": theirs})


def _fill(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))


def _cid(path: Path) -> float:
    began = time.perf_counter()
    add_path(path)
    return time.perf_counter() - began


def _timed_hash(paths: list[Path]) -> float:
    began = time.perf_counter()
    for path in paths:
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while piece := file.read(CHUNK):
                digest.update(piece)
        digest.digest()
    return time.perf_counter() - began


def _asked(api: str, path: Path) -> float:
    """Have the node make the CID; it stores nothing."""
    head = (
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="file"\r\n'
        b"content-type: application/octet-stream\r\n\r\n"
    )
    body = head + path.read_bytes() + b"\r\n--b--\r\n"
    request = urllib.request.Request(
        f"{api}/api/v0/add?{_OPTIONS}",
        data=body,
        headers={"content-type": "multipart/form-data; boundary=b"},
    )
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=120) as reply:
        reply.read()
    return time.perf_counter() - began
