"""``lading check`` of a task folder: what the contract wants, and what will bite later."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lading.content.adding import MOST_ENTRIES, MOST_FOLDER
from lading.contracts.meca import MARK, PORT, rules
from lading.contracts.meca.config_checking import examine_config
from lading.contracts.meca.folder import (
    CONFIG,
    CONTENTS,
    DESCRIPTION,
    EXAMPLE_INPUT,
    EXAMPLE_OUTPUT,
    NAME,
    RECIPE,
)
from lading.contracts.meca.request import ATTESTATION
from lading.folders.contents import examine_contents
from lading.folders.documents import MARK as BYTE_ORDER_MARK
from lading.folders.documents import parse_json, read_whole
from lading.folders.findings import Finding, Report
from lading.folders.recipe import examine_recipe, load_recipe
from lading.folders.stages import SCRATCH, Dockerfile, Stage, environment_of, expand
from lading.folders.survey import Entry, Listed

__all__ = ["check_folder"]

SOURCES = "src"
_LARGEST = 8 << 20
"""Bytes of an example that is looked into: JSON takes many times its size in memory."""
_LONGEST_NAME = 100
_LINK = 50
"""Bytes of an entry of a directory's block besides its name: the CID, the size, and their keys."""
_FETCHES = re.compile(
    r"\b(?:pip3? (?:install|download)|uv (?:pip|sync)|poetry install|conda install"
    r"|apt(?:-get)? (?:update|install)|apk add|(?:dnf|yum|microdnf) install|npm (?:ci|install)"
    r"|yarn|pnpm|go (?:get|mod download|install)|cargo (?:build|install|fetch)|gem install"
    r"|bundle install|composer install|curl|wget|git clone|hf download)\b"
)
_LOOPBACK = re.compile(
    rb"\bapp\.run\((?![^)]{0,500}host\s*=)"
    rb"|\b(?:run|serve|make_server|create_server|\w*Server|Config)\("
    rb"[^)]{0,500}[\"'](?:127\.0\.0\.1|localhost)[\"']"
)
_PRINTS_MARK = re.compile(rb"print\([^)]{0,500}meca-init-done[^)]{0,500}\)")


class _Sources:
    """What the files of ``src`` tell, file by file."""

    def __init__(self) -> None:
        self.files = 0
        self.holds_mark = False
        self.unflushed: Finding | None = None

    def look(self, entry: Entry, content: bytes) -> Iterator[Finding]:
        """Look into a file."""
        if not entry.path.startswith(f"{SOURCES}/") or entry.hidden:
            return
        if MARK in content:
            self.holds_mark = True
        if not entry.name.endswith(".py"):
            return
        match = _PRINTS_MARK.search(content)
        if match and b"flush" not in match[0] and b".flush(" not in content:
            self.unflushed = rules.MARK_NOT_FLUSHED.at(
                entry.path, "prints the mark into a buffer", line=_line(content, match.start())
            )
        if match := _LOOPBACK.search(content):
            shown = match[0].partition(b"(")[0].decode("ascii", "replace")
            yield rules.LISTENS_ON_LOOPBACK.at(
                entry.path, f"{shown}(...) listens on 127.0.0.1", line=_line(content, match.start())
            )


def check_folder(folder: Path, report: Report) -> None:
    """Check a task folder; blocks on the disk.

    Parameters
    ----------
    folder : Path
        A directory.
    report : Report
        Gets what is found.
    """
    sources = _Sources()
    contents = examine_contents(folder, report, look=sources.look, listed=_listed)
    recipe = load_recipe(folder)
    sgx = False
    for finding in _of_files(folder):
        report.add(finding)
    config = read_whole(folder / CONFIG, _LARGEST)
    if config.data is not None and config.data.strip():
        limits, found = examine_config(config.data)
        sgx = limits is not None and limits.sgx
        for finding in found:
            report.add(finding)
    for finding in _of_input(folder, sgx=sgx):
        report.add(finding)
    if isinstance(recipe, Finding):
        report.add(recipe)
        return
    for finding in examine_recipe(recipe, contents):
        report.add(finding)
    if recipe.final is not None:
        for finding in _of_server(recipe, recipe.final, sources):
            report.add(finding)


def _line(content: bytes, place: int) -> int:
    return content.count(b"\n", 0, place) + 1


def _listed(listed: Listed) -> Iterator[Finding]:
    block = listed.entries * _LINK + listed.names
    if not listed.hidden and (listed.entries >= MOST_ENTRIES or block >= MOST_FOLDER):
        yield rules.FOLDER_TOO_WIDE.at(listed.path, f"has {listed.entries:,} entries")


def _of_files(folder: Path) -> Iterator[Finding]:
    for name in CONTENTS:
        if name == SOURCES:
            yield from _of_sources(folder / SOURCES)
        elif name != RECIPE:  # which has rules of its own
            yield from _of_file(folder / name)


def _of_sources(path: Path) -> Iterator[Finding]:
    if not path.is_dir():
        if path.exists() or path.is_symlink():
            yield rules.FILE_UNUSABLE.at(SOURCES, "is no directory")
        else:
            yield rules.FILE_MISSING.at(SOURCES, "there is none")
        return
    try:
        names = [item.name for item in path.iterdir()]
    except OSError:
        return  # told by the walk
    if not names:
        yield rules.FILE_EMPTY.at(SOURCES, "is empty")
    elif all(name.startswith(".") for name in names):
        yield rules.FILE_EMPTY.at(
            SOURCES, "holds hidden files only, which IPFS leaves out", fix="add the task's code"
        )


