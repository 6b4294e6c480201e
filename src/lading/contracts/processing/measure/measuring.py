"""What a run used, against what was declared for it and what its scale rules say.

The peak is the kernel's figure of the container's control group: it counts the page cache of files
that the container was the first to read, or has written. The kernel gives that back when memory
gets short, so a task may get along with less than its peak.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lading.contracts.processing.channels import Channel
from lading.contracts.processing.measure.suggestions import (
    DIGITS,
    Suggestion,
    plain,
    resources,
    rounded_up,
    scale_rule,
)
from lading.contracts.processing.scaling import MARGIN, Complexity, Requirement
from lading.contracts.processing.trees import files
from lading.units import format_bytes, quantity

if TYPE_CHECKING:
    from lading.contracts.processing.runner import Outcome
    from lading.run.records import Records

__all__ = [
    "InputSize",
    "Measurement",
    "RuleCheck",
    "input_sizes",
    "is_squeezed",
    "measure",
    "write_down",
]

_NEAR = 0.99
"""From this share of its limit on, a peak may be what was left of a need: kernels give a container
its last memory in small portions, and take page cache back before that."""
_NOTICEABLE = 0.05
"""The part of a peak from which on its page cache is worth a word."""
_IMPLAUSIBLE = 100.0
"""Bytes of memory for each byte of input: above, it is the base that was measured."""

_LONG = 1.0
"""Seconds from which on an average says something of the task."""


@dataclass(frozen=True, slots=True)
class InputSize:
    """How much lay in an input channel, in bytes.

    Parameters
    ----------
    channel : str
    bytes, files : int
        All of them.
    largest_file : int
    largest_item : int
        The largest sum over the channel's sub-directories; 0 where there are none.
    """

    channel: str
    bytes: int
    files: int
    largest_file: int
    largest_item: int


@dataclass(frozen=True, slots=True)
class RuleCheck:
    """One scale rule against the peak.

    Parameters
    ----------
    channel : str
        Whose rule it is.
    type, mode : str
        As the rule has them.
    expression : str
        The rule as an expression in n: ``3*n``.
    size : int
        n, in bytes.
    requirement : int
        Bytes that the rule asks for, without the margin.
    with_margin : int
        1.1 x that: what the limit or the request is raised to.
    covers, covers_with_margin : bool or None
        Whether that is at least the peak; None where that is not known.
    spare : int or None
        `with_margin` minus the peak; less than 0 where the rule asks for too little; None where
        the need is not known.
    """

    channel: str
    type: str
    mode: str
    expression: str
    size: int
    requirement: int
    with_margin: int
    covers: bool | None
    covers_with_margin: bool | None
    spare: int | None


_SELDOM = (
    "a cluster tells what a container uses every 15 seconds or so, and not what it used at its "
    "end: the peak may have been higher, so nothing is suggested; run it with Docker or Podman"
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run used, in bytes and seconds.

    Parameters
    ----------
    memory_peak : int or None
        Page cache included; None where nobody could look.
    cpu_seconds, seconds : float
        Processor time, and how long it ran.
    average_cores : float or None
        The one divided by the other; None below a second, where what the engine's runtime took to
        start it is too much of it.
    declared_limit, declared_request : int or None
        Of memory, as the files say, before any scale rule.
    limit, request : int or None
        Those that held.
    headroom : int or None
        The limit minus the peak.
    headroom_share : float or None
        0 to 1: the part of the limit that was never used.
    out_of_memory : bool
        It was killed for that.
    squeezed : bool
        The peak is at the limit, so what it would have used is not known.
    inputs : tuple of InputSize
    rules : tuple of RuleCheck
    suggestions : tuple of Suggestion
    notes : tuple of str
        What the figures don't say.
    """

    memory_peak: int | None
    cpu_seconds: float
    seconds: float
    average_cores: float | None
    declared_limit: int | None
    declared_request: int | None
    limit: int | None
    request: int | None
    headroom: int | None
    headroom_share: float | None
    out_of_memory: bool
    squeezed: bool
    inputs: tuple[InputSize, ...]
    rules: tuple[RuleCheck, ...]
    suggestions: tuple[Suggestion, ...]
    notes: tuple[str, ...]

    def as_object(self) -> dict[str, Any]:
        """Describe it for programs."""
        return asdict(self)


def input_sizes(channels: Iterable[Channel]) -> tuple[InputSize, ...]:
    """Look at what lies in the input channels; walks over all of it, once."""
    return tuple(_size(channel) for channel in channels if not channel.is_output)


def _size(channel: Channel) -> InputSize:
    total = count = largest = 0
    items: dict[str, int] = {}
    for path, size in files(channel.path):
        total += size
        count += 1
        largest = max(largest, size)
        item, below, _ = path.partition("/")
        if below:
            items[item] = items.get(item, 0) + size
    return InputSize(channel.name, total, count, largest, max(items.values(), default=0))


def is_squeezed(peak: int, limit: int | None) -> bool:
    """Say whether a peak is so near to the limit that the need may have been above it."""
    return limit is not None and peak >= _NEAR * limit


