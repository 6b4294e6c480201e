"""What only a cluster knows: volumes of its own, and where and as whom a container runs there.

The values are the cluster's own JSON where it has a form for them, as people have them in their
manifests already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from lading.errors import NotSupported

__all__ = ["Placement", "RegistryLogin", "Volume", "empty", "refuse_volumes"]


def empty() -> Mapping[str, Any]:
    """A default that nobody can change (Python 3.11 takes no mapping proxy as one)."""
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume of a cluster that appears in the container.

    Parameters
    ----------
    source : mapping
        What a volume of a pod says besides its name: ``{"persistentVolumeClaim": {"claimName":
        "data"}}``, ``{"hostPath": {"path": "/data"}}`` or any other.
    target : str
        Absolute path in the container.
    read_only : bool
        Whether the container may only read it.
    sub_path : str
        What of the volume, a relative path; empty: all.
    """

    source: Mapping[str, Any]
    target: str
    read_only: bool = True
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class RegistryLogin:
    """Credentials for one registry, for the pull of this container's image alone."""

    url: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and as whom a container runs on a cluster; engines of one machine ignore it.

    Parameters
    ----------
    namespace : str
        Empty: the engine's.
    annotations, node_selector : mapping of str to str
        As a pod's.
    tolerations : tuple of mapping
        As a pod's.
    affinity : mapping
        As a pod's; empty: none.
    service_account : str
        Whose token is mounted; empty: no token is.
    priority_class : str
        Empty: the namespace's usual one.
    pull_secrets : tuple of str
        Names of secrets of the namespace that hold credentials of registries.
    registry : RegistryLogin or None
        Put into a secret that goes with the container.
    pull_policy : str
        ``Always``, ``IfNotPresent`` or ``Never``; empty: the cluster's rule.
    more_env, more_volumes, more_mounts : tuple of mapping
        Entries of the container's ``env``, the pod's ``volumes`` and the container's
        ``volumeMounts``, word for word.
    limits, requests : mapping of str to str
        Of resources that :class:`~lading.engine.spec.Limits` has no name for: ``nvidia.com/gpu``,
        ``ephemeral-storage``.
    """

    namespace: str = ""
    annotations: Mapping[str, str] = field(default_factory=empty)
    node_selector: Mapping[str, str] = field(default_factory=empty)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    affinity: Mapping[str, Any] = field(default_factory=empty)
    service_account: str = ""
    priority_class: str = ""
    pull_secrets: tuple[str, ...] = ()
    registry: RegistryLogin | None = None
    pull_policy: str = ""
    more_env: tuple[Mapping[str, Any], ...] = ()
    more_volumes: tuple[Mapping[str, Any], ...] = ()
    more_mounts: tuple[Mapping[str, Any], ...] = ()
    limits: Mapping[str, str] = field(default_factory=empty)
    requests: Mapping[str, str] = field(default_factory=empty)


def refuse_volumes(volumes: tuple[Volume, ...], engine: str) -> None:
    """Refuse what an engine of one machine does not have.

    Raises
    ------
    NotSupported
        There is a volume.
    """
    if volumes:
        raise NotSupported(
            f"{engine} has no volumes of a cluster, and one is to appear at {volumes[0].target}",
            fix="mount a directory of this machine there, or run it with --engine kubernetes",
        )
