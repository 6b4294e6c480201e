"""The one place that prints: results to stdout, and what people are told to stderr.

Colour and lines that move only where a person looks (a terminal, and no ``NO_COLOR``:
https://no-color.org).
"""

from __future__ import annotations

import json as json_format
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from lading.settings import environment

if TYPE_CHECKING:
    from lading.engine import PullStatus

__all__ = [
    "Live",
    "LiveBlock",
    "OutputClosed",
    "be_quiet",
    "detail",
    "error",
    "finding",
    "fix",
    "is_quiet",
    "json",
    "layers",
    "line",
    "log_to_stderr",
    "note",
    "pairs",
    "passed_on",
    "problem",
    "result",
    "table",
    "task_log",
    "verdict",
    "warn",
]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What could move a terminal's cursor: texts that come from strangers don't get to."""
_NOT_ON_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BOLD, _RED, _YELLOW, _DIM, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"

_state = {"quiet": False}


class OutputClosed(BrokenPipeError):
    """Whoever read what we write has closed it, as ``head`` does."""


def be_quiet() -> None:
    """From here on, no notes and no progress; warnings and errors are still told."""
    _state["quiet"] = True


def is_quiet() -> bool:
    """Whether nobody wants notes, progress and summaries."""
    return _state["quiet"]


def _write(stream: BinaryIO, data: bytes) -> None:
    try:
        stream.write(data)
        stream.flush()
    except BrokenPipeError as error:
        # What is still in the buffer would be written, and fail, when Python ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        raise OutputClosed(*error.args) from None


def _clean(text: str) -> str:
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def _one_line(text: str) -> str:
    return _NOT_ON_A_LINE.sub(lambda match: ascii(match[0])[1:-1], text)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _looked_at(stream: Any) -> bool:
    return bool(stream.isatty()) and environment().get("TERM") != "dumb"


def _paint(text: str, colour: str, stream: Any) -> str:
    coloured = _looked_at(stream) and not environment().get("NO_COLOR")
    return f"{colour}{text}{_PLAIN}" if coloured else text


def _tell(text: str) -> None:
    _Lines.end_live()
    _Lines.end_foreign()
    _write(sys.stderr.buffer, _encode(text + "\n"))


# Results.


def result(data: bytes) -> None:
    """Write bytes as they are; a terminal also gets the newline that they may lack."""
    _Lines.end_live()
    if data and sys.stdout.isatty() and not data.endswith(b"\n"):
        data += b"\n"
    _write(sys.stdout.buffer, data)


def line(text: str) -> None:
    """Write a line to stdout."""
    _Lines.end_live()
    _write(sys.stdout.buffer, _encode(_clean(text) + "\n"))


def json(value: Any) -> None:
    """Write a value as JSON, indented."""
    text = json_format.dumps(value, indent=2, ensure_ascii=False)
    line(_CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text))  # JSON escapes but a few


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write columns as wide as they must be; a person gets to see the heads in bold."""
    all_rows = [tuple(_clean(cell).replace("\n", " ") for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *all_rows, strict=True)]

    def padded(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.ljust(width) for cell, width in zip(cells, widths, strict=True)
        ).rstrip()

    lines = [_paint(padded(heads), _BOLD, sys.stdout), *map(padded, all_rows)]
    _Lines.end_live()
    _write(sys.stdout.buffer, _encode("\n".join(lines) + "\n"))


def pairs(values: Mapping[str, Any]) -> None:
    """Write names and values, a line each; what is not known is left out."""
    shown = {
        name: json_format.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
        for name, value in values.items()
        if value not in (None, "", {})
    }
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        line(f"{name:<{width}}  {value}")


def passed_on(data: bytes, *, to_stdout: bool) -> None:
    """Pass on what a container wrote, byte for byte."""
    _Lines.end_live()
    _Lines.unfinished = not data.endswith(b"\n")
    _write(sys.stdout.buffer if to_stdout else sys.stderr.buffer, data)


# For people.


def note(text: str) -> None:
    """Tell what happens."""
    if not _state["quiet"]:
        _tell(_paint(_clean(text), _DIM, sys.stderr))


def warn(text: str) -> None:
    """Tell what may be wrong."""
    _tell(f"{_paint('warning:', _YELLOW, sys.stderr)} {_clean(text)}")


def error(text: str) -> None:
    """Tell what went wrong."""
    _tell(f"{_paint('error:', _RED, sys.stderr)} {_clean(text)}")


def fix(text: str) -> None:
    """Tell what to do about it."""
    _tell(f"{_paint('fix:', _BOLD, sys.stderr)} {_clean(text)}")


def detail(text: str, title: str = "") -> None:
    """Tell more, indented."""
    if title:
        _tell(_paint(f"{title}:", _DIM, sys.stderr))
    _tell("\n".join(f"  {row}" for row in _clean(text).splitlines()))


MARKS: Mapping[str, str] = {"ok": _DIM, "warn": _YELLOW, "fail": _RED}


def finding(mark: str, name: str, text: str, way_out: str = "") -> None:
    """Write one line of an examination to stdout: ``ok``, ``warn`` or ``fail``, and of what."""
    painted = _paint(f"{mark:<4}", MARKS.get(mark, _BOLD), sys.stdout)
    lines = [f"{painted}  {name + ':':<18} {_clean(text)}"]
    if way_out:
        lines.append(f"{'':<24} {_paint('->', _BOLD, sys.stdout)} {_clean(way_out)}")
    _write(sys.stdout.buffer, _encode("\n".join(lines) + "\n"))


