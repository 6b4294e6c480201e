"""Finds real engines for tests, and asks them with nothing of ours in between.

What checks our code must not be our code, so this is `http.client` on a socket.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INSTALL = {
    "docker": "start Docker, or install it: apt-get install docker.io containerd runc iptables, "
    "then `scripts/engine all`",
    "podman": "install Podman: apt-get install podman runc (started by the tests themselves)",
}
_TIMEOUT_S = 30.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


def call(host: str, method: str, target: str, content: object = None) -> tuple[int, Any]:
    """One call of an engine: status, and the JSON of its body (None if that is none)."""
    scheme, _, address = host.partition("://")
    connection = (
        _UnixConnection(address)
        if scheme == "unix"
        else http.client.HTTPConnection(address.rstrip("/"), timeout=_TIMEOUT_S)
    )
    with contextlib.closing(connection):
        sent = None if content is None else json.dumps(content)
        connection.request(method, target, sent, {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read()
    try:
        return response.status, json.loads(body)
    except ValueError:
        return response.status, None


def kind(host: str) -> str | None:
    """`docker`, `podman`, or None where nothing answers."""
    try:
        status, body = call(host, "GET", "/version")
    except OSError:
        return None
    if status != 200 or not isinstance(body, dict):
        return None
    names = [part.get("Name", "") for part in body.get("Components") or []]
    return "podman" if any("Podman" in name for name in names) else "docker"


def find(wanted: str) -> str | None:
    """Address of a running engine of that kind, or None."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if wanted == "docker":
        sockets = ["/var/run/docker.sock", f"{runtime}/docker.sock" if runtime else ""]
        hosts = [os.environ.get("DOCKER_HOST", "")]
    else:
        sockets = [
            "/run/podman/podman.sock",
            f"{runtime}/podman/podman.sock" if runtime else "",
        ]
        hosts = [os.environ.get("LADING_TEST_PODMAN", ""), os.environ.get("DOCKER_HOST", "")]
    hosts += [f"unix://{path}" for path in sockets if path]
    return next((host for host in hosts if host and kind(host) == wanted), None)


@contextlib.contextmanager
def podman_service() -> Iterator[str | None]:
    """Podman's service on a socket of our own while the block runs; None without Podman."""
    program = shutil.which("podman")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="lading-podman-", dir="/tmp") as folder:
        config = Path(folder, "containers.conf")
        # crun refuses the hybrid cgroup layout, and the default limits of processes are above
        # what a container in a container may set.
        config.write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
            + ('[engine]\nruntime = "runc"\n' if shutil.which("runc") else "")
        )
        host = f"unix://{folder}/podman.sock"
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, "system", "service", "--time=0", host],
                env={**os.environ, "CONTAINERS_CONF": str(config)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,  # its monitor writes a file `oom` to where it was started
            )
        try:
            # A service that is being started has nothing to wait on but its socket.
            deadline = time.monotonic() + 30
            while kind(host) is None:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"podman's service did not start: {log.read_text()}")
                time.sleep(0.05)
            yield host
        finally:
            process.terminate()
            process.wait(timeout=30)


def leftovers(host: str, labels: dict[str, set[str]], names: set[str]) -> list[tuple[str, str]]:
    """What an engine holds that carries one of these labels, or a name that begins so.

    Returns
    -------
    list of (str, str)
        A line for a person, and the path that deletes it.
    """
    found = []
    _, containers = call(host, "GET", "/containers/json?all=1")
    for item in containers or []:
        name = next(iter(item.get("Names") or []), "").lstrip("/")
        if _is_ours(item.get("Labels"), name, labels, names):
            line = f"container {name} ({item['Image']}, {item['State']}) on {host}"
            found.append((line, f"/containers/{item['Id']}?force=1&v=1"))
    _, networks = call(host, "GET", "/networks")
    for item in networks or []:
        if _is_ours(item.get("Labels"), item["Name"], labels, names):
            name = urllib.parse.quote(item["Name"])
            found.append((f"network {item['Name']} on {host}", f"/networks/{name}"))
    return found


def _is_ours(
    carried: dict[str, str] | None, name: str, labels: dict[str, set[str]], names: set[str]
) -> bool:
    carried = carried or {}
    return any(carried.get(key) in values for key, values in labels.items()) or any(
        name.startswith(prefix) for prefix in names
    )
