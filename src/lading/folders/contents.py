"""What is in a folder, whatever its contract: secrets, sizes, links, names, clutter."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lading.folders import rules
from lading.folders.findings import Finding, Report
from lading.folders.secrets import secret_file, secrets_in
from lading.folders.survey import (
    NOT_ENTERED,
    Budget,
    Entry,
    Listed,
    Unreadable,
    content_of,
    read_ignore,
    walk,
)
from lading.run.build_context import Ignore
from lading.units import MIB, format_bytes

__all__ = ["Contents", "Look", "examine_contents"]

_LARGE_FILE = 100 * MIB
_LARGE_FOLDER = 500 * MIB
_CROWDED = 10_000
_REMEMBERED = 1000
"""Executable files that are remembered for the Dockerfile's sake."""
_CLUTTER = frozenset(
    (
        *("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".tox", ".hypothesis"),
        *(".venv", "venv", "node_modules", ".ipynb_checkpoints"),
        *(".DS_Store", ".idea", ".vscode"),
    )
)
_TOOLS = (".git", ".docker", ".editorconfig", ".pre-commit", ".travis", ".hg", ".svn", ".circleci")
"""Beginnings of hidden names that nobody needs in an image."""

Look = Callable[[Entry, bytes], Iterator[Finding]]
"""What a contract finds in a file's content."""


@dataclass(slots=True)
class Contents:
    """What is known of a folder once it was walked.

    Parameters
    ----------
    folder : Path
    ignore : Ignore
    executables : list of str
        Files with an executable bit that IPFS gets, as far as they can be remembered.
    files, size : int
        How many are published or built in, and their bytes.
    """

    folder: Path
    ignore: Ignore
    executables: list[str] = field(default_factory=list)
    files: int = 0
    size: int = 0


def examine_contents(
    folder: Path,
    report: Report,
    *,
    look: Look | None = None,
    listed: Callable[[Listed], Iterator[Finding]] | None = None,
) -> Contents:
    """Walk a folder once, and report what is found; blocks on the disk.

    Parameters
    ----------
    folder : Path
    report : Report
    look : callable or None
        Called with every file's first MiB.
    listed : callable or None
        Called with every directory.
    """
    ignore, wrong = read_ignore(folder)
    if wrong is not None:
        name, _, line = wrong.field.rpartition(":")
        place = (name, int(line)) if line.isdigit() and name else (wrong.field, None)
        report.add(rules.DOCKERIGNORE_INVALID.at(place[0], wrong.reason, line=place[1]))
    contents, budget = Contents(folder, ignore), Budget()
    cluttered: set[str] = set()
    for item in walk(folder, ignore, budget):
        if isinstance(item, Unreadable):
            report.add(rules.FILE_UNREADABLE.at(item.path, f"can't be read: {item.reason}"))
        elif isinstance(item, Listed):
            for finding in listed(item) if listed else ():
                report.add(finding)
        else:
            for finding in _of_entry(item, contents, cluttered):
                report.add(finding)
            if item.is_file:
                for finding in _of_content(item, budget, look):
                    report.add(finding)
    for finding in _of_all(contents, budget):
        report.add(finding)
    return contents


def _of_all(contents: Contents, budget: Budget) -> Iterator[Finding]:
    if contents.size > _LARGE_FOLDER:
        yield rules.FOLDER_LARGE.at(".", f"has {format_bytes(contents.size)} in all")
    if contents.files > _CROWDED:
        yield rules.FOLDER_CROWDED.at(".", f"has {contents.files:,} files")
    if budget.used_up:
        yield rules.SEARCH_INCOMPLETE.at(".", "not all of it was looked into")


def _of_entry(entry: Entry, contents: Contents, cluttered: set[str]) -> Iterator[Finding]:
    yield from _of_name(entry)
    if entry.name in NOT_ENTERED:
        if entry.in_context:
            yield rules.VERSIONS_IN_CONTEXT.at(
                entry.path, "goes to the builder", fix=f"write {entry.name} into .dockerignore"
            )
        return
    if entry.name in _CLUTTER and entry.name not in cluttered:
        cluttered.add(entry.name)
        yield rules.CLUTTER.at(
            entry.path,
            "nobody needs it",
            fix=f"delete it, and write **/{entry.name} into .dockerignore",
        )
    if entry.is_link:
        yield from _of_link(entry, contents.folder)
    elif entry.is_file:
        yield from _of_file(entry, contents)
    elif not entry.is_folder:
        yield rules.SPECIAL_FILE.at(entry.path, f"is a {_kind(entry)}")


def _of_file(entry: Entry, contents: Contents) -> Iterator[Finding]:
    contents.files += 1
    contents.size += entry.status.st_size
    if entry.status.st_size > _LARGE_FILE:
        yield rules.FILE_LARGE.at(entry.path, f"has {format_bytes(entry.status.st_size)}")
    if kind := secret_file(entry.path):
        yield rules.SECRET_IN_FOLDER.at(entry.path, f"by its name, holds {kind}")
        return  # no advice on how to publish it
    if entry.hidden:
        first = next(part for part in entry.path.split("/") if part.startswith("."))
        if first not in _CLUTTER and not first.startswith(_TOOLS):
            yield rules.HIDDEN_LEFT_OUT.at(entry.path, "is hidden")
    elif entry.status.st_mode & stat.S_IXUSR and len(contents.executables) < _REMEMBERED:
        contents.executables.append(entry.path)


def _of_name(entry: Entry) -> Iterator[Finding]:
    name = entry.name
    try:
        name.encode()
    except UnicodeEncodeError:
        yield rules.NAME_NOT_UTF8.at(entry.path, "its name is no UTF-8")
        return
    if "\\" in name or any(char < " " or char == "\x7f" for char in name):
        yield rules.NAME_NOT_PORTABLE.at(entry.path, f"its name is {name!r}")


def _of_link(entry: Entry, folder: Path) -> Iterator[Finding]:
    try:
        aim = os.readlink(entry.real)  # noqa: PTH115  # as it is written, without Path's tidying
        real, root = os.path.realpath(entry.real), os.path.realpath(folder)
    except OSError as error:
        yield rules.LINK_BROKEN.at(entry.path, f"can't be followed: {error.strerror}")
        return
    if aim.startswith("/") or not (real == root or real.startswith(f"{root}/")):
        yield rules.LINK_OUTSIDE.at(entry.path, f"leads to {aim}")
    elif not os.path.lexists(real):
        yield rules.LINK_BROKEN.at(entry.path, f"leads to {aim}, which is not there")


def _kind(entry: Entry) -> str:
    mode = entry.status.st_mode
    if stat.S_ISSOCK(mode):
        return "socket"
    return "pipe" if stat.S_ISFIFO(mode) else "device"


def _of_content(entry: Entry, budget: Budget, look: Look | None) -> Iterator[Finding]:
    content = content_of(entry, budget)
    if isinstance(content, Unreadable):
        yield rules.FILE_UNREADABLE.at(content.path, f"can't be read: {content.reason}")
        return
    if not content:
        return
    for secret in secrets_in(entry.path, content):
        rule = rules.SECRET_IN_FOLDER if secret.certain else rules.SECRET_LIKELY
        yield rule.at(entry.path, f"holds {secret.kind}", line=secret.line)
    if content.startswith(b"#!") and content.partition(b"\n")[0].endswith(b"\r"):
        yield rules.SCRIPT_CRLF.at(entry.path, "its first line ends in CR LF", line=1)
    if look is not None:
        yield from look(entry, content)
