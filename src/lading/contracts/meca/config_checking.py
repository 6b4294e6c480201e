"""What ``config.json`` says, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lading.contracts.meca import rules
from lading.contracts.meca.folder import CONFIG, line_of
from lading.contracts.meca.request import TaskLimits, read_limits
from lading.errors import InputError
from lading.folders.documents import parse_json
from lading.folders.findings import Finding
from lading.units import MIB, format_bytes

__all__ = ["examine_config"]

_CONTRACTS = {
    "memory": "mem", "task_mem": "mem", "task_cpu": "cpu",
    "useGpu": "use_gpu", "gpuCount": "gpu_count", "useSgx": "use_sgx",
}  # fmt: skip
_FIELDS = frozenset(("cpu", "mem", "use_gpu", "gpu_count", "use_sgx"))
_DEFAULT_CPUS, _DEFAULT_MEMORY = 4, 4096 * MIB
"""What an executor gives at most, if its configuration does not say otherwise (contract 1)."""
_TOLD = 20


def examine_config(data: bytes) -> tuple[TaskLimits | None, list[Finding]]:
    """Check a ``config.json``.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    tuple of (TaskLimits or None, list of Finding)
        None where it can't be used.
    """
    document = parse_json(data)
    if document.wrong:
        return None, [rules.CONFIG_INVALID.at(CONFIG, document.wrong, line=document.line)]
    if not isinstance(document.value, dict):
        return None, [rules.CONFIG_INVALID.at(CONFIG, "is no JSON object", line=1)]
    text = data.decode("utf-8-sig")
    found = [
        rules.CONFIG_UNKNOWN_FIELD.at(
            CONFIG,
            f"{key!r:.80} stands twice in one object; the last counts",
            line=line_of(key, text),
        )
        for key in document.twice
    ]
    found += _unknown(document.value, text)
    try:
        limits = read_limits(document.value.get("resource"))
    except InputError as error:
        key = error.field.rpartition(".")[2]
        line = line_of(key, text) if key else None
        return None, [*found, rules.CONFIG_INVALID.at(CONFIG, str(error), line=line)]
    given = document.value.get("resource") or {}
    if isinstance(given.get("resource"), Mapping):
        given = given["resource"]
    return limits, [*found, *_of_limits(limits, given, text)]


def _unknown(value: Mapping[str, Any], text: str) -> list[Finding]:
    found = []
    for key in list(value)[:_TOLD]:
        if key == "resource":
            continue
        inside = _CONTRACTS.get(key, key)
        fix = (
            f'put it into "resource": {{"resource": {{"{inside}": ...}}}}'
            if inside in _FIELDS
            else ""
        )
        found.append(
            rules.CONFIG_UNKNOWN_FIELD.at(
                CONFIG, f"nobody reads {key!r:.80}", line=line_of(key, text), fix=fix
            )
        )
    resource = value.get("resource")
    if not isinstance(resource, Mapping):
        return found
    if isinstance(resource.get("resource"), Mapping):
        resource = resource["resource"]
        found.append(
            rules.CONFIG_OTHER_SPELLING.at(
                CONFIG, "resource stands inside resource", line=line_of("resource", text)
            )
        )
    for key in list(resource)[:_TOLD]:
        if key in _CONTRACTS:
            found.append(
                rules.CONFIG_OTHER_SPELLING.at(
                    CONFIG,
                    f"{key} is {_CONTRACTS[key]} in the contract",
                    line=line_of(key, text),
                    fix=f"write {_CONTRACTS[key]}",
                )
            )
        elif key not in _FIELDS:
            found.append(
                rules.CONFIG_UNKNOWN_FIELD.at(
                    CONFIG, f"nobody reads resource.{key:.80}", line=line_of(key, text)
                )
            )
    return found


def _of_limits(limits: TaskLimits, given: Mapping[str, Any], text: str) -> Iterator[Finding]:
    values = {_CONTRACTS.get(key, key): (key, value) for key, value in given.items()}
    uses_gpu = values.get("use_gpu", ("", False))[1]
    spelled, count = values.get("gpu_count", ("", None))
    if count and not uses_gpu:
        yield rules.GPU_COUNT_UNUSED.at(
            CONFIG, f"gpu_count is {count}, and use_gpu is not true", line=line_of(spelled, text)
        )
    if uses_gpu and count == 0:
        yield rules.GPU_COUNT_ZERO.at(
            CONFIG, "use_gpu is true, and gpu_count is 0", line=line_of(spelled, text)
        )
    if limits.cpus != int(limits.cpus):
        yield rules.CPU_FRACTIONAL.at(
            CONFIG, f"cpu is {limits.cpus:g}", line=line_of(values["cpu"][0], text)
        )
    if limits.cpus > _DEFAULT_CPUS:
        yield rules.LIMITS_ABOVE_DEFAULTS.at(
            CONFIG, f"wants {limits.cpus:g} cores", line=line_of(values["cpu"][0], text)
        )
    if limits.memory > _DEFAULT_MEMORY:
        yield rules.LIMITS_ABOVE_DEFAULTS.at(
            CONFIG, f"wants {format_bytes(limits.memory)}", line=line_of(values["mem"][0], text)
        )
