"""``lading validate``: whether files are what the contract asks for, and if not, where."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from lading.cli import printing
from lading.contracts.processing.reading.files import KINDS, Report, check_file
from lading.errors import InputError
from lading.settings import environment

commands = typer.Typer(rich_markup_mode=None)

_TITLES = {"pc": "processing-container", "task": "task", "": "file"}
_INVALID = 2


@commands.command()
def validate(
    *,
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files to check; - is stdin.")
    ],
    schema: Annotated[
        str,
        typer.Option(
            "--schema",
            metavar="KIND",
            help="What they should be: pc (processing-container.json) or task. "
            "Default: found out by the fields they have.",
        ),
    ] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Check processing-container.json and task.json files.

    Each finding is a line FILE:LINE:COLUMN: error (or warning): PATH: MESSAGE. Warnings are about
    what is understood although it breaks the letter of the format. Files are templates, as they
    are when a task is run: {{ env.NAME }} is a variable of this environment.

    Exit code 0 if all files are valid, 2 if one is not.
    """
    if schema not in ("", *KINDS):
        raise InputError("--schema", f"{schema!r} is no kind of file", fix="use pc or task")
    reports = [
        check_file(name, environment=environment(), kind=schema or None, with_model=False)
        for name in files
    ]
    if as_json:
        described = [_described(report, strict=strict) for report in reports]
        printing.json(
            {"valid": all(_holds(report, strict=strict) for report in reports), "files": described}
        )
    else:
        for report in reports:
            _show(report, strict=strict)
    if not all(_holds(report, strict=strict) for report in reports):
        raise typer.Exit(_INVALID)


def _holds(report: Report, *, strict: bool) -> bool:
    return not (report.findings if strict else report.errors)


def _described(report: Report, *, strict: bool) -> dict[str, Any]:
    return {
        "file": report.source,
        "kind": report.kind or None,
        "valid": _holds(report, strict=strict),
        "findings": [dataclasses.asdict(finding) for finding in report.findings],
    }


def _show(report: Report, *, strict: bool) -> None:
    errors, warnings = len(report.errors), len(report.warnings)
    counted = [
        f"{number} {word}{'' if number == 1 else 's'}"
        for number, word in ((errors, "error"), (warnings, "warning"))
        if number
    ]
    for finding in report.findings:
        printing.problem(finding.severity, finding.place(report.source), finding.text, finding.fix)
    holds = _holds(report, strict=strict)
    title = _TITLES[report.kind]
    verdict = f"a valid {title}" if holds else f"not a valid {title}"
    printing.verdict(report.source, verdict, ", ".join(counted), good=holds)
