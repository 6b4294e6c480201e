"""What a caller asks the executor to do: read leniently, refused by field.

The shapes seen in the wild are all read: ``memory`` for ``mem``; ``useGpu``, ``gpuCount``,
``useSgx``; ``task_cpu``, ``task_mem``; ``use_sgx`` inside ``resource``; and the whole
``config.json`` sent as the ``resource``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self

from lading.contracts.meca.addresses import canonical
from lading.errors import InputError, InvalidLimit
from lading.units import MIB

__all__ = ["ATTESTATION", "Request", "TaskLimits", "as_resource", "read_limits", "read_request"]

ATTESTATION = "SGXRAREQUEST"
"""The input that asks an enclave for its attestation."""

MIN_CPUS = 0.01
MIN_MEMORY = 6 * MIB
"""The least that the engines accept."""

_ABSURD = 10**12
"""More MiB, cores, GPUs or seconds than any host has: what is above is treated just as this is."""

_TOLD = 5
"""How many unknown fields are named; strangers decide how many there are."""

MICROVM, CONTAINER = "microVM", "container"


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """What a task asks for: cores, bytes, whole GPUs, and the enclave device."""

    cpus: float = 1.0
    memory: int = 128 * MIB
    gpus: int = 0
    sgx: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One execution.

    Parameters
    ----------
    image : str
        The ``id``: an image's name, or a CID in its one canonical form.
    limits : TaskLimits
    micro_vm : bool
        Whether it must run in the stronger runtime.
    body : bytes
        What the task gets.
    timeout : float or None
        Seconds, where the caller sets a shorter time than the operator.
    warnings : tuple of str
        What was ignored.
    resource : object
        The limits as they came, so that a task's own can stand for what was not said.
    """

    image: str
    limits: TaskLimits
    micro_vm: bool
    body: bytes
    timeout: float | None = None
    warnings: tuple[str, ...] = ()
    resource: object = None

    def over(self, declared: TaskLimits) -> Self:
        """Put what the caller said over what the task declares, where it declares something."""
        limits = read_limits(self.resource, base=declared)
        if self.limits.sgx:
            limits = replace(limits, sgx=True)
        return replace(self, limits=limits)

    @property
    def attestation(self) -> bool:
        """Whether the enclave's attestation is asked for."""
        return self.limits.sgx and self.body == ATTESTATION.encode()


CPU_NAMES = ("cpu", "task_cpu")
MEMORY_NAMES = ("mem", "memory", "task_mem")
"""How they are spelled; the contract's own spelling first."""


def as_resource(limits: TaskLimits) -> dict[str, Any]:
    """Write limits as the contract has them: what :func:`read_limits` reads back as they were."""
    mebibytes = limits.memory / MIB
    return {
        "cpu": limits.cpus,
        "mem": int(mebibytes) if mebibytes.is_integer() else mebibytes,
        "use_gpu": limits.gpus > 0,
        "gpu_count": limits.gpus,
        "use_sgx": limits.sgx,
    }


_RESOURCE_NAMES = {
    **dict.fromkeys(CPU_NAMES, "cpu"), **dict.fromkeys(MEMORY_NAMES, "mem"),
    "use_gpu": "use_gpu", "useGpu": "use_gpu",
    "gpu_count": "gpu_count", "gpuCount": "gpu_count",
    "use_sgx": "use_sgx", "useSgx": "use_sgx",
}  # fmt: skip
_REQUEST_NAMES = {"id", "resource", "runtime", "input", "use_sgx", "useSgx", "timeout"}


def _reject_constant(name: str) -> NoReturn:
    raise InputError("", f"the body holds {name}, which is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_reject_constant)


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        content = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            "", f"the body is not UTF-8: {error.reason} at byte {error.start}"
        ) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError("", f"the body is not JSON: {error.msg} at {where}") from None
    except InputError:  # which is a ValueError, too
        raise
    except ValueError:
        raise InputError("", "the body holds a number of too many digits") from None
    except RecursionError:
        raise InputError("", "the body is nested too deep") from None
    if not isinstance(content, dict):
        raise InputError("", f"the body must be a JSON object, not {_kind(content)}")
    return content


def _kind(value: object) -> str:
    names: dict[type, str] = {
        dict: "an object", list: "an array", str: "a string", bool: "true or false",
        int: "a number", float: "a number", type(None): "null",
    }  # fmt: skip
    return names.get(type(value), type(value).__name__)