def problem(severity: str, place: str, text: str, way_out: str = "", *, why: str = "") -> None:
    """Write a finding about a file to stdout, as compilers do: ``FILE:1:2: error: ...``."""
    painted = _paint(f"{severity}:", _RED if severity == "error" else _YELLOW, sys.stdout)
    lines = [f"{_paint(_one_line(place), _BOLD, sys.stdout)}: {painted} {_one_line(text)}"]
    if why:
        lines.append(f"    {_paint('why:', _BOLD, sys.stdout)} {_one_line(why)}")
    if way_out:
        lines.append(f"    {_paint('fix:', _BOLD, sys.stdout)} {_one_line(way_out)}")
    _write(sys.stdout.buffer, _encode("\n".join(lines) + "\n"))


def verdict(name: str, text: str, counted: str, *, good: bool) -> None:
    """Write to stdout what was found out about something: ``FILE: a valid task``."""
    painted = _paint(text, _BOLD if good else _RED, sys.stdout)
    text = f"{_one_line(name)}: {painted}{' (' + counted + ')' if counted else ''}"
    _write(sys.stdout.buffer, _encode(text + "\n"))


def task_log(data: bytes) -> None:
    """Pass on what a task printed while it was run, unless quiet."""
    if not _state["quiet"]:
        passed_on(data, to_stdout=False)


def log_to_stderr() -> None:
    """Send the program's own log to stderr, a line for each event; LADING_DEBUG adds detail.

    What would end a line, or move a terminal's cursor, is escaped: strangers have their words in
    messages, and could write lines of their own otherwise.
    """
    import logging  # noqa: PLC0415  # only servers log

    class OneLine(logging.Formatter):
        def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's
            text = super().formatMessage(record)
            return _NOT_ON_A_LINE.sub(lambda match: ascii(match[0])[1:-1], text)

    debug = bool(environment().get("LADING_DEBUG"))
    level = logging.WARNING if _state["quiet"] else logging.DEBUG if debug else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler])
    if not debug:
        logging.getLogger("asyncio").setLevel(logging.WARNING)


class _Lines:
    """Which line of the terminal moves now, and whether a container has begun one."""

    live: Live | LiveBlock | None = None
    unfinished = False

    @classmethod
    def end_live(cls) -> None:
        if cls.live is not None:
            cls.live.clear()

    @classmethod
    def end_foreign(cls) -> None:
        """Begin a line where a person looks, if a container has not ended its own."""
        if cls.unfinished and _looked_at(sys.stderr):
            _write(sys.stderr.buffer, b"\n")
        cls.unfinished = False


class Live:
    """Progress: one line that moves where a person looks, plain lines where a program reads.

    Parameters
    ----------
    title : str
        What makes progress; stands before every line.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._moves = _looked_at(sys.stderr)
        self._last = ""

    def __call__(self, text: str, share: float | None = None) -> None:
        """Tell how far it is.

        Parameters
        ----------
        text : str
            What happens now.
        share : float or None
            How much of it is done, 0 to 1; only shown where a person looks.
        """
        if _state["quiet"]:
            return
        if not self._moves:
            if text != self._last:
                self._last = text
                note(f"{self._title}: {text}")
            return
        if _Lines.unfinished:
            return  # it would wipe out what a container wrote
        percent = "" if share is None else f" {share * 100:3.0f} %"
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
        shown = _clean(f"{self._title}:{percent} {text}").replace("\n", " ")[: columns - 1]
        _Lines.live = self
        _write(sys.stderr.buffer, _encode(f"\r\x1b[K{_paint(shown, _DIM, sys.stderr)}"))

    @property
    def moves(self) -> bool:
        """Whether a person looks, so that what changes often is worth telling."""
        return self._moves and not _state["quiet"]

    def part(self, text: str, share: float | None) -> None:
        """Tell how far one of its parts is: worth a line that moves, but not one that stays."""
        if self._moves:
            self(text, share)

    def clear(self) -> None:
        """Take the line away."""
        if _Lines.live is self:
            _Lines.live = None
            _write(sys.stderr.buffer, b"\r\x1b[K")

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *exc: object) -> None:
        self.clear()


class LiveBlock:
    """Several lines that move where a person looks; who else has them says it in plain lines."""

    def __init__(self) -> None:
        self._moves = _looked_at(sys.stderr)
        self._height = 0

    @property
    def moves(self) -> bool:
        """Whether a person looks."""
        return self._moves and not _state["quiet"]

    def __call__(self, lines: Sequence[str]) -> None:
        """Show these instead of those before."""
        if not self.moves or _Lines.unfinished or not lines:
            return
        size = os.get_terminal_size(sys.stderr.fileno())
        shown = [
            _paint(_clean(text).replace("\n", " ")[: (size.columns or 80) - 1], _DIM, sys.stderr)
            for text in lines[: max(1, (size.lines or 24) - 1)]
        ]
        if _Lines.live is not self:
            _Lines.end_live()
        text = self._wiped() + "\n".join(shown)
        _Lines.live, self._height = self, len(shown)
        _write(sys.stderr.buffer, _encode(text))

    def clear(self) -> None:
        """Take the lines away."""
        if _Lines.live is self:
            _Lines.live = None
            _write(sys.stderr.buffer, _encode(self._wiped()))

    def _wiped(self) -> str:
        height, self._height = self._height, 0
        return "\r\x1b[K" + "\x1b[1A\x1b[K" * (height - 1)


def layers(live: Live) -> Callable[[PullStatus], None]:
    """Make what shows the steps of a pull or build; its parts come in any order and at once."""
    parts: dict[str, tuple[int, int]] = {}

    def show(status: PullStatus) -> None:
        if not status.layer:
            live(status.text)
            return
        if status.total:
            parts[status.layer] = (status.current, status.total)
        done = sum(current for current, _ in parts.values())
        total = sum(total for _, total in parts.values())
        live.part(status.text, done / total if total else None)

    return show
