"""A container engine, asked straight: what the floors are measured with.

One kept connection a thread and no more calls than needed, so that the floor is the engine's own
time and not ours.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any

__all__ = ["Api", "ApiError", "Started", "find_engine", "first_reply", "request_bytes"]

_TIMEOUT_S = 120.0
PORT = 8080


class ApiError(Exception):
    """The engine said no."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)


@dataclass(frozen=True)
class Started:
    """A running container, and where it answers."""

    id: str
    address: str


class Api:
    """One connection to an engine; for one thread.

    Parameters
    ----------
    host : str
        ``unix:///path`` or ``tcp://host:port``.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        scheme, _, address = host.partition("://")
        self._connection = (
            _UnixConnection(address)
            if scheme == "unix"
            else http.client.HTTPConnection(address.rstrip("/"), timeout=_TIMEOUT_S)
        )

    def call(self, method: str, target: str, body: Any = None, *, missing_ok: bool = False) -> Any:
        """One call; JSON in, JSON out.

        Raises
        ------
        ApiError
            The status is no success.
        """
        content = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if content else {}
        try:
            self._connection.request(method, target, content, headers)
            response = self._connection.getresponse()
            raw = response.read()
        except BaseException:
            self._connection.close()  # or the next call would read this one's reply
            raise
        if response.status >= 400 and not (missing_ok and response.status in (404, 409)):
            text = raw.decode(errors="replace").strip()
            raise ApiError(f"{method} {target}: {response.status} {text}")
        try:
            return json.loads(raw)
        except ValueError:
            return None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def create(self, image: str, *, network: str, label: str, cpus: float, memory_mib: int) -> str:
        """Make a container with the limits and the hardening that the executor gives its own."""
        spec = {
            "Image": image,
            "Labels": {"lading.bench": label},
            "HostConfig": {
                "NetworkMode": network,
                "NanoCpus": round(cpus * 1e9),
                "Memory": memory_mib << 20,
                "MemorySwap": memory_mib << 20,
                "PidsLimit": 512,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
            },
        }
        identity: str = self.call("POST", "/containers/create", spec)["Id"]
        return identity

    def start(self, identity: str) -> Started:
        """Start it, and find its address."""
        self.call("POST", f"/containers/{identity}/start")
        found = self.call("GET", f"/containers/{identity}/json")
        return Started(identity, address_of(found))

    def remove(self, identity: str) -> None:
        """Kill and remove it."""
        self.call("DELETE", f"/containers/{identity}?force=1&v=1", missing_ok=True)

    def labelled(self, label: str, *, running: bool = False) -> list[dict[str, Any]]:
        """List what carries a label (``key`` or ``key=value``)."""
        filters = urllib.parse.quote(json.dumps({"label": [label]}))
        target = f"/containers/json?all={0 if running else 1}&filters={filters}"
        found: list[dict[str, Any]] = self.call("GET", target)
        return found


def address_of(inspected: dict[str, Any]) -> str:
    """The container's address on the first of its networks; empty if it has none."""
    networks = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    return next((net["IPAddress"] for net in networks.values() if net.get("IPAddress")), "")


def request_bytes(body: bytes, host: str = "localhost:8080") -> bytes:
    """``POST /`` with this body, ready to be sent."""
    head = (
        f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def first_reply(address: str, request: bytes, *, deadline_s: float = 60.0) -> None:
    """Send a request as soon as somebody listens, and read the beginning of the reply.

    A refused connection is tried again after 0.2 ms: the kernel tells nobody about a listener.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        sock = socket.socket()
        sock.settimeout(deadline_s)
        try:
            sock.connect((address, PORT))
            sock.sendall(request)
            if not select.select([sock], [], [], deadline_s)[0]:
                raise ApiError(f"{address} did not reply within {deadline_s:.0f} s")
            if b" 200 " not in sock.recv(65_536):
                raise ApiError(f"{address} did not reply with 200")
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise ApiError(f"nothing listens at {address}:{PORT}") from None
            time.sleep(0.0002)
        else:
            return
        finally:
            sock.close()


def find_engine(chosen: str) -> str:
    """The engine to measure on: an address, or by default DOCKER_HOST, then the usual sockets.

    Raises
    ------
    ApiError
        None answers.
    """
    usual = [os.environ.get("DOCKER_HOST", ""), "unix:///var/run/docker.sock"]
    usual += ["unix:///run/podman/podman.sock"]
    for host in [chosen] if chosen else [item for item in usual if item]:
        api = Api(host)
        try:
            api.call("GET", "/version")
        except (OSError, ApiError):
            continue
        finally:
            api.close()
        return host
    raise ApiError("no container engine answers; start one, or say where: --engine unix:///path")
