"""Finding the container engine: what was asked for, or else what answers.

Sources: https://docs.docker.com/reference/cli/docker/ (environment variables),
https://docs.docker.com/engine/manage-resources/contexts/, podman(1) (``CONTAINER_HOST``).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lading.engine.base import Engine
from lading.engine.docker import DockerEngine
from lading.engine.docker_address import Tls
from lading.engine.registry_auth import docker_config
from lading.errors import ConfigError, EngineUnreachable
from lading.settings import EngineOptions, environment

__all__ = ["Candidate", "candidates", "open_engine", "open_first"]

_DEFAULT_CONTEXT = "default"
_CLUSTER = "kubernetes://"
_SCHEMES = ("unix://", "tcp://", "http://", "https://", "ssh://", "npipe://", _CLUSTER)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where an engine may answer.

    Parameters
    ----------
    address : str
        ``unix:///path``, ``tcp://host:port``, ``kubernetes://context/namespace`` (both may be left
        out) or another scheme.
    source : str
        Who says so, for messages.
    explicit : bool
        Whether it was asked for: then it has to answer.
    tls : Tls or None
        How to speak TLS with it.
    """

    address: str
    source: str
    explicit: bool = False
    tls: Tls | None = None


def candidates(options: EngineOptions, env: Mapping[str, str] | None = None) -> list[Candidate]:
    """List where to look, best first; if one was asked for, it is the only one.

    Parameters
    ----------
    options : EngineOptions
    env : mapping or None
        The environment; by default the process's.

    Raises
    ------
    ConfigError
        The engine or the context that was asked for has no meaning.
    """
    env = environment() if env is None else env
    chosen = options.engine
    if chosen in ("kubernetes", "k8s"):  # only where it was asked for, whatever else there is
        return [Candidate(_CLUSTER, f"--engine {chosen}", True)]
    if chosen not in ("", "docker", "podman"):
        if not chosen.startswith(_SCHEMES):
            raise ConfigError(
                "engine",
                f"{chosen!r} is no engine",
                fix="write docker, podman, kubernetes, kubernetes://CONTEXT/NAMESPACE, "
                "unix:///path/of/socket or tcp://host:port",
            )
        tls = None if chosen.startswith(_CLUSTER) else _tls(chosen, env)
        return [Candidate(chosen, "--engine", True, tls)]
    found: Candidate | None = None
    if chosen in ("", "docker"):
        found = _docker_host(env) or _docker_context(env)
    if chosen in ("", "podman") and found is None and (host := env.get("CONTAINER_HOST")):
        found = Candidate(host, "CONTAINER_HOST", True)
    if found is not None:
        return [found]
    usual = [] if chosen == "podman" else _docker_sockets(env)
    usual += [] if chosen == "docker" else _podman_sockets(env)
    return [Candidate(f"unix://{path}", "usual socket") for path in dict.fromkeys(usual)]


async def open_engine(options: EngineOptions, env: Mapping[str, str] | None = None) -> Engine:
    """Find an engine, see that it is new enough, and connect to it.

    Parameters
    ----------
    options : EngineOptions
    env : mapping or None
        The environment; by default the process's.

    Returns
    -------
    Engine
        The caller closes it.

    Raises
    ------
    ConfigError
        What was asked for has no meaning.
    EngineUnreachable
        What was asked for does not answer, or nothing usual does.
    EngineTooOld
        It answers, but is too old.
    NotSupported
        It is at an address of a kind that we can't use.
    """
    env = environment() if env is None else env
    return await open_first(await asyncio.to_thread(candidates, options, env), options, env)


async def open_first(
    places: list[Candidate], options: EngineOptions, env: Mapping[str, str]
) -> Engine:
    """Connect to the first that answers; see :func:`open_engine`."""
    tried: list[tuple[Candidate, EngineUnreachable]] = []
    for candidate in places:
        try:
            if candidate.address.startswith(_CLUSTER):
                return await _cluster(candidate.address, options, env)
            return await DockerEngine.open(
                candidate.address, timeout=options.engine_timeout, tls=candidate.tls, env=env
            )
        except EngineUnreachable as error:
            if candidate.explicit:
                error.message = f"{error.message} (address from {candidate.source})"
                raise
            tried.append((candidate, error))
    raise _none_found(options.engine, tried)


