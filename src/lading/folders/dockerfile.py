"""A Dockerfile read: its instructions with their lines, words, flags and here-documents.

Format: https://docs.docker.com/reference/dockerfile/. Read as builders read it: parser directives,
the escape character, continued lines with comments in them, here-documents, JSON and shell form.
What the instructions mean together is in :mod:`lading.folders.stages`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace

__all__ = ["Instruction", "Mistake", "directives", "parse", "split_words"]

_LISTS = frozenset(("ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"))
"""Those that may be written as a JSON list."""
_KNOWN = _LISTS | frozenset(
    (
        *("ARG", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"),
        *("ONBUILD", "STOPSIGNAL", "USER", "WORKDIR"),
    )
)
_HEREDOCS = frozenset(("ADD", "COPY", "RUN"))
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_DIRECTIVES = ("syntax", "escape", "check")
_FLAG = re.compile(r"--([a-z][a-z-]*)(?:=(\S*))?(?:\s+|$)")
_HEREDOC = re.compile(r"\d*<<(-?)(['\"]?)([^<'\"]+)\2")


@dataclass(frozen=True, slots=True)
class Mistake:
    """What a builder would refuse."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    Parameters
    ----------
    line : int
        Of its first line, counted from 1.
    name : str
        In capitals.
    text : str
        What follows name and flags, continued lines joined.
    words : tuple of str
        The same in words, without quotes, or the items of the JSON list.
    is_list : bool
        Whether it is a JSON list.
    flags : mapping
        ``{"from": "build"}``.
    heredocs : tuple of str
        Words that begin a here-document, in `words` too.
    body : str
        The here-documents' lines.
    """

    line: int
    name: str
    text: str
    words: tuple[str, ...] = ()
    is_list: bool = False
    flags: dict[str, str] = field(default_factory=dict)
    heredocs: tuple[str, ...] = ()
    body: str = ""


def parse(text: str) -> tuple[list[Instruction], list[Mistake], str]:
    """Read a Dockerfile; what can't be understood is passed over.

    Parameters
    ----------
    text : str
        Without a byte order mark; any line ends.

    Returns
    -------
    tuple of (list of Instruction, list of Mistake, str)
        The last is the escape character.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    mistakes: list[Mistake] = []
    escape = _escape(text, mistakes)
    found: list[Instruction] = []
    at = 0
    while at < len(lines):
        if _is_left_out(lines[at]):
            at += 1
            continue
        begin = at
        joined, at = _joined(lines, at, escape)
        instruction = _instruction(joined, begin + 1, escape, mistakes)
        if instruction is None:
            continue
        if instruction.heredocs:
            body, at, missing = _bodies(lines, at, instruction.heredocs)
            if missing:
                mistakes.append(Mistake(begin + 1, f"the here-document {missing} is never ended"))
            instruction = replace(instruction, body=body)
        found.append(instruction)
    return found, mistakes, escape


def directives(text: str) -> dict[str, tuple[str, int]]:
    """Read the parser directives: the first lines, until one is something else.

    Parameters
    ----------
    text : str

    Returns
    -------
    dict
        By their names, ``syntax``, ``escape`` and ``check``: the value, and the line.
    """
    found: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None or match[1].lower() not in _DIRECTIVES:
            break
        found.setdefault(match[1].lower(), (match[2], number))
    return found


def _escape(text: str, mistakes: list[Mistake]) -> str:
    value, number = directives(text).get("escape", ("\\", 0))
    if value in ("\\", "`"):
        return value
    mistakes.append(Mistake(number, f"escape can be \\ or `, not {value!r:.40}"))
    return "\\"


def _is_left_out(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _joined(lines: list[str], at: int, escape: str) -> tuple[str, int]:
    """Join a line with those that continue it; comments and empty ones between don't count."""
    parts: list[str] = []
    while at < len(lines):
        line = lines[at].rstrip(" \t")
        at += 1
        if parts and _is_left_out(line):
            continue
        if not line.endswith(escape) or line.endswith(escape * 2):
            parts.append(line)
            break
        parts.append(line[:-1])
    return "".join(parts).strip(), at


def _instruction(
    line: str, number: int, escape: str, mistakes: list[Mistake]
) -> Instruction | None:
    word, _, rest = line.replace("\t", " ").partition(" ")
    name, rest = word.upper(), line[len(word) :].strip()
    if name not in _KNOWN:
        mistakes.append(Mistake(number, f"{word[:40]!r} is no instruction"))
        return None
    if not rest:
        mistakes.append(Mistake(number, f"{name} says nothing"))
        return None
    flags: dict[str, str] = {}
    while match := _FLAG.match(rest):
        # A flag may stand several times, as RUN --mount; what is looked at here does not.
        flags[match[1]] = match[2] or ""
        rest = rest[match.end() :]
    items = _list(rest) if name in _LISTS else None
    if items is not None:
        return Instruction(number, name, rest, tuple(items), is_list=True, flags=flags)
    words = tuple(split_words(rest, escape))
    heredocs: tuple[str, ...] = ()
    if name in _HEREDOCS:
        raw = split_words(rest, escape, keeps_quotes=True)
        heredocs = tuple(word for word in raw if _HEREDOC.fullmatch(word))
    return Instruction(number, name, rest, words, flags=flags, heredocs=heredocs)


def _list(text: str) -> list[str] | None:
    if not text.startswith("["):
        return None
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(items, list) and all(isinstance(item, str) for item in items):
        return items
    return None


def _bodies(lines: list[str], at: int, begins: tuple[str, ...]) -> tuple[str, int, str | None]:
    """Take the lines of here-documents, one after the other."""
    body: list[str] = []
    for begin in begins:
        match = _HEREDOC.fullmatch(begin)
        assert match is not None
        while True:
            if at >= len(lines):
                return "\n".join(body), at, match[3]
            line = lines[at]
            at += 1
            if (line.lstrip("\t") if match[1] else line) == match[3]:
                break
            body.append(line)
    return "\n".join(body), at, None


def split_words(text: str, escape: str = "\\", *, keeps_quotes: bool = False) -> list[str]:
    """Split as a shell does; quotes that are never closed end with the text.

    Parameters
    ----------
    text, escape : str
    keeps_quotes : bool
        Whether quotes are part of the words.
    """
    words: list[str] = []
    word: list[str] = []
    quote, begun, at = "", False, 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == escape and quote != "'" and at < len(text):
            # Before a $ it stays: whoever expands variables has to see it.
            word.append(f"\\{text[at]}" if text[at] == "$" else text[at])
            begun, at = True, at + 1
        elif quote:
            if char != quote or keeps_quotes:
                word.append(char)
            if char == quote:
                quote = ""
        elif char in "'\"":
            quote, begun = char, True
            if keeps_quotes:
                word.append(char)
        elif char.isspace():
            if begun:
                words.append("".join(word))
            word, begun = [], False
        else:
            word.append(char)
            begun = True
    if begun:
        words.append("".join(word))
    return words
