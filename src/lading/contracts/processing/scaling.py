"""Scale rules: how much memory a task needs for the input that it is given.

Contract 2, "scale_rule": the requirement is factor x size, and the limit (or the request) becomes
the larger of the declared one and 1.1 x the requirement. The same on every engine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lading.contracts.processing.channels import Channel
from lading.contracts.processing.template import (
    COMPLEXITY,
    Resources,
    ScaleRule,
    ScaleRuleMode,
    ScaleRuleType,
)
from lading.contracts.processing.trees import files, matching, subdirectories
from lading.errors import InputError
from lading.units import format_bytes, quantity

__all__ = [
    "MARGIN",
    "Complexity",
    "Needs",
    "Requirement",
    "needs",
    "required",
    "requirement",
    "size_of",
    "target_size",
]

MARGIN = 1.1
"""Over what a rule says that is needed."""
_EXPRESSION = re.compile(r"^([-+]?\d*(?:\.\d+)?)\*?n(?:\*\*(\d+))?$")
_MOST = 1 << 62
_GPU_NAMES = ("nvidia.com/gpu", "gpu")


@dataclass(frozen=True, slots=True)
class Complexity:
    """How memory grows with the size n of the input: ``factor * n ** power``, in bytes."""

    factor: float
    power: int = 1

    @classmethod
    def of(cls, rule: ScaleRule) -> Complexity:
        """Read what a rule says.

        Raises
        ------
        InputError
            Its complexity is no expression in n.
        """
        if rule.scale_factor is not None or rule.complexity is None:
            return cls(float(rule.scale_factor or 0))
        match = _EXPRESSION.fullmatch(rule.complexity)
        if match is None:
            raise InputError(
                "scale_rule.complexity",
                f"{rule.complexity!r} is no expression in n",
                fix=f"write 1.5n, 10*n or n**2 ({COMPLEXITY})",
            )
        factor, power = match.groups()
        signs = {"": 1.0, "+": 1.0, "-": -1.0}
        return cls(signs[factor] if factor in signs else float(factor), int(power or 1))

    def __call__(self, size: int) -> int:
        """Return the bytes that an input of `size` bytes takes, at most 2**62."""
        try:
            return max(min(math.ceil(self.factor * float(size) ** self.power), _MOST), 0)
        except OverflowError:
            return _MOST if self.factor > 0 else 0


@dataclass(frozen=True, slots=True)
class Requirement:
    """What one rule asks for.

    Parameters
    ----------
    channel : str
        Whose rule it is.
    rule : ScaleRule
    size : int
        Bytes of the input, as the rule's mode counts them.
    memory : int
        Bytes that are needed for it, without a margin.
    """

    channel: str
    rule: ScaleRule
    size: int
    memory: int

    @property
    def type(self) -> ScaleRuleType:
        """What it raises."""
        return self.rule.type

    def __str__(self) -> str:
        return f"{self.channel}: {format_bytes(self.size)} take {format_bytes(self.memory)}"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a task may use and is promised, its scale rules applied.

    Parameters
    ----------
    cpus, memory : float or None, int or None
        Limits, in cores and bytes.
    cpu_request, memory_request : float or None, int or None
        Requests.
    gpus : int
        Whole ones.
    declared_memory : int or None
        The limit before any rule raised it, in bytes.
    requirements : tuple of Requirement
        Why it is as it is.
    notes : tuple of str
        What was changed to make sense, or can't be had on one machine.
    more_limits, more_requests : mapping of str to str
        On a cluster: all other resources, GPUs too, as the task has them.
    """

    cpus: float | None = None
    memory: int | None = None
    cpu_request: float | None = None
    memory_request: int | None = None
    gpus: int = 0
    declared_memory: int | None = None
    requirements: tuple[Requirement, ...] = ()
    notes: tuple[str, ...] = ()
    more_limits: Mapping[str, str] = field(default_factory=dict)
    more_requests: Mapping[str, str] = field(default_factory=dict)


def target_size(directory: Path, rule: ScaleRule) -> int:
    """Count the bytes that a rule looks at; walks over all of the directory.

    Parameters
    ----------
    directory : Path
        The channel's.

    Returns
    -------
    int
        ``sum``: of all files that match; ``max_file_size``: of the largest of them;
        ``max_item_sum``: the largest sum over the channel's sub-directories.
    """
    items = subdirectories(directory) if rule.mode is ScaleRuleMode.max_item_sum else [directory]
    return size_of(rule, (files(item / rule.target_dir) for item in items))


