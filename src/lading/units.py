"""Quantities as people write them, in bytes and cores: the one place that knows units.

Kubernetes' notation (``512Mi``, ``1.5Gi``, ``500m``; `Resource quantities
<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>`_) and
Docker's (``512m``, ``2g`` for memory, powers of two) are both read. They clash in one place: a
lower-case ``m`` after a memory size means milli to Kubernetes and mebi to Docker. Nobody means
thousandths of a byte, so :func:`size` reads it as Docker does. :func:`quantity` is for files whose
contract says Kubernetes.
"""

from __future__ import annotations

import math
import re

from lading.errors import InputError

__all__ = [
    "MIB",
    "cores",
    "format_bytes",
    "format_cores",
    "format_quantity",
    "format_seconds",
    "quantity",
    "size",
    "to_mebibytes",
]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

_QUANTITY = re.compile(r"\s*([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)\s*")
_SIZES = {
    "": 1, "b": 1,
    "k": KIB, "m": MIB, "g": GIB, "t": 1 << 40,
    "kb": KIB, "mb": MIB, "gb": GIB, "tb": 1 << 40,
    "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
    "Ki": KIB, "Mi": MIB, "Gi": GIB, "Ti": 1 << 40, "Pi": 1 << 50,
    "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": 1 << 40,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip


def _parse(text: str | float, field: str, example: str) -> tuple[float, str]:
    match = None if isinstance(text, bool) else _QUANTITY.fullmatch(str(text))
    if match is None or not math.isfinite(number := float(match[1])):
        raise InputError(field, f"{text!r} is not a quantity", fix=f"write one such as {example}")
    if number < 0:
        raise InputError(field, f"{text!r} is negative", fix=f"write one such as {example}")
    return number, match[2]


def _possible(number: float, most: int, text: str | float, field: str) -> float:
    if number > most:
        raise InputError(field, f"{text!r} is more than any machine has", fix="write less")
    return number


def size(text: str | float, field: str = "size") -> int:
    """Read a size in bytes.

    Parameters
    ----------
    text : str or float
        ``"512Mi"``, ``"1.5Gi"``, ``"128MB"``, ``"512m"`` (Docker's mebibytes) or a number of bytes.
    field : str
        What to call it in an error.

    Returns
    -------
    int
        Bytes, rounded up.

    Raises
    ------
    InputError
        It is no quantity, negative, more than any machine has, or its unit is unknown.
    """
    number, unit = _parse(text, field, "512Mi")
    if unit not in _SIZES:
        known = ", ".join(("Ki", "Mi", "Gi", "k", "M", "G", "kb", "mb", "gb"))
        raise InputError(field, f"unknown unit {unit!r} in {text!r}", fix=f"use one of {known}")
    return math.ceil(_possible(number * _SIZES[unit], 1 << 62, text, field))


def cores(text: str | float, field: str = "cpu") -> float:
    """Read a number of processor cores.

    Parameters
    ----------
    text : str or float
        ``"500m"`` (thousandths), ``"1.5"`` or a number.
    field : str
        What to call it in an error.

    Returns
    -------
    float
        Cores.

    Raises
    ------
    InputError
        It is no quantity, negative, more than any machine has, or its unit is not ``m``.
    """
    number, unit = _parse(text, field, "0.5 or 500m")
    if unit not in ("", "m"):
        raise InputError(field, f"unknown unit {unit!r} in {text!r}", fix="write 0.5 or 500m")
    return _possible(number / 1000 if unit else number, 10**9, text, field)


_SUFFIXES = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1,
    "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": KIB, "Mi": MIB, "Gi": GIB, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60,
}  # fmt: skip


def quantity(text: str | float, field: str = "quantity") -> float:
    """Read a Kubernetes quantity.

    Parameters
    ----------
    text : str or float
        ``"512Mi"``, ``"500m"``, ``"1e3"`` or a number.
    field : str
        What to call it in an error.

    Returns
    -------
    float
        Bytes, cores or pieces.

    Raises
    ------
    InputError
        It is no quantity, negative, more than any machine has, or its suffix is unknown.
    """
    number, suffix = _parse(text, field, "512Mi, 2 or 500m")
    if suffix not in _SUFFIXES:
        known = ", ".join(name for name in _SUFFIXES if name)
        raise InputError(field, f"unknown unit {suffix!r} in {text!r}", fix=f"use one of {known}")
    return _possible(number * _SUFFIXES[suffix], 1 << 62, text, field)


def format_quantity(size_in_bytes: int) -> str:
    """Write bytes as a Kubernetes quantity, rounded up to whole MiB: ``512Mi``, ``2Gi``."""
    mebibytes = max(-(-size_in_bytes // MIB), 1)
    return f"{mebibytes >> 10}Gi" if mebibytes % 1024 == 0 else f"{mebibytes}Mi"


def to_mebibytes(size_in_bytes: int) -> int:
    """Turn bytes into whole MiB, rounded down (what contract 1 calls MB)."""
    return size_in_bytes >> 20


def format_bytes(count: float) -> str:
    """Write bytes for a person, in powers of two: ``128 MiB``, ``1.5 GiB``."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if count >= factor:
            return f"{count / factor:.1f}".removesuffix(".0") + f" {unit}"
    return f"{count:.0f} B"


def format_cores(count: float) -> str:
    """Write cores for a person: ``2``, ``0.5``."""
    return f"{count:.3f}".rstrip("0").rstrip(".")


def format_seconds(seconds: float) -> str:
    """Write a duration for a person: ``12 ms``, ``3.4 s``, ``2 min 5 s``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
