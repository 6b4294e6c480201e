"""What goes into an engine and what comes out of it: frozen values, in our words, not an engine's.

Sizes are bytes, processor shares are cores, times are aware datetimes in UTC.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from lading.engine.engine_info import EngineInfo
from lading.engine.placement import Placement, RegistryLogin, Volume, empty
from lading.errors import InvalidLimit
from lading.units import format_bytes

__all__ = [
    "ContainerInfo",
    "ContainerSpec",
    "Device",
    "EngineInfo",
    "Exit",
    "Gpu",
    "ImageInfo",
    "Limits",
    "LogChunk",
    "Mount",
    "Network",
    "NetworkInfo",
    "NetworkSpec",
    "Placement",
    "PullStatus",
    "RegistryLogin",
    "State",
    "Stats",
    "Volume",
]


_SHARES_MIN, _SHARES_MAX = 2, 1 << 18  # the kernel's


class State(enum.StrEnum):
    """Where a container is in its life."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


class Network(enum.StrEnum):
    """The networks that every engine has; any other is named by a plain string."""

    NONE = "none"
    """Only a loopback interface of its own."""
    DEFAULT = "default"
    """What the engine gives when nobody asks: usually a way out."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or directory of the host that appears in the container.

    Parameters
    ----------
    source : str
        Absolute path on the engine's host; must exist.
    target : str
        Absolute path in the container.
    read_only : bool
        Whether the container may only read it. Other file systems that are mounted below `source`
        are not in it then, as engines can't keep those from being written to.
    returns: bool
        Where it is a copy (:attr:`EngineInfo.shared`) that may be written to: whether that comes
        back by itself when the container has ended. Otherwise whoever wants it has
        :meth:`~lading.engine.base.Container.get` bring it, which works until it is removed.
    """

    source: str
    target: str
    read_only: bool = True
    returns: bool = True