async def _cluster(address: str, options: EngineOptions, env: Mapping[str, str]) -> Engine:
    from lading.engine.kubernetes.engine import KubernetesEngine  # noqa: PLC0415  # few want one

    return await KubernetesEngine.open(address, options=options, env=env)


def _none_found(wanted: str, tried: list[tuple[Candidate, EngineUnreachable]]) -> EngineUnreachable:
    for _, error in tried:
        if isinstance(error.__cause__, PermissionError):
            return error
    places = ", ".join(
        candidate.address
        if isinstance(error.__cause__, FileNotFoundError)
        else f"{candidate.address} ({error.__cause__ or error.message})"
        for candidate, error in tried
    )
    kind = wanted or "container"
    return EngineUnreachable(
        f"no {kind} engine answers; tried {places}",
        fix="start one (sudo systemctl start docker, or systemctl --user start podman.socket), "
        "install Docker or Podman, or name one with --engine or DOCKER_HOST",
    )


def _docker_host(env: Mapping[str, str]) -> Candidate | None:
    if host := env.get("DOCKER_HOST"):
        return Candidate(host, "DOCKER_HOST", True, _tls(host, env))
    return None


def _tls(address: str, env: Mapping[str, str]) -> Tls | None:
    if address.startswith("unix://"):
        return None
    verify = bool(env.get("DOCKER_TLS_VERIFY"))
    if not verify and not env.get("DOCKER_CERT_PATH") and not address.startswith("https://"):
        return None
    folder = Path(env.get("DOCKER_CERT_PATH") or docker_config(env))
    return Tls(folder, verify=verify or address.startswith("https://"))


def _docker_context(env: Mapping[str, str]) -> Candidate | None:
    folder = docker_config(env)
    name, source = env.get("DOCKER_CONTEXT", ""), "DOCKER_CONTEXT"
    if not name:
        path = folder / "config.json"
        name = str(_json(path).get("currentContext") or "")
        source = f"currentContext in {path}"
    if name in ("", _DEFAULT_CONTEXT):
        return None
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts/meta" / key / "meta.json"
    endpoints = _json(meta).get("Endpoints")
    endpoint = endpoints.get("docker") if isinstance(endpoints, dict) else None
    if not isinstance(endpoint, dict) or not endpoint.get("Host"):
        raise ConfigError(
            source,
            f"there is no Docker context {name!r}",
            fix="see docker context ls, or unset it",
        )
    files = folder / "contexts/tls" / key / "docker"
    tls = Tls(files, verify=not endpoint.get("SkipTLSVerify")) if files.is_dir() else None
    return Candidate(str(endpoint["Host"]), f"Docker context {name!r} ({source})", True, tls)


def _docker_sockets(env: Mapping[str, str]) -> list[str]:
    home = env.get("HOME") or "/root"
    runtime = env.get("XDG_RUNTIME_DIR")
    return [
        "/var/run/docker.sock",
        *([f"{runtime}/docker.sock"] if runtime else []),
        f"{home}/.docker/run/docker.sock",
        f"{home}/.docker/desktop/docker.sock",
        f"{home}/.colima/default/docker.sock",
        f"{home}/.config/colima/default/docker.sock",
        f"{home}/.rd/docker.sock",
    ]


def _podman_sockets(env: Mapping[str, str]) -> list[str]:
    runtime = env.get("XDG_RUNTIME_DIR")
    return [
        *([f"{runtime}/podman/podman.sock"] if runtime else []),
        "/run/podman/podman.sock",
    ]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except ValueError as error:
        raise ConfigError(str(path), f"it is not JSON: {error}", fix="repair it") from error
    return found if isinstance(found, dict) else {}
