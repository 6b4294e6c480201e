"""What an engine says about itself and its host."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lading.engine.spec import EngineInfo
from lading.errors import EngineError, EngineTooOld

__all__ = ["Identity", "engine_info", "identify"]

Json = dict[str, Any]

MINIMUM_API = (1, 40)
"""Docker 19.03; GPUs are asked for as they are since then."""
MAXIMUM_API = (1, 43)
"""What we were written for: a newer engine is spoken to as if it were of that version, or as the
oldest that it still speaks (Docker 29.0: 1.44)."""
MINIMUM_PODMAN = (4, 0)

_GPU_VENDOR = "nvidia"
_GPU_HOOK = "nvidia-container-runtime-hook"
_CONFIG = "/etc/docker/daemon.json"
_CONFIG_FLAG, _PARENT_FLAG, _PARENT_KEY = b"--config-file", b"--cgroup-parent", b'"cgroup-parent"'
_CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which engine it is.

    Parameters
    ----------
    kind : str
        ``docker`` or ``podman``.
    version, api_version : str
        Its own, and of the interface as we speak it.
    kernel : str
        The release of the kernel that it runs on.
    """

    kind: str
    version: str
    api_version: str
    kernel: str

    @property
    def prefix(self) -> str:
        """What paths begin with."""
        return f"/v{self.api_version}"


def identify(address: str, found: Any) -> Identity:
    """Read the reply to ``GET /version``.

    Raises
    ------
    EngineTooOld
        With the versions wanted and found.
    EngineError
        This is no engine's reply.
    """
    if not isinstance(found, dict) or not isinstance(found.get("ApiVersion"), str):
        raise EngineError(
            f"what answers at {address} is no container engine: it tells no ApiVersion",
            fix="name the engine's address with --engine or DOCKER_HOST",
        )
    parts = {part.get("Name"): part for part in found.get("Components") or ()}
    podman = parts.get("Podman Engine")
    version = str(found.get("Version") or "unknown")
    kind = "podman" if podman else "docker"
    api = _numbers(found["ApiVersion"])
    if api < MINIMUM_API:
        raise EngineTooOld(
            f"the engine at {address} is too old: {kind} {version} speaks version "
            f"{_dotted(api)} of its interface, {_dotted(MINIMUM_API)} is needed",
            fix="install Docker 19.03 or newer, or Podman 4.0 or newer",
        )
    if podman and _numbers(version) < MINIMUM_PODMAN:
        raise EngineTooOld(
            f"the engine at {address} is too old: Podman {version}, "
            f"{_dotted(MINIMUM_PODMAN)} is needed",
            fix="install a newer one",
        )
    spoken = max(min(api, MAXIMUM_API), _numbers(str(found.get("MinAPIVersion") or "0")))
    return Identity(kind, version, _dotted(spoken), str(found.get("KernelVersion") or ""))


def engine_info(
    identity: Identity, address: str, found: Json, *, local: bool, peer: int
) -> Callable[[], EngineInfo]:
    """Read the reply to ``GET /info``; what is returned looks at files, too.

    Parameters
    ----------
    local : bool
        Whether it seems to be on this machine.
    peer : int
        The process behind its Unix socket, 0 where unknown.
    """

    def read() -> EngineInfo:
        here = local and identity.kernel in ("", os.uname().release)
        podman = identity.kind == "podman"
        default = str(found.get("DefaultRuntime") or "")
        # Podman lists whatever its configuration could name, and gives only its default.
        runtimes = (default,) if podman else tuple(sorted(found.get("Runtimes") or ()))
        options = [str(option) for option in found.get("SecurityOptions") or ()]
        cgroup = str(found.get("CgroupVersion") or "")
        return EngineInfo(
            kind=identity.kind,
            address=address,
            version=identity.version,
            api_version=identity.api_version,
            runtimes=runtimes,
            default_runtime=default,
            cgroup_version=int(cgroup) if cgroup in ("1", "2") else _cgroup_version(here=here),
            gpu_driver=_gpu_driver(runtimes, podman=podman, here=here),
            cpus=int(found.get("NCPU") or 0),
            memory=int(found.get("MemTotal") or 0),
            # Podman's security options leave it out (seen with 4.3), and it has a word of its own.
            rootless=bool(found.get("Rootless")) or any("name=rootless" in o for o in options),
            local=here,
            warnings=tuple(found.get("Warnings") or ()),
            cgroup_driver=_cgroup_driver(found, peer),
        )

    return read


def _gpu_driver(runtimes: tuple[str, ...], *, podman: bool, here: bool) -> bool:
    if not podman and _GPU_VENDOR in runtimes:
        return True
    if not here:
        return False
    if podman:
        return any(
            path.suffix in (".json", ".yaml") and _GPU_VENDOR in path.read_text(errors="replace")
            for folder in _CDI_FOLDERS
            for path in (Path(folder).iterdir() if Path(folder).is_dir() else ())
        )
    return shutil.which(_GPU_HOOK) is not None


def _cgroup_version(*, here: bool) -> int:
    if not here:
        return 0
    return 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1


def _cgroup_driver(found: Json, peer: int) -> str:
    """Say who makes the groups, where nothing speaks against our choosing them."""
    try:
        ours, theirs = (Path(f"/proc/{who}/ns/cgroup").stat() for who in ("self", peer))
        words = Path(f"/proc/{peer}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    if ours.st_ino != theirs.st_ino or _operator_chose(words):
        return ""
    return str(found.get("CgroupDriver") or "")


def _operator_chose(words: list[bytes]) -> bool:
    """Whether a Docker was told under which group all containers are, where they may be bounded.

    Parameters
    ----------
    words : list of bytes
        Its command line.
    """
    if any(word.startswith(_PARENT_FLAG) for word in words):
        return True
    config = _CONFIG
    for word, following in zip(words, (*words[1:], b""), strict=True):
        if word.startswith(_CONFIG_FLAG):
            config = os.fsdecode(word.removeprefix(_CONFIG_FLAG).lstrip(b"=") or following)
    try:
        return _PARENT_KEY in Path(config).read_bytes()
    except OSError:
        return False


def _numbers(text: str) -> tuple[int, int]:
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0]
    return (int(major) if major.isdigit() else 0, int(minor) if minor.isdigit() else 0)


def _dotted(numbers: tuple[int, int]) -> str:
    return f"{numbers[0]}.{numbers[1]}"
