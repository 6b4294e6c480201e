"""Reading the files of the contract: rendered, parsed, checked, every finding with its line.

What can't be understood is refused. What is understood although it breaks the letter (a field
that the format does not have, a missing description, a number where a text belongs) is accepted
with a warning, as such files are in use.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lading.contracts.processing.reading.deviations import deviations, doubts
from lading.contracts.processing.reading.findings import ERROR, WARNING, Finding, Found, Report
from lading.contracts.processing.reading.positions import JsonError, parse, spell
from lading.contracts.processing.reading.rendering import RenderError, render
from lading.contracts.processing.reading.values import json_kind, shown
from lading.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lading.contracts.processing.task import Task
    from lading.contracts.processing.template import ProcessingContainer

__all__ = [
    "KINDS",
    "Finding",
    "Report",
    "check",
    "check_file",
    "load_container",
    "load_task",
    "read_task",
]

KINDS = ("pc", "task")
"""``processing-container.json`` and ``task.json``, by the names that `--schema` has for them."""
_LARGEST = 16 << 20
_FIXES = {
    "templates": 'put the template into a list: "templates": [{"identifier": ..}]',
    "taskTemplate": "name one of the image's templates (`lading templates IMAGE` lists them), or "
    "write a whole one",
}


def check(
    text: str,
    *,
    source: str,
    environment: Mapping[str, str] | None,
    kind: str | None = None,
    custom: Mapping[str, Any] | None = None,
    with_model: bool = True,
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
    with_model : bool
        Whether the report's `model` is wanted. Without it, a file that keeps to the letter is
        checked in half the time.
    """
    report = Report(source, kind or "")
    try:
        rendered = text if environment is None else render(text, environment, custom)
    except RenderError as error:
        report.findings.append(Finding(ERROR, error.message, line=error.line, fix=error.fix))
        return report
    found = Found(text, rendered)
    try:
        value, twice = parse(rendered)
    except JsonError as error:
        found.at(ERROR, f"no valid JSON: {error.message}", error.line, error.column)
    else:
        report.kind = kind or _kind_of(value)
        if with_model or not _keeps_to_the_letter(value, report.kind):
            report.model = _checked(value, report.kind, found)
            is_valid = report.model is not None
        else:
            is_valid = True
        for path, message in doubts(report.kind, value) if is_valid else ():
            found.add(WARNING, message, path)
        for key, line, column in twice:
            message = f"the key {shown(key)} is twice in one object; the last one counts"
            found.at(WARNING, message, line, column)
    report.findings = found.in_order()
    return report


def check_file(
    source: str,
    *,
    environment: Mapping[str, str],
    kind: str | None = None,
    with_model: bool = True,
) -> Report:
    """Read a file and say everything there is to say about it; see :func:`check`.

    Parameters
    ----------
    source : str
        Its path; ``-`` is stdin.
    """
    content = _content(source)
    if isinstance(content, Finding):
        return Report(source, kind or "", [content])
    return check(content, source=source, environment=environment, kind=kind, with_model=with_model)


def _content(source: str) -> str | Finding:
    """Read a file, or say why that can't be done."""
    try:
        where: str | int = 0 if source == "-" else source
        with open(where, "rb", closefd=where != 0) as file:  # 0 is stdin
            content = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return Finding(ERROR, "there is no such file")
    except IsADirectoryError:
        return Finding(ERROR, "is a directory", fix="name the file in it, such as task.json")
    except (OSError, ValueError) as error:
        return Finding(ERROR, f"can't be read: {getattr(error, 'strerror', None) or error}")
    if len(content) > _LARGEST:
        return Finding(ERROR, f"is larger than {_LARGEST >> 20} MiB, as no such file is")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Finding(ERROR, f"is no UTF-8: {error.reason}", line=line, fix="save it as UTF-8")
    return text if text.strip() else Finding(ERROR, "is empty")


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
    return _task(check(text, source=source, environment=environment, kind="task"))


def read_task(
    path: os.PathLike[str] | str, *, environment: Mapping[str, str]
) -> tuple[Task, list[str]]:
    """Read a task file; see :func:`load_container`.

    Raises
    ------
    FileInvalid
        It can't be read, or not be understood.
    """
    return _task(check_file(os.fspath(path), environment=environment, kind="task"))


def _task(report: Report) -> tuple[Task, list[str]]:
    from lading.contracts.processing.task import Task  # noqa: PLC0415

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
    lists = [one for one in (value.get("inputs"), value.get("outputs")) if isinstance(one, list)]
    if any("mounted_path" in item for one in lists for item in one if isinstance(item, dict)):
        return "pc"  # as its first version was: one template at the top
    return ""


def _keeps_to_the_letter(value: Any, kind: str) -> bool:
    from lading.contracts.processing.reading.letter import allows  # noqa: PLC0415
    from lading.contracts.processing.reading.schemas import schema  # noqa: PLC0415

    return kind in KINDS and allows(schema(kind), value)


def _checked(value: Any, kind: str, found: Found) -> BaseModel | None:
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

    from lading.contracts.processing.reading.mistakes import in_words, real_path  # noqa: PLC0415

    model = _model(kind)
    checked = None
    wrong: dict[tuple[str | int, ...], str] = {}
    try:
        checked = model.model_validate(value)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            path, message = real_path(value, detail), in_words(detail)
            if wrong.get(tuple(path)) != message:  # a union says it for each of its members
                found.add(ERROR, message, path, _FIXES.get(spell(path), ""))
            wrong[tuple(path)] = message
    for path, message in deviations(model, value, ()):
        if tuple(path) not in wrong or message.startswith("has no"):
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
