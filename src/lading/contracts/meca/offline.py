"""What a Dockerfile has the engine itself fetch, past the network that its steps don't have.

A build without a network closes the steps (RUN). ``ADD`` of an address is done by the engine, in
the network of the host with its loopback interface, and ``# syntax=`` names a program that does the
whole build in place of the engine's own. An executor that builds strangers' tasks offline refuses
both. What it can't see before is what a base image does when it is built upon (``ONBUILD``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lading.folders.dockerfile import Instruction, parse

__all__ = ["reaches_out"]

_SYNTAX = re.compile(r"\s*(?:#|//)\s*syntax\s*=", re.IGNORECASE)
"""BuildKit reads it from comments of both kinds (frontend/dockerfile/parser/directives.go)."""
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|[^/\s]+@[^/\s]+:|\$")
"""A URL, ``git@host:path``, or what only the build knows."""


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
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("{"):
        return "Dockerfile:1: a description for another builder"
    for number, line in enumerate(text.split("\n"), start=1):
        if _SYNTAX.match(line):
            return f"Dockerfile:{number}: {line.strip():.200}"
    found, _, _ = parse(text)
    return _first(found)


def _first(instructions: Iterable[Instruction]) -> str | None:
    for one in instructions:
        inner = parse(one.text)[0] if one.name == "ONBUILD" else [one]
        for each in inner:
            if what := _fetched(each):
                return f"Dockerfile:{one.line}: {what:.200}"
    return None


def _fetched(one: Instruction) -> str | None:
    if one.name == "ADD":
        for source in one.words[:-1]:
            if source not in one.heredocs and _ADDRESS.match(source):
                return f"ADD {source}"
    if one.name == "RUN" and one.flags.get("network", "none") != "none":
        return f"RUN --network={one.flags['network']}"
    return None
