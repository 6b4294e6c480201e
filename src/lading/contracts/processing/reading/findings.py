"""What is found in a file, and where in it that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lading.contracts.processing.reading.positions import Path, locate, spell
from lading.contracts.processing.reading.rendering import origin
from lading.errors import FileInvalid

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["ERROR", "WARNING", "Finding", "Found", "Report"]

ERROR, WARNING = "error", "warning"
_MOST = 500
"""Findings of one file: whoever has that many has them for one reason."""
_QUOTES = "a value with quotes in it ends a text: write {{ env.NAME | tojson }} without quotes"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to say about a file.

    Parameters
    ----------
    severity : str
        ``error`` or ``warning``.
    message : str
        What is wrong.
    path : str
        At which value, as ``templates[0].env[2].value``; empty for the whole file.
    line, column : int
        Where that is, counted from 1; 0 where nobody knows.
    fix : str
        What to do.
    """

    severity: str
    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    fix: str = ""

    def place(self, source: str) -> str:
        """Write where it is, as compilers do: ``task.json:3:14``."""
        return ":".join([source, *(str(number) for number in (self.line, self.column) if number)])

    @property
    def text(self) -> str:
        """Write what it is about: ``env[0].value: ...``."""
        return f"{self.path}: {self.message}" if self.path else self.message

    def at(self, source: str) -> str:
        """Write both: ``task.json:3:14: env[0].value: ...``."""
        return f"{self.place(source)}: {self.text}"


@dataclass(slots=True)
class Report:
    """What was found in a file.

    Parameters
    ----------
    source : str
        What the file is called.
    kind : str
        ``pc`` or ``task``; empty where it can't be told.
    findings : list of Finding
        In the order of the file.
    model : ProcessingContainer or Task or None
        What it says; None if it has errors.
    """

    source: str
    kind: str = ""
    findings: list[Finding] = field(default_factory=list)
    model: BaseModel | None = None

    @property
    def errors(self) -> list[Finding]:
        """Those that keep the file from being used."""
        return [finding for finding in self.findings if finding.severity == ERROR]

    @property
    def warnings(self) -> list[str]:
        """The others, as texts."""
        return [item.at(self.source) for item in self.findings if item.severity == WARNING]

    def refuse(self) -> None:
        """Raise if there are errors.

        Raises
        ------
        FileInvalid
            Tells all of them.
        """
        if errors := self.errors:
            raise FileInvalid(
                self.source,
                [finding.at(self.source) for finding in errors],
                fix=next((finding.fix for finding in errors if finding.fix), ""),
            )


class Found:
    """The findings of a file, and where in it they are."""

    def __init__(self, text: str, rendered: str) -> None:
        self._text = text
        self._rendered = rendered
        self._findings: list[Finding] = []
        self._left = 0

    def at(self, severity: str, message: str, line: int, column: int) -> None:
        """Add what was found at a place of the rendered text."""
        begin, column_there = origin(self._text, self._rendered, line, column)
        fix = _QUOTES if severity == ERROR and self._is_expression(begin, column_there) else ""
        if not begin:
            message += f" (line {line} once rendered)"
        self._findings.append(Finding(severity, message, "", begin, column_there, fix))

    def _is_expression(self, line: int, column: int) -> bool:
        return line > 0 and self._text.split("\n")[line - 1].startswith("{{", column - 1)

    def add(self, severity: str, message: str, path: Path = (), fix: str = "") -> None:
        """Add what was found at a value; errors come before warnings."""
        if len(self._findings) >= _MOST:
            self._left += 1
            return
        line, column = origin(self._text, self._rendered, *locate(self._rendered, path))
        self._findings.append(Finding(severity, message, spell(path), line, column, fix))

    def in_order(self) -> list[Finding]:
        """List them in the order of the file."""
        self._findings.sort(key=lambda finding: (finding.line, finding.column))
        if self._left:
            self._findings.append(Finding(WARNING, f"... and {self._left} findings more"))
        return self._findings
