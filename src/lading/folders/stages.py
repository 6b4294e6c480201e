"""What a Dockerfile's instructions mean together: its stages, what each inherits, its variables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from lading.folders.dockerfile import Instruction, Mistake, directives, parse, split_words

__all__ = ["Dockerfile", "Stage", "expand", "read_dockerfile"]

_VARIABLE = re.compile(r"\\(\$)|\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?[-+?])([^}]*))?\})")
SCRATCH = "scratch"


@dataclass(slots=True)
class Stage:
    """One stage.

    Parameters
    ----------
    line : int
        Of its FROM.
    written : str
        What it begins from, as it is written.
    base : str or None
        The same with variables put in; None where one has no value.
    name : str
        After AS; empty without.
    parent : Stage or None
        The stage that it begins from, where it is one of this file.
    instructions : list of Instruction
    variables : dict
        What ARG and ENV say, at its end; None: a value that only the builder knows.
    """

    line: int
    written: str
    base: str | None
    name: str
    parent: Stage | None
    instructions: list[Instruction] = field(default_factory=list)
    variables: dict[str, str | None] = field(default_factory=dict)

    def line_of_stages(self) -> Iterator[Stage]:
        """Yield itself, the stage that it begins from, and so on."""
        stage: Stage | None = self
        while stage is not None:
            yield stage
            stage = stage.parent

    def all(self, *names: str) -> Iterator[Instruction]:
        """Yield what it and those before it say with these instructions, the last said first."""
        for stage in self.line_of_stages():
            for instruction in reversed(stage.instructions):
                if instruction.name in names:
                    yield instruction

    def last(self, name: str) -> Instruction | None:
        """What counts of an instruction of which only the last one counts."""
        return next(self.all(name), None)

    @property
    def root(self) -> Stage:
        """The first of the stages that it stands on: whose base is no stage of this file."""
        *_, first = self.line_of_stages()
        return first


@dataclass(slots=True)
class Dockerfile:
    """A Dockerfile.

    Parameters
    ----------
    stages : list of Stage
    mistakes : list of Mistake
        What a builder would refuse.
    instructions : list of Instruction
        All, in their order.
    directives : dict
        The parser directives: each one's value and line.
    """

    stages: list[Stage]
    mistakes: list[Mistake]
    instructions: list[Instruction]
    directives: dict[str, tuple[str, int]]

    @property
    def final(self) -> Stage | None:
        """The stage whose image it makes."""
        return self.stages[-1] if self.stages else None


def expand(text: str, variables: dict[str, str | None]) -> str | None:
    """Put variables in; None where one of them has no value that can be known.

    Parameters
    ----------
    text : str
    variables : dict
        None: known to the builder only.
    """
    unknown = False

    def value(match: re.Match[str]) -> str:
        nonlocal unknown
        if match[1]:
            return "$"
        known = variables.get(match[2] or match[3])
        how, other = match[4] or "", match[5] or ""
        if "${" in other:  # one inside the other: its end is not where it was looked for
            unknown = True
            return ""
        if how.endswith("-") and not known:
            return expand(other, variables) or ""
        if how.endswith("+"):
            return other if known else ""
        if not known:
            unknown = True
            return ""
        return known

    expanded = _VARIABLE.sub(value, text)
    return None if unknown else expanded


def read_dockerfile(text: str) -> Dockerfile:
    """Read a Dockerfile, and everything in it that a builder would refuse.

    Parameters
    ----------
    text : str
    """
    text = text.removeprefix("\N{BYTE ORDER MARK}")
    instructions, mistakes, escape = parse(text)
    stages: list[Stage] = []
    outside: dict[str, str | None] = {}
    for instruction in instructions:
        if instruction.name == "FROM":
            if stage := _stage(instruction, stages, outside, mistakes):
                stages.append(stage)
        elif stages:
            stages[-1].instructions.append(instruction)
            _remember(instruction, stages[-1].variables, outside, escape)
        elif instruction.name == "ARG":
            _remember(instruction, outside, {}, escape)
        else:
            mistakes.append(
                Mistake(instruction.line, f"{instruction.name} stands before the first FROM")
            )
    if instructions and not stages and not mistakes:
        mistakes.append(Mistake(1, "there is no FROM"))
    mistakes.sort(key=lambda one: one.line)
    return Dockerfile(stages, mistakes, instructions, directives(text))


def _stage(
    instruction: Instruction,
    stages: list[Stage],
    outside: dict[str, str | None],
    mistakes: list[Mistake],
) -> Stage | None:
    words = instruction.words
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        mistakes.append(Mistake(instruction.line, "write it as FROM image, or FROM image AS name"))
        return None
    base = expand(words[0], outside)
    parent = next((one for one in stages if one.name and base and one.name == base.lower()), None)
    inherited = dict(parent.variables) if parent else {}
    name = words[2].lower() if len(words) == 3 else ""
    return Stage(instruction.line, words[0], base, name, parent, variables=inherited)


def _remember(
    instruction: Instruction,
    variables: dict[str, str | None],
    outside: dict[str, str | None],
    escape: str,
) -> None:
    """Take in what an ARG or ENV says."""
    if instruction.name == "ARG":
        for word in instruction.words:
            name, equals, value = word.partition("=")
            variables[name] = expand(value, variables) if equals else outside.get(name)
    elif instruction.name == "ENV":
        for name, value in environment_of(instruction, escape).items():
            variables[name] = expand(value, variables)


def environment_of(instruction: Instruction, escape: str = "\\") -> dict[str, str]:
    """Read the names and values of an ENV: ``A=1 B=2``, or the older ``A some text``."""
    if "=" in instruction.text.split()[0]:
        pairs = [word.partition("=") for word in instruction.words]
        return {name: value for name, _, value in pairs}
    name, _, value = instruction.text.partition(" ")
    return {name: " ".join(split_words(value, escape))}
