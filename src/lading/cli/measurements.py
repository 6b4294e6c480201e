"""What ``lading run --monitor`` shows of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lading.cli import printing
from lading.units import format_bytes, format_cores, format_seconds

if TYPE_CHECKING:
    from lading.contracts.processing.measure.measuring import InputSize, Measurement, RuleCheck
    from lading.contracts.processing.measure.suggestions import Suggestion

__all__ = ["as_json", "in_short", "show", "show_suggestions"]

_WIDTH = 12


def as_json(measurement: Measurement) -> dict[str, Any]:
    """Describe a measurement for programs."""
    return measurement.as_object()


def show(measurement: Measurement) -> None:
    """Write a measurement to stdout, for people."""
    _line("memory", _memory(measurement))
    _line("declared", _declared(measurement))
    _line("processor", _processor(measurement))
    for size in measurement.inputs:
        _line("input", _input(size))
    for rule in measurement.rules:
        _line("scale rule", _rule(rule))
    show_suggestions(measurement.suggestions)
    for note in measurement.notes:
        _line("note", note)


def in_short(measured: Mapping[str, Any]) -> dict[str, str]:
    """Say what a record keeps of a measurement, by name, for people.

    Parameters
    ----------
    measured : mapping
        From :func:`as_json`.
    """
    shown = {}
    if measured["squeezed"]:
        shown["headroom"] = "not known: the peak is at the limit"
    elif measured["headroom"] is not None:
        share = measured["headroom_share"] * 100
        shown["headroom"] = f"{format_bytes(measured['headroom'])} ({share:.0f} %)"
    for one in measured["suggestions"]:
        shown[f"suggested {one['channel'] or 'resources'}"] = _paste(one["field"], one["value"])
    return shown


def show_suggestions(suggestions: Iterable[Suggestion]) -> None:
    """Write what files should say, as JSON to paste, and why."""
    for one in suggestions:
        _line(
            "suggestion",
            (f"{one.channel}: " if one.channel else "") + _paste(one.field, one.value),
        )
        _line("", one.why)


def _paste(field: str, value: Mapping[str, Any]) -> str:
    """Write an entry as it stands in a file."""
    return f"{json.dumps(field)}: {json.dumps(value, ensure_ascii=False)}"


def _line(name: str, text: str) -> None:
    printing.line(f"{name:<{_WIDTH}}{text}")


def _memory(it: Measurement) -> str:
    if it.memory_peak is None:
        return "not known"
    peak = f"peak {format_bytes(it.memory_peak)}"
    if it.limit is None:
        return f"{peak}, no limit"
    of = f"{peak} of {format_bytes(it.limit)}"
    if it.out_of_memory:
        return f"{of}: killed, it needs more"
    if it.squeezed or it.headroom is None or it.headroom_share is None:
        return f"{of}: at its limit, it may need more"
    return f"{of}: {format_bytes(it.headroom)} ({it.headroom_share * 100:.0f} %) were never used"


def _declared(it: Measurement) -> str:
    said = [
        f"{name} {format_bytes(amount)}" if amount else f"no {name}"
        for name, amount in (("limit", it.declared_limit), ("request", it.declared_request))
    ]
    if it.limit != it.declared_limit and it.limit is not None:
        said.append(f"limit raised to {format_bytes(it.limit)}")
    if it.request != it.declared_request and it.request is not None:
        said.append(f"request now {format_bytes(it.request)}")
    return ", ".join(said)


def _processor(it: Measurement) -> str:
    text = f"{format_seconds(it.cpu_seconds)} in {format_seconds(it.seconds)}"
    if it.average_cores is None:
        return text
    return f"{text}: {format_cores(round(it.average_cores, 2))} cores on average"


def _input(size: InputSize) -> str:
    files = "1 file" if size.files == 1 else f"{size.files} files"
    text = f"{size.channel}: {format_bytes(size.bytes)} in {files}"
    if size.files > 1:
        text += f", largest file {format_bytes(size.largest_file)}"
    if size.largest_item:
        text += f", largest item {format_bytes(size.largest_item)}"
    return text


def _rule(rule: RuleCheck) -> str:
    text = (
        f"{rule.channel}: {rule.expression} with n = {format_bytes(rule.size)} ({rule.mode}) asks "
        f"for {format_bytes(rule.requirement)}, so the {rule.type} is at least "
        f"{format_bytes(rule.with_margin)}: "
    )
    if rule.spare is None and rule.covers_with_margin is False:
        return text + "too little, it was killed with as much"
    if rule.spare is None:
        return text + "whether that is enough is not known"
    if rule.spare < 0:
        return text + f"{format_bytes(-rule.spare)} too little"
    spare = format_bytes(rule.spare)
    if rule.covers is False:
        return text + f"{spare} more than the peak, by its 10 % of margin only"
    return text + f"{spare} more than the peak"
