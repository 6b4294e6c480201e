"""Between our values and the JSON of the Docker Engine API, which Podman answers with as well.

Source: Docker Engine API 1.40 to 1.43. What Podman must be told in its own words stands in
:mod:`lading.engine.podman_wire`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from lading.engine.spec import (
    ContainerInfo,
    ContainerSpec,
    Exit,
    ImageInfo,
    Limits,
    Network,
    NetworkInfo,
    NetworkSpec,
    State,
    Stats,
)

__all__ = [
    "bridge",
    "container_info",
    "container_listed",
    "create_body",
    "environment_pairs",
    "header_json",
    "image_info",
    "is_leaving",
    "label_filter",
    "network_body",
    "network_info",
    "published",
    "query",
    "segment",
    "stats",
    "subnets",
]

Json = dict[str, Any]

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_STATES = {
    "created": State.CREATED,
    "configured": State.CREATED,
    "initialized": State.CREATED,
    "running": State.RUNNING,
    "restarting": State.RUNNING,
    "stopping": State.RUNNING,
    "paused": State.PAUSED,
}
_CANNOT_START = 127
_SMALLEST_RESERVATION = 6 << 20
"""Bytes; the engine refuses less, of a limit as well, so no request gets above its limit by it."""


def query(**fields: str | int | None) -> str:
    """Write a query string; fields that are None are left out."""
    given = {name: str(value) for name, value in fields.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def segment(text: str) -> str:
    """Quote what becomes part of a path; image references keep their slashes and colons."""
    return quote(text, safe="/:@")


def label_filter(labels: Mapping[str, str]) -> str:
    """Write the filter for these labels; an empty value matches any."""
    wanted = [f"{name}={value}" if value else name for name, value in labels.items()]
    return json.dumps({"label": wanted})


def create_body(spec: ContainerSpec, *, publish: bool = False) -> Json:
    """Write the body of ``POST /containers/create``.

    Parameters
    ----------
    spec : ContainerSpec
    publish : bool
        Whether its ports are opened on the engine's loopback interface.
    """
    body: Json = {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "Labels": dict(spec.labels),
        "HostConfig": _host_config(spec),
    }
    if spec.command is not None:
        body["Entrypoint"] = list(spec.command)
        body["Cmd"] = list(spec.args or ())
    elif spec.args is not None:
        body["Cmd"] = list(spec.args)
    if spec.user is not None:
        body["User"] = spec.user
    if spec.directory is not None:
        body["WorkingDir"] = spec.directory
    if publish and spec.ports:
        keys = [f"{port}/tcp" for port in spec.ports]
        body["ExposedPorts"] = {key: {} for key in keys}
        bindings = {key: [{"HostIp": "127.0.0.1", "HostPort": ""}] for key in keys}
        body["HostConfig"]["PortBindings"] = bindings
    return body


def _host_config(spec: ContainerSpec) -> Json:
    host: Json = {"NetworkMode": str(spec.network)}
    limits = spec.limits
    if limits.cpus is not None:
        host["NanoCpus"] = max(round(limits.cpus * 1e9), 1)  # 0 is no limit
    if limits.memory is not None:
        host["Memory"] = host["MemorySwap"] = limits.memory
    if limits.pids is not None:
        host["PidsLimit"] = limits.pids
    if spec.requests.memory is not None:
        host["MemoryReservation"] = max(spec.requests.memory, _SMALLEST_RESERVATION)
    if spec.cpu_shares is not None:
        host["CpuShares"] = spec.cpu_shares
    if spec.sealed:
        host["CapDrop"] = ["ALL"]
        host["SecurityOpt"] = ["no-new-privileges"]
    if spec.capabilities:
        host["CapAdd"] = list(spec.capabilities)
    if spec.mounts:
        # "Mounts", not "Binds": a missing source is an error there, here a new directory.
        host["Mounts"] = [
            {
                "Type": "bind",
                "Source": mount.source,
                "Target": mount.target,
                "ReadOnly": mount.read_only,
                # What is mounted below it stays writable: so it is left out.
                "BindOptions": {"NonRecursive": mount.read_only},
            }
            for mount in spec.mounts
        ]
    if spec.devices:
        host["Devices"] = [
            {
                "PathOnHost": device.source,
                "PathInContainer": device.target,
                "CgroupPermissions": device.permissions,
            }
            for device in spec.devices
        ]
    if spec.gpus is not None:
        host["DeviceRequests"] = [
            {
                "Driver": spec.gpus.driver,
                "DeviceIDs": list(spec.gpus.devices),
                "Capabilities": [["gpu"]],
            }
        ]
    if spec.runtime is not None:
        host["Runtime"] = spec.runtime
    if spec.group is not None:
        host["CgroupParent"] = spec.group
    return host


def container_info(found: Json) -> ContainerInfo:
    """Read the reply to ``GET /containers/{id}/json``."""
    state, config, host = found["State"], found["Config"], found.get("HostConfig") or {}
    created = _time(found.get("Created")) or _NEVER
    now = _STATES.get(state.get("Status", ""), State.EXITED)
    ended = None
    if now is State.EXITED:
        ended = _exit(state, created)
    elif now is State.CREATED and state.get("Error"):
        now = State.EXITED  # it was started once, and could not
        code = int(state.get("ExitCode") or _CANNOT_START)
        ended = Exit(code, False, created, created, str(state["Error"]))
    networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
    return ContainerInfo(
        id=found["Id"],
        name=found["Name"].removeprefix("/"),
        image=config.get("Image") or "",
        image_id=found.get("Image") or "",
        state=now,
        labels=config.get("Labels") or {},
        created=created,
        pid=int(state.get("Pid") or 0) or None,
        exit=ended,
        limits=_limits(host),
        networks=_addresses(networks),
    )


def is_leaving(found: Json) -> bool:
    """Whether a container that was inspected is just being removed."""
    return found["State"].get("Status") in ("removing", "dead")


def container_listed(found: Json) -> ContainerInfo:
    """Read one entry of ``GET /containers/json``, which has neither limits nor exit."""
    networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
    names = found.get("Names") or [""]
    return ContainerInfo(
        id=found["Id"],
        name=names[0].removeprefix("/"),
        image=found.get("Image") or "",
        image_id=found.get("ImageID") or "",
        state=_STATES.get(found.get("State", ""), State.EXITED),
        labels=found.get("Labels") or {},
        created=datetime.fromtimestamp(int(found.get("Created") or 0), UTC),
        networks=_addresses(networks),
    )


def _exit(state: Json, created: datetime) -> Exit:
    started = _time(state.get("StartedAt")) or created
    return Exit(
        code=int(state.get("ExitCode") or 0),
        out_of_memory=bool(state.get("OOMKilled")),
        started=started,
        # Docker notes the start after the start: what ends at once seems to end before.
        finished=max(_time(state.get("FinishedAt")) or started, started),
        error=str(state.get("Error") or ""),
    )


def _limits(host: Json) -> Limits:
    cpus = int(host.get("NanoCpus") or 0) / 1e9
    memory, pids = int(host.get("Memory") or 0), int(host.get("PidsLimit") or 0)
    return Limits(
        cpus or None,
        memory if memory > 0 else None,
        pids if pids > 0 else None,  # Docker says null, 0 or -1 for none
    )


def _addresses(networks: Json) -> dict[str, str]:
    return {
        name: (end or {}).get("IPAddress") or (end or {}).get("GlobalIPv6Address") or ""
        for name, end in networks.items()
        if name != Network.NONE
    }


def subnets(found: Json) -> tuple[tuple[str, int], ...]:
    """List a container's IPv4 addresses, each with the length of its network's prefix."""
    networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
    return tuple(
        (end["IPAddress"], int(end.get("IPPrefixLen") or 32))
        for end in networks.values()
        if end and end.get("IPAddress")
    )


def published(found: Json, port: int) -> tuple[str, int] | None:
    """Find where a port of a container was opened on its host, in what inspecting it gave."""
    ports = (found.get("NetworkSettings") or {}).get("Ports") or {}
    for binding in ports.get(f"{port}/tcp") or ():
        if binding.get("HostPort"):
            return binding.get("HostIp") or "127.0.0.1", int(binding["HostPort"])
    return None


def image_info(found: Json) -> ImageInfo:
    """Read the reply to ``GET /images/{name}/json``."""
    config = found.get("Config") or {}
    identity = str(found["Id"])
    return ImageInfo(
        id=identity if ":" in identity else f"sha256:{identity}",
        tags=tuple(found.get("RepoTags") or ()),
        digests=tuple(found.get("RepoDigests") or ()),
        size=int(found.get("Size") or 0),
        created=_time(found.get("Created")),
        labels=config.get("Labels") or {},
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        env=environment_pairs(config.get("Env") or ()),
        user=config.get("User") or "",
        exposed=_tcp_ports(config.get("ExposedPorts") or ()),
        architecture=found.get("Architecture") or "",
        directory=config.get("WorkingDir") or "",
    )


def environment_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """Read ``NAME=value`` texts."""
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _tcp_ports(names: Iterable[str]) -> tuple[int, ...]:
    split = (name.partition("/") for name in names)
    return tuple(sorted(int(port) for port, _, kind in split if kind in ("", "tcp")))


def stats(found: Json) -> Stats:
    """Read the reply to ``GET /containers/{id}/stats``; empty once the container has ended."""
    memory = found.get("memory_stats") or {}
    processor = (found.get("cpu_stats") or {}).get("cpu_usage") or {}
    peak = memory.get("max_usage")
    return Stats(
        memory=int(memory.get("usage") or 0),
        memory_peak=int(peak) if peak else None,  # counted on cgroup v1 only
        cpu_seconds=int(processor.get("total_usage") or 0) / 1e9,
    )


def network_body(spec: NetworkSpec) -> Json:
    """Write the body of ``POST /networks/create``."""
    options = {"com.docker.network.bridge.enable_icc": "false"} if spec.isolated else {}
    return {
        "Name": spec.name,
        "Driver": "bridge",
        "CheckDuplicate": True,  # before API 1.44 two networks may share a name otherwise
        "Internal": spec.internal,
        "Labels": dict(spec.labels),
        "Options": options,
    }


def bridge(found: Json) -> str:
    """Find the interface of an internal network on the host; empty if it is not internal.

    `found` is the reply to ``GET /networks/{id}``, or to Podman's own call for it.
    """
    if not (found.get("Internal") or found.get("internal")):
        return ""
    chosen = (found.get("Options") or {}).get("com.docker.network.bridge.name")
    return str(found.get("network_interface") or chosen or f"br-{found['Id'][:12]}")


def network_info(found: Json) -> NetworkInfo:
    """Read the reply to ``GET /networks/{id}``."""
    return NetworkInfo(
        id=found["Id"],
        name=found["Name"],
        labels=found.get("Labels") or {},
        internal=bool(found.get("Internal")),
        containers=tuple(found.get("Containers") or ()),
    )


def header_json(value: Any) -> str:
    """Encode what goes into ``X-Registry-Auth`` and ``X-Registry-Config`` (RFC 4648, 5)."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _time(text: str | None) -> datetime | None:
    """Read RFC 3339 with nanoseconds; Go's zero time means never."""
    if not text or text.startswith("0001-"):
        return None
    head, dot, rest = text.partition(".")
    if dot:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        text = f"{head}.{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}"
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
