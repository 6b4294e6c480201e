"""What Podman must be told in its own words.

Podman answers the Docker Engine API, but its imitation of ``/containers/create`` drops things
without a word (seen with 4.3): it makes missing bind sources itself, and ignores GPUs. So
containers are made by Podman's own call, where those are errors; everything else goes through
the common one.

Source: https://docs.podman.io/en/v4.3/_static/api.html, "ContainerCreateLibpod".
"""

from __future__ import annotations

from typing import Any

from lading.engine.spec import ContainerSpec, Network

__all__ = ["CREATE", "NETWORK", "PULL", "UNTAG", "create_body", "without_padding"]

CREATE = "/v4.0.0/libpod/containers/create"
NETWORK = "/v4.0.0/libpod/networks/{name}/json"
"""Tells the bridge's name, which the common call leaves out."""

PULL = "/v4.0.0/libpod/images/pull"
"""May be told not to ask for TLS; the common call can't."""

UNTAG = "/v4.0.0/libpod/images/{name}/untag"
"""Takes one name of several; the common call refuses while a container uses the image."""

_CPU_PERIOD = 100_000  # microseconds, the kernel's default

Json = dict[str, Any]


def create_body(spec: ContainerSpec, *, publish: bool = False) -> Json:
    """Write the body of Podman's own call that makes a container.

    Parameters
    ----------
    spec : ContainerSpec
    publish : bool
        Whether its ports are opened on the engine's loopback interface.
    """
    body: Json = {
        "image": spec.image,
        "env": dict(spec.env),
        "labels": dict(spec.labels),
        "resource_limits": _resources(spec),
    }
    if spec.name is not None:
        body["name"] = spec.name
    if spec.command is not None:
        body["entrypoint"] = list(spec.command)
        body["command"] = list(spec.args or ())
    elif spec.args is not None:
        body["command"] = list(spec.args)
    if spec.user is not None:
        body["user"] = spec.user
    if spec.directory is not None:
        body["work_dir"] = spec.directory
    if spec.runtime is not None:
        body["oci_runtime"] = spec.runtime
    if spec.sealed:
        body["cap_drop"] = ["ALL"]
        body["no_new_privileges"] = True
    if spec.capabilities:
        body["cap_add"] = list(spec.capabilities)
    if spec.group is not None:
        body["cgroup_parent"] = spec.group
        body["cgroups_mode"] = "no-conmon"  # its watcher would be counted as the container
    if spec.mounts:
        body["mounts"] = [
            {
                "type": "bind",
                "source": mount.source,
                "destination": mount.target,
                # "ro" leaves what is mounted below it writable: so that is left out.
                "options": ["bind", "ro"] if mount.read_only else ["rbind", "rw"],
            }
            for mount in spec.mounts
        ]
    if devices := _devices(spec):
        body["devices"] = devices
    body |= _network(spec)
    if publish and spec.ports:
        body["portmappings"] = [
            {"container_port": port, "host_ip": "127.0.0.1", "protocol": "tcp"}
            for port in spec.ports
        ]
    return body


def without_padding(archive: bytes) -> bytes:
    """End a tar archive where its end mark ends.

    Podman unpacks in a process that stops reading there. If there is more (tar fills up to a
    multiple of 10 KiB) and it comes later than the mark, Podman fails with "broken pipe":
    https://github.com/containers/buildah/issues/6573.

    Parameters
    ----------
    archive : bytes
        Not compressed.

    Raises
    ------
    tarfile.TarError
        It is none.
    """
    import io  # noqa: PLC0415  # a run copies nothing in
    import tarfile  # noqa: PLC0415

    end = 0
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        for member in tar:
            size = member.size if member.isreg() else 0
            end = member.offset_data + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return archive[:end] + bytes(2 * tarfile.BLOCKSIZE)


def _resources(spec: ContainerSpec) -> Json:
    limits = spec.limits
    cpu: Json = {}
    if limits.cpus is not None:
        quota = max(round(limits.cpus * _CPU_PERIOD), 1000)
        cpu |= {"quota": quota, "period": _CPU_PERIOD}
    if spec.cpu_shares is not None:
        cpu["shares"] = spec.cpu_shares
    memory: Json = {}
    if limits.memory is not None:
        memory |= {"limit": limits.memory, "swap": limits.memory}
    if spec.requests.memory is not None:
        memory["reservation"] = spec.requests.memory
    pids = {"limit": limits.pids} if limits.pids is not None else {}
    given = {"cpu": cpu, "memory": memory, "pids": pids}
    return {name: values for name, values in given.items() if values}


def _devices(spec: ContainerSpec) -> list[Json]:
    paths = [f"{d.source}:{d.target}:{d.permissions}" for d in spec.devices]
    if spec.gpus is not None:
        # The Container Device Interface names a GPU by its vendor, and by index or UUID.
        paths += [f"{spec.gpus.driver}.com/gpu={device}" for device in spec.gpus.devices]
    return [{"path": path} for path in paths]


def _network(spec: ContainerSpec) -> Json:
    if spec.network == Network.DEFAULT:
        return {}
    if spec.network == Network.NONE:
        return {"netns": {"nsmode": "none"}}
    return {"netns": {"nsmode": "bridge"}, "Networks": {str(spec.network): {}}}
