"""What a Dockerfile has the engine itself fetch, past the network that its steps don't have.

A build without a network closes the steps (RUN). ``ADD`` of an address is done by the engine, in
the network of the host with its loopback interface, and ``# syntax=`` names a program that does the
whole build in place of the engine's own. An executor that builds strangers' tasks offline refuses
both. What it can't see before is what a base image does when it is built upon (``ONBUILD``).

Who wrote the file may want it to be misread, and builders differ in what they know: here-documents,
comments among continued lines, where ``# escape=`` may stand, what may follow a JSON list. So this
depends on none of it: whatever line a builder takes for the beginning of an instruction, it is a
line of the file, and every one is judged as if it were, with either escape.
"""

from __future__ import annotations

import json
import re

__all__ = ["reaches_out"]

_SYNTAX = re.compile(r"\s*(?:#|//)\s*syntax\s*=", re.IGNORECASE)
"""BuildKit reads it from comments of both kinds (frontend/dockerfile/parser/directives.go)."""
_SPACE = "".join(
    char for char in map(chr, range(0x3001)) if char.isspace() and char not in "\x1c\x1d\x1e\x1f"
)
"""White space as Go has it, in which builders are written."""
_WORD_END = re.compile(rf"[{re.escape(_SPACE)}]")
_INITIALS = ("A", "R", "O")
"""Of ADD, RUN and ONBUILD."""
_JOINED = 50
"""Lines that an instruction is continued over at the most; what goes on is refused."""
_FLAGS = re.compile(r"(?:--\S+\s+)*")
_ADDRESS = re.compile(r"""(?:^|[\s"'\[,])[^/\s"'\[,]*:|\$""")
"""A colon before any slash (a URL, ``git@host:path``), or what only the build knows."""
_OPENED = re.compile(r"--network(?!=none(?:\s|$))")


def reaches_out(text: str) -> str | None:
    """Find the first thing for which the engine itself would use the network.

    Base images are none: what is pulled is an image, as for every request.

    Parameters
    ----------
    text : str
        Of a Dockerfile.

    Returns
    -------
    str or None
        Where and what, as ``Dockerfile:3: ADD https://...``; None where there is nothing.
    """
    text = text.removeprefix("\N{BYTE ORDER MARK}")
    if text.lstrip().startswith("{"):
        return "Dockerfile:1: a description for another builder"
    lines = text.replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines, start=1):
        if _SYNTAX.match(line):
            return f"Dockerfile:{number}: {line.strip():.200}"
    for at, line in enumerate(lines):
        if line.lstrip(_SPACE)[:1].upper() not in _INITIALS:
            continue  # nothing of what follows; or the next line begins it as well
        for escape in "\\`":
            if what := _fetched(_from(lines, at, escape), escape):
                return f"Dockerfile:{at + 1}: {what:.200}"
    return None


def _from(lines: list[str], at: int, escape: str) -> str:
    """Join the instruction that may begin at a line, as far as it matters what it says."""
    text, joined = "", 0
    while at < len(lines):
        line = lines[at].rstrip(_SPACE)
        at += 1
        if joined and (not line or line.lstrip(_SPACE).startswith("#")):
            continue
        joined += 1
        goes_on = line.endswith(escape)
        text += line[:-1] if goes_on else line
        if not goes_on or joined > _JOINED or not _may_matter(text):
            break
    return f"{text}:" if joined > _JOINED else text


def _instruction(text: str) -> tuple[str, str]:
    """Split an instruction into its name and the rest; of ONBUILD, the one that it is about."""
    name, rest = _split(text)
    # No builder takes ONBUILD ONBUILD.
    return _split(rest) if name == "ONBUILD" and rest else (name, rest)


def _split(text: str) -> tuple[str, str]:
    text = text.strip(_SPACE)
    name = _WORD_END.split(text, maxsplit=1)[0]
    return name.upper(), text[len(name) :].strip(_SPACE)


def _may_matter(text: str) -> bool:
    name, rest = _instruction(text)
    if not rest:  # the name itself may go on in the next line
        return any(one.startswith(name) for one in ("ADD", "RUN", "ONBUILD"))
    return name == "ADD" or (name == "RUN" and rest.startswith("-"))


def _fetched(text: str, escape: str) -> str | None:
    name, rest = _instruction(text)
    if name == "RUN" and rest.startswith("-"):
        plain = re.sub(r"[\"'`\\]", "", rest)
        return f"RUN {rest}" if _OPENED.search(plain) or rest.endswith(":") else None
    if name != "ADD":
        return None
    rest = rest[_FLAGS.match(rest).end() :]  # type: ignore[union-attr]  # it matches nothing, too
    if rest.startswith("["):
        try:
            # A builder may read less of it, or more.
            clean = isinstance(json.loads(rest), list) and "\\" not in rest
        except (ValueError, RecursionError):
            clean = False
        if not clean:
            return f"ADD {rest}"
    found = _ADDRESS.search(rest.replace(escape, ""))
    return f"ADD {rest}" if found else None
