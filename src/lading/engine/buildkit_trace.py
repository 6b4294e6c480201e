"""What BuildKit tells of a build that the Docker Engine API passes on: ``moby.buildkit.trace``.

Each is a protobuf message in base64. Six numbers of four messages are all that is needed of it, so
they are read here, without the library and the generated code that would take 25 ms to import.

Sources: ``StatusResponse`` in https://github.com/moby/buildkit/blob/v0.8.3/api/services/control/control.proto
(newer ones only add fields), and https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Trace", "VertexLog", "VertexState", "VertexStatus", "read_trace"]

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_MOST_VARINT = 10


@dataclass(frozen=True, slots=True)
class VertexState:
    """One step of the build, as it is now.

    Parameters
    ----------
    digest : str
        Which step.
    name : str
        ``[2/3] RUN make``.
    cached, started, completed : bool
    error : str
        Why it failed; empty if it did not.
    """

    digest: str
    name: str
    cached: bool
    started: bool
    completed: bool
    error: str


@dataclass(frozen=True, slots=True)
class VertexStatus:
    """How far a part of a step is: a layer that is fetched, say; numbers are 0 where unknown."""

    id: str
    vertex: str
    current: int
    total: int
    completed: bool


@dataclass(frozen=True, slots=True)
class VertexLog:
    """What a step wrote."""

    vertex: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Trace:
    """One message."""

    vertexes: tuple[VertexState, ...] = ()
    statuses: tuple[VertexStatus, ...] = ()
    logs: tuple[VertexLog, ...] = ()


def read_trace(text: str) -> Trace:
    """Read one message.

    Parameters
    ----------
    text : str
        In base64.

    Raises
    ------
    ValueError
        It is none.
    """
    try:
        message = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None
    vertexes, statuses, logs = [], [], []
    for number, value in _fields(message):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            vertexes.append(_vertex(value))
        elif number == 2:
            statuses.append(_status(value))
        elif number == 3:
            logs.append(_log(value))
    return Trace(tuple(vertexes), tuple(statuses), tuple(logs))


def _vertex(message: bytes) -> VertexState:
    found = dict(_fields(message))  # of repeated fields only the inputs, which nobody needs
    return VertexState(
        digest=_text(found.get(1)),
        name=_text(found.get(3)),
        cached=bool(found.get(4)),
        started=5 in found,
        completed=6 in found,
        error=_text(found.get(7)),
    )


def _status(message: bytes) -> VertexStatus:
    found = dict(_fields(message))
    return VertexStatus(
        id=_text(found.get(1)),
        vertex=_text(found.get(2)),
        current=_number(found.get(4)),
        total=_number(found.get(5)),
        completed=8 in found,
    )


def _log(message: bytes) -> VertexLog:
    found = dict(_fields(message))
    data = found.get(4)
    return VertexLog(_text(found.get(1)), data if isinstance(data, bytes) else b"")


def _text(value: int | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else ""


def _number(value: int | bytes | None) -> int:
    return value if isinstance(value, int) else 0


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of each field of a message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _LEN:
            length, at = _varint(message, at)
        elif kind in (_I64, _I32):
            length = 8 if kind == _I64 else 4
        else:
            raise ValueError(f"wire type {kind} at byte {at}")
        if at + length > len(message):
            raise ValueError(f"{length} bytes wanted at byte {at} of {len(message)}")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count, byte in enumerate(message[at : at + _MOST_VARINT]):
        value |= (byte & 0x7F) << (7 * count)
        if not byte & 0x80:
            return value, at + count + 1
    raise ValueError(f"a number at byte {at} has no end")
