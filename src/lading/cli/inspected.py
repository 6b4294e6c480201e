"""What ``lading inspect`` knows of a run, in words for people."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from lading.units import format_bytes, format_cores, format_seconds

__all__ = ["for_people"]

_BYTES = frozenset(
    (
        "memory_limit",
        "memory",
        "memory_peak",
        "memory_request",
        "declared_memory",
        "input_bytes",
        "output_bytes",
    )
)
_CORES = frozenset(("cpus", "cpu_request"))


def for_people(known: Mapping[str, Any]) -> dict[str, Any]:
    """Write amounts with their units, and a line for each channel.

    Parameters
    ----------
    known : mapping
        As it is told to programs.
    """
    shown: dict[str, Any] = {}
    for name, value in known.items():
        if value is None:
            continue
        if name == "channels":
            shown |= {f"{item['direction']} {item['name']}": _channel(item) for item in value}
        elif name == "requirements":
            shown["scale_rules"] = "; ".join(map(_requirement, value))
        elif name == "measurement":
            from lading.cli.measurements import in_short  # noqa: PLC0415

            shown |= in_short(value)
        elif name == "command":
            shown[name] = shlex.join(value)
        elif name in _BYTES:
            shown[name] = format_bytes(value)
        elif name in _CORES:
            shown[name] = format_cores(value)
        elif name == "cpu_seconds":
            shown[name] = format_seconds(value)
        elif isinstance(value, bool):
            shown[name] = "yes" if value else "no"
        elif isinstance(value, list):
            shown[name] = ", ".join(map(str, value))
        else:
            shown[name] = value
    return shown


def _channel(item: Mapping[str, Any]) -> str:
    if item["files"] is None:  # a volume of a cluster: not seen from here
        return f"{item['path']}, at {item['mounted_path']}"
    files = "1 file" if item["files"] == 1 else f"{item['files']} files"
    return f"{files}, {format_bytes(item['bytes'])} in {item['path']}, at {item['mounted_path']}"


def _requirement(item: Mapping[str, Any]) -> str:
    return (
        f"{format_bytes(item['size'])} in {item['channel']} take {format_bytes(item['memory'])} "
        f"({item['type']})"
    )
