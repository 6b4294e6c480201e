"""A container's spec as the manifest of a pod, and the secret that its image may need.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

from lading.engine.kubernetes.labels import (
    CLIENT_LABEL,
    ID_LABEL,
    NETWORK_LABEL,
    metadata,
)
from lading.engine.kubernetes.mounts import Placed
from lading.engine.spec import ContainerSpec, Limits, Network, Placement, RegistryLogin
from lading.errors import NotSupported

__all__ = ["MAIN", "amounts", "manifest", "owned_by", "pull_secret", "refuse"]

MAIN = "main"
"""Name of the container that a spec is about, among those that help it."""

_NO_PLACEMENT = Placement()
_DOCKER_HUB = "https://index.docker.io/v1/"

Json = dict[str, Any]


def refuse(spec: ContainerSpec) -> None:
    """Refuse what a cluster can't do.

    Raises
    ------
    NotSupported
        With what can be done instead.
    """
    if spec.devices:
        raise NotSupported(
            f"a cluster hands out no device nodes such as {spec.devices[0].source}",
            fix="install its vendor's device plugin, and ask for the resource that it offers by "
            "the placement's limits, or mount it as a volume of the node",
        )
    if spec.group is not None:
        raise NotSupported(
            "a cluster's nodes choose the control groups of containers themselves",
            fix="leave the group out",
        )
    if spec.user is not None and not all(part.isdigit() for part in spec.user.split(":")):
        raise NotSupported(
            f"a cluster takes users by their number, not by a name such as {spec.user!r}",
            fix="give uid[:gid], as the image's /etc/passwd has it",
        )


def manifest(
    spec: ContainerSpec, *, name: str, nonce: str, client: str, placed: Placed | None = None
) -> Json:
    """Write the body that creates its pod.

    Parameters
    ----------
    spec : ContainerSpec
    name : str
        Of the pod.
    nonce, client : str
        What tells it from others of its name, and who makes it.
    placed : Placed or None
        What it gets for its mounts.
    """
    placed = placed or Placed()
    placement = spec.placement or _NO_PLACEMENT
    labels, annotations = metadata(spec.labels)
    network = {NETWORK_LABEL: spec.network} if spec.network != Network.DEFAULT else {}
    volumes, mounts = _volumes(spec)
    body: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": bool(placement.service_account),
        "enableServiceLinks": False,
        "containers": [
            _main(spec, placement, [*placed.mounts, *mounts, *placement.more_mounts]),
            *placed.keepers,
        ],
    }
    several: dict[str, list[Any]] = {
        "initContainers": [*placed.init],
        "volumes": [*placed.volumes, *volumes, *placement.more_volumes],
        "tolerations": [*placement.tolerations],
        "imagePullSecrets": [{"name": secret} for secret in _secrets(placement, name)],
    }
    one: Json = {
        "runtimeClassName": spec.runtime,
        "nodeSelector": dict(placement.node_selector),
        "affinity": dict(placement.affinity),
        "serviceAccountName": placement.service_account,
        "priorityClassName": placement.priority_class,
    }
    body |= {key: value for key, value in (several | one).items() if value}
    if spec.sealed:
        body["securityContext"] = {"seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {**labels, **network, ID_LABEL: nonce, CLIENT_LABEL: client},
            "annotations": {**placement.annotations, **annotations, **placed.annotation()},
        },
        "spec": body,
    }


def _main(spec: ContainerSpec, placement: Placement, mounts: list[Any]) -> Json:
    main: Json = {
        "name": MAIN,
        "image": spec.image,
        # As on any engine: what a node has it runs. What is to be exactly one image is named by
        # its digest, and a tag that has moved is fetched by a pull.
        "imagePullPolicy": placement.pull_policy or "IfNotPresent",
        "terminationMessagePolicy": "File",
    }
    if spec.command is not None:
        main["command"] = [_literal(word) for word in spec.command]
    if spec.args is not None:
        main["args"] = [_literal(word) for word in spec.args]
    env = [{"name": name, "value": _literal(value)} for name, value in spec.env.items()]
    values: Json = {
        "env": [*env, *placement.more_env],
        "volumeMounts": mounts,
        "ports": [{"containerPort": port} for port in spec.ports],
        "workingDir": spec.directory,
        "resources": _resources(spec, placement),
        "securityContext": _security(spec),
    }
    return main | {key: value for key, value in values.items() if value}


def _literal(text: str) -> str:
    """Keep a cluster from putting variables in where nobody asked for that."""
    return text.replace("$", "$$") if "$(" in text or "$$" in text else text


def _resources(spec: ContainerSpec, placement: Placement) -> Json:
    limits = {**amounts(spec.limits), **placement.limits}
    if spec.gpus is not None:
        limits.setdefault(f"{spec.gpus.driver}.com/gpu", str(len(spec.gpus.devices)))
    requests = {**amounts(spec.requests), **placement.requests}
    both = {"limits": limits, "requests": requests}
    return {key: value for key, value in both.items() if value}


def amounts(limits: Limits) -> dict[str, str]:
    """Write limits as a cluster has them: thousandths of cores, and bytes."""
    written = {}
    if limits.cpus is not None:
        written["cpu"] = f"{max(math.ceil(limits.cpus * 1000), 1)}m"
    if limits.memory is not None:
        written["memory"] = str(limits.memory)
    return written


def _security(spec: ContainerSpec) -> Json:
    security: Json = {}
    if spec.user is not None:
        uid, _, gid = spec.user.partition(":")
        security["runAsUser"] = int(uid)
        if gid:
            security["runAsGroup"] = int(gid)
    capabilities: Json = {}
    if spec.sealed:
        security["allowPrivilegeEscalation"] = False
        capabilities["drop"] = ["ALL"]
    if spec.capabilities:
        capabilities["add"] = list(spec.capabilities)
    if capabilities:
        security["capabilities"] = capabilities
    return security


def _volumes(spec: ContainerSpec) -> tuple[list[Json], list[Json]]:
    """Write the volumes of a pod, each source once, and where its container has them."""
    names: dict[str, str] = {}
    volumes, mounts = [], []
    for volume in spec.volumes:
        source = json.dumps(volume.source, sort_keys=True)
        if source not in names:
            names[source] = f"lading-volume-{len(names)}"
            volumes.append({"name": names[source], **volume.source})
        mount: Json = {
            "name": names[source],
            "mountPath": volume.target,
            "readOnly": volume.read_only,
        }
        if volume.sub_path:
            mount["subPath"] = volume.sub_path
        mounts.append(mount)
    return volumes, mounts


# Credentials for the image.


def _secrets(placement: Placement, name: str) -> list[str]:
    own = [_secret_name(name)] if placement.registry is not None else []
    return [*placement.pull_secrets, *own]


def _secret_name(name: str) -> str:
    return f"{name}-registry"


def pull_secret(spec: ContainerSpec, *, name: str, nonce: str, client: str) -> Json | None:
    """Write the body of the secret that its image needs; None if it brings no credentials."""
    login = spec.placement.registry if spec.placement is not None else None
    if login is None:
        return None
    labels, annotations = metadata(spec.labels)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": _secret_name(name),
            "labels": {**labels, ID_LABEL: nonce, CLIENT_LABEL: client},
            "annotations": annotations,
        },
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": _encoded(json.dumps({"auths": _logins(login)}))},
    }


def _logins(login: RegistryLogin) -> Json:
    # Docker Hub is known by an address that nobody writes.
    url = login.url.removeprefix("https://").removeprefix("http://").rstrip("/")
    if url in ("", "docker.io", "index.docker.io", "registry-1.docker.io"):
        url = _DOCKER_HUB
    auth = _encoded(f"{login.username}:{login.password}")
    return {url: {"username": login.username, "password": login.password, "auth": auth}}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def owned_by(pod: Mapping[str, Any]) -> Json:
    """Write the patch by which a cluster removes something together with a pod."""
    owner = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": pod["metadata"]["name"],
        "uid": pod["metadata"]["uid"],
    }
    return {"metadata": {"ownerReferences": [owner]}}