def read_request(raw: bytes) -> Request:
    """Read the body of an execution request.

    Parameters
    ----------
    raw : bytes
        JSON as the contract has it.

    Returns
    -------
    Request

    Raises
    ------
    InvalidLimit
        A limit is no number, negative, zero, or below what an engine can set.
    InputError
        Anything else; names the field.
    """
    content = _parse(raw)
    image = content.get("id")
    if not isinstance(image, str) or not image.strip():
        reason = (
            "is missing" if "id" not in content else f"must be an image name, not {image!r:.80}"
        )
        raise InputError("id", reason)
    warnings = _ignored([key for key in content if key not in _REQUEST_NAMES])
    limits = read_limits(content.get("resource"), warnings)
    if _flag(content, "use_sgx") or _flag(content, "useSgx"):
        limits = TaskLimits(limits.cpus, limits.memory, limits.gpus, sgx=True)
    runtime = content.get("runtime")
    if runtime not in (None, "", MICROVM, CONTAINER):
        raise InputError("runtime", f"must be {MICROVM!r} or {CONTAINER!r}, not {runtime!r:.80}")
    return Request(
        image=canonical(image.strip()),
        limits=limits,
        micro_vm=runtime == MICROVM,
        body=_body(content.get("input", "")),
        timeout=_timeout(content.get("timeout")),
        warnings=tuple(warnings),
        resource=content.get("resource"),
    )


def _ignored(names: list[str]) -> list[str]:
    lines = [f"unknown field {name!r:.80} is ignored" for name in names[:_TOLD]]
    if len(names) > _TOLD:
        lines.append(f"{len(names) - _TOLD} more unknown fields are ignored")
    return lines


def _body(value: object) -> bytes:
    if not isinstance(value, str):
        try:
            value = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except ValueError:
            raise InputError("input", "holds a number that is too large") from None
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError("input", f"holds half a surrogate pair at {error.start}") from None


def _timeout(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError("timeout", f"must be seconds, more than 0, not {value!r:.80}")
    return float(min(value, _ABSURD))


def read_limits(
    resource: object, warnings: list[str] | None = None, *, base: TaskLimits | None = None
) -> TaskLimits:
    """Read the ``resource`` of a request or of a ``config.json``.

    Parameters
    ----------
    resource : object
        As parsed from JSON; None and ``{}`` mean one core and 128 MiB.
    warnings : list of str or None
        Gets a line for each key that nobody knows, as far as there are few of them.
    base : TaskLimits or None
        What holds where nothing is said; None: the contract's defaults.

    Raises
    ------
    InvalidLimit
        A limit is no number, negative, zero, or below what an engine can set.
    InputError
        It has the wrong type.
    """
    base = base or TaskLimits()
    if resource is None:
        return base
    if not isinstance(resource, Mapping):
        raise InputError("resource", f"must be an object, not {_kind(resource)}")
    given: Mapping[str, Any] = resource
    if isinstance(given.get("resource"), Mapping):  # the whole config.json was sent
        given = given["resource"]
    values = {_RESOURCE_NAMES[key]: value for key, value in given.items() if key in _RESOURCE_NAMES}
    if warnings is not None:
        warnings += _ignored([f"resource.{key}" for key in given if key not in _RESOURCE_NAMES])
    cpus = _number(values.get("cpu"), "resource.cpu", base.cpus)
    mebibytes = _number(values.get("mem"), "resource.mem", base.memory / MIB)
    if cpus < MIN_CPUS:
        raise InvalidLimit("resource.cpu", f"must be at least {MIN_CPUS} cores, not {cpus:g}")
    memory = round(min(mebibytes, _ABSURD) * MIB)
    if memory < MIN_MEMORY:
        least = MIN_MEMORY // MIB
        raise InvalidLimit("resource.mem", f"must be at least {least} MB, not {mebibytes:g}")
    return TaskLimits(
        cpus=round(min(cpus, _ABSURD), 3),
        memory=memory,
        gpus=_gpus(values) if values.keys() & {"use_gpu", "gpu_count"} else base.gpus,
        sgx=_flag(values, "use_sgx", "resource.") if "use_sgx" in values else base.sgx,
    )


def _gpus(values: dict[str, Any]) -> int:
    count = values.get("gpu_count")
    if isinstance(count, float) and count.is_integer():  # as JSON goes, 1.0 is a whole number
        count = int(count)
    if isinstance(count, bool) or not isinstance(count, int | None) or (count or 0) < 0:
        raise InvalidLimit("resource.gpu_count", f"must be a whole number, not {count!r:.80}")
    if not _flag(values, "use_gpu", "resource."):
        return 0
    return min(
        count or 1, _ABSURD
    )  # the default of 0 stands in many a config.json that sets use_gpu


def _number(value: object, field: str, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidLimit(field, f"must be a number, not {value!r:.80}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidLimit(field, "must be a finite number")
    return number


def _flag(values: Mapping[str, Any], name: str, prefix: str = "") -> bool:
    value = values.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InputError(prefix + name, f"must be true or false, not {value!r:.80}")
    return value
