"""Images of Golem apps: one base with the project and gRPC in it, and a folder's app on top.

Everything is cached in the engine by what it is made of: a tag is a digest of its sources. The
builder is the engine's own, over its API, so no docker or podman command is needed.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
import tomllib
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["GolemImageError", "ensure_golem_base", "ensure_golem_image"]

_ROOT = Path(__file__).parents[2]
_SOURCES = _ROOT / "src/lading"
_BUILD_SECONDS = 600.0
_KEPT_SECONDS = 3600.0
"""Images of older sources are left for as long: another test run may have begun with them."""
_IN_CONTAINERS = ("contracts/golem", "contracts/__init__.py", "__init__.py", "errors.py")
"""What apps import. Other files are in the image as well, but don't make it a new one."""

_PACKAGES = """\
ARG BASE
FROM ${BASE}
RUN python3 -m pip install --no-cache-dir --root-user-action=ignore %s
"""
_BASE = """\
ARG BASE
FROM ${BASE}
COPY . /tmp/lading
RUN python3 -m pip wheel --no-deps --no-build-isolation -q -w /tmp/wheel /tmp/lading \\
    && python3 -m pip install --no-cache-dir --root-user-action=ignore --no-deps -q \\
       /tmp/wheel/*.whl \\
    && rm -rf /tmp/lading /tmp/wheel
"""


class GolemImageError(Exception):
    """An image could not be built."""


@functools.cache
def ensure_golem_base(docker_host: str) -> str:
    """Make sure that an engine has the image on which Golem apps stand: Python and `lading[golem]`.

    Parameters
    ----------
    docker_host
        The engine's address as `DOCKER_HOST` spells it.

    Returns
    -------
    str
        The image's name. Its Dockerfiles begin with `ARG BASE` and `FROM ${BASE}`.

    Raises
    ------
    GolemImageError
        A build failed; with the builder's last lines.
    """
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))
    packages = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["golem"],
    ]
    python = _python(docker_host)
    dockerfile = _PACKAGES % " ".join(f"'{one}'" for one in packages)
    layer = _ensure(docker_host, "golem-packages", dockerfile, {}, python)
    wheel = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE")
    files = {name: (_ROOT / name).read_bytes() for name in wheel}
    files |= {f"src/lading/{name}": data for name, data in _files(_SOURCES).items()}
    inside = tuple(f"src/lading/{name}" for name in _IN_CONTAINERS)
    counts = [name for name in files if name.startswith(inside)]
    return _ensure(docker_host, "golem-base", _BASE, files, layer, counts)


def ensure_golem_image(docker_host: str, folder: Path) -> str:
    """Make sure that an engine has the image of an app.

    Parameters
    ----------
    docker_host
        As for `ensure_golem_base`.
    folder
        Holds a `Dockerfile` that begins with `ARG BASE` and `FROM ${BASE}`. All else in it can be
        copied into the image.

    Returns
    -------
    str
        The image's name, with a tag.

    Raises
    ------
    GolemImageError
        The build failed; with the builder's last lines.
    """
    files = _files(folder)
    dockerfile = files.pop("Dockerfile").decode()
    base = ensure_golem_base(docker_host)
    name = "golem-" + folder.resolve().name.lower().replace("_", "-").removeprefix("golem-")
    return _ensure(docker_host, name, dockerfile, files, base)


@functools.cache
def _python(docker_host: str) -> str:
    done = subprocess.run(
        [_ROOT / "scripts/base-image"],
        env={**os.environ, "DOCKER_HOST": docker_host},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise GolemImageError(f"no base image for {docker_host}:\n{done.stderr}")
    return done.stdout.strip()


def _files(folder: Path) -> dict[str, bytes]:
    """All files of a folder by their relative names, without what Python keeps there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {"__pycache__", ".pytest_cache"} & set(path.parts)
    }


def _ensure(
    docker_host: str,
    name: str,
    dockerfile: str,
    files: Mapping[str, bytes],
    base: str,
    counts: Iterable[str] | None = None,
) -> str:
    """Build an image unless there is one of these sources."""
    digest = hashlib.sha256(f"{base}\n{dockerfile}\n".encode())
    for file in sorted(files if counts is None else counts):
        digest.update(f"{file} {len(files[file])}\n".encode() + files[file])
    tag = f"lading-test/{name}:{digest.hexdigest()[:16]}"
    if _call(docker_host, "GET", f"/images/{tag}/json")[0] == 200:
        return tag
    query = {
        "t": tag,
        "buildargs": json.dumps({"BASE": base}),
        "labels": json.dumps({"lading.test": name}),
        "rm": "1",
        "forcerm": "1",
        # A way to a package index that leads through this machine is one from a container, too.
        "networkmode": "host",
    }
    context = _archive({**files, "Dockerfile": dockerfile.encode()})
    status, body = _call(
        docker_host, "POST", f"/build?{urllib.parse.urlencode(query)}", context, _BUILD_SECONDS
    )
    if _call(docker_host, "GET", f"/images/{tag}/json")[0] != 200:
        text = body.decode(errors="replace")[-4000:]
        raise GolemImageError(f"{docker_host} could not build {tag}: {status}\n{text}")
    _forget_old(docker_host, name, tag)
    return tag


def _forget_old(docker_host: str, name: str, newest: str) -> None:
    """Remove images of older sources that nobody needs any more; what is in use stays."""
    filters = urllib.parse.quote(json.dumps({"label": [f"lading.test={name}"]}))
    _, body = _call(docker_host, "GET", f"/images/json?filters={filters}")
    for image in json.loads(body):
        tags = image.get("RepoTags") or []
        ours = [tag for tag in tags if f"lading-test/{name}:" in tag]
        old = time.time() - image["Created"] > _KEPT_SECONDS
        if old and ours and not any(tag.endswith(newest) for tag in tags):
            _call(docker_host, "DELETE", f"/images/{ours[0]}")


def _archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _call(
    docker_host: str, method: str, path: str, body: bytes | None = None, timeout: float = 60.0
) -> tuple[int, bytes]:
    """One call of an engine's API: its status and body."""
    scheme, _, address = docker_host.partition("://")
    connection: Any
    if scheme == "unix":
        connection = _UnixConnection(address, timeout)
    else:
        connection = http.client.HTTPConnection(address.rstrip("/"), timeout=timeout)
    try:
        connection.request(method, path, body, {"Content-Type": "application/x-tar"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(ensure_golem_base(argument))
