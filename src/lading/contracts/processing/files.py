"""Reading the files of the contract: rendered, parsed, checked, every finding with its line.

What can't be understood is refused. What is understood although it breaks the letter (a field
that the format does not have, a missing description, a number where a text belongs) is accepted
with a warning, as such files are in use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lading.contracts.processing.mistakes import in_words, real_path, shown
from lading.contracts.processing.positions import (
    JsonError,
    Path,
    json_kind,
    locate,
    parse,
    spell,
)
from lading.contracts.processing.rendering import RenderError, origin, render
from lading.errors import FileInvalid, InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lading.contracts.processing.task import Task
    from lading.contracts.processing.template import ProcessingContainer

__all__ = ["KINDS", "Finding", "Report", "check", "load_container", "load_task"]

KINDS = ("pc", "task")
"""``processing-container.json`` and ``task.json``, by the names that `--schema` has for them."""
ERROR, WARNING = "error", "warning"
_MOST = 500
"""Findings of one file: whoever has that many has them for one reason."""
_QUOTES = "a value with quotes in it ends a text: write {{ env.NAME | tojson }} without quotes"
_FIXES = {
    "templates": 'put the template into a list: "templates": [{"identifier": ..}]',
    "taskTemplate": "name one of the image's templates (`lading templates IMAGE` lists them), or "
    "write a whole one",
}


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

    def at(self, source: str) -> str:
        """Write it as compilers do: ``task.json:3:14: env[0].value: ...``."""
        place = ":".join([source, *(str(number) for number in (self.line, self.column) if number)])
        return f"{place}: {self.path + ': ' if self.path else ''}{self.message}"


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


def check(
    text: str,
    *,
    source: str,
    environment: Mapping[str, str] | None,
    kind: str | None = None,
    custom: Mapping[str, Any] | None = None,
) -> Report:
    """Read a file and say everything there is to say about it.

    Parameters
    ----------
    text : str
    source : str
        What the file is called.
    environment : mapping or None
        For ``{{ env.NAME }}``; None: the file is no template. One that comes out of an image isn't,
        or strangers could have the secrets of this process's environment told to their containers.
    kind : str or None
        One of :data:`KINDS`; None finds out by the fields it has.
    custom : mapping or None
        For ``{{ custom.NAME }}``.
    """
    report = Report(source, kind or "")
    try:
        rendered = text if environment is None else render(text, environment, custom)
    except RenderError as error:
        report.findings.append(Finding(ERROR, error.message, line=error.line, fix=error.fix))
        return report
    found = _Found(text, rendered)
    try:
        value, twice = parse(rendered)
    except JsonError as error:
        found.at(ERROR, f"no valid JSON: {error.message}", error.line, error.column)
    else:
        report.kind = kind or _kind_of(value)
        report.model = _checked(value, report.kind, found)
        for key, line, column in twice:
            message = f"the key {shown(key)} is twice in one object; the last one counts"
            found.at(WARNING, message, line, column)
    report.findings = found.in_order()
    return report


class _Found:
    """The findings of a file, and where in it they are."""

    def __init__(self, text: str, rendered: str) -> None:
        self._text = text
        self._rendered = rendered
        self._findings: list[Finding] = []
        self._left = 0

    def at(self, severity: str, message: str, line: int, column: int) -> None:
        """Add what was found at a place of the rendered text."""
        begin, column_there = origin(self._text, self._rendered, line, column)
        moved = (begin, column_there) != (line, column)
        fix = _QUOTES if severity == ERROR and moved and "{{" in self._text else ""
        if not begin:
            message += f" (line {line} once rendered)"
        self._findings.append(Finding(severity, message, "", begin, column_there, fix))

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
            severity = (
                WARNING if all(item.severity == WARNING for item in self._findings) else ERROR
            )
            self._findings.append(Finding(severity, f"... and {self._left} findings more"))
        return self._findings


def load_container(
    text: str, *, source: str, environment: Mapping[str, str] | None
) -> tuple[ProcessingContainer, list[str]]:
    """Read a ``processing-container.json``.

    Returns
    -------
    tuple of (ProcessingContainer, list of str)
        What it says, and warnings.

    Raises
    ------
    FileInvalid
        It can't be understood.
    """
    from lading.contracts.processing.template import ProcessingContainer  # noqa: PLC0415

    report = check(text, source=source, environment=environment, kind="pc")
    report.refuse()
    assert isinstance(report.model, ProcessingContainer)
    return report.model, report.warnings


def load_task(text: str, *, source: str, environment: Mapping[str, str]) -> tuple[Task, list[str]]:
    """Read a ``task.json``; see :func:`load_container`.

    Raises
    ------
    FileInvalid
        It can't be understood.
    """
    from lading.contracts.processing.task import Task  # noqa: PLC0415

    report = check(text, source=source, environment=environment, kind="task")
    report.refuse()
    assert isinstance(report.model, Task)
    return report.model, report.warnings


def _kind_of(value: Any) -> str:
    if not isinstance(value, dict):
        return ""
    if "templates" in value:
        return "pc"
    if "taskTemplate" in value or "image" in value:
        return "task"
    channels = [value.get("inputs"), value.get("outputs")]
    if any("mounted_path" in item for one in channels if isinstance(one, list) for item in one
           if isinstance(item, dict)):  # fmt: skip
        return "pc"  # as its first version was: one template at the top
    return ""


def _checked(value: Any, kind: str, found: _Found) -> BaseModel | None:
    """Check what a file holds; None if it can't be used."""
    if not isinstance(value, dict):
        found.add(ERROR, f"must be a JSON object, not {json_kind(value)}")
        return None
    if not kind:
        found.add(
            ERROR,
            "is neither a processing-container.json (it has no templates) nor a task.json "
            "(it has no image and no taskTemplate)",
            fix="say which it should be: --schema pc or --schema task",
        )
        return None
    from pydantic import ValidationError  # noqa: PLC0415  # 85 ms

    from lading.contracts.processing.deviations import deviations, doubts  # noqa: PLC0415

    model = _model(kind)
    checked, wrong = None, set()
    try:
        checked = model.model_validate(value)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            path = real_path(value, detail)
            found.add(ERROR, in_words(detail), path, _FIXES.get(spell(path), ""))
            wrong.add(tuple(path))
    for path, message in deviations(model, value, ()):
        if tuple(path) not in wrong or message.startswith("has no"):
            found.add(WARNING, message, path)
    if checked is not None:
        for path, message in doubts(kind, value):
            found.add(WARNING, message, path)
    return checked


def _model(kind: str) -> type[BaseModel]:
    if kind == "pc":
        from lading.contracts.processing.template import ProcessingContainer  # noqa: PLC0415

        return ProcessingContainer
    if kind == "task":
        from lading.contracts.processing.task import Task  # noqa: PLC0415

        return Task
    raise InputError("--schema", f"{kind!r} is no schema", fix=f"use one of {', '.join(KINDS)}")
