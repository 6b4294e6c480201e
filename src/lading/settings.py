"""Option sets: frozen, each knob spelled once, and the only reader of the environment.

A knob is a dataclass field made by :func:`knob`: its name gives the key in the configuration file
(``start_timeout``), the flag (``--start-timeout``) and the variable (``LADING_START_TIMEOUT``); its
help text is the one in ``--help`` and in the reference. Later beats earlier: default, file,
variable, flag.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

__all__ = [
    "EngineOptions",
    "environment",
    "from_environment",
    "knob",
    "state_directory",
    "variable",
]


def knob(default: Any, help_text: str, *, flag: str = "", metavar: str = "") -> Any:
    """Make a dataclass field that is an option.

    Parameters
    ----------
    default
        Its value unless somebody says otherwise.
    help_text : str
        What it does, with its unit.
    flag : str
        Its flag, where that isn't its name with dashes.
    metavar : str
        What stands for its value in the help.
    """
    return field(default=default, metadata={"help": help_text, "flag": flag, "metavar": metavar})


def environment() -> Mapping[str, str]:
    """Return the process's environment: nobody else looks at it."""
    return os.environ


def variable(name: str) -> str:
    """Name the environment variable of a knob: ``LADING_START_TIMEOUT``."""
    return f"LADING_{name.upper()}"


def from_environment(options: type, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Find which fields of an option set the environment sets, as text.

    Parameters
    ----------
    options : type
        A dataclass whose fields are knobs.
    env : mapping
        The environment; by default the process's.

    Returns
    -------
    dict of str to str
        Field name to text; only those set and not empty.
    """
    env = environment() if env is None else env
    named = {item.name: variable(item.name) for item in fields(options)}
    return {name: env[key] for name, key in named.items() if env.get(key)}


def state_directory(env: Mapping[str, str] | None = None) -> Path:
    """Where records are kept: ``$LADING_STATE``, or ``lading`` under the XDG state directory.

    XDG Base Directory Specification 0.8: ``$XDG_STATE_HOME``, default ``~/.local/state``.
    """
    env = environment() if env is None else env
    if chosen := env.get("LADING_STATE"):
        return Path(chosen)
    home = env.get("XDG_STATE_HOME") or str(Path(env.get("HOME", "/root")) / ".local/state")
    return Path(home) / "lading"


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Which container engine, and how long it may take to answer."""

    engine: str = knob(
        "",
        "Container engine: docker, podman, or an address (unix:///path, tcp://host:port). "
        "Default: DOCKER_HOST, then the Docker context, then the usual sockets.",
        metavar="ENGINE",
    )
    engine_timeout: float = knob(
        60.0, "Seconds that the engine may take to answer one call.", metavar="SECONDS"
    )
