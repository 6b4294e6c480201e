"""What is found in a Dockerfile, whatever the contract of its folder."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from pathlib import Path

from lading.folders import rules
from lading.folders.contents import Contents
from lading.folders.dockerfile import Instruction
from lading.folders.documents import read_whole
from lading.folders.findings import Finding
from lading.folders.stages import (
    SCRATCH,
    Dockerfile,
    Stage,
    environment_of,
    expand,
    read_dockerfile,
)
from lading.run.build_context import Ignore

__all__ = ["RECIPE", "examine_recipe", "load_recipe"]

RECIPE = "Dockerfile"
_LARGEST = 1 << 20
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)$",
    re.IGNORECASE,
)
_URL = re.compile(r"(?:https?|ftp)://", re.IGNORECASE)
_REPOSITORY = re.compile(r"(?:git@|ssh://git@)|https?://\S+\.git(?:#|$)", re.IGNORECASE)
_WILD = re.compile(r"[*?\[]")


def load_recipe(folder: Path) -> Dockerfile | Finding:
    """Read the Dockerfile of a folder, or say why there is none."""
    content = read_whole(folder / RECIPE, _LARGEST)
    rule = rules.DOCKERFILE_MISSING
    if content.data is None:
        return rule.at(RECIPE, content.wrong)
    if b"\0" in content.data:
        return rule.at(RECIPE, "is no text")
    try:
        text = content.data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.data.count(b"\n", 0, error.start) + 1
        return rule.at(RECIPE, "is not UTF-8", line=line, fix="save it as UTF-8")
    recipe = read_dockerfile(text)
    if not recipe.instructions and not recipe.mistakes:
        return rule.at(RECIPE, "is empty")
    return recipe


def examine_recipe(recipe: Dockerfile, contents: Contents) -> Iterator[Finding]:
    """Find what a builder refuses, and what will bite later."""
    for mistake in recipe.mistakes:
        yield rules.DOCKERFILE_INVALID.at(RECIPE, mistake.text, line=mistake.line)
    for stage in recipe.stages:
        if stage.parent is None:
            yield from _of_base(stage)
        for instruction in stage.instructions:
            if instruction.name in ("COPY", "ADD"):
                yield from _of_copy(instruction, stage, contents)
            elif instruction.name in ("ENV", "ARG"):
                yield from _of_variables(instruction)
    if recipe.final is not None:
        yield from _of_commands(recipe.final)
        yield from _of_executables(recipe, contents)


def _of_base(stage: Stage) -> Iterator[Finding]:
    if not stage.base:
        yield rules.BASE_UNDEFINED.at(
            RECIPE,
            f"FROM {stage.written} has no value unless a build argument gives it one",
            line=stage.line,
        )
        return
    if stage.base == SCRATCH or "@" in stage.base:
        return
    _, colon, tag = stage.base.rpartition("/")[2].partition(":")
    if not colon or tag == "latest":
        what = f"{stage.base} is named with the tag latest" if colon else f"{stage.base} has no tag"
        yield rules.BASE_UNPINNED.at(RECIPE, what, line=stage.line)
    else:
        yield rules.BASE_WITHOUT_DIGEST.at(
            RECIPE, f"{stage.base} is named by its tag only", line=stage.line
        )


def _of_copy(instruction: Instruction, stage: Stage, contents: Contents) -> Iterator[Finding]:
    if "from" in instruction.flags:
        return
    *sources, _target = instruction.words or ("",)
    if not sources:
        yield rules.DOCKERFILE_INVALID.at(
            RECIPE, f"{instruction.name} needs a source and a target", line=instruction.line
        )
    for written in sources:
        source = expand(written, stage.variables)
        if source is None or (
            instruction.heredocs and written.lstrip("0123456789").startswith("<<")
        ):
            continue
        if _URL.match(source) or _REPOSITORY.match(source):
            if not _REPOSITORY.match(source) and "checksum" not in instruction.flags:
                yield rules.ADD_URL.at(RECIPE, f"ADD {source}", line=instruction.line)
            continue
        alone = len(sources) == 1
        yield from _of_source(source, instruction.line, contents, alone=alone)


def _of_source(source: str, line: int, contents: Contents, *, alone: bool) -> Iterator[Finding]:
    path = os.path.normpath(source.lstrip("/") or ".")
    if path == ".." or path.startswith("../"):
        yield rules.COPY_SOURCE_OUTSIDE.at(RECIPE, f"{source} is outside", line=line)
        return
    if path == ".":
        return
    if _WILD.search(path):
        # Where others are there, builders do without what a pattern does not find.
        if alone and not any(_matching(contents.folder, path.split("/"), contents.ignore)):
            yield rules.COPY_SOURCE_MISSING.at(RECIPE, f"nothing is like {source}", line=line)
        return
    if not os.path.lexists(contents.folder / path):
        yield rules.COPY_SOURCE_MISSING.at(RECIPE, f"there is no {source}", line=line)
    elif contents.ignore.leaves_out(path) and not contents.ignore.takes_in_again:
        yield rules.COPY_SOURCE_IGNORED.at(RECIPE, f".dockerignore leaves {source} out", line=line)
    elif any(part.startswith(".") for part in path.split("/")):
        yield rules.COPY_SOURCE_HIDDEN.at(RECIPE, f"{source} is hidden", line=line)


def _matching(folder: Path, parts: list[str], ignore: Ignore, above: str = "") -> Iterator[str]:
    """Yield what a pattern finds, as far as it goes to the builder."""
    first, *others = parts
    try:
        names = [entry.name for entry in os.scandir(folder / above)]
    except OSError:
        return
    pattern = first.replace("[^", "[!")
    for name in names:
        if not fnmatch.fnmatchcase(name, pattern):
            continue
        path = f"{above}{name}"
        if others:
            yield from _matching(folder, others, ignore, f"{path}/")
        elif not ignore.leaves_out(path) or ignore.takes_in_again:
            yield path


def _of_variables(instruction: Instruction) -> Iterator[Finding]:
    if instruction.name == "ENV":
        given = environment_of(instruction)
    else:
        pairs = (word.partition("=") for word in instruction.words)
        given = {name: value for name, _, value in pairs}
    for name, value in given.items():
        if _SECRET_NAME.search(name) and value and not value.startswith(("$", "/")):
            yield rules.SECRET_IN_DOCKERFILE.at(
                RECIPE, f"{instruction.name} {name} has a value", line=instruction.line
            )


def _of_commands(stage: Stage) -> Iterator[Finding]:
    entry, command = stage.last("ENTRYPOINT"), stage.last("CMD")
    # A CMD beside an ENTRYPOINT in JSON form is its arguments, and starts nothing.
    for instruction in (entry, command if entry is None else None):
        if instruction is None or instruction.is_list or instruction.text.startswith("exec "):
            continue
        if instruction.text.startswith("["):
            yield rules.COMMAND_SHELL_FORM.at(
                RECIPE,
                f"{instruction.name} looks like a list and is none: JSON has double quotes",
                line=instruction.line,
            )
        else:
            yield rules.COMMAND_SHELL_FORM.at(
                RECIPE, f"{instruction.name} is a line for a shell", line=instruction.line
            )


def _of_executables(recipe: Dockerfile, contents: Contents) -> Iterator[Finding]:
    """Find files that are run by their own name, and could not be without their executable bit."""
    if any(
        "chmod" in instruction.flags or (instruction.name == "RUN" and "chmod" in instruction.text)
        for instruction in recipe.instructions
    ):
        return
    runs = {
        word.rpartition("/")[2]: instruction.name
        for instruction in recipe.instructions
        if instruction.name in ("RUN", "CMD", "ENTRYPOINT")
        for word in _programs(instruction)
    }
    for path in contents.executables:
        if name := runs.get(path.rpartition("/")[2]):
            yield rules.EXECUTABLE_LOST.at(path, f"is executable, and {name} runs it")


def _programs(instruction: Instruction) -> list[str]:
    """Name what an instruction starts: the first word of a list, or of each command of a line."""
    if instruction.is_list:
        return list(instruction.words[:1])
    commands = re.split(r"&&|\|\||[;|\n]", f"{instruction.text}\n{instruction.body}")
    return [command.split()[0] for command in commands if command.split()]