def measure(outcome: Outcome) -> Measurement:
    """Say what a finished run used, and what would have fitted; walks over its inputs.

    Parameters
    ----------
    outcome : Outcome
        Also of one that failed.
    """
    planned, used = outcome.plan, outcome.usage
    needs, declared = planned.needs, planned.instance.resources
    peak = used.memory_peak or None
    killed = outcome.exit.out_of_memory
    squeezed = killed or is_squeezed(peak or 0, needs.memory)
    asked = (declared.requests or {}).get("memory") if declared else None
    headroom = needs.memory - peak if needs.memory and peak else None
    sizes = input_sizes(planned.channels)
    seconds = outcome.exit.seconds
    suggested, notes = _suggested(outcome, sizes, peak, squeezed)
    return Measurement(
        memory_peak=peak,
        cpu_seconds=used.cpu_seconds,
        seconds=seconds,
        average_cores=round(used.cpu_seconds / seconds, 3) if seconds >= _LONG else None,
        declared_limit=needs.declared_memory,
        declared_request=math.ceil(quantity(asked)) or None if asked is not None else None,
        limit=needs.memory,
        request=needs.memory_request,
        headroom=headroom,
        headroom_share=(
            round(headroom / needs.memory, 4) if headroom is not None and needs.memory else None
        ),
        out_of_memory=killed,
        squeezed=squeezed,
        inputs=sizes,
        rules=tuple(
            _check(item, peak, squeezed=squeezed, killed=killed) for item in needs.requirements
        ),
        suggestions=tuple(suggested),
        notes=tuple(notes),
    )


def write_down(measurement: Measurement, records: Records, run_id: str) -> None:
    """Add a measurement to the record of its run.

    Raises
    ------
    RecordError
        It can't be written.
    """
    known = json.loads(records.get(run_id).detail)
    known["measurement"] = measurement.as_object()
    records.update(run_id, detail=json.dumps(known))


def _check(asked: Requirement, peak: int | None, *, squeezed: bool, killed: bool) -> RuleCheck:
    needed = Complexity.of(asked.rule)
    power = f"**{needed.power}" if needed.power != 1 else ""
    raised = round(MARGIN * asked.memory)  # as scaling has it

    def reaches(amount: int) -> bool | None:
        """Compare it with a need that is the peak, or (at the limit) unknown and not below."""
        if peak is None:
            return None
        if amount < peak or (killed and amount == peak):
            return False
        return None if squeezed else True

    known = peak is not None and not (squeezed and raised >= peak)
    return RuleCheck(
        channel=asked.channel,
        type=str(asked.type),
        mode=str(asked.rule.mode),
        expression=f"{plain(needed.factor)}*n{power}",
        size=asked.size,
        requirement=asked.memory,
        with_margin=raised,
        covers=reaches(asked.memory),
        covers_with_margin=reaches(raised),
        spare=raised - peak if known and peak is not None else None,
    )


def _suggested(
    outcome: Outcome, sizes: tuple[InputSize, ...], peak: int | None, squeezed: bool
) -> tuple[list[Suggestion], list[str]]:
    """Say which entries would have fitted, and what is not known."""
    planned = outcome.plan
    if planned.cluster:
        return [], [_SELDOM]
    if peak is None:
        return [], ["the engine did not tell what it used, so nothing can be suggested"]
    notes = []
    limit = planned.needs.memory
    if squeezed and limit is not None:
        happened = "was killed at" if outcome.exit.out_of_memory else "came up to"
        notes.append(
            f"it {happened} its limit of {format_bytes(limit)}, so what it would need is not "
            f"known: try twice as much, or `lading profile`, which sets no limit"
        )
        amount, words = 2.0 * limit, f"twice the limit of {format_bytes(limit)}"
    elif squeezed:
        notes.append("it was killed though it had no limit: the machine ran out of memory")
        return [], notes
    else:
        amount, words = MARGIN * peak, ""
    moved = sum(item["bytes"] or 0 for item in outcome.channels)
    if moved > _NOTICEABLE * peak and not squeezed:
        notes.append(
            f"up to {format_bytes(min(moved, peak))} of the peak may be page cache, of inputs that "
            f"it was the first to read and of what it wrote: it may get along with less"
        )
    if outcome.error is not None and not squeezed:
        notes.append("it failed, so it may not have come to where it needs the most")
    why = words or f"{format_bytes(peak)} and 10 % more, in whole MiB"
    suggested = [resources(planned.instance.resources, amount, why=why)]
    rule, told = _rule(outcome, sizes, amount / MARGIN, words)
    notes += told
    if rule is not None:
        suggested.insert(0, rule)
    return suggested, notes


def _rule(
    outcome: Outcome, sizes: tuple[InputSize, ...], need: float, words: str
) -> tuple[Suggestion | None, list[str]]:
    """Suggest the rule that decides, or one for the only input; with what is doubtful in it."""
    asked = max(outcome.plan.needs.requirements, key=lambda item: item.memory, default=None)
    filled = [size for size in sizes if size.bytes]
    if asked is not None:
        channel, size, rule, power = (
            asked.channel, asked.size, asked.rule, Complexity.of(asked.rule).power,
        )  # fmt: skip
        if not size:
            return None, [f"the rule of {channel} finds nothing there (n is 0): no factor fits"]
    elif len(filled) == 1:
        channel, size, rule, power = filled[0].channel, filled[0].bytes, None, 1
    else:
        return None, []
    exact = need / float(size) ** power
    one_run = "one run can't tell how much of it is needed whatever the size: `lading profile` can"
    if power == 1 and exact > _IMPLAUSIBLE:
        told = f"{channel} is small ({format_bytes(size)}), so most of the peak is likely a base"
        return None, [f"{told}: {one_run}"]
    factor = rounded_up(exact)
    n = "n" if power == 1 else f"n**{power}"
    why = (
        f"{words or 'peak'} / {n} = {plain(rounded_up(exact, 4))}, up to {DIGITS} digits; "
        f"what a rule asks for gets 10 % more"
    )
    if words:
        why = f"{words} with n = {format_bytes(size)}; what a rule asks for gets 10 % more"
    mode = str(rule.mode) if rule is not None else "sum"
    return scale_rule(channel, factor, power=power, like=rule, mode=mode, why=why), [one_run]
