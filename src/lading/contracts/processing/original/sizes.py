"""Sizes of channels, and the memory that scale rules ask for."""

from __future__ import annotations

import re
from pathlib import Path

from lading.contracts.processing.scaling import MARGIN, requirement, target_size
from lading.contracts.processing.task import IOVolume, TaskInstance
from lading.contracts.processing.template import Resources, ScaleRuleType
from lading.contracts.processing.trees import files, matching
from lading.errors import InputError
from lading.units import format_quantity, quantity

__all__ = [
    "calculate_bytes",
    "compute_memory_requirement",
    "compute_memory_resources",
    "compute_target_size",
    "human_readable_size",
    "max_file_size",
    "sum_of_file_sizes",
]

_UNITS = ("B", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_SIZE = re.compile(rf"([-+]?\d+(?:\.\d+)?)({'|'.join(_UNITS)})")


def compute_target_size(io: IOVolume) -> int:
    """Count the bytes of a channel that its scale rule looks at; 0 where there is nothing.

    Raises
    ------
    AssertionError
        It has no scale rule.
    InputError
        It is no directory of this machine.
    """
    assert io.scale_rule is not None, f"the channel {io.name} has no scale rule"
    return target_size(_directory(io), io.scale_rule)


def sum_of_file_sizes(target_path: Path, target_glob: str = "*", target_regex: str = ".*") -> int:
    """Add up the bytes of the files below a directory that are meant."""
    return sum(_sizes(target_path, target_glob, target_regex))


def max_file_size(target_path: Path, target_glob: str = "*", target_regex: str = ".*") -> int:
    """Return the bytes of the largest file below a directory that is meant; 0 without any."""
    return max(_sizes(target_path, target_glob, target_regex), default=0)


def _sizes(directory: Path, glob: str, regex: str) -> list[int]:
    is_meant = matching(glob, regex)
    return [size for path, size in files(Path(directory)) if is_meant(path)]


def human_readable_size(size: float, suffix: str = "") -> str:
    """Write bytes with one decimal: ``1.5Ki``, ``117.7Mi``; `suffix` stands behind the unit."""
    amount = float(size)
    for unit in _UNITS[:-1]:
        if abs(amount) < 1024:
            return f"{amount:.1f}{unit}{suffix}"
        amount /= 1024
    return f"{amount:.1f}{_UNITS[-1]}{suffix}"


def calculate_bytes(size: str) -> float:
    """Read what :func:`human_readable_size` writes, and any other quantity of bytes.

    Raises
    ------
    ValueError
        It is none; as :class:`~lading.errors.InputError`.
    """
    if match := _SIZE.fullmatch(size):
        return float(match[1]) * 1024.0 ** _UNITS.index(match[2])
    return float(quantity(size, "size"))


def compute_memory_requirement(io: IOVolume) -> int:
    """Return the bytes of memory that a channel's scale rule asks for, without a margin.

    Raises
    ------
    AssertionError
        It has no scale rule.
    """
    assert io.scale_rule is not None, f"the channel {io.name} has no scale rule"
    return requirement(io.name, _directory(io), io.scale_rule).memory


def compute_memory_resources(task_instance: TaskInstance) -> Resources:
    """Raise limits and requests to what the scale rules of the inputs ask for.

    Whatever is missing counts as nothing: a task without resources, with limits only, with
    requests only.

    Returns
    -------
    Resources
        That of the instance, changed; a new one where it has none.
    """
    resources = task_instance.resources or Resources()
    for kind, amounts in (
        (ScaleRuleType.limit, dict(resources.limits or {})),
        (ScaleRuleType.request, dict(resources.requests or {})),
    ):
        wanted = [
            MARGIN * compute_memory_requirement(channel)
            for channel in task_instance.inputs
            if channel.scale_rule is not None and channel.scale_rule.type is kind
        ]
        declared = amounts.get("memory")
        if wanted and max(wanted) > (quantity(declared, "memory") if declared is not None else 0):
            amounts["memory"] = format_quantity(round(max(wanted)))
        if kind is ScaleRuleType.limit:
            resources.limits = amounts
        else:
            resources.requests = amounts
    return resources


def _directory(io: IOVolume) -> Path:
    if io.host_path is None:
        raise InputError(io.name, f"its volume is {', '.join(io.volume_kinds)}, no directory here")
    return Path(io.host_path).expanduser()
