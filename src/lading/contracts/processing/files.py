"""Reading the files of the contract: rendered, parsed, checked, every finding with its line.

What can't be understood is refused. What is understood although it breaks the letter (a field
that the format does not have, a missing description, a number where a text belongs) is accepted
with a warning, as such files are in use.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from lading.contracts.processing.positions import JsonError, Path, locate, parse, spell
from lading.contracts.processing.rendering import RenderError, render
from lading.errors import FileInvalid, InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lading.contracts.processing.task import Task
    from lading.contracts.processing.template import ProcessingContainer

__all__ = ["KINDS", "Finding", "Report", "check", "load_container", "load_task"]

KINDS = ("pc", "task")
"""``processing-container.json`` and ``task.json``, by the names that `--schema` has for them."""
ERROR, WARNING = "error", "warning"
_LATER_NAMES = {"input", "output"}
"""Other names of a channel's volume_source, in the documents."""
_WANTED = {
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
"""What pydantic's kinds of error say that there should be."""
_DESCRIBED = {"ProcessingContainer", "TaskTemplate", "IOMount"}
"""Models whose description the format asks for."""


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
        value, twice = parse(rendered)
    except RenderError as error:
        report.findings.append(Finding(ERROR, error.message, line=error.line, fix=error.fix))
        return report
    except JsonError as error:
        where = "" if rendered.count("\n") == text.count("\n") else " (lines of the rendered text)"
        report.findings.append(
            Finding(ERROR, f"no valid JSON: {error.message}{where}", "", error.line, error.column)
        )
        return report
    report.kind = kind or _kind_of(value)
    _check_value(report, rendered, value)
    for key in twice:
        report.findings.append(
            Finding(WARNING, f"the key {key!r} is twice in one object, the last one counts")
        )
    return report


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
    if isinstance(value, dict):
        if "templates" in value:
            return "pc"
        if "taskTemplate" in value or "image" in value:
            return "task"
    return ""


def _check_value(report: Report, text: str, value: Any) -> None:
    from pydantic import ValidationError  # noqa: PLC0415  # 85 ms

    def add(severity: str, message: str, path: Path = (), fix: str = "") -> None:
        line, column = locate(text, path)
        report.findings.append(Finding(severity, message, spell(path), line, column, fix))

    if not isinstance(value, dict):
        add(ERROR, f"must be a JSON object, not {_json_kind(value)}")
        return
    if not report.kind:
        add(
            ERROR,
            "is neither a processing-container.json (it has no templates) nor a task.json "
            "(it has no image and no taskTemplate)",
            fix="say which it should be: --schema pc or --schema task",
        )
        return
    model = _model(report.kind)
    try:
        report.model = model.model_validate(value)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            path = _real_path(value, detail["loc"])
            add(ERROR, _in_words(detail), path)
    for path, message in _deviations(model, value, ()):
        add(WARNING, message, path)
    if report.model is not None and report.kind == "pc":
        for path, message in _doubtful(value):
            add(WARNING, message, path)
    report.findings.sort(key=lambda finding: (finding.line, finding.column))


def _model(kind: str) -> type[BaseModel]:
    if kind == "pc":
        from lading.contracts.processing.template import ProcessingContainer  # noqa: PLC0415

        return ProcessingContainer
    if kind == "task":
        from lading.contracts.processing.task import Task  # noqa: PLC0415

        return Task
    raise InputError("--schema", f"{kind!r} is no schema", fix=f"use one of {', '.join(KINDS)}")


def _real_path(value: Any, location: tuple[str | int, ...]) -> Path:
    """Leave out of a path what pydantic adds to it: the names of a union's members."""
    path: list[str | int] = []
    for position, step in enumerate(location):
        last = position == len(location) - 1
        if isinstance(value, dict) and isinstance(step, str):
            if step not in value and not last:
                continue
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            continue
        path.append(step)
    return path


def _in_words(detail: Any) -> str:
    given = detail.get("input")
    kind, context = detail["type"], detail.get("ctx") or {}
    if (wanted := _WANTED.get(kind)) is not None:
        return f"must be {wanted}, not {_json_kind(given)}"
    words = {
        "missing": "is missing",
        "string_too_short": "is empty",
        "union_tag_invalid": "has a type that is neither docker nor k8s",
        "value_error": str(context.get("error")),
        "literal_error": f"must be {context.get('expected')}, not {given!r}",
        "enum": f"must be {context.get('expected')}, not {given!r}",
        "string_pattern_mismatch": f"{given!r} does not match {context.get('pattern')}",
    }
    message = detail["msg"]
    return words.get(kind, f"{message[0].lower()}{message[1:]}, found {given!r}")


def _json_kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a text"}
    return kinds.get(type(value), "a list" if isinstance(value, list) else "an object")


# What breaks the letter, and is meant beyond doubt.


def _deviations(
    model: type[BaseModel], value: dict[str, Any], path: tuple[str | int, ...]
) -> Iterator[tuple[Path, str]]:
    """Walk over a value beside its model."""
    fields = model.model_fields
    if model.__name__ == "HostPathVolume" and "host_path" not in value:
        if "local_path" in value:
            yield (*path, "local_path"), "is called host_path by now"
        return  # or a volume of a cluster, which has its own format
    for name, inside in value.items():
        here = (*path, name)
        if name not in fields:
            if not (name in _LATER_NAMES and "volume_source" in fields):
                yield here, "the format has no such field; it is ignored"
            continue
        kind = fields[name].annotation
        if _is_text(fields[name]) and not isinstance(inside, str):
            yield here, f"should be a text; {_json_kind(inside)} is read as {_as_text(inside)!r}"
        for inner in _models(kind):
            if isinstance(inside, dict):
                yield from _deviations(inner, inside, here)
            elif isinstance(inside, list):
                for index, item in enumerate(inside):
                    if isinstance(item, dict):
                        yield from _deviations(inner, item, (*here, index))
    if model.__name__ in _DESCRIBED and not value.get("description"):
        yield path, "has no description"


def _is_text(known: Any) -> bool:
    """Whether a field takes other things and makes texts of them."""
    return known.annotation is str and any(
        getattr(getattr(item, "func", None), "__name__", "") == "text_of" for item in known.metadata
    )


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Find the models in an annotation whose fields can be told: one, not several."""
    from pydantic import BaseModel  # noqa: PLC0415

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = [model for inner in get_args(annotation) for model in _models(inner)]
    return found if len(found) == 1 else []


def _doubtful(value: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Find what is valid, and yet can't be meant."""
    seen: set[str] = set()
    for index, template in enumerate(value["templates"]):
        path = ("templates", index)
        identifier = template["identifier"]
        if identifier in seen:
            yield (*path, "identifier"), f"{identifier!r} is twice; the first one is used"
        seen.add(identifier)
        for position, env in enumerate(template.get("env") or ()):
            choices, chosen = env.get("choices"), env.get("value")
            if choices and _as_text(chosen) not in map(_as_text, choices):
                yield (
                    (*path, "env", position, "value"),
                    f"{chosen!r} is not one of the choices",
                )
    if not value["templates"]:
        yield ("templates",), "is empty: nothing can be run"