@dataclass(frozen=True, slots=True)
class Device:
    """A device node of the host that appears in the container (``path`` there and here)."""

    source: str
    target: str
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True)
class Gpu:
    """Exactly these GPUs, by their UUID or index, through the vendor's driver."""

    devices: tuple[str, ...]
    driver: str = "nvidia"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use; None means as much as the host has.

    Parameters
    ----------
    cpus : float or None
        Cores, may be fractional.
    memory : int or None
        Bytes, swap included: what does not fit is killed, not swapped.
    pids : int or None
        Processes and threads.

    Raises
    ------
    InvalidLimit
        One is not above zero: engines take that for none at all.
    """

    cpus: float | None = None
    memory: int | None = None
    pids: int | None = None

    def __post_init__(self) -> None:
        for name in ("cpus", "memory", "pids"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidLimit(
                    name, f"must be above 0, not {value:g}", fix="leave it out for no limit"
                )


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """Everything that is decided before a container exists.

    Parameters
    ----------
    image : str
        Reference or id of an image that the engine has.
    name : str or None
        Unique on the engine; None lets the engine choose.
    command : tuple of str or None
        Replaces the image's entrypoint and its command (as Kubernetes' ``command`` does).
    args : tuple of str or None
        Replaces the image's command only (as Kubernetes' ``args`` does).
    env, labels : mapping
        Added to the image's own.
    mounts, devices, gpus
        What of the host it sees.
    limits : Limits
        What it may use.
    requests : Limits
        What it should get when others want as much, as Kubernetes' requests: a share of processor
        time in this proportion, and memory that is taken from it last. It may use more, and what
        it does not use is free for others. Processes can't be requested.
    network : Network or str
        Where it is attached.
    ports : tuple of int
        TCP ports that :meth:`~lading.engine.base.Container.connect` must be able to reach.
    runtime : str or None
        OCI runtime by the name the engine has it under; None is the engine's default.
    user : str or None
        ``uid[:gid]`` or a name in the image; None is the image's own.
    directory : str or None
        Absolute path in which its first process starts; None is the image's own.
    sealed : bool
        Strangers' code: all capabilities dropped, no new privileges.
    capabilities : tuple of str
        Those that it has all the same, as in capabilities(7) without ``CAP_``: ``"CHOWN"``. A root
        process without any can't write to a directory that belongs to another user.
    group : str or None
        Control group under which the engine puts the container's own, an absolute path such as
        ``/lading/1``; for engines whose :attr:`EngineInfo.cgroup_driver` is ``cgroupfs``. Whoever
        names one removes it, as no engine does. None leaves it to the engine.
    volumes : tuple of Volume
        What of a cluster it sees; other engines raise NotSupported.
    placement : Placement or None
        Where it runs on a cluster.

    Raises
    ------
    InvalidLimit
        It requests more than its limits let it have, or processes.
    """

    image: str
    name: str | None = None
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=empty)
    labels: Mapping[str, str] = field(default_factory=empty)
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    gpus: Gpu | None = None
    limits: Limits = field(default_factory=Limits)
    requests: Limits = field(default_factory=Limits)
    network: Network | str = Network.DEFAULT
    ports: tuple[int, ...] = ()
    runtime: str | None = None
    user: str | None = None
    directory: str | None = None
    sealed: bool = False
    capabilities: tuple[str, ...] = ()
    group: str | None = None
    volumes: tuple[Volume, ...] = ()
    placement: Placement | None = None

    def __post_init__(self) -> None:
        cpus, memory = self.requests.cpus, self.requests.memory
        fix = "raise the limit, or request less"
        if cpus is not None and self.limits.cpus is not None and cpus > self.limits.cpus:
            reason = f"{cpus:g} cores are more than the limit of {self.limits.cpus:g}"
            raise InvalidLimit("requests.cpus", reason, fix=fix)
        if memory is not None and self.limits.memory is not None and memory > self.limits.memory:
            limit = format_bytes(self.limits.memory)
            reason = f"{format_bytes(memory)} are more than the limit of {limit}"
            raise InvalidLimit("requests.memory", reason, fix=fix)
        if self.requests.pids is not None:
            raise InvalidLimit("requests.pids", "processes can't be requested", fix="limit them")

    @property
    def cpu_shares(self) -> int | None:
        """The request for cores in the kernel's unit, 1024 a core; None if there is none."""
        if self.requests.cpus is None:
            return None
        return min(max(round(self.requests.cpus * 1024), _SHARES_MIN), _SHARES_MAX)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended.

    Parameters
    ----------
    code : int
        Exit code; 128 + n where signal n ended it.
    out_of_memory : bool
        Whether the kernel killed something in it at its memory limit.
    started, finished : datetime
        In UTC.
    error : str
        The engine's own words where it could not even start it.
    """

    code: int
    out_of_memory: bool
    started: datetime
    finished: datetime
    error: str = ""

    @property
    def seconds(self) -> float:
        """How long it ran."""
        return (self.finished - self.started).total_seconds()


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """A container as the engine sees it now.

    Parameters
    ----------
    pid : int or None
        Process id of its first process on the engine's host; None when it does not run.
    exit : Exit or None
        Set once it has ended.
    """

    id: str
    name: str
    image: str
    image_id: str
    state: State
    labels: Mapping[str, str]
    created: datetime
    pid: int | None = None
    exit: Exit | None = None
    limits: Limits = field(default_factory=Limits)
    networks: Mapping[str, str] = field(default_factory=empty)
    """Name of each network it is attached to, and its address there (may be empty)."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image that the engine has.

    Parameters
    ----------
    id : str
        ``sha256:...`` of its configuration: the same bytes have the same id everywhere.
    digests : tuple of str
        ``name@sha256:...`` under which registries know it; empty if it was only built here.
    size : int
        Bytes on disk.
    directory : str
        Where its programs start, absolute; empty if it does not say.
    reference : str
        Where nodes of a cluster fetch it; empty where the engine keeps it by its id.
    """

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    created: datetime | None
    labels: Mapping[str, str]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    env: Mapping[str, str]
    user: str
    exposed: tuple[int, ...]
    architecture: str
    directory: str = ""
    reference: str = ""

    @property
    def runs_as(self) -> str:
        """What a container of exactly this image is made from."""
        return self.reference or self.id


@dataclass(frozen=True, slots=True)
class PullStatus:
    """How far a pull or build is.

    Parameters
    ----------
    text : str
        The engine's words: ``Downloading``, ``Step 2/5 : RUN ...``.
    layer : str
        Which part; empty for the whole.
    current, total : int
        Bytes of this part; 0 where unknown.
    """

    text: str
    layer: str = ""
    current: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Some bytes that a container wrote, as they came: a chunk need not be a line."""

    stream: str
    """``stdout`` or ``stderr``."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Stats:
    """What a running container uses, as the engine itself counts it.

    Parameters
    ----------
    memory : int
        Bytes now.
    memory_peak : int or None
        Bytes at the most so far; None where this engine does not count it.
    cpu_seconds : float
        Processor time so far.
    """

    memory: int
    memory_peak: int | None
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network to be made.

    Parameters
    ----------
    internal : bool
        No way out of it: not to other networks, and not to the engine's host either, which can
        still connect to what is on it. Where an engine leaves the way to the host open and we
        can't close it, a warning says so.
    isolated : bool
        Its containers can't reach each other.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=empty)
    internal: bool = False
    isolated: bool = False


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """A network that the engine has; ``containers`` are the ids of those attached."""

    id: str
    name: str
    labels: Mapping[str, str]
    internal: bool
    containers: tuple[str, ...] = ()