def _of_file(path: Path) -> Iterator[Finding]:
    name = path.name
    content = read_whole(path, _LARGEST)
    if not content.there:
        yield rules.FILE_MISSING.at(name, "there is none")
    elif content.size > _LARGEST:
        rule = rules.EXAMPLE_LARGE if name in (EXAMPLE_INPUT, EXAMPLE_OUTPUT) else None
        yield (rule or rules.FILE_UNUSABLE).at(name, content.wrong)
    elif content.data is None:
        yield rules.FILE_UNUSABLE.at(name, content.wrong)
    elif not (content.data if name == EXAMPLE_OUTPUT else content.data.strip()):
        yield rules.FILE_EMPTY.at(name, "is empty")
    else:
        yield from _of_text(name, content.data)


def _of_text(name: str, data: bytes) -> Iterator[Finding]:
    if data.startswith(BYTE_ORDER_MARK):
        yield rules.BYTE_ORDER_MARK.at(name, "begins with a byte order mark", line=1)
    if name not in (NAME, DESCRIPTION):
        return
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        yield rules.FILE_UNUSABLE.at(
            name, "is not UTF-8", line=_line(data, error.start), fix="save it as UTF-8"
        )
        return
    if not text:
        yield rules.FILE_EMPTY.at(name, "is empty")
    if name == NAME and len(text.splitlines()) > 1:
        yield rules.NAME_NOT_ONE_LINE.at(name, "has several lines", line=2)
    elif name == NAME and len(text) > _LONGEST_NAME:
        yield rules.NAME_NOT_ONE_LINE.at(name, f"has {len(text):,} characters")


def _of_input(folder: Path, *, sgx: bool) -> Iterator[Finding]:
    data = read_whole(folder / EXAMPLE_INPUT, _LARGEST).data
    if not data or not data.strip() or (sgx and data.strip() == ATTESTATION.encode()):
        return
    document = parse_json(data)
    if document.wrong:
        yield rules.INPUT_NOT_JSON.at(EXAMPLE_INPUT, document.wrong, line=document.line)
        return
    if isinstance(document.value, str) and not parse_json(document.value.encode()).wrong:
        yield rules.INPUT_ODD.at(EXAMPLE_INPUT, "is a JSON string that holds JSON")
    elif data.rstrip() != data:
        yield rules.INPUT_ODD.at(EXAMPLE_INPUT, "white space follows the value")


def _of_server(recipe: Dockerfile, stage: Stage, sources: _Sources) -> Iterator[Finding]:
    if not _exposes(stage):
        yield rules.PORT_NOT_EXPOSED.at(RECIPE, f"exposes no port {PORT}", line=stage.line)
    command = stage.last("ENTRYPOINT") or stage.last("CMD")
    if command is None:
        yield rules.COMMAND_MISSING.at(RECIPE, "starts nothing", line=stage.line)
    yield from _of_user(stage)
    words = " ".join(word for one in stage.all("CMD", "ENTRYPOINT") for word in one.words)
    yield from _of_command(words, command.line if command else stage.line)
    in_recipe = any(MARK.decode() in one.text + one.body for one in recipe.instructions)
    if not sources.holds_mark and not in_recipe:
        yield rules.MARK_NOT_FOUND.at(SOURCES, f"nothing in it holds {MARK.decode()}")
    yield from _of_network(recipe)
    if sources.unflushed is not None and not _is_unbuffered(stage, words):
        yield sources.unflushed


def _exposes(stage: Stage) -> bool:
    """Whether the port is exposed, as far as can be known."""
    for instruction in stage.all("EXPOSE"):
        for word in instruction.words:
            port = expand(word, stage.variables)
            if port is None:
                return True  # a variable of the builder: may be
            first, _, last = port.removesuffix("/tcp").partition("-")
            if first.isdigit() and int(first) <= PORT <= int(last if last.isdigit() else first):
                return True
    return False


def _of_user(stage: Stage) -> Iterator[Finding]:
    instruction = stage.last("USER")
    if instruction is None:
        base = stage.root.base or ""
        if "nonroot" in base:
            return
        what = "has no USER" if base != SCRATCH else "has no USER, and scratch means root"
        yield rules.RUNS_AS_ROOT.at(RECIPE, what, line=stage.line)
        return
    user = expand(instruction.text, stage.variables)
    if user is not None and user.partition(":")[0].strip() in ("root", "0"):
        yield rules.RUNS_AS_ROOT.at(RECIPE, f"USER {user}", line=instruction.line)


def _of_command(words: str, line: int) -> Iterator[Finding]:
    runs = re.search(r"\bflask\b.{0,500}\brun\b|\buvicorn\b|\bfastapi dev\b", words)
    told = re.search(r"(?:--host|-h)[= ]\s*(\S+)", words)
    if runs and (told is None or told[1] in ("127.0.0.1", "localhost")):
        yield rules.LISTENS_ON_LOOPBACK.at(RECIPE, f"{runs[0]} listens on 127.0.0.1", line=line)


def _of_network(recipe: Dockerfile) -> Iterator[Finding]:
    if syntax := recipe.directives.get("syntax"):
        yield rules.SYNTAX_FETCHED.at(RECIPE, f"syntax={syntax[0]}", line=syntax[1])
    for instruction in recipe.instructions:
        text = f"{instruction.text}\n{instruction.body}"
        match = _FETCHES.search(text) if instruction.name == "RUN" else None
        if match and "--no-index" not in text:
            yield rules.BUILD_NEEDS_NETWORK.at(
                RECIPE, f"{match[0]} needs a network", line=instruction.line
            )
            return


def _is_unbuffered(stage: Stage, words: str) -> bool:
    if re.search(r"\bpython[\d.]*\s+(?:-\S+\s+)*-\w*u", words):
        return True
    return any(
        environment_of(instruction).get("PYTHONUNBUFFERED") for instruction in stage.all("ENV")
    )
