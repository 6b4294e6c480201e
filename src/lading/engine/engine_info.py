"""What an engine is and has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

__all__ = ["EngineInfo"]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is and has.

    Parameters
    ----------
    kind : str
        ``docker``, ``podman``, ``kubernetes``, ``fake``.
    address : str
        Where it answers.
    version, api_version : str
        Its own, and of the interface it speaks.
    runtimes : tuple of str
        OCI runtimes it knows by name.
    default_runtime : str
        The one it uses unless told otherwise.
    cgroup_version : int
        1 or 2; 0 where unknown.
    cgroup_driver : str
        Who makes the containers' control groups: the engine itself by their paths (``cgroupfs``),
        or ``systemd``. Empty where unknown, where its paths are not those that we see, and where
        its operator has chosen the group of all containers.
    gpu_driver : bool
        Whether it can hand out GPUs.
    cpus : int
        Cores of its host, or that a cluster can give to all containers together; 0 where unknown.
    memory : int
        Bytes, likewise.
    rootless : bool
        Whether it runs without root.
    local : bool
        Whether its containers are processes of the kernel we run on, and we may look into them.
    warnings : tuple of str
        What the engine itself warns of.
    shared : tuple of str
        Directories of this machine of which a mount, or one below, is the same files and no copy.
    helper : str
        Image with a shell, ``find`` and ``stat``, for containers that look into a cluster's
        volumes; empty where there are none.
    """

    kind: str
    address: str
    version: str
    api_version: str
    runtimes: tuple[str, ...]
    default_runtime: str
    cgroup_version: int
    gpu_driver: bool
    cpus: int
    memory: int
    rootless: bool
    local: bool
    warnings: tuple[str, ...] = ()
    cgroup_driver: str = ""
    shared: tuple[str, ...] = ("/",)
    helper: str = ""

    @property
    def cluster(self) -> bool:
        """Whether it has many machines, of which ours need not be one."""
        return self.kind == "kubernetes"

    def shares(self, path: str) -> bool:
        """Whether a mount of this absolute path is the same files, and no copy of them."""
        parts = PurePosixPath(path)
        return any(parts.is_relative_to(directory) for directory in self.shared)
