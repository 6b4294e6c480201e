"""Option sets: frozen, each knob spelled once, and the only reader of the environment.

A knob is a dataclass field made by :func:`knob`: its name gives the key in the configuration file
(``start_timeout``), the flag (``--start-timeout``) and the variable (``LADING_START_TIMEOUT``); its
help text is the one in ``--help`` and in the reference. Later beats earlier: default, file,
variable, flag.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lading.errors import ConfigError

__all__ = [
    "EngineOptions",
    "engine_options",
    "environment",
    "from_environment",
    "knob",
    "leave_out_plugins",
    "load_env_file",
    "scratch_directory",
    "state_directory",
    "variable",
]

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=[ \t]*(.*?)\s*")
_QUOTED = re.compile(r"""'([^']*)'\s*(?:#.*)?|"((?:[^"\\]|\\.)*)"\s*(?:#.*)?""")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


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


def leave_out_plugins() -> None:
    """Keep pydantic from looking for plugins in everything that is installed.

    For programs of our own, which have none: that takes longer than building our models. Who
    imports Lading keeps theirs. See https://docs.pydantic.dev/latest/concepts/plugins/.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


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


def scratch_directory(env: Mapping[str, str] | None = None) -> Path:
    """Where directories for a while are made: ``$TMPDIR``, or on a disk; /tmp may be memory."""
    env = environment() if env is None else env
    return Path(env.get("TMPDIR") or "/var/tmp")  # noqa: S108  # a new one is made in it


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Which container engine, and how long it may take to answer."""

    engine: str = knob(
        "",
        "Container engine: docker, podman, kubernetes (kubernetes://CONTEXT/NAMESPACE for another "
        "context than the current one), or an address (unix:///path, tcp://host:port). "
        "Default: DOCKER_HOST, then the Docker context, then the usual sockets.",
        metavar="ENGINE",
    )
    engine_timeout: float = knob(
        60.0, "Seconds that the engine may take to answer one call.", metavar="SECONDS"
    )
    cluster_files: str = knob(
        "copy",
        "How a cluster's containers get at directories of this machine: copy (in before they run, "
        "back afterwards), node (they are on every node under the same path), or "
        "LOCAL_PATH=VOLUME, several with commas, where VOLUME is pvc:CLAIM[/PATH] or node:/PATH.",
        metavar="HOW",
    )
    cluster_helper: str = knob(
        "busybox:1.37",
        "Image with a static busybox that copies files on a cluster, whose nodes must be able to "
        "pull it.",
        metavar="IMAGE",
    )
    cluster_patience: float = knob(
        300.0,
        "Seconds for which a cluster may find no node for a container before that is an error; "
        "for an image that can't be pulled it is a minute at most.",
        metavar="SECONDS",
    )


def engine_options(given: Mapping[str, Any] | None = None) -> EngineOptions:
    """Put the engine's options together: default, then variable, then what was given.

    Raises
    ------
    ConfigError
        A variable holds no number where there must be one.
    """
    values: dict[str, Any] = {**from_environment(EngineOptions), **(given or {})}
    for item in fields(EngineOptions):
        if item.name in values:
            value = values[item.name]
            seconds = isinstance(item.default, float)
            values[item.name] = _seconds(item.name, value) if seconds else str(value)
    return EngineOptions(**values)


def _seconds(name: str, text: str | float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ConfigError(variable(name), f"{text!r} is not a number of seconds") from None
    if not 0 < seconds < float("inf"):
        raise ConfigError(name, f"must be seconds, more than 0, not {text}")
    return seconds


def load_env_file(path: Path = Path(".env")) -> dict[str, str]:
    r"""Set variables of the environment from a file, where they aren't set already.

    Lines of ``NAME=value``, also after ``export``: in single quotes as it stands, in double quotes
    with ``\n`` and the like, otherwise up to a comment (a ``#`` after a space). ``${NAME}`` and
    ``${NAME:-default}`` stand for other variables, except in single quotes.

    Parameters
    ----------
    path : Path
        The file; nothing happens where there is none.

    Returns
    -------
    dict of str to str
        What was set.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return {}
    added: dict[str, str] = {}
    for line in text.splitlines():
        if match := _ASSIGNMENT.fullmatch(line):
            name, value = match[1], _value(match[2])
            if name not in os.environ:
                added[name] = os.environ[name] = value
    return added


def _value(text: str) -> str:
    """Read what stands behind an equals sign in a file of variables."""
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None and quoted[1] is not None:
        return quoted[1]
    if quoted is not None:
        text = re.sub(r"\\(.)", lambda match: _ESCAPED.get(match[1], match[1]), quoted[2])
    else:
        text = re.sub(r"(^|\s+)#.*", "", text)
    return _REFERENCE.sub(lambda match: os.environ.get(match[1]) or match[2] or "", text)
