"""``lading check``: a task's folder, by the rules of its contract."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from lading.cli import printing
from lading.errors import ConfigError, InputError
from lading.folders.findings import ERROR, Finding, Report

__all__ = ["CONTRACTS", "contract_of", "examine"]

commands = typer.Typer(rich_markup_mode=None)

CONTRACTS = ("meca", "processing", "golem")
_TITLES = {
    "meca": "task folder",
    "processing": "processing-container's folder",
    "golem": "Golem application's folder",
}
_TELLING = {"processing-container.json": "processing", "app.json": "golem"}
"""Files by which a folder's contract is told; without them it is a task folder."""
_ERRORS, _NO_FOLDER = 65, 66


@commands.command()
def check(
    *,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Of a task, of any contract.")],
    contract: Annotated[
        str,
        typer.Option(
            "--contract",
            metavar="CONTRACT",
            help="meca, processing or golem. Default: told by the files that are there.",
        ),
    ] = "",
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="RULE", help="Leave out what this rule finds."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Check a task's folder: what its contract wants, what will bite later.

    Each finding is a line FILE:LINE: LEVEL: WHAT [RULE], with why it matters and what to do.
    An error keeps the task from being published or run elsewhere; a warning will bite later; a
    hint is worth knowing. Nothing is built or run.

    Exit code 0 without errors, 65 with some, 66 if there is no such folder.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        reason = "is no folder" if os.path.lexists(path) else "there is no such folder"
        printing.error(f"{folder}: {reason}")
        printing.fix("name the folder that holds the task's Dockerfile")
        raise typer.Exit(_NO_FOLDER)
    report = examine(path, contract, ignored=frozenset(ignore or ()))
    bad = bool(report.errors or (strict and report.warnings))
    if as_json:
        printing.json(_described(report, bad=bad))
    else:
        _show(report, bad=bad)
    if bad:
        raise typer.Exit(_ERRORS)


def contract_of(folder: Path) -> str:
    """Tell the contract of a folder by the files that are in it.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    str
        ``processing`` if it has a ``processing-container.json``, ``golem`` if it has an
        ``app.json``, else ``meca``.
    """
    for name, contract in _TELLING.items():
        if os.path.lexists(folder / name):
            return contract
    return "meca"


def examine(folder: Path, contract: str = "", *, ignored: frozenset[str] = frozenset()) -> Report:
    """Check a folder; blocks on the disk.

    Parameters
    ----------
    folder : Path
    contract : str
        ``meca``, ``processing`` or ``golem``; empty: see :func:`contract_of`.
    ignored : frozenset of str
        Names of rules whose findings are left out.

    Raises
    ------
    InputError
        There is no such contract or rule.
    ConfigError
        There is no such folder.
    """
    if contract not in ("", *CONTRACTS):
        raise InputError(
            "--contract", f"{contract!r} is none", fix=f"use one of {', '.join(CONTRACTS)}"
        )
    if not folder.is_dir():
        raise ConfigError(str(folder), "there is no such folder", fix="name a task's folder")
    contract = contract or contract_of(folder)
    if ignored:
        _refuse_unknown(ignored)
    report = Report(folder, contract, ignored)
    if contract == "meca":
        from lading.contracts.meca.checking import check_folder  # noqa: PLC0415
    elif contract == "processing":
        from lading.contracts.processing.checking import check_folder  # noqa: PLC0415
    else:
        from lading.contracts.golem.checking import check_folder  # noqa: PLC0415
    check_folder(folder, report)
    return report


def _refuse_unknown(names: frozenset[str]) -> None:
    from lading.contracts.golem.rules import GOLEM  # noqa: PLC0415
    from lading.contracts.meca.rules import MECA  # noqa: PLC0415
    from lading.contracts.processing.rules import PROCESSING  # noqa: PLC0415
    from lading.folders.rules import COMMON  # noqa: PLC0415

    known = {rule.name for rule in (*COMMON, *MECA, *PROCESSING, *GOLEM)}
    for name in sorted(names - known):
        raise InputError("--ignore", f"{name!r} is no rule", fix="it stands in [] after a finding")


def _described(report: Report, *, bad: bool) -> dict[str, Any]:
    return {
        "folder": str(report.folder),
        "contract": report.contract,
        "passed": not bad,
        "errors": len(report.errors),
        "warnings": len(report.warnings),
        "hints": len(report.hints),
        "findings": [dataclasses.asdict(finding) for finding in report.findings],
    }


def _show(report: Report, *, bad: bool) -> None:
    for finding in report.findings:
        printing.problem(
            finding.level,
            _place(report, finding),
            f"{finding.what} [{finding.rule}]",
            finding.fix,
            why=finding.why,
        )
    counted = [
        f"{len(found)} {word}{'' if len(found) == 1 else 's'}"
        for found, word in (
            (report.errors, ERROR),
            (report.warnings, "warning"),
            (report.hints, "hint"),
        )
        if found
    ]
    title = _TITLES[report.contract]
    printing.verdict(
        str(report.folder),
        f"a {title} that can't be published as it is" if bad else f"a good {title}",
        ", ".join(counted),
        good=not bad,
    )


def _place(report: Report, finding: Finding) -> str:
    place = os.path.normpath(report.folder / finding.file)
    return place if finding.line is None else f"{place}:{finding.line}"