def size_of(rule: ScaleRule, roots: Iterable[Iterable[tuple[str, int]]]) -> int:
    """Count the bytes that a rule looks at, of files that somebody has listed.

    Parameters
    ----------
    rule : ScaleRule
    roots : iterable of iterable of (str, int)
        Relative paths and bytes of the files below its target directory; for ``max_item_sum``, of
        each item's.
    """
    is_meant = matching(rule.target_glob, rule.target_regex)
    sizes = ((size for path, size in root if is_meant(path)) for root in roots)
    if rule.mode is ScaleRuleMode.max_file_size:
        return max((size for root in sizes for size in root), default=0)
    return max((sum(root) for root in sizes), default=0)


def requirement(channel: str, directory: Path, rule: ScaleRule) -> Requirement:
    """Say what one rule asks for; walks over all of the directory.

    Raises
    ------
    InputError
        The rule's complexity is no expression in n.
    """
    return required(channel, rule, target_size(directory, rule))


def required(channel: str, rule: ScaleRule, size: int) -> Requirement:
    """Say what one rule asks for, of an input of so many bytes.

    Raises
    ------
    InputError
        The rule's complexity is no expression in n.
    """
    return Requirement(channel, rule, size, Complexity.of(rule)(size))


def needs(
    resources: Resources | None,
    rules: Iterable[tuple[Channel, ScaleRule]],
    *,
    measured: Iterable[Requirement] = (),
    cluster: bool = False,
) -> Needs:
    """Apply the rules of the channels to the declared resources; walks over the channels.

    Parameters
    ----------
    resources : Resources or None
    rules : iterable of (Channel, ScaleRule)
    measured : iterable of Requirement
        Of channels that are nowhere here to be walked over.
    cluster : bool
        Whether it runs on one, which may know resources that no single machine does.

    Raises
    ------
    InputError
        An amount is no quantity, or a rule no expression in n.
    """
    limits = _amounts(resources.limits if resources else None, "resources.limits")
    requests = _amounts(resources.requests if resources else None, "resources.requests")
    asked = (
        *(requirement(channel.name, channel.path, rule) for channel, rule in rules),
        *measured,
    )
    notes: list[str] = []
    memory = declared = _bytes(limits.get("memory"))
    request = _bytes(requests.get("memory"))
    if request and memory and request > memory:
        notes.append(
            f"the memory request {format_bytes(request)} is lowered to the limit "
            f"{format_bytes(memory)}"
        )
        request = memory
    memory = _raised(memory, asked, ScaleRuleType.limit)
    request = _raised(request, asked, ScaleRuleType.request)
    if request and memory and request > memory:
        notes.append(
            f"the memory limit {format_bytes(memory)} is raised to the request "
            f"{format_bytes(request)}, as scale rules demand"
        )
        memory = request
    if not cluster:
        known = {"memory", "cpu", "ephemeral-storage", *_GPU_NAMES}
        notes += [
            f"the resource {name!r} is not known on a single machine and left out"
            for name in sorted({*limits, *requests} - known)
        ]
    gpus = next((limits[name] for name in _GPU_NAMES if name in limits), 0)
    return Needs(
        cpus=limits.get("cpu") or None,
        memory=memory,
        cpu_request=requests.get("cpu") or None,
        memory_request=request,
        gpus=int(gpus),
        declared_memory=declared,
        requirements=asked,
        notes=tuple(notes),
        more_limits=_more(resources.limits if resources and cluster else None),
        more_requests=_more(resources.requests if resources and cluster else None),
    )


def _more(given: Mapping[str, Any] | None) -> dict[str, str]:
    """Choose what a cluster alone gives, in the task's own words."""
    named = {_GPU_NAMES[0] if name in _GPU_NAMES else name: value
             for name, value in (given or {}).items()
             if value is not None and name not in ("memory", "cpu")}  # fmt: skip
    return {name: str(value) for name, value in named.items()}


def _raised(declared: int | None, asked: Iterable[Requirement], kind: ScaleRuleType) -> int | None:
    """Raise an amount to what the rules of its kind ask for; where there are none it stays."""
    # Rounded: 1.1 is no exact number to a computer, and what is left over would be one byte more.
    wanted = [round(MARGIN * item.memory) for item in asked if item.type is kind]
    return max([declared or 0, *wanted]) or None if wanted else declared


def _amounts(given: Mapping[str, Any] | None, field: str) -> dict[str, float]:
    return {
        name: quantity(value, f"{field}.{name}")
        for name, value in (given or {}).items()
        if value is not None
    }


def _bytes(amount: float | None) -> int | None:
    return math.ceil(amount) or None if amount is not None else None
